"""Judges signatures, enrolments and sealed private halves of a run, by code that shares nothing with the programs.

The tree and the content of a signature are those of the AsyncAPI document, what a JWE is comes from RFC 7516 and RFC 7518."""

import collections
import functools
import hashlib
import json

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap

from harness.signatures import decode, encode, leaf, root_of

PRIVATE_MEMBERS = {"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"}


def key_digest(key):
    """Stands for a JWK in the history, which must not hold private material."""
    return encode(hashlib.sha256(json.dumps(key, sort_keys=True).encode()).digest())


def thumbprint(key):
    """RFC 7638 of an OKP key."""
    return encode(hashlib.sha256(json.dumps({name: key[name] for name in ("crv", "kty", "x")}, separators=(",", ":")).encode()).digest())


# ---- signatures ----

@functools.lru_cache(maxsize=4096)
def _verified(protected, payload, signature, x):
    """Whether an Ed25519 key has signed this; one call for all records of a batch."""
    try:
        Ed25519PublicKey.from_public_bytes(decode(x)).verify(decode(signature), f"{protected}.{payload}".encode())
        return True
    except (ValueError, InvalidSignature):
        return False


def signed_by(record, keys):
    """The kid of the key that has signed a record; None when there is none, or it is not among the keys (by kid), or does not fit."""
    headers, value = record["headers"], record["value"]
    try:
        protected, empty, signature = headers["ce_signature"].split(".")
        header = json.loads(decode(protected))
        position, _, siblings = headers["ce_signaturepath"].partition(":")
        index, count = (int(number) for number in position.split("/"))
        octets = decode(siblings)
        path = [octets[i:i + 32] for i in range(0, len(octets), 32)]
        if empty or header["alg"] != "EdDSA" or len(octets) % 32 or not 0 <= index < count:
            return None
        root = root_of(leaf(record["key"], headers, value), index, count, path)
        key = keys[header["kid"]]
    except (KeyError, ValueError, AssertionError, IndexError):
        return None
    return header["kid"] if _verified(protected, encode(root), signature, key["x"]) else None


def events_are_signed(evidence):
    if not evidence.complete:
        return
    for record in evidence.genuine:
        if record["topic"] == "events" and signed_by(record, evidence.signing_keys) is None:
            yield f"invariant 9: the event at {record['partition']}@{record['offset']} is not signed by a key of the API"


def enrolled_key(value, credentials):
    """The replica's key of a presence record that its environment vouches for, or None."""
    try:
        protected, payload, signature = value["enrolment"].split(".")
        kid, told = json.loads(decode(protected))["kid"], json.loads(decode(payload))
    except (KeyError, ValueError, AttributeError):
        return None
    vouching = [key for each in credentials.get(value["environment"], ()) for key in each["keys"] if key["use"] == "sig" and key["kid"] == kid]
    if not any(_verified(protected, payload, signature, key["x"]) for key in vouching):
        return None
    if any(told[name] != value[name] for name in ("environment", "replica", "worker")) or told["jwk"] != value["replicaKey"]:
        return None
    return value["replicaKey"]


def workers_are_enrolled_and_sign(evidence):
    keys = collections.defaultdict(dict)  # worker -> its keys by thumbprint
    for record in evidence.genuine:
        if record["topic"] != "workers" or record["value"] is None:
            continue
        value = json.loads(record["value"])
        key = enrolled_key(value, evidence.credentials)
        if key is None:
            yield f"invariant 9: the presence record at {record['offset']} has no enrolment that is its environment's"
        elif signed_by(record, {thumbprint(key): key}) is None:
            yield f"invariant 9: the presence record at {record['offset']} is not signed by its replica"
        else:
            keys[value["environment"], value["replica"], value["worker"]][thumbprint(key)] = key
    for record, ack in evidence.acks:
        known = keys[ack["environment"], ack["replica"], ack["worker"]]
        # What enrolled it may have been lost with its topic before it was read.
        if not known and any(line["topic"] == "workers" for line in evidence.lines["topic_deleted"]):
            continue
        if signed_by(record, known) is None:
            yield f"invariant 9: the ack at {record['offset']} is not signed by {ack['environment']}/{ack['replica']}"


# ---- private halves ----

def _agree(private, epk):
    curve = {"P-256": ec.SECP256R1()}[private["crv"]]
    number = {name: int.from_bytes(decode(private[name]), "big") for name in ("x", "y", "d")}
    own = ec.EllipticCurvePrivateNumbers(number["d"], ec.EllipticCurvePublicNumbers(number["x"], number["y"], curve)).private_key()
    x, y = (int.from_bytes(decode(epk[name]), "big") for name in ("x", "y"))
    return own.exchange(ec.ECDH(), ec.EllipticCurvePublicNumbers(x, y, curve).public_key())


