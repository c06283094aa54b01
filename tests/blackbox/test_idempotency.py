"""A change with an Idempotency-Key happens once, however often it is asked for and whatever was killed in between."""

import concurrent.futures
import contextlib
import sqlite3
import threading
import uuid

import pytest

from harness.installation import jwk_path, jwks_path
from harness.keys import new_key
from harness.program import wait_until
from harness.sources import Sources, ec_key, private_pem


def with_key(key=None):
    return {"Idempotency-Key": key or str(uuid.uuid4())}


def created(system, project, name="my-jwk", **options):
    answer = system.api.create(project, name, **options)
    assert answer.status == 200, answer


def versions(system, project, name="my-jwk"):
    answer = system.api.request("GET", f"{jwk_path(project, name)}deployments/")
    assert answer.status == 200, answer
    return [deployment["version"] for deployment in answer.json["resultList"]]


def same(first, again):
    """The answer is the first one again, and says so."""
    assert (again.status, again.body, again.headers["Location"]) == (first.status, first.body, first.headers["Location"])
    assert first.headers["Idempotency-Replayed"] is None
    assert again.headers["Idempotency-Replayed"] == "true"


def misused(answer):
    assert (answer.status, answer.json) == (422, {"error": "unprocessable",
                                                  "error_description": "Idempotency-Key was used for another request already"})


def test_an_update_asked_for_again_is_answered_again_and_not_done_again(embedded_system, project):
    created(embedded_system, project)
    headers = with_key()
    first = embedded_system.api.update(project, "my-jwk", {"description": "x"}, headers=headers)
    assert first.status == 200, first
    for _ in range(3):
        same(first, embedded_system.api.update(project, "my-jwk", {"description": "x"}, headers=headers))
    assert versions(embedded_system, project) == [2, 1]


def test_create_rename_and_delete_are_answered_again_where_a_second_one_would_be_refused(embedded_system, project):
    key, headers = new_key("EC", kid="k"), with_key()
    first = embedded_system.api.create(project, "my-jwk", key, headers=headers)
    same(first, embedded_system.api.create(project, "my-jwk", key, headers=headers))
    headers = with_key()
    first = embedded_system.api.update(project, "my-jwk", {"name": "other"}, headers=headers)
    same(first, embedded_system.api.update(project, "my-jwk", {"name": "other"}, headers=headers))
    headers = with_key()
    first = embedded_system.api.delete(project, "other", headers=headers)
    assert first.json["deploymentResult"]["message"] == "Undeployment completed successfully"
    same(first, embedded_system.api.delete(project, "other", headers=headers))


def test_redeploy_is_answered_again(embedded_system, project):
    created(embedded_system, project)
    headers = with_key()
    first = embedded_system.api.request("POST", f"{jwk_path(project, 'my-jwk')}redeploy", headers=headers)
    same(first, embedded_system.api.request("POST", f"{jwk_path(project, 'my-jwk')}redeploy/", headers=headers))
    misused(embedded_system.api.request("POST", f"{jwk_path(project, 'my-jwk')}redeploy", json_body={"environmentName": "staging"},
                                        headers=headers))
    assert versions(embedded_system, project) == [2, 1]


def test_the_path_is_the_same_however_it_is_written(embedded_system, project):
    created(embedded_system, project)
    headers = with_key()
    first = embedded_system.api.request("DELETE", jwk_path(project, "my-jwk"), headers=headers)
    same(first, embedded_system.api.request("DELETE", jwk_path(project, "my-jwk").rstrip("/").replace("my-jwk", "%6dy-jwk"), headers=headers))


def test_a_key_with_another_body_path_or_method_is_answered_422_and_changes_nothing(embedded_system, project):
    created(embedded_system, project)
    created(embedded_system, project, "other")
    headers = with_key()
    assert embedded_system.api.update(project, "my-jwk", {"description": "x"}, headers=headers).status == 200
    misused(embedded_system.api.update(project, "my-jwk", {"description": "y"}, headers=headers))
    misused(embedded_system.api.update(project, "other", {"description": "x"}, headers=headers))
    misused(embedded_system.api.delete(project, "my-jwk", headers=headers))
    misused(embedded_system.api.create(project, "third", headers=headers))
    assert versions(embedded_system, project) == [2, 1] and versions(embedded_system, project, "other") == [1]
    assert embedded_system.api.names(project) == ["my-jwk", "other"]


