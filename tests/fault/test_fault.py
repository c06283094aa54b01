"""The invariants under faults: fixed seeds, one fresh one, and what a schedule would meet too seldom."""

import contextlib
import errno
import json
import os
import random
import time
from datetime import datetime, timedelta

import confluent_kafka
import pytest
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource

from harness import http
from harness.audit import check_chain
from harness.broker import SEVERAL_PARTITIONS
from harness.installation import jwk_path, jwks_path
from harness.keys import new_key
from harness.program import wait_until

from . import check, seeds
from .driver import Run
from .faults import DISKS, FAULTS, HOURS, HOURS_MS, POINTS, disturbing
from .faults_network import HELD, LOSING, WAYS, clients_fault
from .faults_topics import TOPICS, admin_client
from .history import read_lines
from .judged import judged
from .load import PROJECTS, Client, Secrets
from .report import summary

SECONDS = float(os.environ.get("JWK_FAULT_SECONDS", "12"))  # of each seed


@pytest.mark.parametrize(("broker", "seed"), [*seeds.FIXED, seeds.FRESH])
def test_the_invariants_hold(broker, seed, tmp_path):
    print(f"seed {seed} on {broker}; again with: python -m fault --seed {seed} --broker {broker} --seconds {SECONDS:g}")
    run = Run(tmp_path, seed, broker)
    try:
        run.go(SECONDS)
    finally:
        run.close()
    print(summary(tmp_path))
    assert check.judge(tmp_path) == [], f"seed {seed} on {broker}"


def test_death_at_every_named_point(tmp_path):
    """Each point of POINTS is reached by the API and by a worker, with loss of power or without."""
    missing = {f"{program} {point}" for program in ("api", "worker") for point in POINTS}
    with judged(tmp_path, 5, "embedded", pause_s=0.04) as run:
        for attempt in range(12):
            names = sorted(missing)
            api = next((name for name in names if name.startswith("api")), None)
            worker = next((name for name in names if name.startswith("worker")), None)
            run.round([(0.3 + 0.01 * index, name, attempt) for index, name in enumerate(filter(None, (api, worker)))])
            for line in read_lines(tmp_path / "history.jsonl"):
                if line["kind"] == "point_reached" and line["fired"]:
                    missing.discard(f"{'api' if line['node'] == 'api' else 'worker'} {line['point']}")
            if not missing:
                break
    assert not missing


def of_each_program(names, seed):
    return [(f"{program} {name}", seed) for program in ("worker", "api") for name in names]


# What no other test names, in rounds of (fault, seed): by these seeds each is short.
CERTAIN = {
    "everything dies": ("embedded", [[("kill_everything", 1)]]),
    "one stands still": ("embedded", [[("freeze_api", 3)], [("freeze_broker", 3)]]),
    "the disk fails": ("embedded", [of_each_program([f"disk {how}" for how in half], 16) for half in (DISKS[:3], DISKS[3:])]),
    "resources are exhausted": ("embedded", [of_each_program(["out of memory", "out of descriptors"], 2),
                                             of_each_program(["out of memory in SQLite"], 2)]),
    "records are repeated": ("embedded", [[("late_acks", 1), ("repeated_events", 2)]]),
    "the broker ends": ("kafka", [[("restart_broker", 1)], [("kill_broker", 1)]]),
}


@pytest.mark.parametrize("what", CERTAIN)
def test_the_invariants_hold_when(what, tmp_path):
    """Each of these happens for certain, whatever the seeds of the schedules choose."""
    broker, rounds = CERTAIN[what]

    def missed():
        return [line for line in read_lines(tmp_path / "history.jsonl") if line["kind"] == "missed"]
    with judged(tmp_path, 18, broker, pause_s=0.04, faults=[]) as run:
        for faults in rounds:
            for _ in range(4):  # what met nothing to harm, since little was going on, is tried again
                before = missed()
                run.round([(1.0, name, seed) for name, seed in faults])
                run.history.flush()
                if missed() == before:
                    break
            else:
                pytest.fail(f"nothing to harm: {missed()}")


# ---- what happens to topics ----

