"""Backups: made while the API serves, put back while replicas are ahead; and damage that is found at the start."""

import contextlib
import os
import re
import shutil
import signal
import sqlite3
import stat
import subprocess
import threading

import pytest

from harness.keys import new_key
from harness.program import BUILD, PATIENCE, wait_until


@pytest.fixture
def started(installation):
    installation.add_environment("production")
    installation.start_api()
    installation.start_worker("production")
    installation.wait_connected()
    return installation


@contextlib.contextmanager
def load(installation, project):
    """Changes of JWKs, one behind the other, until the end of the block; yields the list of what was recorded."""
    recorded, ends = [], threading.Event()

    def change():
        number = 0
        while not ends.is_set():
            answer = installation.api.create(project, f"load-{number}", new_key("EC", kid=f"load-{number}"), prefer="respond-async")
            assert answer.status == 202, answer
            recorded.append(f"load-{number}")
            number += 1
    thread = threading.Thread(target=change)
    thread.start()
    try:
        wait_until(lambda: len(recorded) > 5, "the load runs")
        yield recorded
    finally:
        ends.set()
        thread.join()


def put_back(installation, backup):
    shutil.rmtree(installation.data_directory)
    installation.data_directory.mkdir(mode=0o700)
    shutil.copy(backup, installation.data_directory / "jwk-api.db")
    os.chmod(installation.data_directory / "jwk-api.db", 0o600)


def test_backup_while_serving_is_put_back_and_the_replicas_follow(started, project):
    """The procedure of the README, with a replica that is ahead of the backup."""
    api, worker = started.api, started.workers["production", "edge-1"]
    key = new_key("EC", kid="kept")
    assert api.create(project, "kept", key).status == 200
    backup = started.directory / "backup.db"
    with load(started, project) as recorded:
        before = list(recorded)
        started.admin("backup", backup)
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert key["d"].encode() not in backup.read_bytes()
    assert api.create(project, "newer", new_key("EC", kid="newer")).status == 200
    assert api.stop() == 0
    put_back(started, backup)
    with pytest.raises(AssertionError, match="jwk-api adopt"):
        started.start_api()
    started.programs.pop()
    started.admin("adopt", *started.broker_options)
    assert started.admin("check").returncode == 0
    api = started.start_api()
    names = {"kept", *before}
    wait_until(lambda: set(worker.names(project)) == set(api.names(project)), "the replica follows the older store")
    assert names <= set(worker.names(project)) and "newer" not in worker.names(project)
    assert api.item(project, "kept")["ec"]["d"] == key["d"]
    assert api.update(project, "kept", {"name": "after"}).json["deploymentResult"]["success"]


def test_backup_is_never_written_over_a_file(started, tmp_path):
    there = tmp_path / "there"
    there.write_text("mine")
    done = started.admin("backup", there, check=False)
    assert done.returncode == 1 and "exists already" in done.stderr and there.read_text() == "mine"


def test_backup_that_is_killed_leaves_nothing_in_its_place(started, project, tmp_path):
    assert started.api.create(project, "kept", new_key("EC", kid="kept")).status == 200
    backup = tmp_path / "backup.db"
    command = [BUILD / "jwk-api", "backup", "--data-dir", started.data_directory, backup]
    killed = 0
    for delay in range(40):
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        try:
            process.wait(delay / 2000)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        if backup.exists():  # it was complete before the kill
            with contextlib.closing(sqlite3.connect(backup)) as store:
                assert store.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            backup.unlink()
    assert killed
    started.admin("backup", backup)
    with contextlib.closing(sqlite3.connect(backup)) as store:
        assert ("kept",) in store.execute("SELECT name FROM jwk").fetchall()


def test_check_of_a_sound_store(started, project):
    with load(started, project):
        done = started.admin("check")
    assert "is sound" in done.stdout


@pytest.mark.parametrize("finding, statement", [
    ("deployment", "DELETE FROM deployment WHERE id = (SELECT deployment FROM jwk LIMIT 1)"),
    ("material", "DELETE FROM jwk_material"),
    ("evidence", "UPDATE store SET audit_hash = 'AAAA'"),
])
def test_check_finds_rows_that_do_not_fit(installation, project, finding, statement):
    installation.start_api()
    assert installation.api.create(project, "a", new_key("EC", kid="a"), prefer="respond-async").status == 202
    installation.stop()
    with contextlib.closing(sqlite3.connect(installation.data_directory / "jwk-api.db")) as store:
        if finding == "evidence":
            # What waits to be published is checked; it was all published.
            sequence, = store.execute("SELECT audit_sequence FROM store").fetchone()
            store.execute("INSERT INTO audit_outbox (sequence, lines) VALUES (?, ?)",
                          (sequence, f'{{"sequence":{sequence},"previous":""}}\n'))
        store.execute(statement)
        store.commit()
    done = installation.admin("check", check=False)
    assert done.returncode == 1 and finding in done.stdout and "not sound" in done.stdout, done


