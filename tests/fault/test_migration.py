"""Death, loss of power and a failing disk at every point of a schema migration: each write and each sync of it in turn; and no memory.

The real programs migrate a store and a state that version 1 left, and make new ones. Whatever became of a start, the next one opens, and
leaves to the last row what an undisturbed migration leaves."""

import concurrent.futures
import os
import random
import re
import shutil
import sqlite3
import subprocess

import pytest

from harness.installation import new_master_key
from harness.program import BUILD, PATIENCE, REPOSITORY, Program, wait_until

from . import shim
from .check import STATUS_OUT_OF_MEMORY

DATA = REPOSITORY / "tests" / "blackbox" / "data"
ORIGINS = ("closed", "killed", "new")
NOWHERE = "127.0.0.1:1"  # no broker is needed to migrate
SEALED_OUT = ("UPDATE jwk_material SET private_key = NULL; UPDATE source_material SET private_material = NULL, password = NULL;"
              "DELETE FROM data_key")


def content_of_script(script):
    database = sqlite3.connect(":memory:")
    database.executescript((DATA / script).read_text())
    return [database.execute("PRAGMA user_version").fetchone(), *database.iterdump()]


def old_file(path, script, origin):
    """What version 1 has left: closed in an orderly way, killed with everything still in the log, or nothing yet."""
    if origin == "new":
        return
    made = path.with_name("made.db")
    database = sqlite3.connect(made, isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    if origin == "killed":
        database.execute("PRAGMA wal_autocheckpoint = 0")
    database.executescript((DATA / script).read_text())
    if origin == "closed":
        database.close()
    shutil.copy(made, path)
    path.chmod(0o600)
    if origin == "killed":
        log = path.with_name(f"{path.name}-wal")
        shutil.copy(f"{made}-wal", log)
        log.chmod(0o600)
        assert log.stat().st_size > path.stat().st_size
        database.close()
    for left in path.parent.glob("made.db*"):
        left.unlink()


def content_of(path, leave_out=""):
    """Every table, index, trigger and row, and which version they are of. leave_out: statements that take out what chance or time has made."""
    database = sqlite3.connect(path)
    try:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert database.execute("PRAGMA foreign_key_check").fetchall() == []
        for statement in filter(None, leave_out.split(";")):
            database.execute(statement)  # never committed
        return [database.execute("PRAGMA user_version").fetchone(), database.execute("PRAGMA application_id").fetchone(), *database.iterdump()]
    finally:
        database.close()


class Store:
    """The API's store, which any command migrates, and one makes that refuses only then what it was told to add; they end by themselves."""
    file, script = "jwk-api.db", "store-001.sql"

    def __init__(self, directory, is_new):
        self.directory, self.is_new = directory, is_new

    def start(self, environment):
        """Returns whether the program has done its work."""
        words = ["add", ""] if self.is_new else ["list"]
        done = subprocess.run([BUILD / "jwk-api", "project", *words, "--data-dir", self.directory], env=os.environ | environment,
                              capture_output=True, timeout=PATIENCE, check=False)
        self.said, self.status = done.stderr.decode(), done.returncode
        return "Project name can not be empty!" in self.said if self.is_new else done.returncode == 0

    def content(self):
        return content_of(self.directory / self.file, "UPDATE store SET uid = '', created_at = 0" if self.is_new else "")


class State:
    """A worker's state, migrated before it serves; the worker is killed once it does."""
    file, script = "state.db", "state-001.sql"

    def __init__(self, directory, is_new):
        self.directory, self.is_new = directory, is_new

    def start(self, environment):
        address, log = self.directory.with_name("address"), self.directory.with_name("log")
        address.unlink(missing_ok=True)
        with open(log, "wb") as output:
            process = subprocess.Popen([BUILD / "jwk-worker", "--environment", "production", "--replica", "edge-1", "--state-dir", self.directory,
                                        "--unsigned", "--brokers", NOWHERE, "--listen", "127.0.0.1:0", "--address-file", address],
                                       env=os.environ | environment, stdout=output, stderr=output)
        try:
            wait_until(lambda: address.exists() or process.poll() is not None, "the worker serves or has ended")
            return address.exists() and process.poll() is None
        finally:
            process.kill()
            self.said, self.status = log.read_text(), process.wait()

    def content(self):
        return content_of(self.directory / self.file)


class Trial:
    """One directory in which starts are disturbed, each from the same beginning."""

    def __init__(self, kind, origin, directory):
        self.shim = shim.Shim(shim.build(BUILD / "fault"), directory / "shim", directory / "data")
        self.subject = kind(self.shim.watched, origin == "new")
        self.beginning = directory / "beginning"
        self.beginning.mkdir()
        old_file(self.beginning / kind.file, kind.script, origin)

    def begin(self):
        for path in self.shim.watched.iterdir():
            path.unlink()
        for path in self.beginning.iterdir():
            shutil.copy2(path, self.shim.watched)
        self.shim.clear()
        self.shim.rebase()

    def undisturbed(self):
        """How often each operation happens, and what it leaves."""
        self.begin()
        before = list(self.shim.fields.counts)
        assert self.subject.start(self.shim.environment), self.subject.said
        counts = dict(zip(shim.OPERATIONS, (after - earlier for after, earlier in zip(self.shim.fields.counts, before))))
        return counts, self.subject.content()

    def disturb(self, operation, number, action, kept_share):
        """kept_share: None for no loss of power, else how much of what was not synced is there after it all the same."""
        self.begin()
        self.shim.trigger(operation, number, action)
        done = self.subject.start(self.shim.environment)
        assert self.shim.fields.fired, f"there was no {operation} {number}"
        assert not (done and action == "kill")
        assert done or action == "kill" or self.subject.said, "a start that fails says why"
        self.shim.clear()
        if kept_share is not None:
            self.shim.power_loss(random.Random(number), kept_share)

    def starve(self, number, continues, of="SQLite"):
        """The number-th allocation of a library fails. Returns whether it came to that, and whether the program has done its work."""
        self.begin()
        self.shim.fail_allocation(number, of, continues)
        done = self.subject.start(self.shim.environment)
        failed, self.allocations = self.shim.allocation_failed, number - self.shim.fields.allocation_left
        self.shim.clear()
        return failed, done

    def judge(self, expected, what):
        assert self.subject.start({}), f"{what}: {self.subject.said}"
        assert self.subject.content() == expected, what


def faults(counts, origin):
    """At every point death, with the power or without. Of what takes long and is much alike, every third."""
    for number in range(1, counts["write"] + 1):
        yield "write", number, "kill", None
        yield "write", number, "kill", 0.0
        if number % 3 == 0:
            yield "write", number, "kill", 0.5
        if number % 3 == 1 or origin != "new":
            yield "write", number, "fail writes", None
    for number in range(1, counts["sync_begin"] + 1):
        for action in ("kill", "fail syncs"):
            for kept_share in (None, 0.0, 0.5):
                yield "sync_begin", number, action, kept_share


@pytest.mark.parametrize("origin", ORIGINS)
@pytest.mark.parametrize("kind", (Store, State))
def test_what_happens_at_any_point_of_a_migration_is_made_good_by_the_next_start(kind, origin, tmp_path):
    trials = []
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        trials.append(Trial(kind, origin, tmp_path / str(number)))
    counts, expected = trials[0].undisturbed()
    assert counts["write"] > 5 and counts["sync_begin"] > 0
    if origin != "new":
        assert expected[0] != content_of_script(kind.script)[0], "it was migrated"
    every = list(faults(counts, origin))

    def run(trial, mine):
        for fault in mine:
            trial.disturb(*fault)
            trial.judge(expected, fault)

    with concurrent.futures.ThreadPoolExecutor(len(trials)) as pool:
        for done in [pool.submit(run, trial, every[number::len(trials)]) for number, trial in enumerate(trials)]:
            done.result()


# ---- from clear text to sealed, which the first start of the API does with what was migrated ----

class Sealing(Store):
    """`serve` until everything is sealed."""

    def __init__(self, directory, is_new):
        super().__init__(directory, is_new)
        self.master_key = new_master_key(directory.parent)

    def start(self, environment):
        log = self.directory.with_name("log")
        program = Program(log.name, [BUILD / "jwk-api", "serve", "--data-dir", self.directory, "--listen", "127.0.0.1:0", "--master-key-file",
                                     self.master_key, "--brokers", NOWHERE], log.parent, environment)
        try:
            # It waits for a broker when it is done; there is none.
            wait_until(lambda: not program.running or "No Kafka broker" in program.log() or "secrets are sealed" in program.log(), "it is sealed")
            return program.running
        finally:
            program.kill()
            self.said, self.status = program.log(), program.process.returncode

    def content(self):
        """But what is sealed, which `check` opens: no two times are alike."""
        done = subprocess.run([BUILD / "jwk-api", "check", "--data-dir", self.directory, "--master-key-file", self.master_key],
                              capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        clear = [canary for canary in self.canaries() for path in self.directory.iterdir() if canary in path.read_bytes()]
        assert clear == [], "nothing is left in clear text, in no page and no log"
        return [done.stdout.partition("is sound")[2], *content_of(self.directory / self.file, SEALED_OUT)]

    def canaries(self):
        """Private members and passwords, as version 1 has them."""
        text = (DATA / self.script).read_text()
        found = re.findall(r'"(?:d|k|p|q)":"([^"]{20,})"', text) + re.findall(r"keystore-password-canary", text)
        assert len(found) > 5
        return [value.encode() for value in found]


def test_what_happens_at_any_sync_of_sealing_is_made_good_by_the_next_start(tmp_path):
    """And when the power goes: what was synced is sealed with a key that is there, and no clear text comes back."""
    trial = Trial(Sealing, "killed", tmp_path)
    counts, expected = trial.undisturbed()
    assert counts["sync_begin"] > 5
    for number in range(1, counts["sync_begin"] + 1):
        for action, kept_share in (("kill", None), ("kill", 0.0), ("kill", 0.5), ("fail syncs", 0.0)):
            fault = "sync_begin", number, action, kept_share
            trial.disturb(*fault)
            trial.judge(expected, fault)


# ---- without memory ----

@pytest.mark.parametrize("kind", (Store, State, Sealing))
def test_a_start_for_which_sqlite_has_no_memory_ends_with_a_line_and_its_status_and_the_next_one_works(kind, tmp_path):
    """While it opens, looks for damage, migrates and seals."""
    trial = Trial(kind, "killed", tmp_path)
    expected = trial.undisturbed()[1]
    assert trial.starve(1, True, "OpenSSL") == (False, True), "OpenSSL asks the program for all of its memory"
    assert trial.starve(1 << 40, False) == (False, True)
    numbers = sorted({*range(1, 200, 15), *range(1, trial.allocations, trial.allocations // 20)})
    ended = 0
    for number in numbers:
        failed, done = trial.starve(number, continues=number % 2 == 0)
        assert failed or done, f"allocation {number}: {trial.subject.said}"
        if not done:  # or it failed behind that
            lines = trial.subject.said.splitlines()
            assert trial.subject.status == STATUS_OUT_OF_MEMORY and "out of memory: could not allocate" in lines[-1], (number, lines)
            assert sum("out of memory" in line for line in lines) == 1, (number, lines)
            ended += 1
        trial.judge(expected, f"allocation {number}")
    assert ended > len(numbers) * 0.8, "how many there are differs a little from start to start"
