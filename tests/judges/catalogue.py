"""Every JWK that the judges judge: of each kind, from each source, made by each library that makes keys, and generated."""

import base64
import concurrent.futures
import dataclasses
import json

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12
from jwcrypto import jwk as jwcrypto_jwk

from algorithms import (AGREEMENT, AUTHENTICATED, CURVE_SIGNATURE, EC_KINDS, HMAC, KINDS, OCT_ENCRYPTION, RSA_ENCRYPTION, RSA_SIGNATURE,
                        encryption_algorithms, is_signature, makes_not, signature_algorithms)
from harness import sources
from harness.installation import quote
from harness.keys import public_half

SOURCES = ("COPY_PASTE", "URL", "CERTIFICATE", "PUBLIC_KEY", "PRIVATE_KEY", "KEYSTORE", "GENERATE")
PASSWORD = "changeit"


@dataclasses.dataclass
class Entry:
    """One deployed JWK."""
    project: str
    name: str
    kind: str
    source: str
    private: dict        # the private half: of `get` where the product has it, else the maker's, with the kid that is served
    kid: str
    algorithms: tuple    # with which it is judged
    declared: bool       # whether the JWK itself says the (one) algorithm
    made: dict = None    # the maker's own JWK; None where the product has generated it
    chain: tuple = ()    # certificates that it is to carry

    def __str__(self):
        return f"{self.project}/{self.name}"


