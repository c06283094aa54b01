"""Faults of administration under load: keys are changed and the store is copied, and the command is killed in the middle, at the n-th
write or sync. What it was to do is then done by running it again, as its user would."""

import json
import shutil
import signal

from .cluster import replace_file
from .faults import disturbing, fault
from .shim import Control

POINTS = ("write", "sync_begin", "sync_end")
COMMAND_POINTS_MAX = 12  # a command makes about so many writes and syncs


def run_killed(run, random, *arguments, environment=None):
    """Runs a command that is killed at some point, if it gets there; returns how it ended."""
    control = Control(run.directory / "command-control")
    point, count = random.choice(POINTS), random.randint(1, COMMAND_POINTS_MAX)
    control.trigger(point, count)
    done = run.cluster.command(*arguments, environment={"FAULT_CONTROL": str(control.control_path)} | (environment or {}))
    run.history.add("command", words=[str(each) for each in arguments[:1 if arguments[0] in ("backup", "rekey") else 2]], point=point, count=count,
                    killed=done.returncode == -signal.SIGKILL, status=done.returncode, error=done.stderr[-600:])
    return done


def run_again(run, *arguments):
    """Runs a command that must succeed this time."""
    done = run.cluster.command(*arguments)
    run.history.add("command_again", words=[str(each) for each in arguments[:1 if arguments[0] in ("backup", "rekey") else 2]], status=done.returncode, error=done.stderr[-600:])
    return done


@fault(weight=1)
def rekey_store(run, random):
    """Another master key takes the place of the first, and the old one is taken away."""
    api = run.take_api()
    cluster = run.cluster
    with disturbing(api):
        fresh = cluster.directory / "fresh-master-key"
        fresh.unlink(missing_ok=True)
        cluster.admin("master-key", "generate", "--output", str(fresh))
        replace_file(cluster.master_key_file, fresh.read_text() + cluster.master_key_file.read_text())
        run_killed(run, random, "rekey")
        yield random.uniform(0, 0.5)
        if run_again(run, "rekey").returncode == 0:
            replace_file(cluster.master_key_file, fresh.read_text())
    yield 0


def keep_credentials(run, path):
    """Keeps what a command has written for the judges; returns it, or None when it was killed before it had written it."""
    try:
        made = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    run.key_generations += 1
    shutil.copy(path, run.cluster.directory / f"{made['environment']}.credentials.{run.key_generations}")
    return made


@fault(weight=1)
def rekey_environment(run, random):
    """An environment gets other keys; until its workers have them they can open nothing that is new."""
    api = run.take_api()
    name = random.choice(run.environments)
    with disturbing(api):
        made = run.directory / "made.credentials-of-a-command"
        for attempt in ("killed", "again"):
            made.unlink(missing_ok=True)
            arguments = ("environment", "rekey", name, "--credentials", made)
            done = run_killed(run, random, *arguments) if attempt == "killed" else run_again(run, *arguments)
            kept = keep_credentials(run, made)
            if done.returncode == 0:
                break
        yield random.uniform(0, 1)
        if kept:
            live = run.cluster.credentials(name)
            replace_file(live, json.dumps(kept | {"keys": kept["keys"] + json.loads(live.read_text())["keys"]}))
            for node in run.cluster.workers.values():
                if node.environment == name and node.running:
                    node.program.process.send_signal(signal.SIGHUP)
    yield 0


KEYS_MOST = 16  # that are accepted at once


@fault(weight=1)
def rotate_signing_key(run, random):
    """Another key signs; the workers know it before, and the old one is accepted for an hour, which is less than clocks are turned by."""
    api = run.take_api()
    cluster = run.cluster
    with disturbing(api):
        known = {key["kid"] for key in json.loads(cluster.admin("signing-key", "export"))["keys"]}
        if len(known) >= KEYS_MOST:
            return
        if run_killed(run, random, "signing-key", "add").returncode != 0:
            run_again(run, "signing-key", "add")
        cluster.export_api_keys()
        for node in cluster.workers.values():
            if node.running and random.random() < 0.5:  # they look by themselves when they meet a key that they do not know
                node.program.process.send_signal(signal.SIGHUP)
        yield random.uniform(0, 0.5)
        fresh = next(key["kid"] for key in reversed(json.loads(cluster.api_keys_file.read_text())["keys"]) if key["kid"] not in known)
        arguments = ("signing-key", "activate", "--accept-old-for", "1h", "--", fresh)
        if run_killed(run, random, *arguments).returncode != 0 and f"{fresh}\tactive" not in cluster.admin("signing-key", "list"):
            run_again(run, *arguments)
        cluster.export_api_keys()
    yield 0


@fault(weight=1)
def back_up(run, random):
    """A copy of the store that is there is whole."""
    api = run.take_api()
    run.backups += 1
    place = run.directory / "backups" / str(run.backups)
    place.mkdir(mode=0o700, parents=True)
    with disturbing(api):
        copy = place / "jwk-api.db"
        run_killed(run, random, "backup", copy, environment={"FAULT_DIRECTORY": str(place.resolve()), "FAULT_JOURNAL": ""})
        whole_after_kill = copy.exists() and run.cluster.command("check", directory=place).returncode
        yield random.uniform(0, 0.5)
        if not copy.exists():
            run_again(run, "backup", copy)
        done = run.cluster.command("check", directory=place)
        run.history.add("backup", after_kill=whole_after_kill, status=done.returncode, said=(done.stdout + done.stderr)[-600:])
        shutil.rmtree(place)
    yield 0