def test_users_do_not_share_keys_and_tokens_of_one_user_do(embedded_system, project):
    created(embedded_system, project)
    headers = with_key()
    first = embedded_system.api.update(project, "my-jwk", {"description": "x"}, headers=headers)
    second_token, _ = embedded_system.new_token(user="alice")
    same(first, embedded_system.api.update(project, "my-jwk", {"description": "x"}, headers=headers, token=second_token))
    other, _ = embedded_system.new_token(user="bob")
    theirs = embedded_system.api.update(project, "my-jwk", {"description": "y"}, headers=headers, token=other)
    assert theirs.status == 200 and theirs.headers["Idempotency-Replayed"] is None
    assert versions(embedded_system, project) == [3, 2, 1]


def test_a_refused_request_is_not_remembered(embedded_system, project):
    headers = with_key()
    assert embedded_system.api.update(project, "my-jwk", {"description": "x"}, headers=headers).status == 400
    created(embedded_system, project)
    first = embedded_system.api.update(project, "my-jwk", {"description": "x"}, headers=headers)
    assert first.status == 200 and first.headers["Idempotency-Replayed"] is None
    headers = with_key()
    assert embedded_system.api.update(project, "my-jwk", {"nonsense": "x"}, headers=headers).status == 400
    assert embedded_system.api.update(project, "my-jwk", {"description": "y"}, headers=headers).status == 200
    headers = with_key()
    stale = headers | {"If-Match": '"stale"'}
    assert embedded_system.api.update(project, "my-jwk", {"description": "z"}, headers=stale).status == 412
    assert embedded_system.api.update(project, "my-jwk", {"description": "z"}, headers=headers).status == 200
    assert versions(embedded_system, project) == [4, 3, 2, 1]


@pytest.mark.parametrize("key", ["", "a b", "ä", "x" * 256, "a\tb"], ids=["empty", "space", "not ASCII", "256 bytes", "tab"])
def test_a_key_against_the_rules_is_answered_400_and_changes_nothing(embedded_system, project, key):
    created(embedded_system, project)
    answer = embedded_system.api.update(project, "my-jwk", {"description": "x"}, headers={"Idempotency-Key": key.encode()})
    assert (answer.status, answer.json["error_description"]) == (400, "Idempotency-Key must be 1 to 255 visible ASCII characters")
    assert versions(embedded_system, project) == [1]


def test_two_keys_in_one_request_are_none(embedded_system, project):
    created(embedded_system, project)
    with embedded_system.api.raw() as connection:
        connection.send(f'DELETE {jwk_path(project, "my-jwk")} HTTP/1.1\r\nHost: a\r\n'
                        f'Authorization: Bearer {embedded_system.token}\r\n'
                        'Idempotency-Key: a\r\nIdempotency-Key: b\r\n\r\n'.encode())
        assert connection.receive().status == 400
    assert versions(embedded_system, project) == [1]


@pytest.mark.parametrize("key", ["a", "x" * 255, '"quoted"', "!~'%&"])
def test_any_key_within_the_rules_is_one(embedded_system, project, key):
    created(embedded_system, project)
    headers = with_key(key)
    token, _ = embedded_system.new_token(user=project)
    first = embedded_system.api.update(project, "my-jwk", {"description": "x"}, headers=headers, token=token)
    same(first, embedded_system.api.update(project, "my-jwk", {"description": "x"}, headers=headers, token=token))


