"""Update JWK answers as its page says, letter by letter, and does what the page says."""

import json
import sqlite3

import pytest

from harness.installation import ROLE_ADMIN, ROLE_DEPLOY, ROLE_SECURITY, jwk_path
from harness.keys import new_key, public_half

BOTH_DEPLOYED = {
    "success": True,
    "deploymentResult": {
        "success": True,
        "message": "Deployment completed successfully",
        "environmentResults": [
            {"environmentName": "production", "success": True, "message": "Deployed successfully"},
            {"environmentName": "staging", "success": True, "message": "Deployed successfully"},
        ],
    },
}
FORBIDDEN = {"error": "forbidden", "error_description": "You do not have permission to perform this action"}


def created(system, project, name, **options):
    answer = system.api.create(project, name, **options)
    assert answer.status == 200, answer


def test_update_is_answered_200_with_the_result_of_every_environment(system, project):
    created(system, project, "my-jwk")
    answer = system.api.update(project, "my-jwk", {"name": "updated-jwk", "description": "Updated JWK description"})
    assert answer.status == 200
    assert answer.json == BOTH_DEPLOYED
    assert answer.headers["Content-Type"].startswith("application/json")


def test_create_is_answered_200_with_the_result_of_every_environment(system, project):
    answer = system.api.create(project, "my-jwk")
    assert (answer.status, answer.json) == (200, BOTH_DEPLOYED)


def test_update_of_an_unknown_jwk_is_answered_400_with_the_sentence_of_the_page(system, project):
    answer = system.api.update(project, "my-jwk", {"name": "updated-jwk"})
    assert answer.status == 400
    assert answer.json == {"error": "bad_request", "error_description": "JWK (name: my-jwk) is not found! Try create operation."}


def test_update_to_a_taken_name_is_answered_400_with_the_sentence_of_the_page_and_changes_nothing(system, project):
    created(system, project, "my-jwk", description="before")
    created(system, project, "updated-jwk")
    answer = system.api.update(project, "my-jwk", {"name": "updated-jwk", "description": "after"})
    assert answer.status == 400
    assert answer.json == {"error": "bad_request", "error_description": "JWK (name: updated-jwk) is already exist!"}
    assert system.api.names(project) == ["my-jwk", "updated-jwk"]
    assert system.api.item(project, "my-jwk")["description"] == "before"


def test_name_must_be_unique_only_within_its_project(system, project):
    other = system.add_project(f"{project}-other")
    created(system, other, "updated-jwk")
    created(system, project, "my-jwk")
    assert system.api.update(project, "my-jwk", {"name": "updated-jwk"}).json == BOTH_DEPLOYED


def test_update_to_its_own_name_is_no_conflict(system, project):
    created(system, project, "my-jwk")
    assert system.api.update(project, "my-jwk", {"name": "my-jwk"}).json == BOTH_DEPLOYED
    assert system.api.names(project) == ["my-jwk"]


@pytest.mark.parametrize("body, name, description", [
    ({"name": "new"}, "new", "old text"),
    ({"description": "new text"}, "old", "new text"),
    ({"name": "new", "description": "new text"}, "new", "new text"),
    ({"description": ""}, "old", ""),
    ({}, "old", "old text"),
], ids=["name", "description", "both", "empty description", "neither"])
def test_both_fields_are_optional_and_what_is_absent_stays(embedded_system, project, body, name, description):
    created(embedded_system, project, "old", description="old text")
    assert embedded_system.api.update(project, "old", body).json == BOTH_DEPLOYED
    item = embedded_system.api.item(project, name)
    assert (item["name"], item["description"] or "") == (name, description)
    assert embedded_system.api.names(project) == [name]


def test_update_does_not_touch_the_key_itself(embedded_system, project):
    key = new_key("EC", kid="stays")
    created(embedded_system, project, "my-jwk", key=key)
    before = embedded_system.api.item(project, "my-jwk")
    embedded_system.api.update(project, "my-jwk", {"name": "updated-jwk", "description": "x"})
    after = embedded_system.api.item(project, "updated-jwk")
    assert after == before | {"name": "updated-jwk", "description": "x"}
    assert after["ec"] == {member: key[member] for member in after["ec"]}


