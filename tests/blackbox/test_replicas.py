"""Replicas: new ones, several of one environment, and two processes with one identity."""

import shutil
import threading

import pytest

from harness.audit import Trail
from harness.keys import new_key
from harness.program import Program, wait_until
from harness.server import metric

FENCED = 3  # exit status of a worker that a later one with its identity has fenced


@pytest.fixture
def started(installation):
    installation.add_environment("production")
    installation.start_api()
    installation.start_worker("production")
    installation.wait_connected()
    return installation


def test_new_replica_has_every_key_when_it_says_that_it_is_ready(started, project, broker):
    keys = {f"key-{number}": new_key("EC", kid=f"kid-{number}") for number in range(30)}
    for name, key in keys.items():
        assert started.api.create(project, name, key, prefer="respond-async").status == 202
    assert started.api.update(project, "key-0", {"name": "renamed"}).json["deploymentResult"]["success"]
    assert started.api.delete(project, "key-1").json["deploymentResult"]["success"]
    second = started.start_worker("production", "edge-2")
    first = started.workers["production", "edge-1"]
    assert second.names(project) == first.names(project) == sorted(set(keys) - {"key-0", "key-1"} | {"renamed"})
    assert sorted(second.kids(project)) == sorted(first.kids(project))


def test_new_replica_is_not_ready_before_it_has_passed_the_high_watermarks(started, project):
    for number in range(20):
        assert started.api.create(project, f"key-{number:02}", prefer="respond-async").status == 202
    started.wait_connected()
    before = len(Program.started)
    started.broker.pause()
    try:
        # It cannot know the high watermarks: it may listen, but must not say that it is ready.
        starting = threading.Thread(target=started.start_worker, args=("production", "edge-2"), kwargs={"ready": False})
        starting.start()
        began = wait_until(lambda: next((each for each in Program.started[before:] if each.log()), None), "it has begun")
        worker = started.workers.get(("production", "edge-2"))
        assert worker is None or not worker.ready(), began.log()
    finally:
        started.broker.resume()
    starting.join()
    worker = started.workers["production", "edge-2"]
    worker.wait_ready()
    assert len(worker.names(project)) == 20


def test_an_api_that_starts_among_heartbeats_without_a_pause_knows_the_replicas_and_hears_acks(installation, project, broker):
    """A fetch that waits for records does not come back empty then, which is how librdkafka tells the end of a partition."""
    installation.add_environment("production")
    installation.start_api()
    installation.start_worker("production", "edge-1", "--heartbeat-interval", "20ms")
    installation.wait_connected()
    assert installation.api.stop() == 0
    api = installation.start_api()
    assert "replicas are not known yet" not in api.log()
    assert api.create(project, "a").json["deploymentResult"]["success"]
    wait_until(lambda: metric(api.request("GET", "/metrics"), 'jwk_api_acks_total{status="applied"}') > 0, "the ack is counted")


def test_every_replica_of_an_environment_has_applied_an_update_that_is_answered_with_success(started, project, broker):
    for replica in ("edge-2", "edge-3"):
        started.start_worker("production", replica)
    assert started.api.create(project, "key-0").status == 200

    def all_three_ack():
        location = started.api.update(project, "key-0", {"description": "x"}).headers["Location"]
        identifier = location.rstrip("/").rpartition("/")[2]
        return len({record.value["replica"] for record in started.topics.read(started.topics.acks) if record.key == identifier}) == 3
    wait_until(all_three_ack, "all three replicas count")
    for number in range(20):
        assert started.api.update(project, f"key-{number}", {"name": f"key-{number + 1}"}).json["deploymentResult"]["success"]
        assert [worker.names(project) for worker in started.workers.values()] == [[f"key-{number + 1}"]] * 3


@pytest.mark.parametrize("restarts", [False, True])
def test_success_that_comes_after_the_answer_names_the_replica_that_is_offline_wherever_it_is_read(installation, project, restarts):
    installation.add_environment("production")
    installation.start_api()
    for replica in ("edge-1", "edge-2"):
        installation.start_worker("production", replica, "--heartbeat-interval", "5s")  # not held offline for a moment's pause
    third = installation.start_worker("production", "edge-3", "--heartbeat-interval", "100ms")
    installation.wait_connected()
    assert installation.api.create(project, "a").json["deploymentResult"]["success"]

    def offline_since():
        environment, = installation.api.request("GET", f"/apiops/projects/{project}/drift/").json["resultList"]
        return next(each["offlineSince"] for each in environment["replicas"] if each["replicaName"] == "edge-3")
    third.kill()
    since = wait_until(offline_since, "edge-3 is held offline")
    slow = installation.workers["production", "edge-1"]
    slow.pause()
    answers = [(installation.api.update(project, "a", {"description": "x"}, prefer="wait=1"), "Deployed successfully to 2"),
               (installation.api.delete(project, "a", prefer="wait=1"), "Undeployed successfully from 2")]
    for answer, _ in answers:
        result, = answer.json["deploymentResult"]["environmentResults"]
        assert not result["success"] and result["message"].startswith("Timed out after 1 s waiting for replica edge-1; the ")
    if restarts:
        installation.api.kill()
    slow.resume()
    if restarts:
        installation.start_api()
    trail = Trail(installation)
    for answer, begin in answers:
        message = f"{begin} of 3 replicas; edge-3 has been offline since {since} and catches up when it connects"
        deployment = installation.api.wait_deployment(answer.headers["Location"])
        result, = deployment["deploymentResult"]["environmentResults"]
        assert (result["success"], result["message"]) == (True, message)
        listed = installation.api.request("GET", f"/apiops/projects/{project}/deployments/").json["resultList"]
        assert [each for each in listed if each["deploymentId"] == deployment["deploymentId"]] == [deployment]
        told = trail.wait_entry(lambda entry, deployment=deployment: entry["type"] == "outcome" and entry["success"] and
                                entry["deploymentId"] == deployment["deploymentId"], "the trail tells of the success")
        assert (told["settled"], told["message"]) == (True, message)
    trail.is_whole()