def keys_of_events(run):
    """The key of each record that jwk.events has at present."""
    consumer = confluent_kafka.Consumer({"bootstrap.servers": run.cluster.broker.address, "group.id": "count", "enable.partition.eof": True})
    try:
        partitions = consumer.list_topics("jwk.events", timeout=10).topics["jwk.events"].partitions
        consumer.assign([confluent_kafka.TopicPartition("jwk.events", number, confluent_kafka.OFFSET_BEGINNING) for number in partitions])
        keys, ends = [], 0
        while ends < len(partitions):
            message = consumer.poll(1.0)
            if message is None:
                continue
            if message.error():
                ends += 1
            else:
                keys.append(message.key().decode())
        return keys
    finally:
        consumer.close()


def set_config(run, kind, name, **entries):
    resource = ConfigResource(kind, name, incremental_configs=[
        ConfigEntry(key.replace("_", "."), value, incremental_operation=AlterConfigOpType.SET) for key, value in entries.items()])
    client = admin_client(run)  # it must outlive its answer
    for future in client.incremental_alter_configs([resource]).values():
        future.result(20)


def items_of(run, node):
    """Ids of the JWKs that a replica serves."""
    return {item["id"] for project in run.served(node).values() for item in project["items"]}


def compact_at_once(run):
    """jwk.events keeps of each key the last record alone, and of a tombstone nothing, as soon as a later segment has begun."""
    set_config(run, ConfigResource.Type.BROKER, "1", log_cleaner_backoff_ms="500")
    set_config(run, ConfigResource.Type.TOPIC, "jwk.events", segment_ms="1000", min_compaction_lag_ms="0",
               min_cleanable_dirty_ratio="0.01", max_compaction_lag_ms="1000", delete_retention_ms="1")


def test_compaction_added_partitions_and_a_new_replica(tmp_path):
    """A replica that begins after compaction has every key, and partitions added later take no key away from its own."""
    with judged(tmp_path, 8, "kafka", pause_s=0.03, faults=[]) as run:
        compact_at_once(run)
        run.round([])
        before = len(keys_of_events(run))
        run.round([(0.1, "kill_worker", 1)])  # begins new segments, so that the old ones can be compacted
        wait_until(lambda: len(keys_of_events(run)) < before, "jwk.events is compacted", 60)
        run.cluster.add_worker("staging", "edge-2").wait_ready()
        # The seeds choose the topic: jwk.events, jwk.acks, jwk.workers.
        run.round([(0.3, "add_partitions", 1), (0.4, "add_partitions", 0), (0.5, "add_partitions", 5), (0.7, "kill_api", 2),
                   (1.0, "lost_state", 3)])
        added = [line["topic"] for line in read_lines(tmp_path / "history.jsonl") if line["kind"] == "partitions_added"]
        assert added == ["jwk.events", "jwk.acks", "jwk.workers"]
        run.cluster.add_worker("staging", "edge-3").wait_ready()
        run.round([(0.5, "power_loss_api", 4)])


TOMBSTONE_DELAY_MINUTES, PASSING_MINUTES = 20, 30  # Kafka takes no record of more than an hour ahead


def kill_for_long(run, node):
    """A fault has it until it is revived."""
    with node.lock:
        node.expect_end = True
        node.kill()
        run.note_state(node)


