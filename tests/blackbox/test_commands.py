"""The commands as a whole: which of them may make a store, and options that name nothing."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

import pytest

from harness.installation import ROLE_SECURITY, new_master_key, run
from harness.program import BUILD, Program, wait_until

# What may be the first that is done for an installation, with what it takes to succeed.
MAKERS = {"serve": [], "environment add": ["production"], "project add": ["MyProject"], "token create": ["--user", "alice", "--role", ROLE_SECURITY],
          "client create": ["--user", "robot", "--role", ROLE_SECURITY]}


def commands():
    """Those that take --data-dir, each with the operands that it needs, as the program tells them: none can be forgotten here."""
    listed = re.findall(r"^  (\S.*)$", run(["--help"]).stdout.partition("\nCommands:\n")[2].partition("\n\n")[0], re.MULTILINE)
    named = {" ".join(re.findall(r"\b[a-z-]+\b", line)): re.findall(r"\b[A-Z]+\b(?!\])", line) for line in listed}
    return {name: operands for name, operands in named.items() if "--data-dir " in run([*name.split(), "--help"]).stdout}


COMMANDS = commands()


@pytest.fixture
def master_key(tmp_path):
    return {"JWK_API_MASTER_KEY_FILE": str(new_master_key(tmp_path))}


def test_the_commands_are_found():
    assert MAKERS.keys() < COMMANDS.keys() and {"rekey", "adopt", "check"} < COMMANDS.keys() and "audit verify" not in COMMANDS
    assert COMMANDS["signing-key activate"] == ["KID"] and COMMANDS["backup"] == ["FILE"] and COMMANDS["rekey"] == []


@pytest.mark.parametrize("is_there", [False, True], ids=["no directory", "an empty directory"])
@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in MAKERS])
def test_command_without_a_store_says_so_and_makes_none(command, is_there, tmp_path, master_key):
    directory, file = tmp_path / "wrong", tmp_path / "FILE"
    if is_there:
        directory.mkdir(0o700)
    operands = [str(file) if operand == "FILE" else operand for operand in COMMANDS[command]]
    done = run([*command.split(), *operands, "--data-dir", directory], check=False, environment=master_key)
    assert (done.returncode, done.stdout, done.stderr) == (
        1, "", f"jwk-api: data directory {directory}: there is no store in it; give the --data-dir of one, or make one with 'jwk-api environment "
        "add' or 'jwk-api project add'\n")
    assert not file.exists()
    assert list(directory.iterdir()) == [] if is_there else not directory.exists()


@pytest.mark.parametrize("command", [name for name in MAKERS if name != "serve"])
def test_command_that_begins_an_installation_makes_its_store(command, tmp_path, master_key):
    directory = tmp_path / "new"
    run([*command.split(), *MAKERS[command], "--data-dir", directory], environment=master_key)
    assert "is sound" in run(["check", "--data-dir", directory], environment=master_key).stdout


@pytest.mark.parametrize("words, sentence", [([], "No master key: give the one of the store with --master-key-file FILE;"),
                                             (["--master-key-file", "/none"], "/none can not be opened")])
def test_environment_without_a_master_key_leaves_no_store_behind(words, sentence, tmp_path):
    done = run(["environment", "add", "production", "--data-dir", tmp_path / "new", *words], check=False)
    assert done.returncode == 1 and sentence in done.stderr and not (tmp_path / "new").exists()
    for keys in (["--without-keys"], ["--master-key-file", new_master_key(tmp_path)], []):  # the last one finds a signing key
        run(["environment", "add", f"production-{len(keys)}", "--data-dir", tmp_path / "new", *keys])


def test_serve_makes_its_store(tmp_path, master_key):
    started = Program("api", [BUILD / "jwk-api", "serve", "--listen", "127.0.0.1:0", "--data-dir", tmp_path / "new", "--brokers", "127.0.0.1:1"],
                      tmp_path, master_key)
    wait_until(lambda: "waiting for a Kafka broker" in started.log(), "it has got beyond its store")
    assert started.stop() == 0
    assert "is sound" in run(["check", "--data-dir", tmp_path / "new"], environment=master_key).stdout


def test_a_store_that_can_not_be_written_is_named(tmp_path):
    """As on a full disk: which one that is shows by the file."""
    directory = tmp_path / "data"
    run(["project", "add", "MyProject", "--data-dir", directory])
    limited = ["sh", "-c", 'trap "" XFSZ; ulimit -f 1; exec "$0" "$@"', BUILD / "jwk-api"]
    done = subprocess.run([*limited, "project", "add", "Other", "--data-dir", directory], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and f"file={directory}/jwk-api.db" in done.stderr


def test_rekey_of_a_store_in_which_nothing_is_sealed_does_not_say_that_the_old_key_can_go(tmp_path, master_key):
    """A real store, but hardly the one that was meant."""
    run(["project", "add", "MyProject", "--data-dir", tmp_path / "other"], environment=master_key)
    done = run(["rekey", "--data-dir", tmp_path / "other"], check=False, environment=master_key)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"nothing is sealed in the store in {tmp_path / 'other'}" in done.stderr and "keep the old master key" in done.stderr


# ---- a list of brokers in which there is none ----

SERVE = ["jwk-api", "serve", "--listen", "127.0.0.1:0"]
WORKER = ["jwk-worker", "--environment", "production", "--replica", "edge-1", "--unsigned", "--listen", "127.0.0.1:0"]


def end_of(program, words, directory, environment):
    """Starts a program that is to end by itself; its status and what it said."""
    name, *arguments = program
    where = "--data-dir" if name == "jwk-api" else "--state-dir"
    started = Program(name, [BUILD / name, *arguments, where, directory, *words], directory.parent, environment)
    try:
        return started.wait_exit(), started.log()
    finally:
        started.kill()


@pytest.mark.parametrize("words, environment", [
    (["--brokers", ""], {}), (["--brokers", " , "], {}), (["-X", "bootstrap.servers="], {}), ([], {"BROKERS": " "}), ([], {"BROKERS": ","}),
], ids=["empty", "separators", "property", "variable of white space", "variable of separators"])
@pytest.mark.parametrize("program", [SERVE, WORKER], ids=["jwk-api", "jwk-worker"])
def test_no_broker_at_all_is_refused(program, words, environment, tmp_path, master_key):
    """Waiting for one would have no end."""
    name, prefix, directory = program[0], program[0].upper().replace("-", "_"), tmp_path / "data"
    status, log = end_of(program, words, directory, {f"{prefix}_{variable}": value for variable, value in environment.items()} | master_key)
    assert (status, log) == (2, f"{name}: no Kafka broker is named: --brokers takes HOST:PORT,...\n")
    assert not directory.exists()


@pytest.mark.parametrize("program", [SERVE, WORKER], ids=["jwk-api", "jwk-worker"])
def test_an_address_that_is_none_stays_one(program, tmp_path, master_key):
    """A supervisor must not start it again and again, and nothing is made for it."""
    status, log = end_of(program, ["--listen", "nonsense", "--brokers", "127.0.0.1:1"], tmp_path / "data", master_key)
    assert status == 2 and "nonsense" in log, log
    assert not (tmp_path / "data").exists()


# ---- the log of commands ----

@pytest.mark.parametrize("option, value", [("--log-level", "loud"), ("--log-format", "xml")])
@pytest.mark.parametrize("words", [["project", "list"], ["serve"], ["backup", "copy.db"]], ids=" ".join)
def test_every_command_refuses_a_log_that_is_none(words, option, value, tmp_path):
    done = run([*words, "--data-dir", tmp_path / "data", option, value], check=False)
    assert (done.returncode, done.stdout) == (2, "") and f"jwk-api: {option} {value}: use " in done.stderr, done.stderr
    assert not (tmp_path / "data").exists()


def test_a_command_logs_as_it_is_told(tmp_path):
    """By itself only what is amiss: a command's own output is what its user wants to see."""
    add = lambda name, *options: run(["project", "add", "MyProject", "--data-dir", tmp_path / name, *options]).stderr  # noqa: E731
    assert add("one") == ""
    assert "store schema brought up to date" in add("two", "--log-level", "info")
    told = json.loads(add("three", "--log-level", "info", "--log-format", "json"))
    assert (told["level"], told["event"], told["program"]) == ("info", "store schema brought up to date", "jwk-api")