def test_earlier_process_of_a_copied_state_directory_is_fenced_and_the_later_one_counts(started, project, broker):
    assert started.api.create(project, "a").status == 200
    first = started.workers["production", "edge-1"]
    assert first.stop() == 0
    copy = started.directory / "copied-state"
    shutil.copytree(first.state_directory, copy)
    first = started.restart_worker(first)
    started.wait_connected()
    second = started.start_worker("production", "edge-1", state_directory=copy)
    assert first.wait_exit() == FENCED
    assert "edge-1" in first.log()
    started.wait_connected()
    answer = started.api.update(project, "a", {"name": "b"})
    assert answer.json["deploymentResult"]["success"]
    assert second.running and second.names(project) == ["b"]
    acks = [record.value["worker"] for record in started.topics.read(started.topics.acks)
            if record.key == answer.headers["Location"].rstrip("/").rpartition("/")[2]]
    assert len(set(acks)) == 1


def test_one_that_wakes_after_a_later_start_is_fenced_though_its_files_are_read_again_first(installation, project):
    """What it says anew then must not overtake the later start, of which it has not read yet."""
    keys = installation.directory / "api-keys.json"
    keys.write_text(installation.admin("signing-key", "export").stdout)
    installation.add_environment("production")
    installation.start_api()
    first = installation.start_worker("production", "edge-1", "--api-keys", keys)
    installation.wait_connected()
    assert installation.api.create(project, "a").json["deploymentResult"]["success"]
    copy = installation.directory / "copied-state"
    first.pause()
    shutil.copytree(first.state_directory, copy, ignore=shutil.ignore_patterns("*-shm"))
    second = installation.start_worker("production", "edge-1", "--api-keys", keys, state_directory=copy)
    installation.admin("signing-key", "add")
    keys.write_text(installation.admin("signing-key", "export").stdout)
    first.reload()
    first.resume()
    assert first.wait_exit() == FENCED
    assert second.running
    wait_until(lambda: installation.api.update(project, "a", {"description": "b"}).json["deploymentResult"]["success"],
               "the later one counts")


def test_state_put_back_from_an_old_copy_catches_up(started, project, broker):
    assert started.api.create(project, "a", new_key("EC", kid="a")).status == 200
    worker = started.workers["production", "edge-1"]
    assert worker.stop() == 0
    old = started.directory / "old-state"
    shutil.copytree(worker.state_directory, old)
    worker = started.restart_worker(worker)
    started.wait_connected()
    assert started.api.update(project, "a", {"name": "b"}).json["deploymentResult"]["success"]
    assert started.api.create(project, "c", new_key("EC", kid="c")).json["deploymentResult"]["success"]
    assert worker.stop() == 0
    shutil.rmtree(worker.state_directory)
    shutil.copytree(old, worker.state_directory)
    worker = started.restart_worker(worker)
    assert worker.names(project) == ["b", "c"]
    assert sorted(worker.kids(project)) == ["a", "c"]


def test_lost_state_is_read_again_from_the_start(started, project, broker):
    assert started.api.create(project, "a", new_key("EC", kid="a")).status == 200
    assert started.api.update(project, "a", {"name": "b"}).status == 200
    worker = started.workers["production", "edge-1"]
    worker.kill()
    shutil.rmtree(worker.state_directory)
    worker = started.restart_worker(worker)
    assert worker.names(project) == ["b"] and worker.kids(project) == ["a"]
    started.wait_connected()
    assert started.api.update(project, "b", {"name": "c"}).json["deploymentResult"]["success"]


def test_hello_is_without_incarnation_and_heartbeats_tell_how_far_it_is(started, project, broker):
    assert started.api.create(project, "a").status == 200
    worker = started.start_worker("production", "edge-2", "--heartbeat-interval", "100ms")

    def heartbeat_of_a_ready_worker():
        records = [record for record in started.topics.read(started.topics.workers) if record.key == "production/edge-2"]
        hello, last = records[0], records[-1]
        assert hello.headers["ce_type"] == "jwk.worker.hello.v1"
        ready = last.headers["ce_type"] == "jwk.worker.heartbeat.v1" and last.value["ready"] and last.value["keys"] >= 1
        return (hello, last) if ready else None
    hello, heartbeat = wait_until(heartbeat_of_a_ready_worker, "a heartbeat says that the worker is ready")
    assert heartbeat.value["incarnation"] == hello.offset
    assert heartbeat.value["worker"] == hello.value["worker"]
    assert heartbeat.value["intervalMs"] == 100
    ends = {}
    for record in started.topics.read(started.topics.events):
        ends[record.partition] = (record.offset + 1, record.value["sequence"])
    positions = {each["partition"]: (each["offset"], each["sequence"]) for each in heartbeat.value["positions"]}
    for partition, end in ends.items():
        assert positions[partition] == end
    assert worker.running


def test_two_replicas_of_one_name_in_two_environments_do_not_disturb_each_other(started, project):
    started.add_environment("staging")
    started.start_worker("staging", "edge-1")
    started.wait_connected()
    assert started.api.create(project, "a").json["deploymentResult"]["success"]
    assert all(worker.running for worker in started.workers.values())