def test_what_was_deleted_and_compacted_away_is_served_no_more_by_replicas_that_were_away(tmp_path):
    """One was dead, one was cut off from the broker, and one was cut off and then ended in good order before it came back."""
    delay = ["--tombstone-delay", f"{TOMBSTONE_DELAY_MINUTES}m"]
    names = [f"edge-{number}" for number in range(1, 5)]
    workers = [("staging", "edge-1"), *(("production", name) for name in names)]
    with judged(tmp_path, 19, "kafka", clients=0, faults=[], workers=workers, api_options=delay, worker_options=delay) as run, \
            contextlib.ExitStack() as away:
        compact_at_once(run)
        dead, cut, ended = (run.cluster.workers[f"production-{name}"] for name in names[1:])
        client = Client(99, 19, run.cluster, run.history, Secrets(tmp_path / "secrets.txt"), 1)

        def by_partition():
            found = {}
            for uid, name, number in run.api_rows("SELECT uid, name, partition FROM jwk WHERE deleted_at IS NULL ORDER BY id"):
                found.setdefault(number, []).append((uid, name))
            return found
        # Of each partition one is deleted, and another one goes on: its changes begin new segments, so that compaction begins.
        number = 0
        while len([names for names in by_partition().values() if len(names) > 1]) < int(SEVERAL_PARTITIONS[1]):
            assert client.create(PROJECTS[0], f"c99-{number}")
            number += 1
        run.become_quiet(time.monotonic())
        deleted, kept = ([each[index] for each in by_partition().values()] for index in (0, 1))
        gone = {uid for uid, _ in deleted}

        for node in (dead, cut, ended):
            away.enter_context(disturbing(node))
        kill_for_long(run, dead)
        for node in (cut, ended):
            node.proxy.refuse()
        for _, name in deleted:
            assert client.delete(PROJECTS[0], name)
        for node in run.cluster.nodes:
            node.shim.fields.clock_offset_ms = PASSING_MINUTES * 60_000
        kill_for_long(run, run.cluster.api)
        run.revive(run.cluster.api)
        run.cluster.api.wait_ready()
        wait_until(lambda: run.api_rows("SELECT count(*) FROM jwk WHERE tombstoned_at IS NOT NULL") == [(len(gone),)],
                   "the tombstones are due")

        def compacted():
            for _, name in kept:
                client.update(PROJECTS[0], name)
            return not gone & set(keys_of_events(run))
        wait_until(compacted, "deletes and tombstones are compacted away", 120)
        run.auditor.catch_up()
        seen = [line["key"] for line in read_lines(run.topics_path) if line["topic"] == "events" and line["value"] is None]
        assert set(seen) == gone, "the tombstones were there"
        assert gone <= dead.read_state().keys()
        assert all(gone <= items_of(run, node) for node in (cut, ended)), "they serve on while they are cut off"

        with ended.lock:
            ended.expect_end = True
            ended.program.terminate()
            assert ended.program.wait_exit() == 0
        for node in (cut, ended):
            node.proxy.heal()
        for node in (dead, ended):
            run.revive(node)
            node.wait_ready()
            assert not gone & items_of(run, node), f"{node.name} is ready, and serves what was deleted"
        run.become_quiet(time.monotonic())
        assert not any(gone & items_of(run, node) for node in run.cluster.workers.values())


def test_topics_that_are_lost_are_filled_again(tmp_path):
    """The embedded broker comes back with nothing. What was there is published again, to those who were there too."""
    with judged(tmp_path, 9, "embedded", faults=[]) as run:
        run.round([])
        run.cluster.restart_broker(clean=False)
        run.auditor.restart(run.cluster.broker.address)
        run.history.add("topics_lost")
        run.round([])
        run.cluster.add_worker("staging", "edge-2")
        run.round([])


def test_topics_that_are_deleted_under_load_are_made_again_and_filled(tmp_path):
    """On Kafka, where nothing makes a topic up: what was in one is made good by the programs themselves."""
    with judged(tmp_path, 12, "kafka", faults=[]) as run:
        for number, name in enumerate(TOPICS):
            run.round([(1.0, f"delete topic {name}", number)])
        run.round([(0.5, "add_partitions", 1), (0.8, "delete topic events", 6), (1.0, "kill_worker", 7), (1.2, "new_replica", 8)])
        # The replicas that saw more partitions than there are now read all of them again.
        run.round([(0.3, "forge", 9), (1.5, "rotate_signing_key", 10)])


# ---- what happens between each pair ----

# By these seeds each way lasts two seconds or less.
SHORT = dict.fromkeys(HELD, 3) | dict.fromkeys(LOSING, 9) | {"delay": 24, "refused": 3, "reset": 0}


