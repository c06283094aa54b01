"""What was answered stays, and what was recorded arrives, whatever is killed, stopped or paused on the way."""

import threading

import pytest

from harness.broker import EmbeddedBroker
from harness.installation import jwks_path
from harness.keys import new_key
from harness.program import BUILD, Program, wait_until
from harness.server import Server


@pytest.fixture
def running(installation):
    """API, production and staging."""
    installation.add_environment("production")
    installation.add_environment("staging")
    installation.start_api()
    installation.start_workers("production", "staging")
    installation.wait_connected()
    return installation


def restart_api(installation):
    installation.start_api()
    return installation.api


def same_everywhere(installation, project, expected):
    """All is quiet: each replica's keys equal the API's."""
    assert installation.api.names(project) == expected
    for worker in installation.workers.values():
        wait_until(lambda worker=worker: worker.names(project) == expected, f"{worker.name} has {expected}")


def test_restart_of_the_api_keeps_everything(running, project, broker):
    assert running.api.create(project, "a", description="text").status == 200
    location = running.api.update(project, "a", {"name": "b"}).headers["Location"]
    before = running.api.item(project, "b"), running.api.wait_deployment(location)
    assert running.api.stop() == 0
    restart_api(running)
    assert (running.api.item(project, "b"), running.api.deployment(location)) == before
    running.wait_connected()
    assert running.api.update(project, "b", {"name": "c"}).json["deploymentResult"]["success"]
    same_everywhere(running, project, ["c"])
    versions = [event.value["version"] for name in ("a", "b", "c") for event in running.topics.events_named(project, name)]
    assert versions == [1, 2, 3], "nothing was published again"


def test_restart_of_a_worker_keeps_everything(running, project, broker):
    assert running.api.create(project, "a", new_key("EC", kid="k")).status == 200
    worker = running.workers["production", "edge-1"]
    assert worker.stop() == 0
    again = running.restart_worker(worker)
    assert again.names(project) == ["a"] and again.kids(project) == ["k"]
    running.wait_connected()
    assert running.api.update(project, "a", {"name": "b"}).json["deploymentResult"]["success"]


def test_update_answered_200_survives_kill_of_the_api_right_after(running, project, broker):
    assert running.api.create(project, "key-0").status == 200
    for number in range(3):
        assert running.api.update(project, f"key-{number}", {"name": f"key-{number + 1}"}).status == 200
        running.api.kill()
        restart_api(running)
        assert running.api.names(project) == [f"key-{number + 1}"]
    running.wait_connected()
    same_everywhere(running, project, ["key-3"])


def test_accepted_update_is_published_and_deployed_after_kill_of_the_api(running, project, broker):
    assert running.api.create(project, "a").status == 200
    locations = [running.api.update(project, "a", {"description": str(number)}, prefer="respond-async").headers["Location"]
                 for number in range(10)]
    running.api.kill()
    restart_api(running)
    for location in locations:
        running.api.wait_deployment(location)
    for worker in running.workers.values():
        assert worker.items(project)[0]["version"] == 11
    identifiers, versions = set(), []
    for event in running.topics.events_named(project, "a"):
        if event.headers["ce_id"] not in identifiers:
            versions.append(event.value["version"])
        identifiers.add(event.headers["ce_id"])
    assert versions == list(range(1, 12)), "each once, in order, and what is sent again is marked by an equal ce_id"


def test_update_whose_answer_is_awaited_is_deployed_after_kill_of_the_api(running, project, broker):
    assert running.api.create(project, "a").status == 200
    workers = list(running.workers.values())
    for worker in workers:
        worker.pause()
    failures = []

    def put():
        try:
            failures.append(running.api.update(project, "a", {"name": "b"}))
        except OSError:
            pass  # its server was killed
    thread = threading.Thread(target=put)
    thread.start()
    wait_until(lambda: running.api.names(project) == ["b"], "the update is recorded")
    running.api.kill()
    thread.join()
    assert not failures, "nobody confirmed it, so nothing may have been answered"
    for worker in workers:
        worker.resume()
    restart_api(running)
    same_everywhere(running, project, ["b"])
    event, = {event.value["deploymentId"] for event in running.topics.events_named(project, "b")}
    running.api.wait_deployment(f"/apiops/projects/{project}/deployments/{event}/")