@pytest.mark.parametrize("damage", ["page", "empty", "cut", "foreign"])
def test_damaged_store_is_found_at_the_start(installation, project, damage):
    installation.start_api()
    for number in range(50):
        assert installation.api.create(project, f"jwk-{number}", new_key("EC", kid="a"), prefer="respond-async").status == 202
    installation.stop()
    path = installation.data_directory / "jwk-api.db"
    content = bytearray(path.read_bytes())
    if damage == "page":
        for page in range(8, len(content) // 4096, 3):
            content[page * 4096:page * 4096 + 200] = os.urandom(200)
    path.write_bytes({"page": content, "empty": b"", "cut": content[:len(content) // 2 // 4096 * 4096], "foreign": b"x" * 8192}[damage])
    with pytest.raises(AssertionError, match="backup"):
        installation.start_api()
    assert installation.admin("check", check=False).returncode == 1


def flip_first_page(log):
    """Damages the page of the log's first frame: SQLite by itself would take back everything behind it."""
    content = bytearray(log.read_bytes())
    content[32 + 24 + 100] ^= 1
    log.write_bytes(content)


def test_damaged_log_of_the_store_is_found_at_the_start(installation, project):
    installation.start_api()
    for number in range(5):
        assert installation.api.create(project, f"jwk-{number}", prefer="respond-async").status == 202
    installation.api.kill()  # in good order it would have emptied its log
    flip_first_page(installation.data_directory / "jwk-api.db-wal")
    with pytest.raises(AssertionError, match=r"jwk-api\.db-wal is damaged, and changes that it held are lost: put back a backup .*jwk-api adopt"):
        installation.start_api()
    assert "is damaged" in installation.admin("check", check=False).stderr


@pytest.mark.parametrize("damage", ["page", "log", "cut", "foreign"])
def test_damaged_state_of_a_worker_is_found_at_the_start_and_rebuilt_once_its_directory_is_deleted(started, project, damage):
    names = [f"jwk-{number:02}" for number in range(30)]
    for name in names:
        assert started.api.create(project, name, new_key("EC", kid=name), prefer="respond-async").status == 202
    worker = started.workers["production", "edge-1"]
    wait_until(lambda: worker.names(project) == names, "all are applied")
    if damage == "log":
        worker.kill()
        flip_first_page(worker.state_directory / "state.db-wal")
    else:
        assert worker.stop() == 0
        path = worker.state_directory / "state.db"
        content = bytearray(path.read_bytes())
        content[4096:8 * 4096] = b"\x55" * (7 * 4096)
        path.write_bytes({"page": content, "cut": content[:len(content) // 2], "foreign": b"x" * 8192}[damage])
    with pytest.raises(AssertionError, match="delete the state directory"):
        started.restart_worker(worker)
    shutil.rmtree(worker.state_directory)
    assert started.restart_worker(worker).names(project) == names


@pytest.mark.parametrize("text, sentence", [
    ("brokers = a:1\nlisten", "config:2: .*name = value"), ("brokerz = a:1\n", "config:1: .*brokerz"), ("\x1b[31m\xff = \xff\n", "config:1: "),
    ("brokers = a:1\nlisten = 127.0.0.1:0\0:8080\n", "config:2: .*NUL"), ("\0" * 4096, "config:1: .*NUL"),
], ids=["cut", "misspelt", "garbage", "a NUL", "nothing but NUL"])
@pytest.mark.parametrize("program", [["jwk-api", "serve", "--data-dir"], ["jwk-worker", "--unsigned", "--environment", "e", "--replica", "r", "--state-dir"]],
                         ids=["jwk-api", "jwk-worker"])
def test_damaged_config_is_refused_with_its_line(program, text, sentence, tmp_path):
    config = tmp_path / "config"
    config.write_bytes(text.encode("latin-1"))
    done = subprocess.run([BUILD / program[0], *program[1:], tmp_path / "data", "--config", config], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 2 and re.search(sentence, done.stderr) and done.stderr.count("\n") == 1 and "\x1b" not in done.stderr, done
    assert not (tmp_path / "data").exists()
