"""As much of create, list, get and delete as gives real data to update."""

import json

import pytest

from harness.installation import jwks_path
from harness.keys import PRIVATE_MEMBERS, any_rsa, new_key, public_half, thumbprint

UNDEPLOYED = {
    "success": True,
    "deploymentResult": {
        "success": True,
        "message": "Undeployment completed successfully",
        "environmentResults": [
            {"environmentName": "production", "success": True, "message": "Undeployed successfully"},
            {"environmentName": "staging", "success": True, "message": "Undeployed successfully"},
        ],
    },
}


def key_of(kind):
    return any_rsa() | {"kid": "rsa-1"} if kind == "RSA" else new_key(kind, kid=f"{kind.lower()}-1")


def description_of(answer):
    assert answer.status == 400, answer
    assert answer.json["error"] == "bad_request"
    return answer.json["error_description"]


@pytest.mark.parametrize("kind", ["RSA", "EC", "OKP"])
def test_a_private_key_is_served_by_its_public_half_alone(system, project, kind):
    key = key_of(kind)
    assert system.api.create(project, "my-jwk", key).json["deploymentResult"]["success"]
    for worker in system.workers.values():
        served, = worker.key_set(project)
        assert served == public_half(key)
        assert thumbprint(served) == thumbprint(key)
        assert worker.jwk(project, "my-jwk") == public_half(key)


def test_a_public_key_is_served_as_it_came(system, project):
    key = public_half(key_of("EC")) | {"use": "sig", "alg": "ES256", "custom": "kept"}
    assert system.api.create(project, "my-jwk", key).json["deploymentResult"]["success"]
    for worker in system.workers.values():
        assert worker.key_set(project) == [key]


def test_a_symmetric_key_is_deployed_and_never_served(system, project):
    key = key_of("OCT")
    assert system.api.create(project, "secret", key).json["deploymentResult"]["success"]
    assert system.api.create(project, "public", key_of("EC")).json["deploymentResult"]["success"]
    for worker in system.workers.values():
        assert worker.kids(project) == ["ec-1"]
        assert "secret" in worker.names(project), "it is there, without material"
        assert worker.jwk(project, "secret") is None
        for path in (f"/projects/{project}/.well-known/jwks.json", f"/projects/{project}/jwks/", f"/projects/{project}/jwks/secret"):
            assert key["k"].encode() not in worker.request("GET", path).body
        assert key["k"] not in worker.log()
    event, = system.topics.events_named(project, "secret")
    assert event.value["jwk"]["publicKey"] is None
    assert key["k"].encode() not in event.raw


@pytest.mark.parametrize("kind", ["RSA", "EC", "OKP", "OCT"])
def test_get_shows_the_material_under_the_member_of_its_type_and_list_never_shows_any(embedded_system, project, kind):
    key = key_of(kind)
    assert embedded_system.api.create(project, "my-jwk", key, description="Signs").status == 200
    item = embedded_system.api.item(project, "my-jwk")
    assert item["type"] == kind and item["kid"] == key["kid"] and item["sourceType"] == "COPY_PASTE"
    assert item["description"] == "Signs"
    material = item[kind.lower()]
    for member in {"n", "e", "crv", "x", "y"} & key.keys():
        assert material[member] == key[member]
    answer = embedded_system.api.list_jwks(project)
    listed, = answer.json["resultList"]
    assert listed == {name: value for name, value in item.items() if name not in (kind.lower(), "retiring")}
    for member in (PRIVATE_MEMBERS | {"n", "x", "y"}) & key.keys():
        assert key[member].encode() not in answer.body


def test_list_is_in_the_order_of_names_and_empty_for_a_new_project(embedded_system, project):
    assert embedded_system.api.list_jwks(project).json == {"success": True, "resultList": []}
    for name in ("b", "c", "a", "B"):
        assert embedded_system.api.create(project, name).status == 200
    assert embedded_system.api.names(project) == sorted(["a", "b", "c", "B"])


def test_delete_removes_the_key_everywhere_before_its_answer(system, project):
    assert system.api.create(project, "my-jwk").status == 200
    assert system.api.create(project, "other", new_key("EC", kid="other")).status == 200
    answer = system.api.delete(project, "my-jwk")
    assert (answer.status, answer.json) == (200, UNDEPLOYED)
    assert system.api.names(project) == ["other"]
    for worker in system.workers.values():
        assert worker.names(project) == ["other"]
        assert worker.kids(project) == ["other"]
    assert description_of(system.api.get_jwk(project, "my-jwk")) == "JWK (name: my-jwk) is not found!"


