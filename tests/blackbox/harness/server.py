"""One of the two programs on its own: both serve HTTP before they have found a broker."""

import http.client
import shutil
import socket
import ssl

from .http import Answer
from .installation import new_master_key
from .program import BUILD, PATIENCE, Program, wait_until


def exchange(connection, path, method="GET", headers=None):
    """One request on a connection that goes on."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *(f"{name}: {value}" for name, value in (headers or {}).items())]
    connection.sendall("\r\n".join([*lines, "", ""]).encode())
    response = http.client.HTTPResponse(connection, method=method)
    response.begin()
    return Answer(response.status, response.headers, response.read())


class Server:
    """jwk-api or jwk-worker without a broker; with TLS when it gets an authority."""

    def __init__(self, kind, directory, *options, authority=None, client_ca=None):
        self.kind, self.authority = kind, authority
        if kind == "api":
            command = [BUILD / "jwk-api", "serve", "--data-dir", directory / "data", "--master-key-file", new_master_key(directory)]
        else:
            command = [BUILD / "jwk-worker", "--environment", "production", "--replica", "edge-1", "--state-dir", directory / "state", "--unsigned"]
        command += ["--listen", "127.0.0.1:0", "--brokers", "127.0.0.1:1", *options]
        if authority:
            self.certificate, self.key = directory / "server.pem", directory / "server.key"
            self.install(*authority.issue("first"))
            command += ["--tls-certificate", self.certificate, "--tls-key", self.key]
        if client_ca:
            command += ["--tls-client-ca", client_ca]
        self.program = Program(kind, command, directory)
        # The API writes an address file once it has its broker; its log tells the port earlier.
        self.port = int(wait_until(self.logged_port, f"{kind} listens"))

    def logged_port(self):
        for line in self.program.log().splitlines():
            if "event=listening " in line or "event=serving " in line:
                return line.partition("port=")[2].split()[0]
        assert self.program.running, self.program.log()
        return None

    def install(self, certificate, key):
        """Replaces both files as a renewal does."""
        for source, target in ((certificate, self.certificate), (key, self.key)):
            temporary = target.with_suffix(".new")
            shutil.copy(source, temporary)
            temporary.chmod(0o600)
            temporary.rename(target)

    def dial(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def connect(self, client=None, versions=None):
        """A connection, with TLS where the server has it."""
        raw = self.dial()
        if not self.authority:
            return raw
        context = ssl.create_default_context(cafile=str(self.authority.certificate))
        if client:
            context.load_cert_chain(*map(str, client))
        if versions:
            context.minimum_version, context.maximum_version = versions
        return context.wrap_socket(raw, server_hostname="localhost")

    def get(self, path="/healthz", *, method="GET", headers=None, **options):
        with self.connect(**options) as connection:
            return exchange(connection, path, method, headers)

    def subject(self):
        with self.connect() as connection:
            return dict(pair[0] for pair in connection.getpeercert()["subject"])["commonName"]

    def metric(self, name, **options):
        return metric(self.get("/metrics", **options), name)


def metric(answer, name):
    """A value of an answer of /metrics."""
    return float(next(line.rpartition(" ")[2] for line in answer.body.decode().splitlines() if line.startswith(name + " ")))
