"""The invariants under faults: fixed seeds, one fresh one, and what a schedule would meet too seldom."""

import errno
import os
import random
import time

import pytest

from harness.program import wait_until

from . import check, seeds
from .driver import Run
from .faults import AT_POINT, DISKS, FAULTS, POINTS
from .faults_network import HELD, LOSING, WAYS, clients_fault
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


def is_deadly(seed):
    """Whether what happens by it at a point is death, of the API and of one of three workers, who is chosen first."""
    api, worker = random.Random(seed), random.Random(seed)
    worker.choice(range(3))
    return all(chance.choice(AT_POINT)[0] == "kill" for chance in (api, worker))


def test_death_at_every_named_point(tmp_path):
    """Of the API and of a worker at each point of POINTS, with loss of power or without."""
    missing = {f"{program} {point}" for program in ("api", "worker") for point in POINTS}
    with judged(tmp_path, 5, "embedded", pause_s=0.04) as run:
        for attempt in filter(is_deadly, range(30)):
            names = sorted(missing)
            api = next((name for name in names if name.startswith("api")), None)
            worker = next((name for name in names if name.startswith("worker")), None)
            run.round([(0.3 + 0.01 * index, name, attempt) for index, name in enumerate(filter(None, (api, worker)))])
            for line in read_lines(tmp_path / "history.jsonl"):
                if line["kind"] == "point_reached" and line["fired"] and line["action"] == "kill":
                    missing.discard(f"{'api' if line['node'] == 'api' else 'worker'} {line['point']}")
            if not missing:
                break
    assert not missing
    assert sum(line["lost_writes"] for line in read_lines(tmp_path / "history.jsonl") if line["kind"] == "power_loss") > 0


def of_each_program(names, seed):
    return [(f"{program} {name}", seed) for program in ("worker", "api") for name in names]


# What no other test names, in rounds of (fault, seed): by these seeds each is short.
CERTAIN = {
    "everything dies": ("embedded", [[("kill_everything", 1)]]),
    "one stands still": ("embedded", [[("freeze_api", 3)], [("freeze_broker", 3)]]),
    "the disk fails": ("embedded", [*(of_each_program([f"disk {how}" for how in half], 16) for half in (DISKS[:3], DISKS[3:])),
                                    of_each_program(["started on a full disk", "started on a read-only disk"], 16)]),
    "resources are exhausted": ("embedded", [of_each_program(["out of memory", "out of descriptors"], 2),
                                             of_each_program(["out of memory in SQLite"], 2)]),
    "records are repeated": ("embedded", [[("late_acks", 1), ("repeated_events", 2)]]),
    "the broker ends": ("kafka", [[("restart_broker", 1)], [("kill_broker", 1)]]),
}


@pytest.mark.parametrize("what", CERTAIN)
def test_the_invariants_hold_when(what, tmp_path):
    """Each of these happens for certain, whatever the seeds of the schedules choose."""
    broker, rounds = CERTAIN[what]
    with judged(tmp_path, 18, broker, pause_s=0.04, faults=[]) as run:
        for faults in rounds:
            run.round([(1.0, name, seed) for name, seed in faults])


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


def test_a_worker_that_wakes_after_a_copy_has_taken_its_place_ends_and_does_no_harm(tmp_path):
    """The judges say so: it ends as one that is fenced, and of what was acked and served nothing goes back."""
    with judged(tmp_path, 17, "embedded", pause_s=0.04, faults=[]) as run:
        for number in range(3):
            run.round([(1.0, "zombie", number)])
        kinds = [line["kind"] for line in read_lines(tmp_path / "history.jsonl") if line["kind"] in ("woken", "fenced")]
        assert kinds == ["woken", "fenced"] * 3


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