@pytest.mark.parametrize("words, sentence", [
    (["client", "create", "ci"], 'Unexpected argument "ci"; usage: jwk-api client create [OPTION]…'),
    (["serve", "--brokers", "--listen", "127.0.0.1:0"], 'Option "--brokers" needs a value (HOST:PORT,...), and "--listen" is an option; if it is '
                                                        "meant, write --brokers=--listen"),
])
def test_words_that_do_not_fit_are_told_as_what_they_are(words, sentence):
    done = run(words, check=False)
    assert (done.returncode, done.stderr) == (2, f"jwk-api: {sentence}\n")


def test_an_address_is_written_through_no_symbolic_link(tmp_path):
    """Where others may make files, one of them may have put it there."""
    victim, path = tmp_path / "victim", tmp_path / "broker.address"
    victim.write_text("precious")
    (tmp_path / "broker.address.new").symlink_to(victim)
    done = run(["broker", "--address-file", path], check=False)
    assert done.returncode != 0 and f"writing {path}" in done.stderr, done
    assert victim.read_text() == "precious"


# ---- root on what belongs to a service's user ----

SERVICE = 65534  # a user that is on every machine, and is not root


@pytest.fixture
def of_service():
    """A data directory of the service's user, where nothing above it keeps that one out, and what runs a command on it as a user."""
    if os.geteuid() != 0:
        pytest.skip("only root is somebody else")
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        program, data = shutil.copy(BUILD / "jwk-api", name), pathlib.Path(name, "data")
        data.mkdir(0o700)
        os.chown(data, SERVICE, SERVICE)

        def run_as(user, *words):
            return subprocess.run([program, *words, "--data-dir", data], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                                  user=user, group=user, extra_groups=[])
        yield data, run_as


