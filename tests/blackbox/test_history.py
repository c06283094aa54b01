"""What was deployed when by whom and what came of it; deploying again; and what replicas lack."""

import datetime

import pytest

from harness.hand_worker import HandWorker
from harness.installation import jwk_path, quote
from harness.keys import new_key
from harness.program import wait_until


def created(system, project, name="my-jwk", **options):
    answer = system.api.create(project, name, **options)
    assert answer.status == 200, answer


def page(system, path, query=""):
    answer = system.api.request("GET", f"{path}deployments/{query}")
    assert answer.status == 200, answer
    return answer.json


def history(system, project, name="my-jwk"):
    return page(system, jwk_path(project, name))["resultList"]


def project_path(project):
    return f"/apiops/projects/{quote(project)}/"


def redeploy(system, project, name="my-jwk", body=None, **options):
    return system.api.request("POST", f"{jwk_path(project, name)}redeploy", json_body=body, **options)


def test_history_tells_each_deployment_of_a_jwk_newest_first_through_its_names(embedded_system, project):
    created(embedded_system, project, description="one")
    bob, _ = embedded_system.new_token(user="bob")
    embedded_system.api.update(project, "my-jwk", {"description": "two"}, token=bob)
    embedded_system.api.update(project, "my-jwk", {"name": "renamed", "description": "two"})
    embedded_system.api.update(project, "renamed", {})
    embedded_system.api.update(project, "renamed", {"name": "again", "description": "three"})
    deployments = history(embedded_system, project, "again")
    assert [(each["version"], each["operation"], each["jwkName"], each["actor"], each["changed"]) for each in deployments] == [
        (5, "update", "again", "alice", ["name", "description"]), (4, "update", "renamed", "alice", []),
        (3, "update", "renamed", "alice", ["name"]), (2, "update", "my-jwk", "bob", ["description"]), (1, "create", "my-jwk", "alice", [])]
    assert len({each["jwkId"] for each in deployments}) == 1
    assert [each["startTime"] for each in deployments] == sorted((each["startTime"] for each in deployments), reverse=True)


def test_history_tells_the_result_of_each_environment(embedded_system, project):
    created(embedded_system, project)
    deployment, = history(embedded_system, project)
    assert deployment["state"] == "SUCCEEDED"
    assert deployment["deploymentResult"]["success"]
    assert [(each["environmentName"], each["state"], each["message"]) for each in deployment["deploymentResult"]["environmentResults"]] == [
        ("production", "SUCCEEDED", "Deployed successfully"), ("staging", "SUCCEEDED", "Deployed successfully")]
    assert all(each["time"] >= deployment["startTime"] for each in deployment["deploymentResult"]["environmentResults"])


def outcomes(deployment):
    return [(each["environmentName"], each["success"], each["message"]) for each in deployment["deploymentResult"]["environmentResults"]]


def check_that_all_say_what_was_answered(system, project, name="my-jwk"):
    of_project, of_jwk = f"{project_path(project)}deployments/", f"{jwk_path(project, name)}deployments/"
    for path in (None, f"{of_project}?limit=1", f"{of_jwk}?limit=1", of_project, of_jwk) * 3:
        # A change for each: one look would take what is on its way into the store along for the others.
        answer = system.api.update(project, name, {"description": f"asked for at {path}"})
        assert answer.status == 200, answer
        found = system.api.request("GET", path or answer.headers["Location"])
        assert found.status == 200, found
        newest = found.json["resultList"][0]
        assert answer.headers["Location"].endswith(f"/{newest['deploymentId']}/")
        assert outcomes(newest) == outcomes(answer.json), path
        assert newest["deploymentResult"]["success"] == answer.json["deploymentResult"]["success"]
    return outcomes(newest)


def test_what_was_answered_is_what_the_deployment_and_both_lists_show_from_then_on(embedded_system, project):
    created(embedded_system, project)
    assert check_that_all_say_what_was_answered(embedded_system, project) == [
        ("production", True, "Deployed successfully"), ("staging", True, "Deployed successfully")]


