"""What an earlier version left is opened, and goes on."""

import pathlib
import sqlite3

import pytest

from harness.keys import new_key
from harness.program import wait_until

DATA = pathlib.Path(__file__).with_name("data")


def make_state(directory, script):
    directory.mkdir(mode=0o700)
    path = directory / "state.db"
    with sqlite3.connect(path) as database:
        database.executescript((DATA / script).read_text())
    database.close()
    path.chmod(0o600)


def version_of(directory):
    database = sqlite3.connect(f"file:{directory / 'state.db'}?mode=ro", uri=True)
    try:
        return database.execute("PRAGMA user_version").fetchone()[0]
    finally:
        database.close()


@pytest.mark.parametrize("version", [1, 2])
def test_a_state_of_an_earlier_schema_is_served_from_the_start_on(installation, project, version):
    directory = installation.directory / "state-production-edge-1"
    make_state(directory, f"state-{version:03}.sql")
    installation.add_environment("production")
    worker = installation.start_worker("production", ready=False)
    # There is no API yet, hence no topic: this is what was in the state.
    assert worker.kids("MyProject") == ["signing", "encrypting", "rotated-2", "rotated"]
    assert worker.names("MyProject") == ["encrypting", "renamed", "rotated", "secret"]
    installation.start_api()
    worker.wait_ready()
    installation.wait_connected()
    assert installation.api.create(project, "a", new_key("EC", kid="new")).json["deploymentResult"]["success"]
    assert worker.kids(project) == ["new"]
    assert worker.kids("MyProject") == ["signing", "encrypting", "rotated-2", "rotated"]
    worker.stop()
    assert version_of(directory) == 3
    worker = installation.restart_worker(worker)
    wait_until(lambda: worker.kids(project) == ["new"], "it is served after a restart too")
