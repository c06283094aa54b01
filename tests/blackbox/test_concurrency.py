"""Entity tags, preconditions, and changes that meet: none is lost, and none is overwritten unseen."""

import concurrent.futures
import re
import threading

import pytest

from harness.installation import jwk_path
from harness.keys import new_key

THREADS = 16


def created(system, project, name, **options):
    answer = system.api.create(project, name, **options)
    assert answer.status == 200, answer


def tag_of(system, project, name="my-jwk"):
    answer = system.api.get_jwk(project, name)
    assert answer.status == 200, answer
    return answer.headers["ETag"]


def at_once(count, call):
    """Runs call(number) in so many threads, all begun at the same moment."""
    barrier = threading.Barrier(count)

    def run(number):
        barrier.wait()
        return call(number)
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def refused_412(answer):
    assert answer.status == 412, answer
    assert answer.json["error"] == "precondition_failed"
    return answer.json["error_description"]


def test_get_carries_a_strong_tag_that_changes_with_each_change_and_not_without(embedded_system, project):
    created(embedded_system, project, "my-jwk")
    first = tag_of(embedded_system, project)
    assert re.fullmatch(r'"[!#-~]+"', first)
    assert tag_of(embedded_system, project) == first
    assert embedded_system.api.request("HEAD", jwk_path(project, "my-jwk")).headers["ETag"] == first
    embedded_system.api.update(project, "my-jwk", {"description": "x"})
    second = tag_of(embedded_system, project)
    embedded_system.api.update(project, "my-jwk", {"description": "x"})
    third = tag_of(embedded_system, project)
    assert len({first, second, third}) == 3


def test_a_new_jwk_of_a_deleted_ones_name_has_another_tag(embedded_system, project):
    created(embedded_system, project, "my-jwk")
    first = tag_of(embedded_system, project)
    assert embedded_system.api.delete(project, "my-jwk").status == 200
    created(embedded_system, project, "my-jwk")
    assert tag_of(embedded_system, project) != first


@pytest.mark.parametrize("form, status", [
    ("{tag}", 304), ("W/{tag}", 304), ("*", 304), (" * ", 304), ('"a", {tag}', 304), (',, {tag} ,"b"', 304), ('"a,b",{tag}', 304),
    ('"other"', 200), ("unquoted", 200), ('"unended', 200), ("", 200), ('{tag}x', 304),
])
def test_if_none_match_on_get(embedded_system, project, form, status):
    created(embedded_system, project, "my-jwk")
    tag = tag_of(embedded_system, project)
    answer = embedded_system.api.get_jwk(project, "my-jwk", headers={"If-None-Match": form.replace("{tag}", tag)})
    assert answer.status == status, answer
    assert answer.headers["ETag"] == tag
    assert (answer.body == b"") == (status == 304)


@pytest.mark.parametrize("form, goes_on", [
    ("{tag}", True), ("*", True), ('"a", {tag}', True), ('"a",{tag},"b"', True),
    ("W/{tag}", False), ('"other"', False), ("unquoted", False), ('"unended', False), ("", False),
])
@pytest.mark.parametrize("method", ["PUT", "DELETE", "redeploy"])
def test_if_match_lets_a_change_go_on_only_in_the_state_that_it_names(embedded_system, project, method, form, goes_on):
    created(embedded_system, project, "my-jwk", description="before")
    headers = {"If-Match": form.replace("{tag}", tag_of(embedded_system, project))}
    if method == "PUT":
        answer = embedded_system.api.update(project, "my-jwk", {"description": "after"}, headers=headers)
    elif method == "DELETE":
        answer = embedded_system.api.delete(project, "my-jwk", headers=headers)
    else:
        answer = embedded_system.api.request("POST", f"{jwk_path(project, 'my-jwk')}redeploy", headers=headers)
    if goes_on:
        assert answer.status == 200, answer
        return
    refused_412(answer)
    assert embedded_system.api.item(project, "my-jwk")["description"] == "before"
    for worker in embedded_system.workers.values():
        assert worker.names(project) == ["my-jwk"]


def test_a_stale_tag_is_refused_whichever_change_made_it_stale(embedded_system, project):
    created(embedded_system, project, "my-jwk")
    stale = {"If-Match": tag_of(embedded_system, project)}
    assert embedded_system.api.update(project, "my-jwk", {"description": "theirs"}).status == 200
    sentence = refused_412(embedded_system.api.update(project, "my-jwk", {"description": "mine"}, headers=stale))
    assert sentence == "JWK (name: my-jwk) is not in the state that If-Match names!"
    refused_412(embedded_system.api.delete(project, "my-jwk", headers=stale))
    assert embedded_system.api.item(project, "my-jwk")["description"] == "theirs"


