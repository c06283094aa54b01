"""Generate: every type and parameter, judged by an independent library and as the workers serve it."""

import datetime
import json
import threading

import pytest
from jwcrypto import jwk, jws, jwe

from harness import sources
from harness.installation import jwks_path
from harness.sources import Sources


@pytest.fixture(scope="module")
def system(embedded_broker, tmp_path_factory):
    installation = sources.start_system(embedded_broker, tmp_path_factory.mktemp("system"))
    yield installation
    installation.stop()


@pytest.fixture
def source(system, project):
    return Sources(system.api, project)


def generate(system, source, type_, **parameters):
    """The private JWK, as get shows it."""
    answer = source.shortcut("generate", "my-jwk", type=type_, **({type_.lower(): parameters} if parameters else {}))
    assert answer.status == 200 and answer.json["deploymentResult"]["success"], answer
    item = system.api.item(source.project, "my-jwk")
    assert (item["sourceType"], item["sourceId"], item["sourceUrl"], item["type"]) == ("GENERATE", None, None, type_)
    material = item[type_.lower()]
    assert material.get("kid") == item["kid"]
    return material


def refused(answer, *parts):
    assert answer.status == 400, answer
    for part in parts:
        assert part in answer.json["error_description"], answer
    return answer.json["error_description"]


def served(system, source):
    return system.workers["production", "edge-1"].jwk(source.project, "my-jwk")


SIGNING = [("RSA", {"keySize": 2048, "algorithm": "RSA256"}, "RS256"), ("RSA", {"keySize": 3072, "algorithm": "PS384"}, "PS384"),
           ("EC", {"curveType": "P256", "algorithm": "ES256"}, "ES256"), ("EC", {"curveType": "P384", "algorithm": "ES384"}, "ES384"),
           ("EC", {"curveType": "P521", "algorithm": "ES512"}, "ES512"), ("EC", {"curveType": "SECP256K1", "algorithm": "ES256K"}, "ES256K"),
           ("OKP", {"curveType": "ED25519", "algorithm": "EdDSA"}, "EdDSA")]


@pytest.mark.parametrize("type_, parameters, algorithm", SIGNING, ids=[each[2] for each in SIGNING])
def test_what_a_generated_key_signs_the_served_one_verifies(system, source, type_, parameters, algorithm):
    material = generate(system, source, type_, **parameters)
    assert (material["use"], material["alg"]) == ("sig", algorithm)
    private = jwk.JWK.from_json(json.dumps(material))
    token = jws.JWS(b"payload")
    token.allowed_algs = [algorithm]
    token.add_signature(private, alg=algorithm, protected=json.dumps({"alg": algorithm}))
    public = served(system, source)
    assert public["kid"] == material["kid"] and not {"d", "p", "q"} & public.keys()
    check = jws.JWS()
    check.allowed_algs = [algorithm]
    check.deserialize(token.serialize(compact=True), jwk.JWK.from_json(json.dumps(public)))
    assert check.payload == b"payload"


ENCRYPTING = [("RSA", {"algorithm": "RSA_OAEP_256"}, "RSA-OAEP-256"), ("EC", {"curveType": "P256", "algorithm": "ECDH_ES_A128KW"}, "ECDH-ES+A128KW"),
              ("OKP", {"curveType": "X25519", "algorithm": "ECDH_ES"}, "ECDH-ES")]


@pytest.mark.parametrize("type_, parameters, algorithm", ENCRYPTING, ids=[each[2] for each in ENCRYPTING])
def test_what_the_served_key_encrypts_the_generated_one_decrypts(system, source, type_, parameters, algorithm):
    material = generate(system, source, type_, keyUseType="ENCRYPTION", **parameters)
    assert (material["use"], material["alg"]) == ("enc", algorithm)
    public = jwk.JWK.from_json(json.dumps(served(system, source)))
    token = jwe.JWE(b"payload", json.dumps({"alg": algorithm, "enc": "A128GCM"}), recipient=public)
    check = jwe.JWE()
    check.deserialize(token.serialize(compact=True), jwk.JWK.from_json(json.dumps(material)))
    assert check.payload == b"payload"


