"""What is no sound key: whatever the importer of a library refuses for what the key is, the product refuses as well."""

import json

import pytest

import malformed
from harness.keys import PRIVATE_MEMBERS

# The openssl command reads no JWKs, so that it has no say here.
JUDGES = ("jwcrypto", "pyjwt", "jose", "nimbus")
# Kinds that a judge refuses altogether: its word on a malformed one means nothing.
KNOWS_NO = {
    ("jose", "secp256k1"): "jose builds on WebCrypto, which has no secp256k1",
    ("pyjwt", "X25519"): "PyJWT has no JWE, and so no keys for agreement",
}
# (judge, variant): why we take what this judge refuses.
TAKEN = {
    ("nimbus", "EC: iat a string"): "iat is no member that RFC 7517 registers: like every unknown member it is kept as it came",
}


@pytest.fixture(scope="module")
def variants():
    return malformed.all_of_them()


@pytest.fixture(scope="module")
def verdicts(judges, variants):
    """{judge: {variant: answer}}, with the sound keys under the names of their bases."""
    texts, keys = variants
    everything = texts | {base: (base, json.dumps(key)) for base, key in keys.items()}
    result = {}
    for name in JUDGES:
        answers = judges[name].answer_all([{"op": "import", "text": text, "alg": malformed.BASES[base]} for base, text in everything.values()])
        assert all("accepted" in answer for answer in answers), [answer for answer in answers if "accepted" not in answer]
        result[name] = dict(zip(everything, answers, strict=True))
    return result


@pytest.fixture(scope="module")
def ours(system, variants):
    """{variant: answer of the API}"""
    project = system.add_project("malformed")
    texts, keys = variants
    everything = texts | {base: (base, json.dumps(key)) for base, key in keys.items()}
    path = f"/apiops/projects/{project}/jwks/"
    return {name: system.api.request("POST", path, json_body={"name": f"jwk-{number}", "sourceType": "COPY_PASTE", "jwkStr": text},
                                     prefer="respond-async")
            for number, (name, (_, text)) in enumerate(everything.items())}


@pytest.mark.parametrize("judge", JUDGES)
def test_sound_keys_are_taken_by_all(verdicts, ours, judge):
    for base in malformed.BASES:
        assert ours[base].status == 202, ours[base]
        assert verdicts[judge][base]["accepted"] == ((judge, base) not in KNOWS_NO), (base, verdicts[judge][base])


@pytest.mark.parametrize("judge", JUDGES)
def test_what_a_library_refuses_is_refused(variants, verdicts, ours, count, judge):
    refused = {name: answer["reason"] for name, answer in verdicts[judge].items()
               if not answer["accepted"] and name in variants[0] and (judge, variants[0][name][0]) not in KNOWS_NO}
    count[f"malformed keys refused by {judge} of {len(variants[0])}, and by us"] += len(refused)
    assert len(refused) >= 40
    taken = {name: reason for name, reason in refused.items() if ours[name].status != 400}
    excused = {name for name in taken if (judge, name) in TAKEN}
    assert not taken.keys() - excused, "\n".join(f"{name}: {taken[name]}" for name in taken.keys() - excused)
    stale = {name for who, name in TAKEN if who == judge} - excused
    assert not stale, f"rows without effect: {stale}"


def test_refusals_say_nothing_of_the_private_half(variants, ours):
    for name, (_, text) in variants[0].items():
        answer = ours[name]
        assert answer.status in (202, 400), (name, answer)
        if answer.status == 202:
            continue
        assert answer.json["error"] == "bad_request" and answer.json["error_description"], (name, answer)
        try:
            members = json.loads(text)
        except ValueError:
            continue
        for member in PRIVATE_MEMBERS & (members.keys() if isinstance(members, dict) else set()):
            value = members[member]
            assert not isinstance(value, str) or len(value) < 20 or value[5:20] not in answer.json["error_description"], (name, member)


def test_nothing_else_is_taken(variants, ours):
    """Each of them is wrong, whether or not one of the libraries looks so closely."""
    taken = {name for name in variants[0] if ours[name].status == 202}
    assert taken == {name for _, name in TAKEN}


def test_allowed_oddities_are_taken_by_all(system, judges, variants):
    project = system.add_project("oddities")
    for number, (what, key) in enumerate(malformed.allowed(variants[1])):
        for name in JUDGES:
            answer = judges[name].answer({"op": "import", "text": json.dumps(key), "alg": "ES256"})
            assert answer["accepted"], (what, name, answer)
        answer = system.api.create(project, f"jwk-{number}", key)
        assert answer.status == 200 and answer.json["deploymentResult"]["success"], (what, answer)