def test_so_it_is_when_one_environment_had_failed_long_before_another_succeeded(installation, project, tmp_path):
    for environment, rest in (("production", "echo no gateway >&2; exit 1"), ("staging", "sleep 0.2")):
        hook = tmp_path / environment
        hook.write_text(f"#!/bin/sh\ncat > /dev/null\n{rest}\n")
        hook.chmod(0o755)
        installation.add_environment(environment)
    installation.start_api()
    for environment in ("production", "staging"):
        installation.start_worker(environment, "edge-1", "--hook", tmp_path / environment)
    installation.wait_connected("staging")
    created(installation, project)
    production, staging = check_that_all_say_what_was_answered(installation, project)
    assert production[:2] == ("production", False) and "no gateway" in production[2]
    assert staging == ("staging", True, "Deployed successfully")


@pytest.mark.parametrize("change", ["update", "delete"])
def test_what_waits_for_an_environment_is_over_once_that_is_removed(installation, project, change):
    installation.add_environment("production")
    installation.add_environment("staging")
    installation.start_api()
    installation.start_worker("production")
    installation.wait_connected("production")
    created(installation, project)
    api, noun = installation.api, "Undeployment" if change == "delete" else "Deployment"
    answer = api.delete(project, "my-jwk") if change == "delete" else api.update(project, "my-jwk", {"description": "x"})
    location = answer.headers["Location"]
    assert api.deployment(location)["state"] == "IN_PROGRESS"
    installation.admin("environment", "remove", "staging")
    deployment = api.deployment(location)
    assert deployment["state"] == "FAILED"
    result = deployment["deploymentResult"]
    assert (result["success"], result["message"]) == (False, f"{noun} is not complete: an environment was removed before it confirmed")
    production, staging = result["environmentResults"]
    assert (production["state"], production["success"]) == ("SUCCEEDED", True)
    assert (staging["state"], staging["message"]) == ("FAILED", "The environment was removed before it confirmed")
    assert staging["time"] > deployment["startTime"]
    assert page(installation, project_path(project))["resultList"][0] == deployment


def test_what_has_failed_is_not_tried_again_once_its_environment_is_removed(installation, project, tmp_path):
    hook = tmp_path / "hook"
    hook.write_text("#!/bin/sh\ncat > /dev/null\necho no gateway >&2\nexit 1\n")
    hook.chmod(0o755)
    installation.add_environment("staging")
    installation.start_api()
    installation.start_worker("staging", "edge-1", "--hook", hook)
    location = installation.api.create(project, "my-jwk").headers["Location"]
    deployment = installation.api.wait_deployment(location, "FAILED")
    assert "it is tried again" in deployment["deploymentResult"]["message"]
    installation.admin("environment", "remove", "staging")
    result = installation.api.deployment(location)["deploymentResult"]
    assert result["message"] == "Deployment is not complete: an environment was removed before it confirmed"
    assert [each["message"] for each in result["environmentResults"]] == ["The environment was removed before it confirmed"]


def test_history_never_holds_key_material(embedded_system, project):
    key = new_key("EC", kid="k")
    created(embedded_system, project, key=key)
    answer = embedded_system.api.request("GET", f"{jwk_path(project, 'my-jwk')}deployments/")
    for member in ("d", "x", "y"):
        assert key[member].encode() not in answer.body


def test_an_update_that_detaches_names_the_source_fields(installation, project):
    import sqlite3
    installation.start_api()
    created(installation, project)
    with sqlite3.connect(installation.data_directory / "jwk-api.db", timeout=30) as store:
        store.execute("UPDATE jwk SET source_type = 'URL', source_url = 'https://a.example/'")
    assert redeploy(installation, project).status == 200
    assert installation.api.item(project, "my-jwk")["sourceType"] == "URL", "deploying again detaches nothing"
    installation.api.update(project, "my-jwk", {"description": "mine"})
    assert history(installation, project)[0]["changed"] == ["description", "sourceType", "sourceUrl"]


def test_pages_of_a_history_are_the_whole_of_it(embedded_system, project):
    created(embedded_system, project)
    for number in range(6):
        embedded_system.api.update(project, "my-jwk", {"description": f"{number}"})
    whole, path = history(embedded_system, project), jwk_path(project, "my-jwk")
    assert len(whole) == 7
    pages, cursor = [], ""
    while cursor is not None:
        body = page(embedded_system, path, f"?limit=3{cursor and '&cursor=' + cursor}")
        pages.append(body["resultList"])
        cursor = body["nextCursor"]
        embedded_system.api.update(project, "my-jwk", {"description": "later ones do not move the pages"})
    assert [len(each) for each in pages] == [3, 3, 1]
    assert [each["deploymentId"] for one in pages for each in one] == [each["deploymentId"] for each in whole]


