"""Signs records as the API does, and in all the ways in which it does not. Made with the standard library and `cryptography` alone."""

import base64
import hashlib
import json
import struct

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

SIGNED_HEADERS = ("ce_id", "ce_source", "ce_type", "ce_subject", "ce_time", "ce_dataschema", "traceparent")


def encode(octets):
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def octets(text):
    return text.encode() if isinstance(text, str) else text


def leaf(key, headers, value):
    """The hash of a record (RFC 9162 section 2.1, with the content that the AsyncAPI document describes)."""
    content = b""
    for part in (octets(key), *(octets(headers.get(name)) for name in SIGNED_HEADERS), octets(value)):
        content += struct.pack(">I", 0xFFFFFFFF) if part is None else struct.pack(">I", len(part)) + part
    return hashlib.sha256(b"\0" + content).digest()


def tree(leaves):
    """The levels of the tree, from the leaves to the root alone."""
    levels = [list(leaves)]
    while len(levels[-1]) > 1:
        below = levels[-1]
        levels.append([hashlib.sha256(b"\1" + below[i] + below[i + 1]).digest() if i + 1 < len(below) else below[i]
                       for i in range(0, len(below), 2)])
    return levels


def path(levels, index):
    hashes = []
    for level in levels[:-1]:
        if index ^ 1 < len(level):
            hashes.append(level[index ^ 1])
        index >>= 1
    return b"".join(hashes)


class Signer:
    """An Ed25519 key."""

    def __init__(self):
        self.private = Ed25519PrivateKey.generate()
        raw = self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        members = {"crv": "Ed25519", "kty": "OKP", "x": encode(raw)}
        self.kid = encode(hashlib.sha256(json.dumps(members, separators=(",", ":"), sort_keys=True).encode()).digest())
        self.public_key = members | {"kid": self.kid, "use": "sig", "alg": "EdDSA"}

    def jws(self, payload, header=None, attached=False):
        """A compact JWS; detached unless told otherwise."""
        head = encode(json.dumps(header or {"alg": "EdDSA", "kid": self.kid}).encode())
        signature = encode(self.private.sign(f"{head}.{encode(payload)}".encode()))
        return f"{head}.{encode(payload) if attached else ''}.{signature}"

    def sign(self, records, header=None):
        """records: (key, headers, value). Returns them with the headers of one signature over all."""
        levels = tree([leaf(*record) for record in records])
        jws = self.jws(levels[-1][0], header)
        signed = []
        for index, (key, headers, value) in enumerate(records):
            way = path(levels, index)
            told = f"{index}/{len(records)}" + (f":{encode(way)}" if way else "")
            signed.append((key, headers | {"ce_signature": jws, "ce_signaturepath": told}, value))
        return signed


def key_set(*signers, **members):
    """The public keys as a JWK Set; members (exp) are put into the last."""
    keys = [signer.public_key for signer in signers]
    if members:
        keys[-1] = keys[-1] | members
    return json.dumps({"keys": keys})
