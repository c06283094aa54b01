"""The openssl command. It knows no JOSE: the container around its signatures, wrapped keys and shared secrets is written here, after RFC 7515,
RFC 7516 and RFC 7518; what is done with the key itself is openssl's."""

import base64
import hashlib
import hmac
import json
import os
import pathlib
import subprocess
import tempfile
import urllib.request

from cryptography.hazmat.primitives import keywrap
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from jwcrypto import jwk as jwcrypto_jwk

from .python_judges import PythonJudge

GENPKEY = {
    "RSA-2048": ["RSA", "rsa_keygen_bits:2048"], "RSA-3072": ["RSA", "rsa_keygen_bits:3072"], "RSA-4096": ["RSA", "rsa_keygen_bits:4096"],
    "P-256": ["EC", "ec_paramgen_curve:P-256"], "P-384": ["EC", "ec_paramgen_curve:P-384"], "P-521": ["EC", "ec_paramgen_curve:P-521"],
    "secp256k1": ["EC", "ec_paramgen_curve:secp256k1"], "Ed25519": ["ED25519"], "X25519": ["X25519"],
}
COORDINATE = {"ES256": 32, "ES384": 48, "ES512": 66, "ES256K": 32}
KEY_SIZES = {"A128GCM": 16, "A128KW": 16, "A192KW": 24, "A256KW": 32}
OAEP_HASHES = {"RSA-OAEP": "sha1", "RSA-OAEP-256": "sha256", "RSA-OAEP-384": "sha384", "RSA-OAEP-512": "sha512"}

MATERIAL = ("kty", "crv", "x", "y", "n", "e", "d", "p", "q", "dp", "dq", "qi")


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def concat_kdf(secret, algorithm, size):
    """RFC 7518, section 4.6.2, without PartyUInfo and PartyVInfo; no key here needs more than one round of the hash."""
    info = len(algorithm).to_bytes(4, "big") + algorithm.encode() + bytes(8) + (size * 8).to_bytes(4, "big")
    return hashlib.sha256(bytes([0, 0, 0, 1]) + secret + info).digest()[:size]