def test_a_cursor_of_another_list_is_refused(embedded_system, project):
    """Which deployment comes next is known of those of the list alone."""
    other = embedded_system.add_project(f"{project}-other")
    for owner, name in ((project, "first"), (other, "foreign"), (project, "second"), (project, "third")):
        created(embedded_system, owner, name)
    created(embedded_system, other, "foreign-2")
    cursor = page(embedded_system, project_path(project), "?limit=1")["nextCursor"]
    rest = page(embedded_system, project_path(project), f"?limit=5&cursor={cursor}")["resultList"]
    assert [each["jwkName"] for each in rest] == ["second", "first"]
    foreign = page(embedded_system, project_path(other), "?limit=1")["nextCursor"]
    for path, wrong in ((project_path(project), foreign), (jwk_path(project, "first"), cursor)):
        answer = embedded_system.api.request("GET", f"{path}deployments/?limit=5&cursor={wrong}")
        assert (answer.status, answer.json["error_description"]) == (400, "cursor is not one that this list has given!")


def test_the_history_of_the_project_keeps_deleted_jwks(embedded_system, project):
    other = embedded_system.add_project(f"{project}-other")
    created(embedded_system, other)
    created(embedded_system, project)
    created(embedded_system, project, "second")
    first_id = history(embedded_system, project)[0]["jwkId"]
    assert embedded_system.api.delete(project, "my-jwk").status == 200
    created(embedded_system, project)
    body = page(embedded_system, project_path(project))
    assert "nextCursor" not in body
    assert [(each["operation"], each["jwkName"]) for each in body["resultList"]] == [
        ("create", "my-jwk"), ("delete", "my-jwk"), ("create", "second"), ("create", "my-jwk")]
    body = page(embedded_system, project_path(project), f"?jwkId={first_id}")
    assert [each["operation"] for each in body["resultList"]] == ["delete", "create"]
    assert [each["operation"] for each in history(embedded_system, project)] == ["create"], "the new JWK of the name"
    answer = embedded_system.api.request("GET", f"{project_path(other)}deployments/?jwkId={first_id}")
    assert (answer.status, answer.json["error_description"]) == (400, f"JWK (id: {first_id}) is not found!")


def test_history_of_an_unknown_jwk_is_answered_400(embedded_system, project):
    answer = embedded_system.api.request("GET", f"{jwk_path(project, 'none')}deployments/")
    assert (answer.status, answer.json["error_description"]) == (400, "JWK (name: none) is not found!")


def test_redeploy_makes_every_replica_apply_and_acknowledge_the_present_state_again(system, project):
    created(system, project, description="as it is")
    before = system.api.item(project, "my-jwk")
    answer = redeploy(system, project)
    assert answer.status == 200, answer
    assert answer.json["deploymentResult"]["message"] == "Deployment completed successfully"
    assert [each["environmentName"] for each in answer.json["deploymentResult"]["environmentResults"]] == ["production", "staging"]
    assert system.api.item(project, "my-jwk") == before
    newest, first = history(system, project)
    assert (newest["operation"], newest["version"], newest["changed"]) == ("redeploy", 2, [])
    assert answer.headers["Location"].rstrip("/").endswith(newest["deploymentId"])
    one, two = system.topics.events_of(first["jwkId"])
    assert two.headers["ce_type"] == "jwk.redeployed.v1" and two.value["jwk"] == one.value["jwk"]
    acks = [record.value for record in system.topics.read(system.topics.acks) if record.key == newest["deploymentId"]]
    assert {(ack["environment"], ack["status"]) for ack in acks} == {("production", "applied"), ("staging", "applied")}
    for worker in system.workers.values():
        assert [item["version"] for item in worker.items(project)] == [2]


