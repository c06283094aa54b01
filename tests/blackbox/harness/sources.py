"""What JWKs are made from: keys, certificates and keystores of an independent library, and a web server that does as it is told."""

import base64
import datetime
import http.server
import ipaddress
import json
import ssl
import threading
import uuid

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID

from .installation import Installation, quote
from .program import wait_until  # noqa: F401, for those who use this module

DEPLOYED = {"success": True, "message": "Nothing had to be deployed", "environmentResults": []}


def start_system(broker, directory, *options, environments=("production",)):
    """An installation whose API may fetch from this machine."""
    installation = Installation(broker, directory)
    for environment in environments:
        installation.add_environment(environment)
    installation.start_api("--source-allow-private", "127.0.0.0/8", "--source-allow-http", *options)
    for environment in environments:
        installation.start_worker(environment)
    installation.wait_connected()
    return installation


# ---- keys ----

_rsa = []


def rsa_key(number=0):
    """RSA keys that are made once: making one takes long."""
    while len(_rsa) <= number:
        _rsa.append(rsa.generate_private_key(65537, 2048))
    return _rsa[number]


def ec_key(curve=ec.SECP256R1):
    return ec.generate_private_key(curve())


def ed_key():
    return ed25519.Ed25519PrivateKey.generate()


def private_pem(key, form=serialization.PrivateFormat.PKCS8, password=None):
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, form, encryption)


def private_der(key):
    return key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def public_pem(key):
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def base64_of(data):
    return base64.b64encode(data).decode()


# ---- certificates and keystores ----

def certificate(key, name="signer", days=30, issuer=None, issuer_key=None, start=None):
    start = start or datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=1)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (x509.CertificateBuilder().subject_name(subject).issuer_name(issuer.subject if issuer else subject)
               .public_key(key.public_key()).serial_number(x509.random_serial_number()).not_valid_before(start)
               .not_valid_after(start + datetime.timedelta(days=days))
               .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
               .add_extension(x509.BasicConstraints(True, None), True))
    algorithm = None if isinstance(issuer_key or key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(issuer_key or key, algorithm)


def certificate_pem(*certificates):
    return b"".join(each.public_bytes(serialization.Encoding.PEM) for each in certificates)


def keystore(key, cert, alias="signing", password="changeit"):
    encryption = serialization.BestAvailableEncryption(password.encode())
    return pkcs12.serialize_key_and_certificates(alias.encode(), key, cert, None, encryption)


# ---- requests ----

def multipart(fields, boundary="----boundary"):
    """The body and the headers of a form; a value that is bytes is a file."""
    lines = []
    for name, value in fields.items():
        file = '; filename="certificate.pem"\r\nContent-Type: application/x-pem-file' if isinstance(value, bytes) else ""
        data = value if isinstance(value, bytes) else value.encode()
        lines.append(f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + data + b"\r\n")
    return b"".join(lines) + f"--{boundary}--\r\n".encode(), {"Content-Type": f"multipart/form-data; boundary={boundary}"}


class Sources:
    """The operations on the certificates, keys and keystores of a project."""

    def __init__(self, api, project):
        self.api, self.project = api, project

    def path(self, kind, name=None):
        return f"/apiops/projects/{quote(self.project)}/{kind}/" + (f"{quote(name)}/" if name is not None else "")

    def list(self, kind):
        answer = self.api.request("GET", self.path(kind))
        assert answer.status == 200, answer
        return answer.json["resultList"]

    def get(self, kind, name):
        answer = self.api.request("GET", self.path(kind, name))
        assert answer.status == 200, answer
        return answer.json["resultList"][0]

    def delete(self, kind, name):
        return self.api.request("DELETE", self.path(kind, name))

    def send_certificate(self, method, name=None, **fields):
        body, headers = multipart(fields)
        return self.api.request(method, self.path("certificates", name), body, headers=headers)

    def add_certificate(self, name, pem, environments="production", **fields):
        answer = self.send_certificate("POST", certificateName=name, environmentList=environments, pemEncodedFile=pem, **fields)
        assert answer.status == 200 and answer.json == {"success": True, "deploymentResult": DEPLOYED}, answer
        return answer

    def key_body(self, name, private=None, public=None, environments=("production",), **members):
        material = {member: base64_of(data) for member, data in (("privateKey", private), ("publicKey", public)) if data is not None}
        return {"name": name, "cryptoKeyInfoEnvironmentList": [{"environmentName": each, **material} for each in environments], **members}

    def add_key(self, name, private=None, public=None, **options):
        answer = self.api.request("POST", self.path("keys"), json_body=self.key_body(name, private, public, **options))
        assert answer.status == 200 and answer.json == {"success": True, "deploymentResult": DEPLOYED}, answer
        return answer

    def keystore_body(self, name, file, password="changeit", environments=("production",), **members):
        return {"name": name, **members, "keyStoreEnvironmentList": [
            {"environmentName": each, "type": "PKCS12", "file": base64_of(file), "password": password} for each in environments]}

    def add_keystore(self, name, file, password="changeit", **options):
        answer = self.api.request("POST", self.path("keystores"), json_body=self.keystore_body(name, file, password, **options))
        assert answer.status == 200 and answer.json == {"success": True, "deploymentResult": DEPLOYED}, answer
        return answer

    def create(self, name, source_type, **members):
        body = {"name": name, "sourceType": source_type, **members}
        return self.api.request("POST", f"/apiops/projects/{quote(self.project)}/jwks/", json_body=body)

    def shortcut(self, what, name, **members):
        return self.api.request("POST", f"/apiops/projects/{quote(self.project)}/jwks/{what}", json_body={"name": name, **members})


# ---- the web server ----

class SourceServer:
    """Serves documents at http(s)://127.0.0.1; what is at a path can be changed at any time.

    A document is a string or bytes, or a function of the request's handler that answers for itself."""

    def __init__(self, context=None):
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                owner.requests.append((self.path, dict(self.headers.items())))
                document = owner.documents.get(self.path)
                if callable(document):
                    document(self)
                elif document is None:
                    self.answer(b"{}", 404)
                else:
                    self.answer(document)

            def answer(self, body, status=200, **fields):
                body = body.encode() if isinstance(body, str) else body
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                for name, value in {"Content-Type": "application/json", **owner.fields, **fields}.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request, client_address):
                pass  # clients that hang up are what some tests are about

        self.documents, self.requests, self.fields = {}, [], {}
        self.closing = threading.Event()
        self.server = Server(("127.0.0.1", 0), Handler)
        self.scheme = "https" if context else "http"
        if context:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def port(self):
        return self.server.server_address[1]

    def url(self, path):
        return f"{self.scheme}://127.0.0.1:{self.port}{path}"

    def put(self, document, path=None):
        """Serves a document (an object is served as JSON) and returns its URL."""
        path = path or f"/{uuid.uuid4().hex}"
        self.documents[path] = json.dumps(document) if isinstance(document, (dict, list)) else document
        return self.url(path)

    def count(self, url):
        return sum(1 for path, _ in self.requests if url.endswith(path))

    def close(self):
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()


def tls_context(directory):
    """A server's context, and the file by which its certificate is judged."""
    key = ec_key()
    cert = certificate(key, "127.0.0.1")
    file = directory / "server.pem"
    file.write_bytes(private_pem(key) + certificate_pem(cert))
    authorities = directory / "authorities.pem"
    authorities.write_bytes(certificate_pem(cert))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context, authorities
