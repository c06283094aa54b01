"""The master key: where it comes from, what is refused, what is sealed under it, and exchanging it."""

import base64
import json
import os
import pathlib
import re
import secrets
import sqlite3
import stat
import subprocess
import threading

import pytest

from harness import sources
from harness.installation import jwks_path, new_master_key, run
from harness.keys import new_key
from harness.program import BUILD, PATIENCE, Program, wait_until
from harness.sources import Sources


def serve(installation, *options, environment=None):
    """What a jwk-api that does not start says, and its status."""
    command = [BUILD / "jwk-api", "serve", "--data-dir", installation.data_directory, "--listen", "127.0.0.1:0", *installation.broker_options,
               *options]
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("JWK_API_", "CREDENTIALS_"))}
    done = subprocess.run(list(map(str, command)), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False,
                          env=clean | (environment or {}))
    return done.returncode, done.stderr


def new_line():
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("=")


def write_keys(path, *lines):
    path = pathlib.Path(path)
    path.touch(0o600)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def script(path, text):
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o700)
    return path


def master_keys_of_store(installation):
    with sqlite3.connect(installation.data_directory / "jwk-api.db") as store:
        return {row[0] for row in store.execute("SELECT master_key FROM data_key")}


def everything(directory):
    return b"".join(path.read_bytes() for path in directory.iterdir() if path.is_file())


# ---- making one ----

def test_generated_key_is_written_for_its_owner_alone_and_never_over_another(tmp_path):
    path = tmp_path / "master-key"
    done = run(["master-key", "generate", "--output", path])
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}\n", path.read_text())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert done.stdout == "" and path.read_text().strip() not in done.stderr
    before = path.read_text()
    again = run(["master-key", "generate", "--output", path], check=False)
    assert again.returncode == 1 and "exists already" in again.stderr and path.read_text() == before


def test_generated_key_goes_to_standard_output_without_a_file():
    one, other = run(["master-key", "generate"]).stdout, run(["master-key", "generate"]).stdout
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}\n", one) and one != other


# ---- starting ----

def test_without_a_master_key_nothing_starts(installation):
    installation.add_project("MyProject")
    status, said = serve(installation)
    assert status == 2
    assert "No master key: give the one of the store with --master-key-file FILE; a new installation makes one with 'jwk-api master-key generate" in said


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_key_file_that_others_may_read_is_refused(installation, mode):
    installation.master_key_file.chmod(mode)
    status, said = serve(installation, *installation.master_key_options)
    assert status != 0 and f"chmod 600 {installation.master_key_file}" in said, said


@pytest.mark.parametrize(("lines", "part"), [
    ([], "empty"),
    (["# only a comment"], "holds no key"),
    (["c2hvcnQ"], "line 1 is no master key"),
    (["", "# old", "A" * 44], "line 3 is no master key"),
    (["A" * 42 + "="], "line 1 is no master key"),
    (["A" * 43, "A" * 43], "once more"),
    ([new_line() for _ in range(17)], "more than 16 keys"),
])
def test_file_that_is_no_key_file_is_refused_without_showing_it(installation, lines, part):
    status, said = serve(installation, "--master-key-file", write_keys(installation.directory / "bad", *lines))
    assert status == 2 and part in said, said
    assert not any(line in said for line in lines if len(line) > 40)


def test_wrong_master_key_is_refused_naming_the_right_one(installation, project):
    installation.start_api()
    installation.api.stop()
    wrong = new_master_key(installation.directory)
    status, said = serve(installation, "--master-key-file", wrong)
    (right,) = master_keys_of_store(installation)
    assert status == 2 and f"sealed under the master key {right}" in said and str(wrong) in said, said
    # Administration that would write under a key of its own is refused too.
    done = installation.admin("signing-key", "add", "--master-key-file", wrong, check=False)
    assert done.returncode == 1 and right in done.stderr
    installation.start_api()


def test_several_sources_are_refused(installation):
    status, said = serve(installation, *installation.master_key_options, "--master-key-command", "/bin/true")
    assert status == 2 and "not several" in said


def test_key_of_a_command(installation, project):
    command = script(installation.directory / "print-key", f"cat {installation.master_key_file}\n")
    installation.master_key_options = ["--master-key-command", command]
    installation.start_api()
    assert installation.api.create(project, "a", prefer="respond-async").status == 202
    installation.api.stop()
    installation.master_key_options = ["--master-key-file", installation.master_key_file]
    installation.start_api()
    assert "d" in installation.api.item(project, "a")["ec"]


@pytest.mark.parametrize(("text", "part"), [
    ("exit 3\n", "ended with status 3"),
    ("kill -9 $$\n", "ended by signal 9"),
    ("echo nothing\n", "line 1 is no master key"),
    ("head -c 300000 /dev/zero\n", "more than 262144 bytes"),
])
def test_command_that_fails_is_refused(installation, text, part):
    status, said = serve(installation, "--master-key-command", script(installation.directory / "print-key", text))
    assert status == 2 and part in said, said