def test_each_redeploy_is_a_version_of_its_own(embedded_system, project):
    created(embedded_system, project)
    tags = [embedded_system.api.get_jwk(project, "my-jwk").headers["ETag"]]
    for _ in range(2):
        assert redeploy(embedded_system, project).json["deploymentResult"]["success"]
        tags.append(embedded_system.api.get_jwk(project, "my-jwk").headers["ETag"])
    assert embedded_system.api.update(project, "my-jwk", {"description": "x"}).json["deploymentResult"]["success"]
    assert [each["version"] for each in history(embedded_system, project)] == [4, 3, 2, 1]
    assert len(set(tags)) == 3


def test_redeploy_to_one_environment_is_a_deployment_to_that_one(embedded_system, project):
    created(embedded_system, project)
    answer = redeploy(embedded_system, project, body={"environmentName": "staging"})
    assert answer.status == 200, answer
    assert answer.json["deploymentResult"] == {
        "success": True, "message": "Deployment completed successfully",
        "environmentResults": [{"environmentName": "staging", "success": True, "message": "Deployed successfully"}]}
    newest = history(embedded_system, project)[0]
    assert [each["environmentName"] for each in newest["deploymentResult"]["environmentResults"]] == ["staging"]


@pytest.mark.parametrize("body, sentence", [
    ({"environmentName": "nowhere"}, "Environment (name: nowhere) is not found!"),
    ({"environmentName": ""}, None), ({"environmentName": 1}, None), ({"environment": "staging"}, None), ([], None),
])
def test_redeploy_refuses_what_it_does_not_know(embedded_system, project, body, sentence):
    created(embedded_system, project)
    answer = redeploy(embedded_system, project, body=body)
    assert answer.status == 400, answer
    assert sentence is None or answer.json["error_description"] == sentence
    assert len(history(embedded_system, project)) == 1


def test_redeploy_needs_both_roles_and_a_jwk(embedded_system, project):
    answer = redeploy(embedded_system, project, "none")
    assert (answer.status, answer.json["error_description"]) == (400, "JWK (name: none) is not found!")
    created(embedded_system, project)
    reader, _ = embedded_system.new_token(roles=["ROLE_API_SECURITY"])
    assert redeploy(embedded_system, project, token=reader).status == 403
    assert redeploy(embedded_system, project, body={}).status == 200, "an empty object is everything, as no body is"


# ---- drift ----


def drift(system, project):
    answer = system.api.request("GET", f"{project_path(project)}drift/")
    assert answer.status == 200, answer
    return {each["environmentName"]: each for each in answer.json["resultList"]}


def replica(system, project, environment, name="edge-1"):
    found = [each for each in drift(system, project)[environment]["replicas"] if each["replicaName"] == name]
    return found[0] if found else None


def fast_worker(installation, environment, name="edge-1"):
    return installation.start_worker(environment, name, "--heartbeat-interval", "200ms")


def test_drift_tells_that_all_is_well(embedded_system, project):
    created(embedded_system, project)
    wait_until(lambda: all(each["inSync"] for each in drift(embedded_system, project).values()), "the replicas have told where they are")
    environments = drift(embedded_system, project)
    assert list(environments) == ["production", "staging"]
    one, = environments["production"]["replicas"]
    assert (one["connected"], one["ready"], one["offlineSince"], one["missing"], one["failing"]) == (True, True, None, [], [])
    assert one["keys"] >= 1
    assert len(one["positions"]) == 4 and max(each["sequence"] for each in one["positions"]) > 0


