"""What verifiers get from a worker."""

import json

import pytest

from harness.installation import quote
from harness.keys import new_key, public_half
from harness.program import wait_until


@pytest.fixture
def worker(embedded_system):
    return embedded_system.workers["production", "edge-1"]


def path_of(project):
    return f"/projects/{quote(project)}/.well-known/jwks.json"


def test_key_set_has_the_registered_media_type_and_says_how_long_it_is_good(embedded_system, project, worker):
    assert embedded_system.api.create(project, "a").status == 200
    answer = worker.request("GET", path_of(project))
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/jwk-set+json"
    assert "max-age=" in answer.headers["Cache-Control"]
    assert answer.headers["ETag"].startswith(('"', 'W/"'))
    assert list(answer.json) == ["keys"]


def test_key_set_is_not_sent_again_to_who_has_it(embedded_system, project, worker):
    assert embedded_system.api.create(project, "a", new_key("EC", kid="one")).status == 200
    first = worker.request("GET", path_of(project))
    etag = first.headers["ETag"]
    for value in (etag, f"W/{etag}", f'W/"other", {etag}', "*"):
        again = worker.request("GET", path_of(project), {"If-None-Match": value})
        assert (again.status, again.body) == (304, b""), value
        assert again.headers["ETag"] == etag
    assert worker.request("GET", path_of(project), {"If-None-Match": '"other"'}).status == 200
    assert embedded_system.api.create(project, "b", new_key("EC", kid="two")).status == 200
    changed = worker.request("GET", path_of(project), {"If-None-Match": etag})
    assert changed.status == 200 and changed.headers["ETag"] != etag
    assert sorted(key["kid"] for key in changed.json["keys"]) == ["one", "two"]


def test_rename_does_not_change_the_key_set(embedded_system, project, worker):
    assert embedded_system.api.create(project, "a").status == 200
    before = worker.request("GET", path_of(project))
    assert embedded_system.api.update(project, "a", {"name": "b", "description": "x"}).status == 200
    after = worker.request("GET", path_of(project))
    assert after.body == before.body


def test_head_is_answered_as_get_without_a_body(embedded_system, project, worker):
    assert embedded_system.api.create(project, "a").status == 200
    get, head = (worker.request(method, path_of(project)) for method in ("GET", "HEAD"))
    assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", str(len(get.body)))
    assert head.headers["ETag"] == get.headers["ETag"]


def test_each_project_has_its_own_set(embedded_system, project, worker):
    other = embedded_system.add_project(f"{project} & sons é")
    assert embedded_system.api.create(project, "a", new_key("EC", kid="ours")).status == 200
    assert embedded_system.api.create(other, "a", new_key("EC", kid="theirs")).status == 200
    assert worker.kids(project) == ["ours"]
    assert worker.kids(other) == ["theirs"]


def test_one_jwk_has_the_registered_media_type(embedded_system, project, worker):
    key = new_key("OKP", kid="one")
    assert embedded_system.api.create(project, "a", key).status == 200
    answer = worker.request("GET", f"/projects/{project}/jwks/a")
    assert answer.headers["Content-Type"] == "application/jwk+json"
    assert answer.json == public_half(key)


def test_list_names_ids_versions_and_kids(embedded_system, project, worker):
    assert embedded_system.api.create(project, "a", new_key("EC", kid="one")).status == 200
    assert embedded_system.api.update(project, "a", {"name": "b"}).status == 200
    item, = worker.items(project)
    event = embedded_system.topics.events_named(project, "b")[-1]
    assert (item["name"], item["kid"], item["version"], item["id"]) == ("b", "one", 2, event.key)


@pytest.mark.parametrize("method, path, status", [
    ("GET", "/", 404), ("GET", "/projects/", 404), ("GET", "/projects/no%20such/.well-known/jwks.json", 404),
    ("GET", "/projects/%ff/.well-known/jwks.json", (400, 404)), ("GET", "/projects/%/.well-known/jwks.json", (400, 404)),
    ("GET", "/projects/../../etc/passwd", (400, 404)), ("GET", "/projects/a%00/.well-known/jwks.json", (400, 404)),
    ("POST", "/projects/x/.well-known/jwks.json", 405), ("DELETE", "/projects/x/.well-known/jwks.json", 405), ("PUT", "/readyz", 405),
])
def test_other_requests_are_refused(worker, method, path, status):
    answer = worker.request(method, path)
    assert answer.status in (status if isinstance(status, tuple) else (status,)), answer
    if answer.status == 405:
        assert "GET" in answer.headers["Allow"]


def test_exported_files_are_what_is_served(installation, project):
    export = installation.directory / "export"
    installation.add_environment("production")
    installation.start_api()
    worker = installation.start_worker("production", "edge-1", "--export-dir", export)
    installation.wait_connected()
    assert installation.api.create(project, "a", new_key("EC", kid="one")).json["deploymentResult"]["success"]

    def exported():
        return [path for path in export.rglob("*.json") if project in str(path)]
    path, = wait_until(exported, "the set is exported")
    assert json.loads(path.read_text()) == {"keys": worker.key_set(project)}
    assert installation.api.create(project, "b", new_key("EC", kid="two")).json["deploymentResult"]["success"]
    assert json.loads(path.read_text()) == {"keys": worker.key_set(project)}, "it is there when the update is answered"
    assert not [leftover for leftover in export.rglob("*") if leftover.is_file() and not leftover.name.endswith(".json")]


def test_hook_is_run_for_each_change_with_what_it_needs(installation, project):
    """The hook of a real gateway reloads it; this one writes down that it ran."""
    record = installation.directory / "ran"
    hook = installation.directory / "hook.sh"
    hook.write_text(f'#!/bin/sh\n{{ echo "--- $*"; env | grep ^JWK_; cat; echo; }} >> "{record}"\n')
    hook.chmod(0o755)
    installation.add_environment("production")
    installation.start_api()
    installation.start_worker("production", "edge-1", "--hook", hook)
    installation.wait_connected()
    key = new_key("EC", kid="hooked")
    assert installation.api.create(project, "hooked-key", key).json["deploymentResult"]["success"]
    text = record.read_text()
    assert "hooked-key" in text and project in text
    assert key["d"] not in text
