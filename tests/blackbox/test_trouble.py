"""The answer under trouble: each kind has its own clear sentence, the update is recorded all the same, and goes on."""

import re
import stat
import threading
import time

import pytest

from harness.installation import jwk_path
from harness.program import wait_until

WAIT_A_SECOND = "wait=1"
NO_REPLICA = "No replica of this environment is connected; the change is deployed when one connects"


def result_of(answer):
    """environment → (success, message), and the whole result, of an answer that recorded a change."""
    assert answer.status == 200 and answer.json["success"] is True, answer
    result = answer.json["deploymentResult"]
    return result, {each["environmentName"]: (each["success"], each["message"]) for each in result["environmentResults"]}


@pytest.fixture
def paused(system):
    """Pauses workers, and lets them go on whatever happens."""
    workers = []

    def pause(environment):
        workers.append(system.workers[environment, "edge-1"])
        workers[-1].pause()
        return workers[-1]
    yield pause
    for worker in workers:
        worker.resume()
    system.wait_connected()


def test_a_replica_that_does_not_answer_in_time_is_named_and_the_deployment_goes_on(system, project, paused):
    assert system.api.create(project, "a").json["deploymentResult"]["success"]
    worker = paused("staging")
    answer = system.api.update(project, "a", {"name": "b"}, prefer=WAIT_A_SECOND)
    result, environments = result_of(answer)
    assert result["success"] is False
    assert result["message"] == "Deployment is not complete: 1 of 2 environments did not confirm (staging)"
    assert environments["production"] == (True, "Deployed successfully")
    assert environments["staging"] == (False, "Timed out after 1 s waiting for replica edge-1; the deployment goes on")
    location = answer.headers["Location"]

    def states():
        deployment = system.api.deployment(location)
        assert deployment["state"] != "SUCCEEDED" and deployment["deploymentResult"]["success"] is False
        return {each["environmentName"]: each["state"] for each in deployment["deploymentResult"]["environmentResults"]}
    wait_until(lambda: states()["production"] == "SUCCEEDED", "production is settled")
    assert states()["staging"] == "IN_PROGRESS"
    worker.resume()
    deployment = system.api.wait_deployment(location)
    assert deployment["deploymentResult"]["success"] is True
    assert deployment["deploymentResult"]["message"] == "Deployment completed successfully"
    assert {each["message"] for each in deployment["deploymentResult"]["environmentResults"]} == {"Deployed successfully"}
    assert worker.names(project) == ["b"]


def test_prefer_wait_lowers_the_wait_and_never_raises_it(installation, project):
    installation.deploy_timeout = "2s"
    installation.add_environment("production")
    installation.start_api()
    worker = installation.start_worker("production")
    installation.wait_connected()
    assert installation.api.create(project, "a").json["deploymentResult"]["success"]
    worker.pause()
    for prefer, seconds in (("wait=1", 1), ("wait=3600", 2), (None, 2)):
        answer = installation.api.update(project, "a", {"description": "x"}, prefer=prefer)
        _, environments = result_of(answer)
        assert environments["production"][1] == f"Timed out after {seconds} s waiting for replica edge-1; the deployment goes on"


@pytest.mark.parametrize("prefer", ["wait=x", "wait=-1", "wait", "wait=99999999999999999999", "nothing=1", "", ",,;", 'wait="1'])
def test_prefer_that_is_not_understood_is_ignored(embedded_system, project, prefer):
    assert embedded_system.api.create(project, "a").status == 200
    assert embedded_system.api.update(project, "a", {"description": "x"}, prefer=prefer).json["deploymentResult"]["success"]


def test_respond_async_is_answered_202_at_once_and_the_location_tells_the_outcome(system, project, paused):
    assert system.api.create(project, "a").json["deploymentResult"]["success"]
    worker = paused("production")
    answer = system.api.update(project, "a", {"name": "b"}, prefer="respond-async")
    assert answer.status == 202
    assert answer.json == {"success": True, "deploymentResult": {"success": False, "message": "Deployment is in progress",
                                                                 "environmentResults": []}}
    assert answer.headers["Preference-Applied"] == "respond-async"
    location = answer.headers["Location"]
    assert re.fullmatch(rf"/apiops/projects/{re.escape(project)}/deployments/[0-9a-f-]{{36}}/", location)
    assert system.api.deployment(location)["state"] == "IN_PROGRESS"
    assert system.api.names(project) == ["b"], "it is recorded when it is answered"
    worker.resume()
    deployment = system.api.wait_deployment(location)
    assert deployment["operation"] == "update" and deployment["jwkName"] == "b" and deployment["actor"] == "alice"
    assert deployment["version"] == 2
    assert worker.names(project) == ["b"]