class OpensslJudge(PythonJudge):
    name = "openssl"

    def __init__(self):
        self.directory = tempfile.TemporaryDirectory()
        self.files, self.sets = {}, {}

    def close(self):
        self.directory.cleanup()

    def run(self, *arguments, data=b""):
        done = subprocess.run(["openssl", *map(str, arguments)], input=data, capture_output=True, check=False)
        assert done.returncode == 0, f"openssl {arguments[0]}: {done.stdout.decode(errors='replace')}{done.stderr.decode(errors='replace')}"
        return done.stdout

    def file(self, content, suffix):
        path = pathlib.Path(self.directory.name, hashlib.sha256(content).hexdigest() + suffix)
        if not path.exists():
            path.write_bytes(content)
        return path

    def key_file(self, members, private):
        """The PEM file of a JWK. Whether the key is sound is asked of openssl, once."""
        members = {name: value for name, value in members.items() if name in MATERIAL}
        name = (json.dumps(members, sort_keys=True), private)
        if name not in self.files:
            pem = jwcrypto_jwk.JWK(**members).export_to_pem(private_key=private, password=None)
            path = self.file(pem, ".pem")
            # It has no check of public RSA keys that says more than that they can be read.
            self.run("pkey", "-in", path, "-noout", *(["-check"] if private else ["-pubin"] if members["kty"] == "RSA" else ["-pubin", "-pubcheck"]))
            self.files[name] = path
        return self.files[name]

    def served(self, url, kid):
        if url not in self.sets:
            with urllib.request.urlopen(url) as answer:
                self.sets[url] = json.loads(answer.read())["keys"]
        found = [key for key in self.sets[url] if key.get("kid") == kid]
        assert len(found) == 1, f"the served set has {len(found)} keys with the kid {kid}"
        return found[0]

    def make(self, kind):
        algorithm, *options = GENPKEY[kind]
        pem = self.run("genpkey", "-algorithm", algorithm, *[word for option in options for word in ("-pkeyopt", option)])
        members = json.loads(jwcrypto_jwk.JWK.from_pem(pem).export())
        members.pop("kid")
        return {"jwk": members}

    @staticmethod
    def digest_options(alg):
        padding = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"] if alg.startswith("PS") else []
        return [f"-sha{alg[2:5]}", *padding]

    def sign(self, jwk, alg, payload):
        header = {"alg": alg, **({"kid": jwk["kid"]} if "kid" in jwk else {})}
        data = f"{b64(json.dumps(header).encode())}.{b64(payload.encode())}".encode()
        if alg.startswith("HS"):
            return {"token": f"{data.decode()}.{b64(self.mac(jwk, alg, data))}"}
        key = self.key_file(jwk, True)
        if jwk["kty"] == "OKP":
            signature = self.run("pkeyutl", "-sign", "-rawin", "-inkey", key, "-in", self.file(data, ".data"))
        else:
            signature = self.run("dgst", *self.digest_options(alg), "-sign", key, data=data)
        if alg in COORDINATE:
            signature = b"".join(number.to_bytes(COORDINATE[alg], "big") for number in decode_dss_signature(signature))
        return {"token": f"{data.decode()}.{b64(signature)}"}

    def mac(self, members, alg, data):
        return self.run("dgst", f"-sha{alg[2:]}", "-mac", "HMAC", "-macopt", f"hexkey:{unb64(members['k']).hex()}", "-binary", data=data)

    def verify(self, alg, token, url=None, jwk=None):
        head, payload, signature = token.split(".")
        header = json.loads(unb64(head))
        assert header["alg"] == alg
        members = self.served(url, header["kid"]) if url else jwk
        data, signature = f"{head}.{payload}".encode(), unb64(signature)
        if alg.startswith("HS"):
            assert hmac.compare_digest(self.mac(members, alg, data), signature)
            return {"payload": unb64(payload).decode()}
        key = self.key_file(members, False)
        if alg in COORDINATE:
            assert len(signature) == 2 * COORDINATE[alg]
            signature = encode_dss_signature(*(int.from_bytes(part, "big") for part in (signature[:COORDINATE[alg]], signature[COORDINATE[alg]:])))
        signature = self.file(signature, ".signature")
        if members["kty"] == "OKP":
            self.run("pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", key, "-in", self.file(data, ".data"), "-sigfile", signature)
        else:
            self.run("dgst", *self.digest_options(alg), "-verify", key, "-signature", signature, data=data)
        return {"payload": unb64(payload).decode()}

    @staticmethod
    def padding(alg):
        if alg == "RSA1_5":
            return ["-pkeyopt", "rsa_padding_mode:pkcs1"]
        return ["-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", f"rsa_oaep_md:{OAEP_HASHES[alg]}"]

    def agree(self, alg, enc, private, public):
        """The key that an ECDH-ES agreement gives."""
        secret = self.run("pkeyutl", "-derive", "-inkey", private, "-peerkey", public)
        name = alg.partition("+")[2]
        return concat_kdf(secret, alg if name else enc, KEY_SIZES[name or enc])

    def encrypt(self, alg, enc, payload, url=None, kid=None, jwk=None):
        assert alg in ("RSA1_5", *OAEP_HASHES) or alg.startswith("ECDH-ES"), f"{alg} is not written here"
        members = self.served(url, kid) if url else jwk
        key = self.key_file(members, False)
        header, content_key = {"alg": alg, "enc": enc, "kid": kid}, os.urandom(KEY_SIZES[enc])
        if members["kty"] == "RSA":
            wrapped = self.run("pkeyutl", "-encrypt", "-pubin", "-inkey", key, *self.padding(alg), data=content_key)
        else:
            ephemeral = self.make(members["crv"])["jwk"]
            header["epk"] = {name: value for name, value in ephemeral.items() if name != "d"}
            agreed = self.agree(alg, enc, self.key_file(ephemeral, True), key)
            content_key, wrapped = (agreed, b"") if alg == "ECDH-ES" else (content_key, keywrap.aes_key_wrap(agreed, content_key))
        head, nonce = b64(json.dumps(header).encode()), os.urandom(12)
        sealed = AESGCM(content_key).encrypt(nonce, payload.encode(), head.encode())
        return {"token": ".".join([head, b64(wrapped), b64(nonce), b64(sealed[:-16]), b64(sealed[-16:])])}

    def decrypt(self, jwk, alg, enc, token):
        head, wrapped, nonce, sealed, tag = token.split(".")
        header = json.loads(unb64(head))
        assert (header["alg"], header["enc"]) == (alg, enc)
        key = self.key_file(jwk, True)
        if jwk["kty"] == "RSA":
            content_key = self.run("pkeyutl", "-decrypt", "-inkey", key, *self.padding(alg), data=unb64(wrapped))
        else:
            agreed = self.agree(alg, enc, key, self.key_file(header["epk"], False))
            content_key = agreed if alg == "ECDH-ES" else keywrap.aes_key_unwrap(agreed, unb64(wrapped))
        return {"payload": AESGCM(content_key).decrypt(unb64(nonce), unb64(sealed) + unb64(tag), head.encode()).decode()}
