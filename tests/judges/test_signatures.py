"""What is signed: compact JWS of texts, and batches of records whose root a detached JWS signs. The leaves, the tree and the way to its
root are computed here once more, after RFC 9162; the signature is the judges' affair."""

import hashlib
import json
import struct

import pytest

from panel.openssl_judge import b64, unb64

JUDGES = ("jwcrypto", "jose", "nimbus")
ALG = "EdDSA"
MEMBERS = ("key", "id", "source", "type", "subject", "time", "dataschema", "traceparent", "value")
PAYLOAD = '{"environment":"production","note":"Grüße"}'


@pytest.fixture(scope="module")
def key(judges):
    made = judges["jwcrypto"].answer({"op": "make", "kind": "Ed25519"})["jwk"]
    members = {name: made[name] for name in ("crv", "kty", "x")}
    return {**members, "d": made["d"], "kid": b64(hashlib.sha256(json.dumps(members, sort_keys=True, separators=(",", ":")).encode()).digest())}


def public(key):
    return {name: value for name, value in key.items() if name != "d"}


def record(number):
    """Records differ in what they have: a deletion has no value, an ack no subject."""
    made = {"key": f"key-{number}", "id": f"id-{number}", "source": "urn:jwk-api:test", "type": "jwk.updated.v1", "subject": f"projects/schlüssel-{number}",
            "time": "2026-01-31T12:00:00.000Z", "dataschema": "urn:schema", "traceparent": None, "value": json.dumps({"number": number})}
    if number % 3 == 1:
        made["value"] = None
    if number % 5 == 2:
        made["subject"] = None
    if number % 7 == 3:
        made["value"] = ""
    return made


def leaf(record):
    content = b""
    for member in MEMBERS:
        value = None if record[member] is None else record[member].encode()
        content += b"\xff\xff\xff\xff" if value is None else struct.pack(">I", len(value)) + value
    return hashlib.sha256(b"\x00" + content).digest()


def node(left, right):
    return hashlib.sha256(b"\x01" + left + right).digest()


def root_by_path(leaf, index, size, path):
    """RFC 9162, section 2.1.3.2."""
    fn, sn, r = index, size - 1, leaf
    for p in path:
        assert sn != 0
        if fn & 1 or fn == sn:
            r = node(p, r)
            while not fn & 1 and fn != 0:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = node(r, p)
        fn, sn = fn >> 1, sn >> 1
    assert sn == 0
    return r


def read_path(text):
    place, _, siblings = text.partition(":")
    index, size = map(int, place.split("/"))
    octets = unb64(siblings)
    assert len(octets) % 32 == 0
    return index, size, [octets[at:at + 32] for at in range(0, len(octets), 32)]


@pytest.mark.parametrize("judge", JUDGES + ("pyjwt", "openssl"))
def test_judges_verify_our_texts_and_we_theirs(judges, ours, key, judge):
    signed = ours.answer({"op": "sign", "jwk": key, "payload": PAYLOAD})
    assert judges[judge].answer({"op": "verify", "jwk": public(key), "alg": ALG, "token": signed["token"]}) == {"payload": PAYLOAD}
    theirs = judges[judge].answer({"op": "sign", "jwk": key, "alg": ALG, "payload": PAYLOAD})
    assert ours.answer({"op": "verify", "jwk": public(key), "token": theirs["token"]}) == {"payload": PAYLOAD}
    head, payload, signature = theirs["token"].split(".")
    for token in (f"{head}.{b64(b'{}')}.{signature}", f"{head}..{signature}", f"{b64(b'{')}.{payload}.{signature}"):
        assert "error" in ours.answer({"op": "verify", "jwk": public(key), "token": token})


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 100, 255])
def test_judges_verify_the_roots_of_our_batches(judges, ours, key, count, size):
    records = [record(number) for number in range(size)]
    headers = ours.answer({"op": "sign_batch", "jwk": key, "records": records})["headers"]
    roots = set()
    for number, (each, header) in enumerate(zip(records, headers, strict=True)):
        index, told, path = read_path(header["path"])
        assert (index, told) == (number, size)
        roots.add(root_by_path(leaf(each), index, told, path))
    assert len(roots) == 1 and len({header["signature"] for header in headers}) == 1
    root, signature = b64(roots.pop()), headers[0]["signature"]
    for judge in JUDGES:
        request = {"op": "attach", "jwk": public(key), "alg": ALG, "token": signature}
        assert judges[judge].answer(request | {"payload": root}) == {"payload": root}, judge
        assert "error" in judges[judge].answer(request | {"payload": b64(bytes(32))}), judge
        count["roots of batches verified"] += 1


def tree(leaves):
    """The levels of the tree, leaves first."""
    levels = [leaves]
    while len(levels[-1]) > 1:
        below = levels[-1]
        levels.append([node(below[at], below[at + 1]) if at + 1 < len(below) else below[at] for at in range(0, len(below), 2)])
    return levels


def path_text(levels, index):
    siblings, place = b"", index
    for level in levels[:-1]:
        if place ^ 1 < len(level):
            siblings += level[place ^ 1]
        place >>= 1
    return f"{index}/{len(levels[0])}" + (f":{b64(siblings)}" if siblings else "")


@pytest.mark.parametrize("judge", JUDGES)
@pytest.mark.parametrize("size", [1, 2, 5, 64, 200])
def test_we_verify_batches_that_judges_sign(judges, ours, key, count, judge, size):
    records = [record(number) for number in range(size)]
    levels = tree([leaf(each) for each in records])
    signature = judges[judge].answer({"op": "detach", "jwk": key, "alg": ALG, "payload": b64(levels[-1][0])})["token"]
    for number, each in enumerate(records):
        request = {"op": "check", "jwk": public(key), "record": each, "signature": signature, "path": path_text(levels, number)}
        assert ours.answer(request) == {"verdict": "valid"}, number
        changed = {**each, "value": "{}"}
        assert ours.answer(request | {"record": changed})["verdict"] == "wrong", number
        count["records of others' batches verified"] += 1