def test_drift_names_what_an_offline_replica_lacks_and_forgets_one_that_has_left(installation, project):
    installation.add_environment("production")
    installation.add_environment("empty")
    installation.start_api("--grace", "0ms")
    one, two = fast_worker(installation, "production", "edge-1"), fast_worker(installation, "production", "edge-2")
    installation.wait_connected("production")
    other = installation.add_project(f"{project}-other")
    for name in ("changed", "deleted", "same"):
        created(installation, project, name)
    created(installation, other, "elsewhere")
    wait_until(lambda: drift(installation, project)["production"]["inSync"], "both have told where they are")
    two.pause()
    wait_until(lambda: not replica(installation, project, "production", "edge-2")["connected"], "edge-2 is held offline")
    assert not drift(installation, project)["production"]["inSync"], "though it lacks nothing yet"
    assert installation.api.update(project, "changed", {"description": "x"}).status == 200
    assert installation.api.delete(project, "deleted").status == 200
    assert installation.api.update(other, "elsewhere", {"description": "x"}).status == 200
    wait_until(lambda: replica(installation, project, "production", "edge-1")["inSync"], "edge-1 has told where it is")
    environments = drift(installation, project)
    assert not environments["production"]["inSync"]
    assert environments["empty"] == {"environmentName": "empty", "inSync": False, "replicas": []}
    lacking = replica(installation, project, "production", "edge-2")
    assert lacking["offlineSince"] is not None and not lacking["ready"] and not lacking["inSync"]
    assert lacking["missingCount"] == 2
    assert sorted((each["jwkName"], each["version"], each["deleted"]) for each in lacking["missing"]) == [
        ("changed", 2, False), ("deleted", 2, True)]
    two.resume()
    wait_until(lambda: drift(installation, project)["production"]["inSync"], "edge-2 has caught up")
    one.stop()
    wait_until(lambda: replica(installation, project, "production", "edge-1") is None, "edge-1 is not expected any more")
    assert drift(installation, project)["production"]["inSync"]


def test_a_replica_is_offline_since_it_was_last_heard_of_whatever_was_restarted_then(installation, project):
    installation.add_environment("production")
    installation.start_api("--grace", "0ms")
    fast_worker(installation, "production", "edge-1")
    dead = fast_worker(installation, "production", "edge-2")
    installation.wait_connected("production")
    created(installation, project)

    def offline():
        found = replica(installation, project, "production", "edge-2")
        return found if found and not found["connected"] else None
    dead.kill()
    killed = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    since = wait_until(offline, "edge-2 is held offline")["offlineSince"]
    assert since[:-1] <= killed
    for _ in range(2):
        installation.api.stop()
        installation.start_api("--grace", "0ms")
        assert wait_until(offline, "edge-2 is held offline again")["offlineSince"] == since
        answer = installation.api.update(project, "my-jwk", {"description": "x"})
        assert outcomes(answer.json) == [("production", True, "Deployed successfully to 1 of 2 replicas; edge-2 has been offline since "
                                          f"{since} and catches up when it connects")]


def test_drift_names_what_a_replica_can_not_put_to_use(installation, project, tmp_path):
    installation.add_environment("production")
    installation.start_api("--grace", "0ms")
    allowed = tmp_path / "allowed"
    hook = tmp_path / "hook"
    hook.write_text(f"#!/bin/sh\ncat > /dev/null\n[ -e {allowed} ] || {{ echo no gateway >&2; exit 1; }}\n")
    hook.chmod(0o755)
    installation.start_worker("production", "edge-1", "--heartbeat-interval", "200ms", "--hook", hook)
    answer = wait_until(lambda: (lambda answer: answer if b"no gateway" in answer.body else None)(
        installation.api.create(project, "my-jwk") if not installation.api.names(project) else redeploy(installation, project)),
        "the hook fails")
    assert not answer.json["deploymentResult"]["success"]
    failing = wait_until(lambda: replica(installation, project, "production")["failing"], "the replica tells of its failing hook")
    assert [each["jwkName"] for each in failing] == ["my-jwk"]
    assert not replica(installation, project, "production")["inSync"]
    allowed.touch()
    wait_until(lambda: replica(installation, project, "production")["inSync"], "the hook has succeeded")


def test_a_replica_that_can_not_tell_all_that_fails_is_not_in_sync(installation, project):
    installation.add_environment("production", keys=False)
    installation.start_api()
    worker = HandWorker(installation, "production").start()
    wait_until(lambda: drift(installation, project)["production"]["inSync"], "it is there and lacks nothing")
    worker.say("heartbeat", failingTruncated=True)
    wait_until(lambda: replica(installation, project, "production")["failingTruncated"], "it tells that there is more")
    assert not drift(installation, project)["production"]["inSync"]


def test_drift_needs_the_security_role_and_a_visible_project(embedded_system, project):
    deployer, _ = embedded_system.new_token(roles=["ROLE_DEPLOY_UNDEPLOY_PROXIES"])
    assert embedded_system.api.request("GET", f"{project_path(project)}drift/", token=deployer).status == 403
    assert embedded_system.api.request("GET", f"{project_path('none')}drift/").status == 404
