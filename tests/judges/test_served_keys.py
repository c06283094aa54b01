"""What others can do with the keys that the workers serve: sign and verify, encrypt and decrypt, in every pair of judges."""

import json

import pytest
from cryptography.hazmat.primitives import serialization
from jwcrypto import jwk as jwcrypto_jwk

from algorithms import HMAC, OCT_ENCRYPTION, content_encryption, is_signature, not_known, own_way
from catalogue import SOURCES
from harness.keys import PRIVATE_MEMBERS, public_half
from harness.sources import base64_of
from panel.openssl_judge import unb64

JUDGES = ("jwcrypto", "pyjwt", "jose", "nimbus", "openssl")
PAYLOAD = '{"sub":"Grüße"}'  # PyJWT's client reads no token that carries anything but claims
# From these sources each judge reads what each other has written; from the others what it has written itself.
CROSSED = ("COPY_PASTE", "GENERATE")


def served_cases(catalogue, source):
    """(entry, algorithm, URL of the set) of all keys of a source that are served."""
    return [(entry, algorithm, catalogue.url(source)) for entry in catalogue.entries[source] if not entry.kind.startswith("oct")
            for algorithm in entry.algorithms]


@pytest.fixture(scope="session")
def senders(judges):
    """The other party of ECDH-1PU: one key for each curve."""
    return {kind: judges["nimbus"].answer({"op": "make", "kind": kind})["jwk"] for kind in ("P-256", "P-384", "P-521", "X25519")}


def write_request(entry, algorithm, url, senders):
    if is_signature(algorithm):
        return {"op": "sign", "jwk": entry.private, "alg": algorithm, "payload": PAYLOAD}
    request = {"op": "encrypt", "url": url, "kid": entry.kid, "alg": algorithm, "enc": content_encryption(algorithm), "payload": PAYLOAD}
    return request | ({"sender": senders[entry.kind]} if algorithm.startswith("ECDH-1PU") else {})


def read_request(entry, algorithm, url, senders, token):
    if is_signature(algorithm):
        return {"op": "verify", "url": url, "alg": algorithm, "token": token}
    request = {"op": "decrypt", "jwk": entry.private, "alg": algorithm, "enc": content_encryption(algorithm), "token": token}
    return request | ({"sender": senders[entry.kind]} if algorithm.startswith("ECDH-1PU") else {})


def judge_all(judge, name, cases, requests, member, wanted=None):
    """The answers of a judge to requests, one for each case; those that its table of unknown algorithms excuses are None."""
    answers = judge.answer_all(requests)
    failures, results = [], []
    for (entry, algorithm, *_), answer in zip(cases, answers, strict=True):
        reason = not_known(name, algorithm)
        if reason:
            if "error" not in answer:
                failures.append(f"{entry} {algorithm}: {name} knows it by now, though its row says: {reason}")
            results.append(None)
        elif member not in answer or (wanted is not None and answer[member] != wanted):
            failures.append(f"{entry} {algorithm}: {name}: {answer}")
            results.append(None)
        else:
            results.append(answer[member])
    assert not failures, f"{len(failures)} of {len(requests)}:\n" + "\n".join(failures[:20])
    return results


@pytest.fixture(scope="session")
def written(catalogue, judges, senders):
    """What a judge has written for the keys of a source, made when it is asked for: [(entry, algorithm, URL, token)]."""
    cache = {}

    def write(source, name):
        if (source, name) not in cache:
            cases = served_cases(catalogue, source)
            requests = [write_request(*case, senders) for case in cases]
            tokens = judge_all(judges[name], name, cases, requests, "token")
            cache[source, name] = [(*case, token) for case, token in zip(cases, tokens, strict=True) if token]
        return cache[source, name]
    return write


PAIRS = [(source, writer, reader) for source in SOURCES for writer in JUDGES for reader in JUDGES if writer == reader or source in CROSSED]


@pytest.mark.parametrize("source, writer, reader", PAIRS, ids=["-".join(pair) for pair in PAIRS])
def test_what_one_writes_the_other_reads(written, judges, senders, count, source, writer, reader):
    """Signatures by the private half are verified with the served key; what is encrypted for the served key the private half decrypts."""
    cases = written(source, writer)
    assert cases
    judge_all(judges[reader], reader, cases, [read_request(*case[:3], senders, case[3]) for case in cases], "payload", PAYLOAD)
    known = [case for case in cases if not not_known(reader, case[1])]
    count["signatures verified with served keys"] += sum(1 for case in known if is_signature(case[1]))
    count["encryptions for served keys decrypted"] += sum(1 for case in known if not is_signature(case[1]))