def test_each_way_of_a_broken_network_between_each_pair(tmp_path):
    """Those of the API and of its clients one after the other, while each has a worker of its own."""
    with judged(tmp_path, 13, "embedded", faults=[]) as run:
        for number in range(0, len(WAYS), 3):
            ways = WAYS[number:number + 3]
            run.round([(0.3, f"{program} {way}", SHORT[way]) for program in ("worker", "api") for way in ways]
                      + [(0.3, clients_fault(way), SHORT[way]) for way in ways])
    broken = {(line["node"] if line["node"] in ("api", "clients") else "worker", line["way"])
              for line in read_lines(tmp_path / "history.jsonl") if line["kind"] == "network"}
    assert broken == {(program, way) for program in ("api", "worker", "clients") for way in WAYS}


# ---- what is not believed ----

def test_what_is_forged_on_every_topic_changes_nothing_while_clocks_jump_and_an_identity_is_copied(tmp_path):
    with judged(tmp_path, 14, "embedded", faults=[]) as run:
        run.round([(0.5, "forge", 1), (0.8, "poison_topics", 2), (1.0, "turn_all_clocks", 3), (1.2, "forge", 4)])
        run.round([(0.3, "rotate_signing_key", 5), (0.6, "turn_clock_of_worker", 6), (1.0, "forge", 7), (1.5, "kill_api", 8)])
        run.round([(0.3, "copied_identity", 9), (0.4, "forge", 10), (0.5, "second_api", 11), (0.8, "kill_worker", 12), (1.0, "new_replica", 13)])


def test_what_was_recorded_while_a_clock_was_a_day_ahead_is_delivered_when_it_is_right_again(tmp_path):
    """On Kafka, which refuses records of the future."""
    ahead = next(seed for seed in range(1000) if random.Random(seed).choice(HOURS) == max(HOURS))
    with judged(tmp_path, 16, "kafka", faults=[]) as run:
        run.round([(0.5, "turn_clock_of_api", ahead)])
        run.round([(0.5, "turn_all_clocks", ahead)])
        turned = [line["hours"] for line in read_lines(tmp_path / "history.jsonl") if line["kind"] == "clock" and line["node"] == "api"]
        assert turned == [max(HOURS)] * 2


def test_what_a_worker_took_for_ended_while_its_clock_was_ahead_is_served_again(tmp_path):
    """A replaced key that other verifiers still need: in the set that is served, and in the file that is exported."""
    export = tmp_path / "export"
    with judged(tmp_path, 18, "embedded", clients=0, faults=[], workers=[("production", "edge-1"), ("staging", "edge-1")],
                worker_options=["--export-dir", export]) as run:
        node = run.cluster.workers["staging-edge-1"]

        def change(path, **body):
            answer = http.request(run.cluster.api.address, "POST", path, json.dumps({"sourceType": "COPY_PASTE"} | body).encode(),
                                  {"Authorization": f"Bearer {run.cluster.token}", "Content-Type": "application/json"})
            assert answer.json["deploymentResult"]["success"], answer

        def new(kid):
            return json.dumps(new_key("EC", kid=kid))

        def served():
            file = json.loads((export / f"{PROJECTS[0]}.json").read_text())
            return run.served(node)[PROJECTS[0]]["keys"], file["keys"]

        def turn(hours, name):
            for worker in run.cluster.workers.values():  # they share the directory
                worker.shim.fields.clock_offset_ms = hours * 3600 * 1000
            change(jwks_path(PROJECTS[1]), name=name, jwkStr=new(name))  # elsewhere: what is exported is looked at
        change(jwks_path(PROJECTS[0]), name="a", jwkStr=new("old"))
        change(jwk_path(PROJECTS[0], "a") + "rotate", jwkStr=new("new"), overlapSeconds=600)
        for hours, name, kids in ((5, "b", {"new"}), (0, "c", {"new", "old"})):
            turn(hours, name)
            wait_until(lambda kids=kids: all({key["kid"] for key in keys} == kids for keys in served()), f"{kids} are served")


def test_a_worker_that_wakes_after_a_copy_has_taken_its_place_ends_and_does_no_harm(tmp_path):
    """The judges say so: it ends as one that is fenced, and of what was acked and served nothing goes back."""
    with judged(tmp_path, 17, "embedded", pause_s=0.04, faults=[]) as run:
        for number in range(3):
            run.round([(1.0, "zombie", number)])
        kinds = [line["kind"] for line in read_lines(tmp_path / "history.jsonl") if line["kind"] in ("woken", "fenced")]
        assert kinds == ["woken", "fenced"] * 3


