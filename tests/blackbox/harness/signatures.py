"""Signs and verifies records of the topics, written from the AsyncAPI document alone: hashlib for the tree, jwcrypto for the rest."""

import base64
import hashlib
import json

from jwcrypto import jwk, jws

ATTRIBUTES = ("ce_id", "ce_source", "ce_type", "ce_subject", "ce_time", "ce_dataschema", "traceparent")


def encode(octets):
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def decode(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def leaf(key, headers, value):
    parts = [key, *(headers.get(name) for name in ATTRIBUTES), value]
    content = b""
    for part in parts:
        if part is None:
            content += b"\xff\xff\xff\xff"
        else:
            octets = part.encode() if isinstance(part, str) else part
            content += len(octets).to_bytes(4, "big") + octets
    return hashlib.sha256(b"\x00" + content).digest()


def node(left, right):
    return hashlib.sha256(b"\x01" + left + right).digest()


def split_point(count):
    """The largest power of two below count."""
    return 1 << (count - 1).bit_length() - 1


def tree_root(leaves):
    """RFC 9162, section 2.1.1, as it is written there."""
    if len(leaves) == 1:
        return leaves[0]
    middle = split_point(len(leaves))
    return node(tree_root(leaves[:middle]), tree_root(leaves[middle:]))


def tree_path(index, leaves):
    """RFC 9162, section 2.1.3.1."""
    if len(leaves) == 1:
        return []
    middle = split_point(len(leaves))
    if index < middle:
        return [*tree_path(index, leaves[:middle]), tree_root(leaves[middle:])]
    return [*tree_path(index - middle, leaves[middle:]), tree_root(leaves[:middle])]


def root_of(own, index, count, path):
    """The root that a leaf and its path lead to; every sibling must be used."""
    if count == 1:
        assert not path, "siblings are left over"
        return own
    middle, sibling = split_point(count), path[-1]
    if index < middle:
        return node(root_of(own, index, middle, path[:-1]), sibling)
    return node(sibling, root_of(own, index - middle, count - middle, path[:-1]))


def verify(record, keys):
    """Judges a record's signature by a JWK Set of public keys. Returns the kid that signed, and how many records it signed at once;
    raises when it does not fit."""
    protected, empty, signature = record.headers["ce_signature"].split(".")
    assert empty == "", "the payload is detached"
    header = json.loads(decode(protected))
    assert header["alg"] == "EdDSA"
    position, _, siblings = record.headers["ce_signaturepath"].partition(":")
    index, count = (int(number) for number in position.split("/"))
    octets = decode(siblings)
    assert len(octets) % 32 == 0
    path = [octets[i:i + 32] for i in range(0, len(octets), 32)]
    root = root_of(leaf(record.key, record.headers, record.raw), index, count, path)
    key, = (key for key in keys["keys"] if key["kid"] == header["kid"])
    judge = jws.JWS()
    judge.allowed_algs = ["EdDSA"]
    judge.deserialize(f"{protected}.{encode(root)}.{signature}")
    judge.verify(jwk.JWK(**key))
    return header["kid"], count


class Signer:
    """An Ed25519 key that signs."""

    def __init__(self, key=None):
        self.key = jwk.JWK(**key) if key else jwk.JWK.generate(kty="OKP", crv="Ed25519")
        self.kid = self.key.thumbprint()

    @property
    def public(self):
        exported = json.loads(self.key.export_public())
        return {name: exported[name] for name in ("kty", "crv", "x")} | {"use": "sig", "alg": "EdDSA", "kid": self.kid}

    def sign(self, payload, header=None):
        """A compact JWS."""
        token = jws.JWS(payload)
        token.allowed_algs = ["EdDSA"]
        token.add_signature(self.key, protected=json.dumps(header or {"alg": "EdDSA", "kid": self.kid}))
        return token.serialize(compact=True)

    def sign_records(self, records):
        """records: (key, headers, value); returns the headers of each with its signature, all signed as one batch."""
        leaves = [leaf(*record) for record in records]
        protected, _, signature = self.sign(tree_root(leaves)).split(".")
        signed = []
        for index, (_, headers, _) in enumerate(records):
            path = b"".join(tree_path(index, leaves))
            position = f"{index}/{len(leaves)}" + (f":{encode(path)}" if path else "")
            signed.append(headers | {"ce_signature": f"{protected}..{signature}", "ce_signaturepath": position})
        return signed