def test_two_keys_are_told_to_be_two(embedded_system, project):
    created(embedded_system, project)
    lines = [f"PUT {jwk_path(project, 'my-jwk')} HTTP/1.1", "Host: a", f"Authorization: Bearer {embedded_system.token}",
             "Content-Type: application/json", "Content-Length: 2", "Idempotency-Key: a", "Idempotency-Key: b", "", "{}"]
    with embedded_system.api.raw() as connection:
        connection.send("\r\n".join(lines).encode())
        answer = connection.receive()
    assert (answer.status, answer.json["error_description"]) == (400, "Idempotency-Key is given more than once")
    assert versions(embedded_system, project) == [1]


def test_a_key_on_a_read_is_ignored(embedded_system, project):
    created(embedded_system, project)
    headers = with_key()
    assert embedded_system.api.get_jwk(project, "my-jwk", headers=headers).status == 200
    assert embedded_system.api.update(project, "my-jwk", {"description": "x"}, headers=headers).status == 200


def test_an_accepted_change_is_accepted_again(embedded_system, project):
    created(embedded_system, project)
    headers = with_key()
    first = embedded_system.api.update(project, "my-jwk", {"description": "x"}, headers=headers, prefer="respond-async")
    assert first.status == 202
    same(first, embedded_system.api.update(project, "my-jwk", {"description": "x"}, headers=headers, prefer="respond-async"))
    assert versions(embedded_system, project) == [2, 1]


def test_many_requests_with_one_key_at_once_are_one_change(embedded_system, project):
    created(embedded_system, project)
    headers, count = with_key(), 16
    barrier = threading.Barrier(count)

    def ask(_):
        barrier.wait()
        return embedded_system.api.update(project, "my-jwk", {"description": "x"}, headers=headers)
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        answers = list(pool.map(ask, range(count)))
    assert {answer.status for answer in answers} <= {200, 409}
    assert len({answer.body for answer in answers if answer.status == 200}) == 1
    assert versions(embedded_system, project) == [2, 1]


def started(installation):
    installation.add_environment("production")
    installation.start_api()
    worker = installation.start_worker("production")
    installation.wait_connected()
    return worker


@pytest.mark.parametrize("end", ["terminate", "kill"])
def test_the_first_answer_is_given_again_after_a_restart(installation, project, end):
    started(installation)
    created(installation, project)
    headers = with_key()
    first = installation.api.update(project, "my-jwk", {"description": "x"}, headers=headers)
    assert first.json["deploymentResult"]["success"]
    if end == "kill":
        installation.api.kill()
    else:
        installation.api.stop()
    installation.start_api()
    again = installation.api.update(project, "my-jwk", {"description": "x"}, headers=headers)
    if end == "terminate":
        same(first, again)
    else:
        # What was killed may not have stored its answer: then it is made again from what has become of the deployment.
        assert (again.status, again.headers["Location"], again.json["success"]) == (200, first.headers["Location"], True)
        result, = again.json["deploymentResult"]["environmentResults"]
        assert result["environmentName"] == "production"
    misused(installation.api.update(project, "my-jwk", {"description": "y"}, headers=headers))
    assert versions(installation, project) == [2, 1]


def test_a_request_in_progress_is_answered_409_and_later_as_the_first(installation, project):
    worker = started(installation)
    created(installation, project)
    worker.pause()
    headers = with_key()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        first = pool.submit(installation.api.update, project, "my-jwk", {"description": "x"}, headers=headers)
        wait_until(lambda: versions(installation, project) == [2, 1], "the change is recorded")
        again = installation.api.update(project, "my-jwk", {"description": "x"}, headers=headers)
        assert (again.status, again.json["error"]) == (409, "conflict")
        assert again.headers["Retry-After"] == "1"
        misused(installation.api.update(project, "my-jwk", {"description": "y"}, headers=headers))
        worker.resume()
        first = first.result()
    assert first.json["deploymentResult"]["success"]
    same(first, installation.api.update(project, "my-jwk", {"description": "x"}, headers=headers))
    assert versions(installation, project) == [2, 1]