# ---- what comes late ----

def test_what_is_acked_hours_late_is_recorded_and_told_while_the_clock_of_the_api_goes_forth_and_back(tmp_path):
    """One worker stands still and another one's way to the broker is cut while deployments are given up. They go on when it is
    tomorrow by the clock of the API, and once more when another process of it takes it for yesterday."""
    with judged(tmp_path, 20, "embedded", clients=0, faults=[], worker_options=["--heartbeat-interval", "3s"]) as run, \
            contextlib.ExitStack() as held:
        api, still, cut = run.cluster.api, run.cluster.workers["production-edge-1"], run.cluster.workers["staging-edge-1"]
        for node in (api, still, cut):
            held.enter_context(disturbing(node))

        def ask(method, path, body=None):
            headers = {"Authorization": f"Bearer {run.cluster.token}", "Content-Type": "application/json", "Prefer": "wait=1"}
            answer = http.request(api.address, method, path, json.dumps(body).encode() if body else None, headers)
            assert answer.status == 200, answer
            return answer

        def stored(location):
            deployment, = ask("GET", location).json["resultList"]
            return deployment

        def messages(told):
            return {each["environmentName"]: each["message"] for each in told["deploymentResult"]["environmentResults"]}

        def stop():
            still.program.pause()
            cut.proxy.hold("up")

        def go_on():
            still.program.resume()
            cut.proxy.heal()

        def give_up(description):
            """Returns what names the deployment."""
            answer = ask("PUT", jwk_path(PROJECTS[0], "late"), {"description": description})
            sentence = "Timed out after 1 s waiting for replica edge-1; the deployment goes on"
            assert answer.json["success"] and not answer.json["deploymentResult"]["success"]
            assert messages(answer.json) == dict.fromkeys(run.environments, sentence)
            return answer.headers["Location"]

        def expect_given_up(*locations):
            for deployment in map(stored, locations):
                assert deployment["state"] == "IN_PROGRESS" and not deployment["deploymentResult"]["success"]
                assert all(message.startswith("Timed out after 1 s") for message in messages(deployment).values())
                assert all(each["time"] is None for each in deployment["deploymentResult"]["environmentResults"])

        def expect_succeeded(hours, *locations):
            """hours: for how long the API takes them to have been on their way to each environment."""
            for location in locations:
                wait_until(lambda location=location: stored(location)["state"] == "SUCCEEDED", "it has succeeded")
                deployment = stored(location)
                assert deployment["deploymentResult"]["success"]
                for each in deployment["deploymentResult"]["environmentResults"]:
                    assert each["message"].startswith("Deployed successfully")
                    took = datetime.fromisoformat(each["time"]) - datetime.fromisoformat(deployment["startTime"])
                    assert round(took / timedelta(hours=1)) == hours[each["environmentName"]]

        def heard():
            """Whether a heartbeat of each replica has told of what it has acked."""
            environments = ask("GET", f"/apiops/projects/{PROJECTS[0]}/drift/").json["resultList"]
            return all(environment["inSync"] for environment in environments)

        def turn(hours):
            api.shim.fields.clock_offset_ms = hours * HOURS_MS

        body = {"name": "late", "sourceType": "COPY_PASTE", "jwkStr": json.dumps(new_key())}
        created = ask("POST", jwks_path(PROJECTS[0]), body)
        assert messages(created.json) == dict.fromkeys(run.environments, "Deployed successfully")
        stop()
        today = [give_up(f"today {number}") for number in range(2)]
        turn(30)
        expect_given_up(*today)
        go_on()
        expect_succeeded({"production": 30, "staging": 30}, *today)

        wait_until(heard, "heartbeats of tomorrow are read")
        stop()
        tomorrow = [give_up("tomorrow")]
        # The one that stands still is offline then, since a moment ago whatever that clock says, and the other one has it.
        sentence = "Deployed successfully to 1 of 2 replicas; edge-1 has been offline since "
        wait_until(lambda: messages(stored(tomorrow[0]))["production"].startswith(sentence), "it is not waited for")
        answer = ask("PUT", jwk_path(PROJECTS[0], "late"), {"description": "offline"})
        assert messages(answer.json)["production"].startswith(sentence), answer
        tomorrow.append(answer.headers["Location"])
        assert messages(stored(tomorrow[1])) == messages(answer.json), "what was answered is stored before the API is killed"
        turn(-5)
        kill_for_long(run, api)
        run.revive(api)
        api.wait_ready()
        yesterday = [give_up("yesterday")]
        expect_given_up(*yesterday)
        go_on()
        expect_succeeded({"production": 0, "staging": 0}, *yesterday)
        expect_succeeded({"production": 0, "staging": -35}, *tomorrow)
        history = ask("GET", jwk_path(PROJECTS[0], "late") + "deployments/").json["resultList"]
        assert [each["version"] for each in history] == list(range(6, 0, -1)), "in the order of commits, not of clocks"

        run.round([(0.1, "late_acks", 1), (0.2, "late_acks", 2)])  # and what was acked long ago, again and changed
        for location in (*today, *tomorrow, *yesterday):
            assert stored(location)["state"] == "SUCCEEDED"
        wait_until(lambda: run.api_rows("SELECT count(*) FROM audit_outbox") == [(0,)], "the audit trail is on its topic")
        run.auditor.catch_up()
        told = {}
        trail = [line["value"] for line in read_lines(run.topics_path) if line["topic"] == "audit" and line["value"]]
        for entry in check_chain(trail):
            if entry["type"] == "outcome":
                outcomes = told.setdefault((entry["deploymentId"], entry["environment"]), [])
                outcomes.append((entry["settled"], entry["success"]))
        for location in (*today, *yesterday):
            for environment in run.environments:
                outcomes = told[location.rstrip("/").rpartition("/")[2], environment]
                assert outcomes == [(False, False), (True, True)], "given up, then a success, once"
        run.cluster.export_api_keys()
        verified = run.cluster.command("audit", "verify", *run.cluster.broker_options, "--api-keys", run.cluster.api_keys_file)
        assert verified.returncode == 0 and "The trail is whole" in verified.stderr, verified.stderr