def test_update_of_a_key_from_a_url_detaches_it_from_its_source_and_get_shows_it(embedded_system, project):
    created(embedded_system, project, "fetched")
    with sqlite3.connect(embedded_system.data_directory / "jwk-api.db", timeout=10) as store:
        store.execute("UPDATE jwk SET source_type = 'URL', source_url = 'https://issuer.example/jwks.json', source_id = ? "
                      "WHERE name = 'fetched' AND project_id = (SELECT id FROM project WHERE name = ?)",
                      ("0199b3c4-5a10-7c3e-8f21-000000000001", project))
    attached = embedded_system.api.item(project, "fetched")
    assert (attached["sourceType"], attached["sourceUrl"]) == ("URL", "https://issuer.example/jwks.json")
    assert embedded_system.api.update(project, "fetched", {"description": "mine now"}).json == BOTH_DEPLOYED
    detached = embedded_system.api.item(project, "fetched")
    assert detached["sourceType"] == "COPY_PASTE"
    assert detached["sourceUrl"] is None
    assert detached["sourceId"] is None


def test_every_environment_serves_the_updated_key_when_the_answer_arrives(system, project):
    key = new_key("EC", kid="served")
    created(system, project, "my-jwk", key=key)
    assert system.api.update(project, "my-jwk", {"name": "updated-jwk"}).json == BOTH_DEPLOYED
    for worker in system.workers.values():
        # No waiting: success means that readers get it already.
        assert worker.names(project) == ["updated-jwk"]
        assert worker.key_set(project) == [public_half(key)]
        assert worker.jwk(project, "updated-jwk") == public_half(key)
        assert worker.jwk(project, "my-jwk") is None


@pytest.mark.parametrize("roles, allowed", [
    ([ROLE_SECURITY], False), ([ROLE_DEPLOY], False), ([ROLE_SECURITY, ROLE_DEPLOY], True), ([ROLE_ADMIN], True),
], ids=["security only", "deploy only", "both", "admin"])
def test_update_needs_both_roles(embedded_system, project, roles, allowed):
    created(embedded_system, project, "my-jwk", description="before")
    token, _ = embedded_system.new_token(roles=roles)
    answer = embedded_system.api.update(project, "my-jwk", {"description": "after"}, token=token)
    if allowed:
        assert (answer.status, answer.json) == (200, BOTH_DEPLOYED)
    else:
        assert (answer.status, answer.json) == (403, FORBIDDEN)
    assert embedded_system.api.item(project, "my-jwk")["description"] == ("after" if allowed else "before")


def test_reading_needs_only_the_security_role(embedded_system, project):
    created(embedded_system, project, "my-jwk")
    reader, _ = embedded_system.new_token(roles=[ROLE_SECURITY])
    deployer, _ = embedded_system.new_token(roles=[ROLE_DEPLOY])
    assert embedded_system.api.list_jwks(project, token=reader).status == 200
    assert embedded_system.api.get_jwk(project, "my-jwk", token=reader).status == 200
    for refused in (embedded_system.api.list_jwks(project, token=deployer), embedded_system.api.get_jwk(project, "my-jwk", token=deployer)):
        assert (refused.status, refused.json) == (403, FORBIDDEN)


@pytest.mark.parametrize("call", ["create", "delete"])
def test_create_and_delete_need_both_roles(embedded_system, project, call):
    created(embedded_system, project, "my-jwk")
    for role in (ROLE_SECURITY, ROLE_DEPLOY):
        token, _ = embedded_system.new_token(roles=[role])
        refused = (embedded_system.api.create(project, "other", token=token) if call == "create" else
                   embedded_system.api.delete(project, "my-jwk", token=token))
        assert (refused.status, refused.json) == (403, FORBIDDEN)
    assert embedded_system.api.names(project) == ["my-jwk"]


def test_page_example_works_as_curl_sends_it(system, project):
    created(system, project, "my-jwk")
    body = b'{\n    "name": "updated-jwk",\n    "description": "Updated JWK description"\n  }'
    answer = system.api.request("PUT", jwk_path(project, "my-jwk"), body,
                                headers={"Content-Type": "application/json", "User-Agent": "curl/7.88.1", "Accept": "*/*"})
    assert (answer.status, answer.json) == (200, BOTH_DEPLOYED)
    assert json.loads(answer.body)["deploymentResult"]["environmentResults"][0]["environmentName"] == "production"