def test_key_of_a_credential(installation, project):
    directory = installation.directory / "credentials"
    directory.mkdir()
    write_keys(directory / "master-key", installation.master_key_file.read_text().strip())
    write_keys(directory / "other", new_line())
    environment = {"CREDENTIALS_DIRECTORY": str(directory)}
    installation.start_api()
    installation.api.stop()
    status, said = serve(installation, "--master-key-credential", "other", environment=environment)
    assert status == 2 and "is not in credential other" in said, said
    status, said = serve(installation, "--master-key-credential", "../master-key", environment=environment)
    assert status == 2 and "without a slash" in said
    status, said = serve(installation, "--master-key-credential", "master-key")
    assert status == 2 and "LoadCredential=master-key:FILE" in said
    # Without any option the credential master-key is taken.
    program = Program("api", [BUILD / "jwk-api", "serve", "--data-dir", installation.data_directory, "--listen", "127.0.0.1:0",
                              *installation.broker_options], installation.directory, environment)
    wait_until(lambda: "event=serving" in program.log(), "the API serves")
    program.stop()


# ---- what is sealed ----

def test_secrets_are_sealed_wherever_they_come_in(installation, project):
    installation.add_environment("production")
    installation.start_api()
    source = Sources(installation.api, project)
    key = sources.ec_key()
    pasted, symmetric = new_key("EC", kid="a"), new_key("OCT", kid="b")
    assert installation.api.create(project, "pasted", pasted, prefer="respond-async").status == 202
    assert installation.api.create(project, "symmetric", symmetric, prefer="respond-async").status == 202
    source.add_key("a-key", sources.private_pem(key))
    source.add_keystore("a-keystore", sources.keystore(key, sources.certificate(key), password="canary-of-a-password"),
                        password="canary-of-a-password")
    answer = source.create("from-key", "PRIVATE_KEY", keyName="a-key")
    assert answer.status == 200, answer
    made = installation.api.item(project, "from-key")["ec"]
    rotated = installation.api.request("POST", f"{jwks_path(project)}pasted/rotate",
                                       json_body={"sourceType": "COPY_PASTE", "jwkStr": json.dumps(new_key("EC", kid="c"))},
                                       prefer="respond-async")
    assert rotated.status == 202, rotated
    after = installation.api.item(project, "pasted")["ec"]
    assert after["kid"] == "c" and "d" in after
    found = everything(installation.data_directory)
    pem = sources.private_pem(key)
    for secret in (pasted["d"], symmetric["k"], made["d"], after["d"], "canary-of-a-password", pem.decode().split("\n")[1]):
        assert secret.encode() not in found, secret
        assert base64.b64encode(secret.encode())[:-4] not in found, secret
    assert base64.b64encode(pem)[:60] not in found
    with sqlite3.connect(installation.data_directory / "jwk-api.db") as store:
        for select in ("SELECT private_key FROM jwk_material", "SELECT private_key FROM signing_key",
                       "SELECT private_material FROM source_material", "SELECT password FROM source_material"):
            values = [row[0] for row in store.execute(select) if row[0] is not None]
            assert values and all(value[0] == 1 for value in values), select


def test_value_that_is_moved_to_another_row_does_not_open(installation, project):
    installation.start_api()
    for name in ("a", "b"):
        assert installation.api.create(project, name, prefer="respond-async").status == 202
    installation.api.stop()
    store = sqlite3.connect(installation.data_directory / "jwk-api.db")
    with store:
        store.execute("UPDATE jwk_material SET private_key = (SELECT private_key FROM jwk_material ORDER BY jwk_id LIMIT 1)")
    store.close()
    installation.start_api()
    assert installation.api.get_jwk(project, "a").status == 200
    assert installation.api.get_jwk(project, "b").status == 500
    done = installation.admin("check", check=False)
    assert done.returncode == 1 and "does not open: it was changed, or belongs elsewhere" in done.stdout
    # What needs no private half goes on.
    assert installation.api.update(project, "b", {"description": "Fine"}, prefer="respond-async").status == 202


# ---- re-keying ----

def fill(installation, project, count=4):
    keys = {f"jwk-{number}": new_key("EC", kid=f"jwk-{number}") for number in range(count)}
    for name, key in keys.items():
        assert installation.api.create(project, name, key, prefer="respond-async").status == 202
    return keys


def check_keys(installation, project, keys):
    for name, key in keys.items():
        assert installation.api.item(project, name)["ec"]["d"] == key["d"], name


