"""The systemd units confine what they start, are sound, and the programs need no more than they grant; files are their owner's alone."""

import os
import pathlib
import re
import resource
import signal
import stat
import subprocess
import sys

import pytest

from harness.keys import new_key
from harness.program import BUILD, REPOSITORY, Program, wait_until

UNITS = {"jwk-api": REPOSITORY / "api" / "jwk-api.service", "jwk-worker": REPOSITORY / "worker" / "jwk-worker@.service"}
EXPOSURE_MAX = 1.5
SANITIZED = BUILD.name != "build"
each_unit = pytest.mark.parametrize("name", UNITS)


@each_unit
def test_the_exposure_of_a_unit_is_low(name):
    shown = subprocess.run(["systemd-analyze", "security", "--offline=true", UNITS[name]], capture_output=True, text=True, check=False)
    exposure = float(re.search(r"Overall exposure level for \S+: ([0-9.]+)", shown.stdout)[1])
    assert exposure <= EXPOSURE_MAX, shown.stdout


@each_unit
def test_a_unit_is_sound_where_it_is_installed(name, tmp_path):
    subprocess.run(["make", "--silent", "install", f"DESTDIR={tmp_path}", f"PREFIX={tmp_path}/usr", f"BUILD={BUILD}"], cwd=REPOSITORY,
                   capture_output=True, check=True)
    unit, = tmp_path.rglob(UNITS[name].name)
    text = unit.read_text()
    assert f"ExecStart={tmp_path}/usr/bin/{name}" in text
    # It names its programs where they will be, which here is below DESTDIR.
    unit.write_text(text.replace(f"ExecStart={tmp_path}/usr/bin/", f"ExecStart={BUILD}/"))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


@each_unit
def test_a_unit_hands_over_secrets_as_credentials_and_nothing_by_its_command_line(name):
    text = UNITS[name].read_text()
    assert re.search(r"^LoadCredential=(master-key|credentials):/etc/", text, re.MULTILINE)
    assert re.search(r"^LoadCredential=kafka:/etc/", text, re.MULTILINE)
    command, = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)
    assert not re.search("password|secret|master|credential|kafka", command)


@each_unit
def test_the_allocator_sees_whether_the_machine_overcommits(name):
    assert "pid" not in re.findall(r"^ProcSubset=(.*)$", UNITS[name].read_text(), re.MULTILINE)


@pytest.mark.skipif(SANITIZED, reason="sanitizers use system calls of their own")
def test_the_programs_do_all_their_work_with_the_system_calls_that_the_units_allow(installation, monkeypatch):
    """A call that is not allowed would kill them."""
    confined = pathlib.Path(__file__).parent / "harness" / "confined.py"

    start = Program.__init__

    def start_confined(self, name, arguments, directory, environment=None):
        unit = UNITS[pathlib.Path(arguments[0]).name]
        start(self, name, [sys.executable, confined, unit, *arguments], directory, environment)
    monkeypatch.setattr(Program, "__init__", start_confined)
    export = installation.directory / "export"
    installation.add_environment("production")
    installation.start_api()
    hook = installation.directory / "hook"
    hook.write_text("#!/bin/sh\ncat >/dev/null\n")
    hook.chmod(0o755)
    worker = installation.start_worker("production", "edge-1", "--hook", hook, "--export-dir", export)
    installation.wait_connected()
    project = installation.add_project("MyProject")
    for kind in ("RSA", "EC", "OKP"):
        assert installation.api.create(project, kind, new_key(kind, kid=kind)).json["deploymentResult"]["success"]
    answer = installation.api.update(project, "EC", {"name": "renamed"})
    assert answer.json["deploymentResult"]["success"], answer
    assert worker.names(project) == ["OKP", "RSA", "renamed"]
    for program in (installation.api, worker):
        assert program.request("GET", "/metrics").status == 200
        program.process.send_signal(signal.SIGHUP)
        wait_until(lambda p=program: "loading again" in p.log(), f"{program.name} has loaded again")
        assert re.search(r"^Seccomp:\s+2$", pathlib.Path(f"/proc/{program.pid}/status").read_text(), re.MULTILINE)
    assert installation.api.delete(project, "renamed").json["deploymentResult"]["success"]


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def test_files_are_their_owners_alone_and_what_verifiers_read_is_for_all(installation):
    before = os.umask(0)  # which the programs would inherit
    try:
        installation.add_environment("production")
        installation.start_api()
        export = installation.directory / "export"
        worker = installation.start_worker("production", "edge-1", "--export-dir", export)
        installation.wait_connected()
        project = installation.add_project("MyProject")
        assert installation.api.create(project, "a").json["deploymentResult"]["success"]
    finally:
        os.umask(before)
    for directory in (installation.data_directory, worker.state_directory):
        assert mode(directory) == 0o700
        files = [path for path in directory.rglob("*") if path.is_file()]
        assert len(files) >= 3
        assert {path: oct(mode(path)) for path in files if mode(path) != 0o600} == {}
    assert mode(export) == 0o755 and {mode(path) for path in export.iterdir()} == {0o644}


@pytest.mark.skipif(SANITIZED, reason="a leak detector attaches to its own process")
@pytest.mark.parametrize("allowed", [False, True], ids=["by default", "when a developer asks"])
def test_memory_goes_into_no_core_dump(installation, allowed):
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    try:
        options = ["--core-dumps"] if allowed else []
        installation.add_environment("production")
        installation.start_api(*options)
        worker = installation.start_worker("production", "edge-1", *options)
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))
    for program in (installation.api, worker):
        limit, = re.findall(r"^Max core file size\s+(\S+)", pathlib.Path(f"/proc/{program.pid}/limits").read_text(), re.MULTILINE)
        assert limit == ("unlimited" if hard == resource.RLIM_INFINITY else str(hard)) if allowed else limit == "0"
        # What is not dumpable belongs to root in /proc, so that no other process of the user reads its memory.
        if os.geteuid() != 0:
            assert (os.stat(f"/proc/{program.pid}/mem").st_uid == 0) != allowed
