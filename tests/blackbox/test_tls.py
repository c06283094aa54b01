"""TLS of both programs: versions, certificates that are replaced, keys that others may read, clients that must show a certificate."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import ssl
import subprocess

import pytest

from harness.certificates import Authority
from harness.http import Answer, split_address
from harness.installation import Api, Worker, new_master_key
from harness.program import BUILD, PATIENCE, wait_until
from harness.server import Server, exchange


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"), "trusted")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("stranger"), "stranger")


@pytest.fixture(params=["api", "worker"])
def serve(request, tmp_path, authority):
    """Starts one of the programs with TLS; both in turn."""
    servers = []

    def start(*options, **named):
        servers.append(Server(request.param, tmp_path, *options, authority=authority, **named))
        return servers[-1]
    yield start
    for server in servers:
        assert server.program.stop() == 0


def test_requests_are_answered_over_tls_1_2_and_1_3_and_no_older_version(serve):
    server = serve()
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        with server.connect(versions=(version, version)) as connection:
            assert exchange(connection, "/healthz").status == 200
            assert exchange(connection, "/healthz").json == {"status": "ok"}  # the connection goes on
            assert "GCM" in connection.cipher()[0] or "CHACHA20" in connection.cipher()[0]
    old = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
                         stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert old.returncode != 0 and "New, (NONE)" in old.stdout
    weak = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0"],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert weak.returncode != 0


def test_curl_is_answered_and_told_to_use_tls_from_now_on(serve):
    server = serve()
    done = subprocess.run(["curl", "--silent", "--show-error", "--include", "--cacert", str(server.authority.certificate),
                           f"https://localhost:{server.port}/healthz"], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    assert "Strict-Transport-Security: max-age=31536000" in done.stdout


def test_plain_http_is_not_answered(serve):
    server = serve()
    with server.dial() as plain:
        plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        try:
            assert b"HTTP/" not in plain.recv(1000)
        except ConnectionResetError:
            pass
    wait_until(lambda: server.metric("jwk_tls_handshakes_failed_total") >= 1, "the failed handshake is counted")


def test_a_new_certificate_is_served_by_itself_and_existing_connections_go_on(serve, authority):
    server = serve()
    assert server.subject() == "first"
    with server.connect() as connection:
        assert exchange(connection, "/healthz").status == 200
        server.install(*authority.issue("second"))
        wait_until(lambda: server.subject() == "second", "the new certificate is served")
        assert exchange(connection, "/healthz").status == 200
    assert server.metric('jwk_tls_loads_total{result="loaded"}') >= 2


def test_a_hangup_loads_the_certificate_at_once(serve, authority):
    server = serve()
    server.install(*authority.issue("third"))
    loaded = server.program.log().count("TLS certificate loaded")
    os.kill(server.program.pid, signal.SIGHUP)
    wait_until(lambda: server.program.log().count("TLS certificate loaded") > loaded, "SIGHUP loads")
    assert server.subject() == "third"


@pytest.mark.parametrize("broken", ["nonsense", "other key", "readable", "gone"])
def test_a_broken_new_certificate_is_reported_and_the_old_one_stays(serve, authority, broken):
    server = serve()
    if broken == "nonsense":
        server.certificate.write_text("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
    elif broken == "other key":
        server.install(authority.issue("fourth")[0], authority.issue("fifth")[1])
    elif broken == "readable":
        server.key.chmod(0o640)
    else:
        server.certificate.unlink()
    os.kill(server.program.pid, signal.SIGHUP)
    wait_until(lambda: "TLS certificate not loaded, the one before stays in use" in server.program.log(), "it is reported")
    assert server.subject() == "first"
    assert server.metric('jwk_tls_loads_total{result="failed"}') >= 1
    server.install(*authority.issue("sixth"))
    wait_until(lambda: server.subject() == "sixth", "a good one is taken after that")


@pytest.mark.parametrize("program", ["jwk-api", "jwk-worker"])
def test_settings_that_cannot_be_used_are_refused_at_start_with_a_reason(program, tmp_path, authority):
    certificate, key = authority.issue("refused")
    other = tmp_path / "other.key"
    shutil.copy(authority.issue("refused-too")[1], other)
    readable = tmp_path / "readable.key"
    shutil.copy(key, readable)
    readable.chmod(0o644)
    other.chmod(0o600)

    master_key = ["--master-key-file", new_master_key(tmp_path)] if program == "jwk-api" else []

    def start(*options):
        command = [BUILD / program, *(["serve"] if program == "jwk-api" else ["--environment", "production", "--replica", "edge-1", "--unsigned"]),
                   "--data-dir" if program == "jwk-api" else "--state-dir", tmp_path / "state", "--listen", "127.0.0.1:0",
                   "--brokers", "127.0.0.1:1", *master_key, *options]
        done = subprocess.run(list(map(str, command)), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert done.returncode not in (0, -signal.SIGSEGV), done.stderr
        return done.stderr
    both = ("--tls-certificate", certificate, "--tls-key")
    assert f"chmod 600 {readable}" in start(*both, readable)
    assert "go together" in start("--tls-certificate", certificate)
    assert "needs --tls-certificate" in start("--tls-client-ca", authority.certificate)
    assert "do not match" in start(*both, other) or "mismatch" in start(*both, other).lower()
    assert "No such file" in start(*both, tmp_path / "absent.key")
    assert "--cors-origin" in start("--cors-origin", "https://console.example.com/path")
    assert "--rate-limit-address" in start("--rate-limit-address", "100")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_only_clients_with_a_certificate_of_the_ca_are_served(serve, authority, stranger, version):
    server = serve(client_ca=authority.certificate)
    versions = (version, version)
    good = authority.issue("client", purpose="clientAuth")
    assert server.get(client=good, versions=versions).status == 200

    def failure(use):
        """In TLS 1.3 the client learns that it was refused when it reads or writes."""
        try:
            use()
        except (ssl.SSLError, ConnectionError, http.client.HTTPException) as reason:
            return str(reason).lower()
        raise AssertionError("the client was served")

    def refused(client):
        """A request is not answered; and why, as a client hears that sends nothing first."""
        failure(lambda: server.get(client=client, versions=versions))

        def listen():
            with server.connect(client=client, versions=versions) as connection:
                assert connection.recv(1) != b"", "nothing was said"
        return failure(listen)
    assert "certificate required" in refused(None) or version == ssl.TLSVersion.TLSv1_2
    assert "unknown ca" in refused(stranger.issue("client", purpose="clientAuth"))
    assert "certificate expired" in refused(authority.issue("expired", purpose="clientAuth", days=-1))
    assert "bad certificate" in refused(authority.issue("a-server", purpose="serverAuth"))
    assert server.metric("jwk_tls_client_certificates_refused_total", client=good) == 8
    assert server.program.log().count("client certificate refused") == 8
    assert server.get(client=good, versions=versions).status == 200


def test_a_flood_of_strangers_does_not_fill_the_log(serve, authority):
    server = serve(client_ca=authority.certificate)
    good = authority.issue("client", purpose="clientAuth")
    for _ in range(40):
        with contextlib.suppress(ssl.SSLError, ConnectionError), server.connect() as connection:
            connection.recv(1)
    assert server.metric("jwk_tls_client_certificates_refused_total", client=good) == 40
    assert 1 <= server.program.log().count("client certificate refused") < 40


def test_the_whole_way_works_over_tls(authority, installation):
    """An update through the API, and the key set of a worker."""
    certificate, key = authority.issue("whole")
    tls = ("--tls-certificate", certificate, "--tls-key", key)
    installation.add_environment("production")
    installation.add_project("MyProject")
    token, _ = installation.new_token()
    installation.token = token
    api = Api(installation, ["--deploy-timeout", "10s", *map(str, tls)])
    worker = Worker(installation, "production", "edge-1", list(map(str, tls)))
    installation.programs += [api, worker]
    context = ssl.create_default_context(cafile=str(authority.certificate))

    # One connection for all requests of a program.
    connections = {program: http.client.HTTPSConnection("localhost", split_address(program.address)[1], timeout=PATIENCE, context=context)
                   for program in (api, worker)}

    def call(program, method, path, body=None):
        connection = connections[program]
        connection.request(method, path, json.dumps(body) if body is not None else None,
                           {"Authorization": f"Bearer {token}", "Content-Type": "application/json"})
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
    wait_until(lambda: call(worker, "GET", "/readyz").status == 200, "the worker is ready")
    body = {"name": "signing", "type": "EC", "ec": {"curveType": "P256", "algorithm": "ES256"}}
    assert call(api, "POST", "/apiops/projects/MyProject/jwks/generate", body).status == 200
    wait_until(lambda: call(api, "PUT", "/apiops/projects/MyProject/jwks/signing", {"description": "again"}).json["deploymentResult"]["success"],
               "the update reaches the worker")
    # A body of many TLS records is read whole, and the connection goes on.
    answer = call(api, "PUT", "/apiops/projects/MyProject/jwks/signing", {"description": "x" * 1000000})
    assert answer.status == 400 and "JWK description can not be longer" in answer.json["error_description"]
    assert call(api, "GET", "/apiops/projects/MyProject/jwks/signing").json["resultList"][0]["description"] == "again"
    keys = call(worker, "GET", "/projects/MyProject/.well-known/jwks.json")
    assert keys.status == 200 and len(keys.json["keys"]) == 1
    assert keys.headers["Strict-Transport-Security"] == "max-age=31536000"
    for connection in connections.values():
        connection.close()