def test_a_deleted_name_can_be_created_again_as_another_key(system, project):
    assert system.api.create(project, "my-jwk", new_key("EC", kid="old")).status == 200
    assert system.api.delete(project, "my-jwk").status == 200
    assert system.api.create(project, "my-jwk", new_key("EC", kid="new")).status == 200
    for worker in system.workers.values():
        assert worker.kids(project) == ["new"]
    first, second = (event.value["jwk"]["id"] for event in system.topics.events_named(project, "my-jwk")
                     if event.value["operation"] == "create")
    assert first != second


def test_get_and_delete_of_an_unknown_jwk_are_answered_400(embedded_system, project):
    for answer in (embedded_system.api.get_jwk(project, "none"), embedded_system.api.delete(project, "none")):
        assert description_of(answer) == "JWK (name: none) is not found!"


def test_create_with_a_taken_name_is_answered_400(embedded_system, project):
    assert embedded_system.api.create(project, "my-jwk").status == 200
    assert description_of(embedded_system.api.create(project, "my-jwk")) == \
        "JWK (name: my-jwk) is already exist! Try update operation if want to change its value."


@pytest.mark.parametrize("body, sentence", [
    ({"sourceType": "COPY_PASTE", "jwkStr": "{}"}, "JWK name can not be empty!"),
    ({"name": "", "sourceType": "COPY_PASTE", "jwkStr": "{}"}, "JWK name can not be empty!"),
    ({"name": "a", "jwkStr": "{}"}, "Source type is required!"),
], ids=["no name", "empty name", "no source type"])
def test_create_names_what_is_missing(embedded_system, project, body, sentence):
    answer = embedded_system.api.request("POST", jwks_path(project), json_body=body)
    assert description_of(answer) == sentence
    assert embedded_system.api.names(project) == []


EC = new_key("EC", kid="ec")


@pytest.mark.parametrize("text", [
    "", "x", "[]", "null", "{}", '{"kty":"EC"}', '{"kty":"none","x":"AA"}', '{"keys":[]}', '{"keys":{}}',
    json.dumps({**EC, "y": EC["x"]}), json.dumps({**EC, "x": EC["x"] + "="}), json.dumps({**EC, "crv": "P-384"}),
    json.dumps({**EC, "d": EC["x"]}), json.dumps({**EC, "use": "enc", "alg": "ES256"}), json.dumps(EC)[:-1], json.dumps(EC) + "{}",
    json.dumps(EC)[:-1] + ',"kid":"twice"}', '{"kty":"oct","k":""}', '{"kty":"RSA","e":"AQAB","n":"AQAB"}',
    '{"kty":"OKP","crv":"Ed448","x":"AAAA"}',
])
def test_create_refuses_what_is_no_sound_jwk_without_repeating_it(embedded_system, project, text):
    answer = embedded_system.api.request("POST", jwks_path(project),
                                         json_body={"name": "bad", "sourceType": "COPY_PASTE", "jwkStr": text})
    assert EC["d"] not in description_of(answer)
    assert embedded_system.api.names(project) == []


def test_kid_chooses_from_a_jwk_set_and_an_open_choice_lists_the_kids(embedded_system, project):
    jwk_set = {"keys": [new_key("EC", kid="one"), new_key("OKP", kid="two")]}
    sentence = description_of(embedded_system.api.create(project, "open", jwk_set))
    assert "one" in sentence and "two" in sentence
    sentence = description_of(embedded_system.api.create(project, "wrong", jwk_set, kid="three"))
    assert "one" in sentence and "two" in sentence
    assert embedded_system.api.create(project, "right", jwk_set, kid="two").status == 200
    assert embedded_system.api.item(project, "right")["type"] == "OKP"
    assert embedded_system.api.create(project, "single", {"keys": jwk_set["keys"][:1]}).status == 200
    assert embedded_system.api.item(project, "single")["kid"] == "one"


def test_private_members_and_tokens_are_in_no_log(system, project):
    key = key_of("RSA")
    assert system.api.create(project, "my-jwk", key).status == 200
    secrets = [key[member] for member in PRIVATE_MEMBERS & key.keys()] + [system.token]
    for program in system.programs:
        log = program.log()
        for secret in secrets:
            assert secret not in log