def test_an_accepted_delete_is_told_as_an_undeployment(embedded_system, project):
    assert embedded_system.api.create(project, "a").status == 200
    answer = embedded_system.api.delete(project, "a", prefer="respond-async")
    assert answer.status == 202
    assert answer.json["deploymentResult"]["message"] == "Undeployment is in progress"


def test_location_of_every_answer_names_its_deployment(system, project):
    identifiers = set()
    for answer, operation in ((system.api.create(project, "a"), "create"), (system.api.update(project, "a", {"name": "b"}), "update"),
                              (system.api.delete(project, "b"), "delete")):
        deployment = system.api.wait_deployment(answer.headers["Location"])  # its commit may follow its answer
        assert deployment["operation"] == operation
        assert deployment["deploymentResult"]["message"] == answer.json["deploymentResult"]["message"]
        assert all(each["time"] for each in deployment["deploymentResult"]["environmentResults"])
        identifiers.add(deployment["deploymentId"])
    assert len(identifiers) == 3


def test_client_that_goes_away_while_it_waits_does_not_stop_its_deployment(system, project, paused):
    assert system.api.create(project, "a").json["deploymentResult"]["success"]
    worker = paused("staging")
    body = b'{"name":"b"}'
    with system.api.raw() as connection:
        connection.send(f"PUT {jwk_path(project, 'a')} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {system.token}\r\n"
                        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        wait_until(lambda: system.api.names(project) == ["b"], "the update is recorded")
    worker.resume()
    wait_until(lambda: worker.names(project) == ["b"], "the environment has the update")
    event, = system.topics.events_named(project, "b")
    system.api.wait_deployment(f"/apiops/projects/{project}/deployments/{event.value['deploymentId']}/")


def test_other_requests_are_answered_while_many_wait(embedded_system, project):
    names = [f"key-{number}" for number in range(40)]
    for name in names:
        assert embedded_system.api.create(project, name, prefer="respond-async").status == 202
    embedded_system.wait_connected()
    worker = embedded_system.workers["staging", "edge-1"]
    worker.pause()
    answers = []
    threads = [threading.Thread(target=lambda name=name: answers.append(embedded_system.api.update(project, name, {"description": "x"})))
               for name in names]
    try:
        for thread in threads:
            thread.start()
        wait_until(lambda: all(item["description"] == "x" for item in embedded_system.api.list_jwks(project).json["resultList"]),
                   "all are recorded while they wait")
        assert not answers
    finally:
        worker.resume()
        for thread in threads:
            thread.join()
    assert [answer.json["deploymentResult"]["success"] for answer in answers] == [True] * len(names)


def failing_hook(directory):
    """A hook that fails with two lines of error while the file `broken` exists."""
    hook, broken = directory / "hook.sh", directory / "broken"
    hook.write_text(f'#!/bin/sh\nif [ -e "{broken}" ]; then echo "first line" >&2; echo "gateway does not answer" >&2; exit 1; fi\n')
    hook.chmod(hook.stat().st_mode | stat.S_IXUSR)
    return hook, broken


def test_a_hook_that_fails_is_a_failed_replica_and_its_later_success_corrects_the_result(installation, project, broker):
    hook, broken = failing_hook(installation.directory)
    installation.add_environment("production")
    installation.add_environment("staging")
    installation.start_api()
    installation.start_worker("production")
    installation.start_worker("staging", "edge-1", "--hook", hook)
    installation.wait_connected()
    assert installation.api.create(project, "a").json["deploymentResult"]["success"]
    broken.touch()
    answer = installation.api.update(project, "a", {"name": "b"})
    result, environments = result_of(answer)
    assert result["success"] is False
    assert result["message"] == "Deployment is not complete: 1 of 2 environments did not confirm (staging)"
    assert environments["production"] == (True, "Deployed successfully")
    assert environments["staging"] == (False, "Deployment failed on replica edge-1: gateway does not answer; it is tried again")
    location = answer.headers["Location"]
    installation.api.wait_deployment(location, "FAILED")
    broken.unlink()
    deployment = installation.api.wait_deployment(location)
    assert {each["message"] for each in deployment["deploymentResult"]["environmentResults"]} == {"Deployed successfully"}
    statuses = [record.value["status"] for record in installation.topics.read(installation.topics.acks)
                if record.value["deploymentId"] == deployment["deploymentId"] and record.value["environment"] == "staging"]
    assert statuses[0] == "failed" and statuses[-1] == "applied"


def test_a_hook_that_cannot_be_run_or_hangs_is_a_failed_replica(installation, project):
    hanging = installation.directory / "hang.sh"
    hanging.write_text("#!/bin/sh\nexec sleep 1000\n")
    hanging.chmod(0o755)
    missing = installation.directory / "missing.sh"
    missing.write_text("#!/no/such/interpreter\n")
    missing.chmod(0o755)
    installation.add_environment("production")
    installation.add_environment("staging")
    installation.start_api()
    installation.start_worker("production", "edge-1", "--hook", missing)
    installation.start_worker("staging", "edge-1", "--hook", hanging, "--hook-timeout", "200ms")

    def both_failed():
        result, environments = result_of(installation.api.create(project, f"a{time.monotonic_ns()}", prefer="wait=5"))
        assert result["success"] is False
        return environments if all("edge-1" in message for _, message in environments.values()) else None
    environments = wait_until(both_failed, "both replicas are known")
    for environment in ("production", "staging"):
        assert environments[environment][1].startswith("Deployment failed on replica edge-1: "), environments


def test_an_environment_without_a_replica_is_told_at_once_and_catches_up(installation, project, broker):
    installation.deploy_timeout = "60s"  # longer than the patience of the test: waiting for it would fail
    installation.add_environment("production")
    installation.start_api()
    answer = installation.api.create(project, "a")
    result, environments = result_of(answer)
    assert result["success"] is False
    assert result["message"] == "Deployment is not complete: 1 of 1 environments did not confirm (production)"
    assert environments == {"production": (False, NO_REPLICA)}
    worker = installation.start_worker("production")
    assert worker.names(project) == ["a"]
    installation.api.wait_deployment(answer.headers["Location"])


def test_no_environments_at_all_is_told_and_recorded(installation, project, broker):
    installation.start_api()
    answer = installation.api.create(project, "a")
    result, _ = result_of(answer)
    assert result == {"success": False, "message": "No environments are defined; nothing was deployed", "environmentResults": []}
    deployment = installation.api.deployment(answer.headers["Location"])
    assert (deployment["state"], deployment["deploymentResult"]["success"]) == ("FAILED", False)
    assert installation.api.names(project) == ["a"]
    result, _ = result_of(installation.api.update(project, "a", {"name": "b"}))
    assert result["environmentResults"] == []
    assert installation.api.names(project) == ["b"]


def test_several_environments_in_trouble_are_all_named(installation, project):
    for name in ("a", "b", "c"):
        installation.add_environment(name)
    installation.start_api()
    installation.start_worker("b")
    installation.wait_connected("b")
    result, environments = result_of(installation.api.create(project, "key"))
    assert result["message"] == "Deployment is not complete: 2 of 3 environments did not confirm (a, c)"
    assert environments == {"a": (False, NO_REPLICA), "b": (True, "Deployed successfully"), "c": (False, NO_REPLICA)}


def test_a_replica_that_is_offline_is_not_waited_for_and_is_named(installation, project):
    installation.deploy_timeout = "60s"
    installation.add_environment("production")
    installation.start_api()
    heartbeat = ("--heartbeat-interval", "100ms")
    installation.start_worker("production", "edge-1", *heartbeat)
    second = installation.start_worker("production", "edge-2", *heartbeat)
    installation.wait_connected()
    assert installation.api.create(project, "a").json["deploymentResult"]["success"]
    second.pause()

    def told_offline():
        _, environments = result_of(installation.api.update(project, "a", {"description": str(time.monotonic_ns())}, prefer="wait=1"))
        return environments["production"] if environments["production"][0] else None
    _, message = wait_until(told_offline, "the paused replica counts as offline")
    assert re.fullmatch(r"Deployed successfully to 1 of 2 replicas; edge-2 has been offline since \S+ and catches up when it connects",
                        message)
    second.resume()
    wait_until(lambda: result_of(installation.api.update(project, "a", {"description": "last"}))[1]["production"]
               == (True, "Deployed successfully"), "both replicas count again")
    assert second.items(project)[0]["version"] == installation.workers["production", "edge-1"].items(project)[0]["version"]