def test_what_was_killed_before_its_answer_is_answered_with_what_became_of_it(installation, project):
    worker = started(installation)
    created(installation, project)
    worker.pause()
    headers = with_key()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        first = pool.submit(installation.api.update, project, "my-jwk", {"description": "x"}, headers=headers)
        wait_until(lambda: versions(installation, project) == [2, 1], "the change is recorded")
        installation.api.kill()
        assert first.exception() is not None
    installation.start_api()
    again = installation.api.update(project, "my-jwk", {"description": "x"}, headers=headers)
    assert again.status == 200 and again.headers["Idempotency-Replayed"] == "true"
    assert again.json == {"success": True, "deploymentResult": {
        "success": False, "message": "Deployment is not complete: 1 of 1 environments did not confirm (production)",
        "environmentResults": [{"environmentName": "production", "success": False, "message": "Deployment is in progress"}]}}
    worker.resume()
    installation.api.wait_deployment(again.headers["Location"])
    again = installation.api.update(project, "my-jwk", {"description": "x"}, headers=headers)
    assert again.json["deploymentResult"]["message"] == "Deployment completed successfully"
    assert versions(installation, project) == [2, 1]


def source_update(installation, project, made):
    """Makes so many JWKs from a key, and returns what updates that key and deploys them again."""
    source, key, headers = Sources(installation.api, project), ec_key(), with_key()
    source.add_key("my-key", private_pem(key))
    for number in range(made):
        assert source.create(f"jwk-{number}", "PRIVATE_KEY", keyName="my-key").status == 200
    body = source.key_body("my-key", private_pem(key), updateReferencedJwks=True)
    return lambda: installation.api.request("PUT", source.path("keys", "my-key"), json_body=body, headers=headers)


def restart_without_the_answer(installation, *statements):
    """As a crash before the answer was stored leaves the store, and as the statements change it further."""
    installation.api.stop()
    with contextlib.closing(sqlite3.connect(installation.data_directory / "jwk-api.db")) as store, store:
        for statement in ("UPDATE idempotency SET status = NULL, location = NULL, body = NULL", *statements):
            store.execute(statement)
    installation.start_api()


@pytest.mark.parametrize("made", [0, 1, 2])
def test_what_a_crash_left_of_the_change_of_a_source_is_answered_as_the_first_time(installation, project, made):
    """However many JWKs were made from it and deployed again."""
    started(installation)
    update = source_update(installation, project, made)
    first = update()
    assert first.status == 200 and first.json["deploymentResult"]["success"], first
    assert (first.headers["Location"] is not None) == (made == 1)
    restart_without_the_answer(installation)
    same(first, update())


def test_of_several_deployments_the_one_that_failed_is_told_after_a_crash(installation, project):
    worker = started(installation)
    update = source_update(installation, project, 2)
    assert update().json["deploymentResult"]["success"]
    worker.stop()  # it would tell that what is said here to have failed has passed
    told = ("UPDATE deployment_result SET state = {}, message = '{}'"
            " WHERE deployment_id = (SELECT {}_deployment FROM idempotency)")
    restart_without_the_answer(installation, told.format(2, "no room", "first"), told.format(1, "On 1 of 2", "last"))
    assert update().json["deploymentResult"]["environmentResults"] == [
        {"environmentName": "production", "success": False, "message": "no room"}]


def test_a_key_is_forgotten_after_its_time(installation, project):
    installation.start_api("--idempotency-lifetime", "1s")
    created(installation, project)
    headers = with_key()
    body = {"description": "x"}
    assert installation.api.update(project, "my-jwk", body, headers=headers).status == 200
    fresh = wait_until(lambda: (lambda answer: answer if answer.headers["Idempotency-Replayed"] is None else None)(
        installation.api.update(project, "my-jwk", body, headers=headers)), "the key is forgotten")
    assert fresh.status == 200
    assert versions(installation, project) == [3, 2, 1]


def test_a_bad_body_under_a_key_leaves_the_key_free(embedded_system, project):
    headers = with_key()
    assert embedded_system.api.request("POST", jwks_path(project), b"{", headers=headers).status == 400
    assert embedded_system.api.create(project, "my-jwk", headers=headers).status == 200