def test_a_read_with_a_stale_tag_is_told_so_as_a_change_is(embedded_system, project):
    assert embedded_system.api.create(project, "my-jwk").status == 200
    stale = {"If-Match": '"stale"'}
    answers = [embedded_system.api.get_jwk(project, "my-jwk", headers=stale),
               embedded_system.api.update(project, "my-jwk", {}, headers=stale)]
    assert [answer.status for answer in answers] == [412, 412] and answers[0].body == answers[1].body


def test_if_match_in_several_lines_is_one_list(embedded_system, project):
    created(embedded_system, project, "my-jwk")
    tag = tag_of(embedded_system, project)
    with embedded_system.api.raw() as connection:
        connection.send(f'DELETE {jwk_path(project, "my-jwk")} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {embedded_system.token}\r\n'
                        f'If-Match: "a"\r\nIf-Match: {tag}\r\n\r\n'.encode())
        assert connection.receive().status == 200


def test_if_none_match_on_an_update_is_judged_too(embedded_system, project):
    created(embedded_system, project, "my-jwk", description="before")
    refused_412(embedded_system.api.update(project, "my-jwk", {"description": "after"}, headers={"If-None-Match": "*"}))
    assert embedded_system.api.item(project, "my-jwk")["description"] == "before"


def test_a_precondition_on_what_does_not_exist_is_answered_as_without_it(embedded_system, project):
    answer = embedded_system.api.update(project, "none", {"description": "x"}, headers={"If-Match": "*"})
    assert (answer.status, answer.json["error_description"]) == (400, "JWK (name: none) is not found! Try create operation.")
    assert embedded_system.api.get_jwk(project, "none", headers={"If-None-Match": "*"}).status == 400


def test_of_many_updates_with_one_tag_exactly_one_is_recorded(embedded_system, project):
    created(embedded_system, project, "my-jwk")
    headers = {"If-Match": tag_of(embedded_system, project)}
    answers = at_once(THREADS, lambda number: embedded_system.api.update(project, "my-jwk", {"description": f"{number}"}, headers=headers))
    won = [number for number, answer in enumerate(answers) if answer.status == 200]
    assert len(won) == 1
    assert all(answer.status == 412 for number, answer in enumerate(answers) if number not in won)
    assert embedded_system.api.item(project, "my-jwk")["description"] == f"{won[0]}"


def test_updates_at_once_all_succeed_in_some_order_and_every_environment_ends_with_the_latest(system, project):
    created(system, project, "my-jwk", key=new_key("EC", kid="k"))
    rounds = 5

    def update_often(thread):
        answers = []
        for number in range(rounds):
            answers.append(system.api.update(project, "my-jwk", {"description": f"{thread}-{number}"}))
        return answers
    for answers in at_once(THREADS, update_often):
        for answer in answers:
            assert answer.status == 200, answer
            assert answer.json["deploymentResult"]["success"], answer
    item = system.api.item(project, "my-jwk")
    history = system.api.request("GET", f"{jwk_path(project, 'my-jwk')}deployments/").json["resultList"]
    latest = THREADS * rounds + 1
    assert [deployment["version"] for deployment in history] == list(range(latest, 0, -1))
    events = system.topics.events_of(history[0]["jwkId"])
    assert [event.value["version"] for event in events] == list(range(1, latest + 1))
    assert events[-1].value["jwk"]["description"] == item["description"]
    for worker in system.workers.values():
        served, = worker.items(project)
        assert (served["name"], served["version"]) == ("my-jwk", latest)


def test_of_many_renames_to_one_name_exactly_one_wins(embedded_system, project):
    for number in range(THREADS):
        created(embedded_system, project, f"jwk-{number}")
    answers = at_once(THREADS, lambda number: embedded_system.api.update(project, f"jwk-{number}", {"name": "wanted"}))
    assert sorted(answer.status for answer in answers) == [200] + [400] * (THREADS - 1)
    assert len(embedded_system.api.names(project)) == THREADS
    for worker in embedded_system.workers.values():
        assert worker.names(project) == embedded_system.api.names(project)


def test_of_many_creates_of_one_name_exactly_one_wins(embedded_system, project):
    keys = [new_key("EC", kid=f"{number}") for number in range(THREADS)]
    answers = at_once(THREADS, lambda number: embedded_system.api.create(project, "my-jwk", keys[number]))
    won = [number for number, answer in enumerate(answers) if answer.status == 200]
    assert len(won) == 1
    assert embedded_system.api.item(project, "my-jwk")["kid"] == f"{won[0]}"