@pytest.mark.parametrize("algorithm, registered, size", [("HS256", "HS256", 256), ("HS512", "HS512", 512), ("A128KW", "A128KW", 128), ("A256GCMKW", "A256GCMKW", 256)])
def test_symmetric_keys_are_kept_and_never_served(system, source, algorithm, registered, size):
    use = "SIGNATURE" if algorithm.startswith("HS") else "ENCRYPTION"
    material = generate(system, source, "OCT", algorithm=algorithm, keyUseType=use, keySize=size)
    assert material["alg"] == registered and len(material["k"]) == (size // 8 * 4 + 2) // 3
    assert served(system, source) is None
    assert system.workers["production", "edge-1"].names(source.project) == ["my-jwk"]
    assert all(material["k"] not in str(record.raw) for record in system.topics.events_named(source.project, "my-jwk"))


@pytest.mark.parametrize("type_", ["RSA", "EC", "OCT", "OKP"])
def test_type_alone_is_enough(system, source, type_):
    material = generate(system, source, type_)
    assert material["use"] == "sig" and "alg" not in material
    assert 364 * 86400 < material["exp"] - material["nbf"] <= 366 * 86400


def test_key_ids(system, source):
    kinds = {}
    for kind in ("TIMESTAMP", "SHA256", "SHA1", "ISO_DATE", "NONE"):
        material = generate(system, source, "EC", keyIdType=kind)
        kinds[kind] = material.get("kid")
        if kind == "SHA256":
            assert material["kid"] == jwk.JWK.from_json(json.dumps(material)).thumbprint()
        assert system.api.delete(source.project, "my-jwk").status == 200
    assert kinds["NONE"] is None and len(set(kinds.values())) == 5
    answer = source.shortcut("generate", "my-jwk", type="EC", kid="mine", ec={"keyIdType": "SHA1"})
    assert answer.status == 200 and system.api.item(source.project, "my-jwk")["kid"] == "mine"


def test_times_are_carried_and_an_expired_key_is_refused(system, source):
    now = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    begin, end = now + datetime.timedelta(days=1), now + datetime.timedelta(days=3)
    material = generate(system, source, "EC", notBeforeTime=begin.isoformat(), expirationTime=end.isoformat())
    assert (material["nbf"], material["exp"]) == (begin.timestamp(), end.timestamp())
    assert served(system, source)["exp"] == end.timestamp(), "it is served ahead of its time"
    refused(source.shortcut("generate", "other", type="EC", ec={"expirationTime": (now - datetime.timedelta(days=1)).isoformat()}), "xpiration")


BAD = [({}, "JWK type can not be empty!"), ({"type": ""}, "JWK type can not be empty!"), ({"type": "DSA"}, "DSA"), ({"type": "rsa"}, "rsa"),
       ({"type": "RSA", "rsa": {"keySize": 1024}}, "2048"), ({"type": "RSA", "rsa": {"keySize": "2048"}}, "keySize"),
       ({"type": "RSA", "ec": {}}, "ec"), ({"type": "EC", "ec": {"curveType": "P224"}}, "P224"), ({"type": "EC", "ec": {"algorithm": "RS256"}}, "ES256"),
       ({"type": "OKP", "okp": {"curveType": "ED448"}}, "ED448"), ({"type": "OCT", "oct": {"keySize": 100}}, "100"),
       ({"type": "EC", "ec": {"unknown": 1}}, "unknown"), ({"type": "EC", "unknown": 1}, "unknown"), ({"type": "EC", "ec": {"keyIdType": "MD5"}}, "MD5"),
       ({"type": "EC", "ec": {"notBeforeTime": "yesterday"}}, "notBeforeTime"), ({"type": "EC", "ec": "P256"}, "ec"), ({"type": "EC", "sourceType": "GENERATE"}, "sourceType")]


@pytest.mark.parametrize("body, part", BAD, ids=lambda value: json.dumps(value) if isinstance(value, dict) else "")
def test_what_can_not_be_generated_is_refused(system, source, body, part):
    refused(source.shortcut("generate", "my-jwk", **body), part)
    assert system.api.names(source.project) == []


def test_name_is_required(system, project):
    assert refused(system.api.request("POST", jwks_path(project) + "generate", json_body={"type": "EC"})) == "JWK name can not be empty!"


def test_update_of_a_generated_jwk_leaves_its_source_type(system, source):
    generate(system, source, "EC")
    assert system.api.update(source.project, "my-jwk", {"description": "x"}).status == 200
    assert system.api.item(source.project, "my-jwk")["sourceType"] == "GENERATE"


def test_large_keys_hold_up_nobody(system, source):
    """While RSA keys of 4096 bits are made, everything else is answered: requests overtake them."""
    answers, ended = [], threading.Event()

    def make(number):
        answers.append(source.shortcut("generate", f"rsa-{number}", type="RSA", rsa={"keySize": 4096}))
        if len(answers) == 6:
            ended.set()

    threads = [threading.Thread(target=make, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    overtook = 0
    while not ended.is_set():
        assert system.api.create(source.project, f"other-{overtook}").status == 200
        overtook += 1
    for thread in threads:
        thread.join()
    assert [answer.status for answer in answers] == [200] * 6
    assert overtook > 6


def test_jwks_may_be_named_like_the_operations(system, project):
    for name in ("generate", "parse-from-url"):
        assert system.api.create(project, name).status == 200
    assert system.api.names(project) == ["generate", "parse-from-url"]