class Catalogue:
    def __init__(self, system, judges, server):
        self.system, self.judges, self.server = system, judges, server
        self.entries = {source: [] for source in SOURCES}
        self.authority_key = sources.ec_key()
        self.authority = sources.certificate(self.authority_key, "authority")

    def url(self, project):
        """Where the worker serves the project's set."""
        worker = self.system.workers["production", "edge-1"]
        return f"http://{worker.address}/projects/{quote(project)}/.well-known/jwks.json"

    # ---- material ----

    def make_keys(self):
        """{(maker, kind): private JWK}"""
        makers = [name for name in self.judges if makes_not(name, "RSA-2048") is None]
        requests = [{"op": "make", "kind": kind} for kind in KINDS]
        with concurrent.futures.ThreadPoolExecutor() as pool:
            answers = dict(zip(makers, pool.map(lambda maker: self.judges[maker].answer_all(requests), makers), strict=True))
        made = {}
        for maker, kind in [(maker, kind) for maker in makers for kind in KINDS]:
            answer = answers[maker][KINDS.index(kind)]
            if makes_not(maker, kind):
                assert "error" in answer, f"{maker} makes keys of the kind {kind} by now: remove its row"
                continue
            assert "jwk" in answer, f"{maker} makes no key of the kind {kind}: {answer}"
            made[maker, kind] = {name: value for name, value in answer["jwk"].items() if name not in ("kid", "use", "alg", "key_ops", "ext")}
        return made

    def certificate(self, maker, kind, members, key):
        """The chain for a key, its own certificate first."""
        if maker == "openssl" and kind != "X25519":
            file = self.judges["openssl"].key_file(members, True)
            return (sources.x509.load_pem_x509_certificate(
                self.judges["openssl"].run("req", "-x509", "-key", file, "-subj", f"/CN={kind}", "-days", "30")),)
        # A key for agreement alone can not sign its own.
        return (sources.certificate(key, kind, issuer=self.authority, issuer_key=self.authority_key), self.authority)

    def keystore(self, maker, kind, key, chain):
        alias = f"{kind}-{maker}".lower()
        if maker == "nimbus":  # the JDK's own
            data = key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
            answer = self.judges["nimbus"].answer({
                "op": "keystore", "algorithm": "RSA" if kind.startswith("RSA") else "EC" if kind in EC_KINDS else kind,
                "key": base64.b64encode(data).decode(), "password": PASSWORD, "alias": alias,
                "chain": [base64.b64encode(each.public_bytes(serialization.Encoding.DER)).decode() for each in chain]})
            assert "file" in answer, answer
            return base64.b64decode(answer["file"])
        if maker == "openssl" or kind == "X25519":  # the library of the others takes no X25519 key into a keystore
            file = self.judges["openssl"].file(sources.private_pem(key) + sources.certificate_pem(*chain), ".pem")
            return self.judges["openssl"].run("pkcs12", "-export", "-in", file, "-passout", f"pass:{PASSWORD}", "-name", alias)
        return pkcs12.serialize_key_and_certificates(alias.encode(), key, chain[0], list(chain[1:]),
                                                     serialization.BestAvailableEncryption(PASSWORD.encode()))

    # ---- filling ----

    def post(self, source, path, body):
        answer = self.system.api.request("POST", f"/apiops/projects/{source}/jwks/{path}", json_body=body)
        assert answer.status == 200 and answer.json["deploymentResult"]["success"], (body["name"], answer)

    def add(self, source, name, kind, algorithms, made=None, chain=()):
        """Notes an entry that was created."""
        item = self.system.api.item(source, name)
        assert item["sourceType"] == source
        material = item[item["type"].lower()]
        private = material if "d" in material or "k" in material else {**made, "kid": item["kid"]}
        self.entries[source].append(Entry(source, name, kind, source, private, item["kid"], tuple(algorithms), source not in ("COPY_PASTE", "URL"), made,
                                          tuple(chain)))

    def fill(self):
        api = self.system.api
        for source in SOURCES:
            self.system.add_project(source)
        rooms = {source: sources.Sources(api, source) for source in SOURCES}
        made = self.make_keys()
        private_url = self.server.put({"keys": [{**key, "kid": f"{kind}-{maker}"} for (maker, kind), key in made.items()]})
        public_url = self.server.put({"keys": [{**public_half(key), "kid": f"{kind}-{maker}"} for (maker, kind), key in made.items()]})
        for number, ((maker, kind), members) in enumerate(made.items()):
            name = f"{kind}-{maker}"
            key = serialization.load_pem_private_key(jwcrypto_jwk.JWK(**members).export_to_pem(private_key=True, password=None), None)
            everything = signature_algorithms(kind) + encryption_algorithms(kind)
            chain = self.certificate(maker, kind, members, key)

            self.post("COPY_PASTE", "", {"name": name, "sourceType": "COPY_PASTE", "jwkStr": json.dumps({**members, "kid": name})})
            self.add("COPY_PASTE", name, kind, everything, members)
            url = private_url if maker == "openssl" else public_url
            self.post("URL", "", {"name": name, "sourceType": "URL", "url": url, "kid": name})
            self.add("URL", name, kind, everything[:1] + everything[-1:], members)

            # What these declare changes from maker to maker, so that each algorithm has its turn.
            algorithm = everything[number % len(everything)]
            declared = {"environmentName": "production", "algorithm": algorithm, "useType": "SIGNATURE" if is_signature(algorithm) else "ENCRYPTION"}
            rooms["CERTIFICATE"].add_certificate(name, sources.certificate_pem(*chain))
            self.post("CERTIFICATE", "", {"name": name, "sourceType": "CERTIFICATE", "certificateName": name, **declared})
            self.add("CERTIFICATE", name, kind, [algorithm], members, chain)
            rooms["PUBLIC_KEY"].add_key(name, public=sources.public_pem(key))
            self.post("PUBLIC_KEY", "", {"name": name, "sourceType": "PUBLIC_KEY", "keyName": name, **declared})
            self.add("PUBLIC_KEY", name, kind, [algorithm], members)
            rooms["PRIVATE_KEY"].add_key(name, private=sources.private_der(key) if number % 2 else sources.private_pem(key))
            self.post("PRIVATE_KEY", "", {"name": name, "sourceType": "PRIVATE_KEY", "keyName": name, **declared})
            self.add("PRIVATE_KEY", name, kind, [algorithm], members)
            rooms["KEYSTORE"].add_keystore(name, self.keystore(maker, kind, key, chain), PASSWORD)
            self.post("KEYSTORE", "", {"name": name, "sourceType": "KEYSTORE", "keyStoreName": name, **declared})
            self.add("KEYSTORE", name, kind, [algorithm], members, chain)
        self.generate()

    def generate(self):
        """One of each algorithm of the contract for each type and curve that it suits, and of each size."""
        wanted = [("RSA", "RSA-2048", {"keySize": 2048}, algorithm) for algorithm in RSA_SIGNATURE + RSA_ENCRYPTION]
        wanted += [("RSA", f"RSA-{size}", {"keySize": size}, algorithm) for size in (3072, 4096) for algorithm in ("RS512", "RSA-OAEP-512")]
        for curve in (*EC_KINDS, "secp256k1"):
            agreements = AGREEMENT + AUTHENTICATED if curve in EC_KINDS else ()
            wanted += [("EC", curve, {"curveType": curve.replace("-", "").upper()}, algorithm) for algorithm in (CURVE_SIGNATURE[curve], *agreements)]
        wanted += [("OKP", "Ed25519", {"curveType": "ED25519"}, "EdDSA")]
        wanted += [("OKP", "X25519", {"curveType": "X25519"}, algorithm) for algorithm in AGREEMENT + AUTHENTICATED]
        for algorithm in HMAC + OCT_ENCRYPTION:
            size = next((size for size in (128, 192, 256) if algorithm.startswith(f"A{size}")), None)
            size = size or {"HS384": 384, "HS512": 512}.get(algorithm, 256)
            wanted.append(("OCT", f"oct-{size}", {"keySize": size}, algorithm))
        for type_, kind, parameters, algorithm in wanted:
            name = f"{kind}-{algorithm}"
            said = algorithm.replace("RS", "RSA", 1) if algorithm in RSA_SIGNATURE and algorithm[0] == "R" else algorithm.replace("-", "_").replace("+", "_")
            self.post("GENERATE", "generate", {"name": name, "type": type_, type_.lower(): {
                **parameters, "algorithm": "DIR" if algorithm == "dir" else said, "keyIdType": "SHA256",
                "keyUseType": "SIGNATURE" if is_signature(algorithm) else "ENCRYPTION"}})
            self.add("GENERATE", name, kind, [algorithm])