TAKES_THE_LOCK = ["adopt", "-X", "no.such.property=1"]  # and ends at once


def test_what_root_makes_in_the_data_directory_belongs_to_the_directorys_owner(of_service):
    data, run_as = of_service
    assert run_as(0, "project", "add", "MyProject").returncode == 0
    assert "no.such.property" in run_as(0, *TAKES_THE_LOCK).stderr
    assert {"jwk-api.db", "serving.lock"} <= {path.name for path in data.iterdir()}
    assert {(path.stat().st_uid, path.stat().st_gid, path.stat().st_mode & 0o777) for path in data.iterdir()} == {(SERVICE, SERVICE, 0o600)}
    assert "no.such.property" in run_as(SERVICE, *TAKES_THE_LOCK).stderr
    assert run_as(SERVICE, "project", "add", "Another").returncode == 0


def test_a_backup_is_not_written_into_a_file_of_another_user(of_service):
    """Who has made it could read the copy of the store that root writes there."""
    data, run_as = of_service
    assert run_as(0, "project", "add", "MyProject").returncode == 0
    partial = data.parent / "backup.partial"
    partial.write_bytes(b"")
    os.chown(partial, SERVICE, SERVICE)
    done = run_as(0, "backup", data.parent / "backup")
    assert done.returncode == 1 and f"{partial} is there already, as a file of user {SERVICE}" in done.stderr, done
    assert partial.read_bytes() == b"" and not (data.parent / "backup").exists()
    partial.unlink()
    assert run_as(0, "backup", data.parent / "backup").returncode == 0


@pytest.mark.parametrize("file, words", [("serving.lock", TAKES_THE_LOCK), ("jwk-api.db", ["project", "list"])])
def test_a_file_that_root_has_made_its_own_is_told_with_what_mends_it(file, words, of_service):
    data, run_as = of_service
    assert run_as(SERVICE, "project", "add", "MyProject").returncode == 0
    run_as(SERVICE, *TAKES_THE_LOCK)
    os.chown(data / file, 0, 0)
    told = run_as(SERVICE, *words).stderr
    assert told.endswith(f"{data / file}: Permission denied; it belongs to user 0: run as root: chown {SERVICE} {data / file}\n")
    subprocess.run(told.partition("run as root: ")[2].split(), check=True)
    assert "Permission denied" not in run_as(SERVICE, *words).stderr


def test_a_data_directory_of_another_user_is_told_with_that_user(of_service):
    data, run_as = of_service
    assert run_as(0, "project", "add", "MyProject").returncode == 0
    for words in (["project", "list"], ["project", "add", "Another"]):
        done = run_as(SERVICE - 1, *words)
        assert (done.returncode, done.stderr) == (
            1, f"jwk-api: data directory {data}: Permission denied; it belongs to user {SERVICE}: run this as that user\n")


def test_a_data_directory_that_can_not_be_made_is_told_with_what_to_do(of_service):
    data, run_as = of_service
    data.rmdir()
    done = run_as(SERVICE, "project", "add", "MyProject")
    assert (done.returncode, done.stderr) == (1, f"jwk-api: making the data directory {data}: Permission denied; make it for the user that runs "
                                                 "this, or give another one with --data-dir\n")