@pytest.mark.parametrize("source", SOURCES)
def test_served_set_holds_exactly_the_public_halves(catalogue, source, count):
    served = {key["kid"]: key for key in catalogue.system.workers["production", "edge-1"].key_set(source)}
    entries = [entry for entry in catalogue.entries[source] if not entry.kind.startswith("oct")]
    assert set(served) == {entry.kid for entry in entries} and len(served) == len(entries)
    for entry in entries:
        key = served[entry.kid]
        assert not PRIVATE_MEMBERS & key.keys(), entry
        for member, value in public_half(entry.made or entry.private).items():
            assert key[member] == value, (entry, member)
        if entry.declared:
            assert (key["alg"], key["use"]) == (entry.algorithms[0], "sig" if is_signature(entry.algorithms[0]) else "enc"), entry
        if entry.made and entry.private.get("d") == entry.made["d"]:
            # Where the product has the private half it is the maker's, to the last member.
            assert {member: entry.private[member] for member in entry.made} == entry.made, entry
    count[f"keys served from {source}"] += len(entries)


@pytest.mark.parametrize("judge", [name for name in JUDGES if name not in ("pyjwt", "openssl")])  # those two have no thumbprints
@pytest.mark.parametrize("source", SOURCES)
def test_thumbprints_are_theirs(catalogue, judges, source, judge):
    """Where the kid was not given it is the RFC 7638 thumbprint."""
    found = judges[judge].answer({"op": "thumbprints", "url": catalogue.url(source)}).get("thumbprints")
    own = {entry.kid: jwcrypto_jwk.JWK(**public_half(entry.private)).thumbprint() for entry in catalogue.entries[source]
           if not entry.kind.startswith("oct")}
    assert found == own
    if source not in ("COPY_PASTE", "URL"):
        assert all(kid == thumbprint for kid, thumbprint in found.items())


@pytest.mark.parametrize("source", ["CERTIFICATE", "KEYSTORE"])
def test_openssl_finds_the_served_key_in_the_served_certificates(catalogue, judges, source):
    openssl = judges["openssl"]
    for entry in catalogue.entries[source]:
        key = catalogue.system.workers["production", "edge-1"].jwk(source, entry.name)
        assert key["x5c"] == [base64_of(each.public_bytes(serialization.Encoding.DER)) for each in entry.chain], entry
        certificate = openssl.file(b"-----BEGIN CERTIFICATE-----\n" + "\n".join(
            key["x5c"][0][start:start + 64] for start in range(0, len(key["x5c"][0]), 64)).encode() + b"\n-----END CERTIFICATE-----\n", ".pem")
        in_certificate = openssl.run("x509", "-in", certificate, "-noout", "-pubkey")
        served = openssl.run("pkey", "-pubin", "-in", openssl.key_file(public_half(entry.private), False), "-pubout")
        assert in_certificate == served, entry
        digest = openssl.run("x509", "-in", certificate, "-noout", "-fingerprint", "-sha256").decode().partition("=")[2].strip()
        assert unb64(key["x5t#S256"]).hex(":").upper() == digest, entry


# ---- symmetric keys: the product's own side, as they are never served ----

OCT_PAIRS = [(writer, reader) for writer in JUDGES for reader in JUDGES]


@pytest.mark.parametrize("writer, reader", OCT_PAIRS, ids=["-".join(pair) for pair in OCT_PAIRS])
def test_generated_symmetric_keys_work_in_every_pair(catalogue, judges, count, writer, reader):
    entries = [entry for entry in catalogue.entries["GENERATE"] if entry.kind.startswith("oct")]
    assert {entry.algorithms[0] for entry in entries} == set(HMAC + OCT_ENCRYPTION)
    cases = [(entry, entry.algorithms[0]) for entry in entries]

    def request(entry, algorithm, sign, encrypt, **members):
        common = {"jwk": entry.private, "alg": algorithm, **members}
        if is_signature(algorithm):
            return {"op": sign, **common}
        return {"op": encrypt, **common, "enc": content_encryption(algorithm, len(unb64(entry.private["k"])))}
    tokens = judge_all(judges[writer], writer, cases, [request(*case, "sign", "encrypt", payload=PAYLOAD) for case in cases], "token")
    written = [(*case, token) for case, token in zip(cases, tokens, strict=True) if token]

    def read_request_of(case):
        return request(*case[:2], "verify", "decrypt", token=case[2])
    for case in [case for case in written if own_way(writer, reader, case[1])]:
        assert "error" in judges[reader].answer(read_request_of(case)), f"{writer} and {reader} can read each other by now: {case[1]}"
        written.remove(case)
    judge_all(judges[reader], reader, written, [read_request_of(case) for case in written], "payload", PAYLOAD)
    count["tokens of symmetric keys read"] += sum(1 for case in written if not not_known(reader, case[1]))


@pytest.mark.parametrize("size", [128, 192, 256, 512])
def test_imported_symmetric_keys_come_back_and_are_never_served(catalogue, judges, size):
    project = catalogue.system.add_project(f"oct-{size}")
    key = json.loads(jwcrypto_jwk.JWK.generate(kty="oct", size=size, kid="secret").export())
    answer = catalogue.system.api.create(project, "my-jwk", key)
    assert answer.status == 200 and answer.json["deploymentResult"]["success"], answer
    material = catalogue.system.api.item(project, "my-jwk")["oct"]
    assert material == key
    assert catalogue.system.workers["production", "edge-1"].key_set(project) == []
