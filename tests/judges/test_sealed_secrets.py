"""What is sealed for environments, and who opens it: JWE in the general serialization, ours with the judges' and theirs with ours."""

import json
import random

import pytest

JUDGES = ("jwcrypto", "jose", "nimbus")
CURVES = ("P-256", "P-384", "P-521", "X25519")
ALG, ENC = "ECDH-ES+A256KW", "A256GCM"
SECRET = '{"kty":"oct","k":"AAECAwQF","note":"Grüße"}'
AAD = "0198f3a2-7c1e-7000-8000-00000000abcd"
# Nimbus loses the header of a recipient that is the only one, also of what it has sealed itself: kid, alg and epk with it.
NO_SINGLE = ("nimbus",)
MIXED_CURVES = [(curve,) for curve in CURVES] + [CURVES]
SIZES = (1, 2, 10, 50)


@pytest.fixture(scope="module")
def keys(judges):
    """Fifty private keys of each curve, made by the judges in turns."""
    made = {}
    for curve in CURVES:
        made[curve] = [judges[JUDGES[number % len(JUDGES)]].answer({"op": "make", "kind": curve})["jwk"] for number in range(max(SIZES))]
        for number, key in enumerate(made[curve]):
            for member in ("kid", "use", "key_ops", "alg"):
                key.pop(member, None)
            key["kid"] = f"{curve}-{number}"
    return made


def choose(keys, curves, count):
    return [keys[curves[number % len(curves)]][number] for number in range(count)]


def public(key):
    return {name: value for name, value in key.items() if name != "d"}


def sizes(judge):
    return [size for size in SIZES if size > 1 or judge not in NO_SINGLE]


def positions(count):
    """The first, the last and one between."""
    return sorted({0, count // 2, count - 1})


@pytest.mark.parametrize("judge", JUDGES)
@pytest.mark.parametrize("curves", MIXED_CURVES, ids="+".join)
def test_judges_open_what_we_seal(judges, ours, keys, count, judge, curves):
    for size in sizes(judge):
        recipients = choose(keys, curves, size)
        sealed = ours.answer({"op": "seal", "recipients": [public(key) for key in recipients], "payload": SECRET, "aad": AAD})
        assert "jwe" in sealed, sealed
        for position in positions(size):
            answer = judges[judge].answer({"op": "open", "jwk": recipients[position], "alg": ALG, "enc": ENC, "jwe": sealed["jwe"], "aad": AAD})
            assert answer == {"payload": SECRET}, (judge, size, position, answer)
            count["sealed secrets opened"] += 1


@pytest.mark.parametrize("judge", JUDGES)
@pytest.mark.parametrize("curves", MIXED_CURVES, ids="+".join)
def test_we_open_what_judges_seal(judges, ours, keys, count, judge, curves):
    for size in sizes(judge):
        recipients = choose(keys, curves, size)
        sealed = judges[judge].answer({"op": "seal", "recipients": [public(key) for key in recipients], "alg": ALG, "enc": ENC,
                                       "payload": SECRET, "aad": AAD})
        assert "jwe" in sealed, sealed
        for position in positions(size):
            answer = ours.answer({"op": "open", "keys": [recipients[position]], "jwe": sealed["jwe"], "aad": AAD})
            assert answer == {"payload": SECRET}, (judge, size, position, answer)
            count["sealed secrets opened"] += 1


def flipped(text, number):
    """Another character of the alphabet in the middle of it, where no unused bits are."""
    at = number % (len(text) - 1)
    return text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1:]


def tampered(jwe, chance):
    """What somebody could do to it on the way, each by a name."""
    def copy():
        return json.loads(jwe)
    for member in ("iv", "ciphertext", "tag", "protected", "aad"):
        changed = copy()
        changed[member] = flipped(changed[member], chance.randrange(1000))
        yield member, changed
    changed = copy()
    changed["recipients"][0]["encrypted_key"] = flipped(changed["recipients"][0]["encrypted_key"], chance.randrange(1000))
    yield "encrypted_key", changed
    changed = copy()
    first, second = changed["recipients"]
    first["encrypted_key"], second["encrypted_key"] = second["encrypted_key"], first["encrypted_key"]
    yield "keys of two recipients exchanged", changed
    changed = copy()
    changed["recipients"][0]["header"]["epk"] = changed["recipients"][1]["header"]["epk"]
    yield "epk of another recipient", changed
    changed = copy()
    changed.pop("aad")
    yield "aad taken away", changed


@pytest.mark.parametrize("curve", CURVES)
def test_nobody_opens_what_was_changed(judges, ours, keys, curve):
    recipients = keys[curve][:2]
    sealed = ours.answer({"op": "seal", "recipients": [public(key) for key in recipients], "payload": SECRET, "aad": AAD})["jwe"]
    assert ours.answer({"op": "open", "keys": [recipients[0]], "jwe": sealed, "aad": AAD}) == {"payload": SECRET}
    for what, changed in tampered(sealed, random.Random(1)):
        answer = ours.answer({"op": "open", "keys": [recipients[0]], "jwe": json.dumps(changed), "aad": AAD})
        assert "error" in answer and SECRET not in json.dumps(answer), (what, answer)
        # That it is the change that counts, and not our strictness, a judge confirms.
        theirs = judges["jwcrypto"].answer({"op": "open", "jwk": recipients[0], "alg": ALG, "enc": ENC, "jwe": json.dumps(changed), "aad": AAD})
        assert "error" in theirs, (what, theirs)