# ---- what is killed in the middle ----

def test_commands_that_are_killed_in_the_middle_are_done_by_running_them_again(tmp_path):
    """Each is killed at least once."""
    commands = {"environment rekey": "rekey_environment", "signing-key add": "rotate_signing_key",
                "signing-key activate": "rotate_signing_key", "rekey": "rekey_store", "backup": "back_up"}
    with judged(tmp_path, 15, "embedded", faults=[]) as run:
        for attempt in range(12):
            run.round([(0.2, name, attempt) for name in sorted(set(commands.values()))])
            for line in read_lines(tmp_path / "history.jsonl"):
                if line["kind"] == "command" and line["killed"]:
                    commands.pop(" ".join(line["words"]), None)
            if not commands:
                break
    assert not commands


# ---- a failure that passes ----

def test_a_failed_result_is_corrected_when_the_replica_was_killed_before_it_could_store_the_change(tmp_path):
    with judged(tmp_path, 10, "embedded", clients=1, faults=[]) as run:
        client = Client(99, 10, run.cluster, run.history, Secrets(tmp_path / "secrets.txt"), 1)
        assert client.create(PROJECTS[0], "c99-0")
        worker = run.cluster.workers["staging-edge-1"]
        with worker.lock:
            worker.busy = worker.expect_end = True
            worker.undisturbed_since = None
        worker.shim.fields.write_error = errno.ENOSPC
        assert client.update(PROJECTS[0], "c99-0")
        wait_until(lambda: run.api_rows("SELECT count(*) FROM deployment_result WHERE state = 2")[0][0] == 1, "the replica has told its failure")
        worker.kill()
        worker.shim.clear()
        run.note_state(worker)
        run.revive(worker)
        worker.busy = False
        run.become_quiet(time.monotonic())


def test_every_fault_has_a_name_that_the_command_line_takes():
    assert all("," not in name for name in FAULTS)