def test_update_recorded_while_the_broker_is_unreachable_is_published_after_kill_of_the_api(running, project):
    assert running.api.create(project, "a").status == 200
    running.broker.pause()
    location = running.api.update(project, "a", {"name": "b"}, prefer="respond-async").headers["Location"]
    running.api.kill()
    running.broker.resume()
    restart_api(running)
    running.api.wait_deployment(location)
    same_everywhere(running, project, ["b"])


def test_update_is_answered_when_the_broker_is_unreachable_and_deployed_when_it_is_back(running, project):
    assert running.api.create(project, "a").status == 200
    running.broker.pause()
    answer = running.api.update(project, "a", {"name": "b"}, prefer="wait=1")
    assert answer.status == 200
    assert answer.json["deploymentResult"]["success"] is False
    assert running.api.names(project) == ["b"]
    running.broker.resume()
    running.api.wait_deployment(answer.headers["Location"])
    same_everywhere(running, project, ["b"])


def test_worker_killed_before_an_update_catches_up_and_settles_its_result(running, project, broker):
    assert running.api.create(project, "a").status == 200
    worker = running.workers["staging", "edge-1"]
    worker.kill()
    answer = running.api.update(project, "a", {"name": "b"}, prefer="wait=1")
    environments = {each["environmentName"]: each["success"] for each in answer.json["deploymentResult"]["environmentResults"]}
    assert environments == {"production": True, "staging": False}
    running.restart_worker(worker)
    running.api.wait_deployment(answer.headers["Location"])
    same_everywhere(running, project, ["b"])


def test_worker_killed_in_the_middle_of_many_updates_loses_none(running, project, broker):
    names = [f"key-{number:02}" for number in range(30)]
    locations = []
    for number, name in enumerate(names):
        locations.append(running.api.create(project, name, prefer="respond-async").headers["Location"])
        if number % 10 == 5:
            worker = running.workers["production", "edge-1"]
            worker.kill()
            running.restart_worker(worker, ready=False)
    for location in locations:
        running.api.wait_deployment(location)
    same_everywhere(running, project, names)


def test_everything_killed_at_once_comes_back_as_it_was(running, project, broker):
    names = [f"key-{number:02}" for number in range(20)]
    locations = [running.api.create(project, name, prefer="respond-async").headers["Location"] for name in names]
    workers = list(running.workers.values())
    for program in (running.api, *workers):
        program.kill()
    restart_api(running)
    for worker in workers:
        running.restart_worker(worker)
    for location in locations:
        running.api.wait_deployment(location)
    same_everywhere(running, project, names)


def test_second_api_on_one_store_is_refused_and_the_first_goes_on(running, project, broker):
    second = Program("second-api", [BUILD / "jwk-api", "serve", "--data-dir", running.data_directory, "--listen", "127.0.0.1:0",
                                    *running.broker_options], running.directory)
    assert second.wait_exit() not in (0, -11, -6)
    assert str(running.data_directory) in second.log()
    assert running.api.create(project, "a").json["deploymentResult"]["success"]


def test_sigterm_answers_what_waits_before_the_api_ends(running, project, broker):
    assert running.api.stop() == 0
    running.start_api("--shutdown-timeout", "1s")
    running.wait_connected()
    assert running.api.create(project, "a").status == 200
    worker = running.workers["staging", "edge-1"]
    worker.pause()
    answers = []
    threads = [threading.Thread(target=lambda number=number: answers.append(
        running.api.update(project, "a", {"description": f"text {number}"}))) for number in range(5)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(running.topics.events_named(project, "a")) == 6, "all are recorded and published")
    running.api.terminate()
    for thread in threads:
        thread.join()
    assert running.api.wait_exit() == 0
    assert len(answers) == 5, "each got an answer"
    for answer in answers:
        assert answer.status == 200, answer
        results = {each["environmentName"]: each for each in answer.json["deploymentResult"]["environmentResults"]}
        assert results["production"]["success"] is True
        assert results["staging"]["success"] is False
    worker.resume()
    restart_api(running)
    for answer in answers:
        running.api.wait_deployment(answer.headers["Location"])
    same_everywhere(running, project, ["a"])