def test_rekey_while_serving(installation, project):
    """The old line can go afterwards, and is of no use any more."""
    installation.start_api()
    keys = fill(installation, project)
    old, new = installation.master_key_file.read_text().strip(), new_line()
    (old_id,) = master_keys_of_store(installation)
    write_keys(installation.master_key_file, new, old)
    done = installation.admin("rekey")
    (new_id,) = master_keys_of_store(installation)
    assert new_id != old_id and new_id in done.stdout, done
    check_keys(installation, project, keys)
    keys |= {"later": new_key("EC", kid="later")}
    assert installation.api.create(project, "later", keys["later"], prefer="respond-async").status == 202
    assert master_keys_of_store(installation) == {new_id}
    write_keys(installation.master_key_file, new)
    installation.api.stop()
    installation.start_api()
    check_keys(installation, project, keys)
    status, said = serve(installation, "--master-key-file", write_keys(installation.directory / "old", old))
    assert status != 0, said
    assert installation.admin("check").returncode == 0


def test_rekey_while_stopped(installation, project):
    installation.start_api()
    keys = fill(installation, project)
    installation.api.stop()
    old, new = installation.master_key_file.read_text().strip(), new_line()
    # Without the old line there is nothing to open with.
    refused = installation.admin("rekey", "--master-key-file", write_keys(installation.directory / "new", new), check=False)
    assert refused.returncode == 1 and "add its line below the first" in refused.stderr
    write_keys(installation.master_key_file, new, old)
    installation.admin("rekey")
    write_keys(installation.master_key_file, new)
    installation.start_api()
    check_keys(installation, project, keys)


def test_serving_process_without_the_new_key_says_so_and_recovers(installation, project):
    installation.start_api()
    keys = fill(installation, project)
    old, new = installation.master_key_file.read_text().strip(), new_line()
    installation.admin("rekey", "--master-key-file", write_keys(installation.directory / "other", new, old))
    assert installation.api.create(project, "no", prefer="respond-async").status == 503
    assert "which is not in master key file" in installation.api.log()
    # What seals nothing goes on, and so does the rest as soon as the key is there.
    assert installation.api.update(project, "jwk-0", {"description": "Fine"}, prefer="respond-async").status == 202
    write_keys(installation.master_key_file, new, old)
    wait_until(lambda: installation.api.create(project, "yes", prefer="respond-async").status == 202, "the new key is read")
    check_keys(installation, project, keys)


def test_rekey_under_load_loses_nothing(installation, project):
    installation.start_api()
    keys = fill(installation, project)
    lines = [installation.master_key_file.read_text().strip()]
    ended = threading.Event()
    failures = []

    def change():
        number = 0
        while not ended.is_set():
            name = f"under-load-{number}"
            keys[name] = new_key("EC", kid=name)
            answer = installation.api.create(project, name, keys[name], prefer="respond-async")
            if answer.status != 202:
                failures.append(answer)
            number += 1
    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(5):
            lines.insert(0, new_line())
            write_keys(installation.directory / "next", *lines[:2]).rename(installation.master_key_file)
            installation.admin("rekey")
    finally:
        ended.set()
        thread.join()
    assert not failures, failures
    assert len(keys) > 10
    write_keys(installation.master_key_file, lines[0])
    installation.api.stop()
    installation.start_api()
    check_keys(installation, project, keys)
    assert installation.admin("check").returncode == 0


def test_rekey_that_is_killed_goes_on_the_next_time(installation, project, tmp_path):
    """kill -9 a little later each time, until one gets through."""
    installation.start_api()
    keys = fill(installation, project)
    for number in range(300):
        name = f"more-{number}"
        keys[name] = keys["jwk-0"] | {"kid": name}
        assert installation.api.create(project, name, keys[name], prefer="respond-async").status == 202
    installation.api.stop()
    old, new = installation.master_key_file.read_text().strip(), new_line()
    write_keys(installation.master_key_file, new, old)
    kills, status = 0, None
    while status != 0:
        program = Program("rekey", [BUILD / "jwk-api", "rekey", "--data-dir", installation.data_directory, *installation.master_key_options],
                          tmp_path)
        status = wait_some(program, kills * 0.002)
        program.kill()
        kills += 1
    assert kills > 2
    write_keys(installation.master_key_file, new)
    installation.start_api()
    check_keys(installation, project, keys)
    assert installation.admin("check").returncode == 0


def wait_some(program, seconds):
    """Its status when it ends within that time, else None."""
    try:
        program.end_expected = True
        return program.process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def test_data_key_is_replaced_after_a_day(installation, project):
    installation.start_api()
    keys = fill(installation, project, 1)
    store = sqlite3.connect(installation.data_directory / "jwk-api.db")

    def data_keys():
        return [row[0] for row in store.execute("SELECT id FROM data_key ORDER BY id")]
    assert data_keys() == [1]
    with store:
        store.execute("UPDATE data_key SET created_at = created_at - 86400000")
    keys |= {"next-day": new_key("EC", kid="next-day")}
    assert installation.api.create(project, "next-day", keys["next-day"], prefer="respond-async").status == 202
    assert data_keys() == [1, 2]
    check_keys(installation, project, keys)
    values = [int.from_bytes(row[0][1:5], "big") for row in store.execute("SELECT private_key FROM jwk_material ORDER BY jwk_id")]
    assert values == [1, 2]
    store.close()