def opened(sealed, private, jwk_id):
    """The plaintext of a JWE (RFC 7516 section 7.2.1) for the recipient with this key, or None when it does not open.

    ECDH-ES+A256KW: RFC 7518 section 4.6; the content with A256GCM: section 5.3."""
    try:
        recipient = next(each for each in sealed["recipients"] if each["header"]["kid"] == private["kid"])
        header, protected = recipient["header"], json.loads(decode(sealed["protected"]))
        if header["alg"] != "ECDH-ES+A256KW" or protected["enc"] != "A256GCM" or decode(sealed["aad"]).decode() != jwk_id:
            return None

        def prefixed(octets):
            return len(octets).to_bytes(4, "big") + octets
        other = prefixed(b"ECDH-ES+A256KW") + prefixed(decode(header.get("apu", ""))) + prefixed(decode(header.get("apv", "")))
        wrapping = ConcatKDFHash(SHA256(), 32, other + (256).to_bytes(4, "big")).derive(_agree(private, header["epk"]))
        key = aes_key_unwrap(wrapping, decode(recipient["encrypted_key"]))
        return AESGCM(key).decrypt(decode(sealed["iv"]), decode(sealed["ciphertext"]) + decode(sealed["tag"]),
                                   f"{sealed['protected']}.{sealed['aad']}".encode())
    except (StopIteration, KeyError, ValueError, InvalidTag, InvalidUnwrap):
        return None


class Openers:
    """Opens what is sealed for the environments, each text once."""

    def __init__(self, credentials):
        self.keys = {environment: [key for each in generations for key in each["keys"] if key["use"] == "enc"]
                     for environment, generations in credentials.items()}
        self.known = {}

    def open(self, text, sealed, jwk_id, environment):
        """The private JWK as an environment gets it, or None."""
        mark = (text, jwk_id, environment)
        if mark not in self.known:
            found = (opened(sealed, key, jwk_id) for key in self.keys[environment])
            plain = next((each for each in found if each is not None), None)
            try:
                self.known[mark] = json.loads(plain) if plain is not None else None
            except ValueError:
                self.known[mark] = None
        return self.known[mark]


def private_halves_open(evidence):
    openers = Openers(evidence.credentials)
    for record, value in evidence.events:
        if not value or value["operation"] == "delete":
            continue
        what, jwk = f"the event at {record['partition']}@{record['offset']}", value["jwk"]
        sealed = jwk.get("privateKey")
        if not sealed:  # every key of the load has a private half
            yield f"invariant 9: {what} has no private half"
            continue
        text = json.dumps(sealed)
        for environment in evidence.credentials:
            key = openers.open(text, sealed, record["key"], environment)
            if key is None:
                yield f"invariant 9: the private half in {what} does not open in {environment}"
            elif jwk["publicKey"] and {name: member for name, member in key.items() if name not in PRIVATE_MEMBERS} != jwk["publicKey"]:
                yield f"invariant 9: the private half in {what} is that of another key"


def private_halves_equal_the_api(evidence):
    """What the topic told last and what each replica keeps, opened, against what the API answers to a GET when all is quiet."""
    openers, expected = Openers(evidence.credentials), {}
    for line in evidence.lines["private"]:
        expected = line["keys"]
    latest = {}
    for record, value in evidence.events:
        if value and (order := (value["epoch"], value["version"])) >= latest.get(record["key"], ((0, 0), None))[0]:
            latest[record["key"]] = (order, value)
    for identifier, digest in expected.items():
        if identifier not in latest:
            continue  # that each is on the topic is judged elsewhere
        sealed = latest[identifier][1]["jwk"].get("privateKey") or {}
        for environment in evidence.credentials:
            key = openers.open(json.dumps(sealed), sealed, identifier, environment)
            if key is None or key_digest(key) != digest:
                yield f"invariant 9: the last event of {identifier} does not hold for {environment} the private half that the API has"
    for name, replica in evidence.replicas.items():
        kept = evidence.private_halves(name)
        for identifier in expected.keys() - kept.keys():
            yield f"invariant 9: {name} has no private half of {identifier}"
        for identifier, text in kept.items():
            key = openers.open(text, json.loads(text), identifier, replica["environment"])
            if key is None or key_digest(key) != expected.get(identifier):
                yield f"invariant 9: {name} does not keep the private half of {identifier} that the API has"


JUDGES = (events_are_signed, workers_are_enrolled_and_sign, private_halves_open, private_halves_equal_the_api)