def test_sigterm_ends_every_program_with_status_0_and_workers_say_goodbye(running, project, broker):
    assert running.api.create(project, "a").status == 200
    worker = running.workers["staging", "edge-1"]
    assert worker.stop() == 0
    said = [record for record in running.topics.read(running.topics.workers) if record.key == "staging/edge-1"]
    assert said[-1].headers["ce_type"] == "jwk.worker.goodbye.v1"
    assert running.workers["production", "edge-1"].stop() == 0
    assert running.api.stop() == 0


def test_api_and_worker_started_while_their_broker_is_unreachable_work_once_it_is_back(installation, project):
    installation.add_environment("production")
    installation.token, _ = installation.new_token()
    installation.broker.pause()
    # Either may listen before it has its broker, or only then.
    starting = [threading.Thread(target=installation.start_api), threading.Thread(target=installation.start_worker, args=("production",))]
    for thread in starting:
        thread.start()
    wait_until(lambda: len([program for program in Program.started[-2:] if program.log()]) == 2, "both have begun")
    installation.broker.resume()
    for thread in starting:
        thread.join()
    installation.wait_connected()
    assert installation.api.create(project, "a").json["deploymentResult"]["success"]


@pytest.mark.parametrize("kind", ["api", "worker"])
def test_a_broker_that_was_never_there_is_not_said_to_be_lost(tmp_path, kind):
    program = Server(kind, tmp_path).program
    wait_until(lambda: "No Kafka broker is reachable" in program.log(), f"{kind} tells of it")
    assert "no connection to Kafka" in program.log() and "lost" not in program.log()
    assert program.stop() == 0


def test_topics_that_are_lost_are_published_again(installation, project, tmp_path):
    """Another broker with empty topics: the API publishes all it has, and a new replica gets every key."""
    installation.add_environment("production")
    installation.start_api()
    worker = installation.start_worker("production")
    installation.wait_connected()
    for name in ("a", "b", "c"):
        assert installation.api.create(project, name).json["deploymentResult"]["success"]
    assert installation.api.delete(project, "b").json["deploymentResult"]["success"]
    assert worker.stop() == 0 and installation.api.stop() == 0
    other = EmbeddedBroker(tmp_path)
    try:
        installation.use_broker(other)
        restart_api(installation)
        installation.restart_worker(worker)
        new = installation.start_worker("production", "edge-2")
        wait_until(lambda: new.names(project) == ["a", "c"], "the new replica has every key")
        installation.wait_connected()
        assert installation.api.update(project, "a", {"name": "d"}).json["deploymentResult"]["success"]
        same_everywhere(installation, project, ["c", "d"])
    finally:
        installation.stop()
        other.stop()


def test_store_is_found_sound_after_every_kill(running, project):
    import sqlite3
    stop = threading.Event()

    def load():
        number = 0
        while not stop.is_set():
            try:
                running.api.request("POST", jwks_path(project), json_body={"name": f"key-{number}", "sourceType": "COPY_PASTE",
                                    "jwkStr": '{"kty":"oct","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}'}, prefer="respond-async")
                number += 1
            except OSError:
                pass
    thread = threading.Thread(target=load)
    thread.start()
    try:
        for _ in range(3):
            count = len(running.api.names(project))
            wait_until(lambda: len(running.api.names(project)) > count + 5, "some are recorded")
            running.api.kill()
            with sqlite3.connect(running.data_directory / "jwk-api.db") as store:
                assert store.execute("PRAGMA integrity_check").fetchone() == ("ok",)
                assert store.execute("PRAGMA foreign_key_check").fetchall() == []
            running.start_api()
    finally:
        stop.set()
        thread.join()
    running.wait_connected()
    same_everywhere(running, project, running.api.names(project))
