"""Private halves reach the workers of environments with keys alone: as files and in hooks that ask for them, and nowhere else."""

import json
import stat

import pytest

from harness.installation import jwk_path, quote
from harness.keys import new_key, public_half
from harness.program import wait_until


@pytest.fixture
def started(installation):
    installation.add_environment("production")
    installation.start_api()
    return installation


def key_directory(installation, replica="edge-1"):
    return installation.directory / f"keys-{replica}"


def start(installation, replica="edge-1", *options, **named):
    worker = installation.start_worker("production", replica, "--private-key-dir", key_directory(installation, replica), *options, **named)
    installation.wait_connected("production")
    return worker


def files(directory):
    """{PROJECT/NAME: JWK} of all files."""
    return {str(path.relative_to(directory)): json.loads(path.read_text()) for path in directory.rglob("*.jwk")}


def of(installation, project, replica="edge-1"):
    return {name.partition("/")[2]: key for name, key in files(key_directory(installation, replica)).items()
            if name.startswith(f"{quote(project)}/")}


def replace(installation, project, name, key, **options):
    """A rotation without overlap."""
    body = {"sourceType": "COPY_PASTE", "jwkStr": json.dumps(key)}
    return installation.api.request("POST", f"{jwk_path(project, name)}rotate", json_body=body, **options)


def everything_but(directory, *private):
    """Fails when a private member of these keys stands in a file below the directory, the private key files themselves left out."""
    secrets = [key[member].encode() for key in private for member in ("d", "k") if member in key]
    for path in directory.rglob("*"):
        if path.is_file() and path.suffix not in (".jwk", ".hooked"):
            content = path.read_bytes()
            assert not any(secret in content for secret in secrets), path


@pytest.mark.parametrize("kind", ["EC", "RSA", "OKP", "OCT"])
def test_a_file_holds_the_whole_jwk_and_follows_it(started, project, kind):
    start(started)
    first, second = new_key(kind, kid="first"), new_key(kind, kid="second")
    api = started.api
    assert api.create(project, "a b", first).json["deploymentResult"]["success"]
    assert of(started, project) == {"a%20b.jwk": first}
    assert api.update(project, "a b", {"name": "c"}).json["deploymentResult"]["success"]
    assert of(started, project) == {"c.jwk": first}
    assert replace(started, project, "c", second).json["deploymentResult"]["success"]
    assert of(started, project) == {"c.jwk": second}
    assert api.delete(project, "c").json["deploymentResult"]["success"]
    assert of(started, project) == {}
    assert not (key_directory(started) / quote(project)).exists()
    everything_but(started.directory / "state-production-edge-1", first, second)


def test_files_are_the_workers_alone(started, project):
    start(started)
    assert started.api.create(project, "a").json["deploymentResult"]["success"]
    directory = key_directory(started)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in [directory, *directory.rglob("*")]}
    assert set(modes.values()) == {0o700, 0o600}
    assert all(mode == (0o700 if path.is_dir() else 0o600) for path, mode in modes.items())
    started.workers["production", "edge-1"].stop()
    directory.chmod(0o750)
    status, log = started.try_worker("production", "--credentials", started.credentials("production"), "--private-key-dir", directory)
    assert status == 1 and f"chmod 700 {directory}" in log


def test_a_key_without_a_private_half_has_no_file_and_takes_away_the_one_before(started, project):
    start(started)
    key = new_key("EC", kid="whole")
    assert started.api.create(project, "a", key).json["deploymentResult"]["success"]
    assert started.api.create(project, "b", public_half(new_key("EC"))).json["deploymentResult"]["success"]
    assert of(started, project) == {"a.jwk": key}
    assert replace(started, project, "a", public_half(new_key("EC", kid="half"))).json["deploymentResult"]["success"]
    assert of(started, project) == {}


def test_two_keys_that_trade_names_trade_files(started, project):
    start(started)
    keys = {name: new_key("EC", kid=name) for name in "ab"}
    for name, key in keys.items():
        assert started.api.create(project, name, key).json["deploymentResult"]["success"]
    for old, new in (("a", "c"), ("b", "a"), ("c", "b")):
        assert started.api.update(project, old, {"name": new}).json["deploymentResult"]["success"]
    assert of(started, project) == {"a.jwk": keys["b"], "b.jwk": keys["a"]}


def test_a_new_replica_has_every_file_when_it_is_ready_and_sweeps_what_is_no_jwks(started, project):
    start(started)
    keys = {f"n{number}": new_key("EC", kid=str(number)) for number in range(30)}
    for name, key in keys.items():
        assert started.api.create(project, name, key, prefer="respond-async").status == 202
    wait_until(lambda: len(of(started, project)) == len(keys), "all are deployed")
    stale = key_directory(started, "edge-2") / "Gone"
    stale.mkdir(mode=0o700, parents=True)
    stale.parent.chmod(0o700)
    (stale / "old.jwk").write_text("{}")
    (stale.parent / ".jwk-worker-unfinished").write_text("{}")
    (stale.parent / "README").write_text("of the operator")
    started.start_worker("production", "edge-2", "--private-key-dir", key_directory(started, "edge-2"))
    assert of(started, project, "edge-2") == {f"{name}.jwk": key for name, key in keys.items()}
    assert not stale.exists() and not (stale.parent / ".jwk-worker-unfinished").exists()
    assert (stale.parent / "README").exists()


def test_changes_while_the_worker_was_away_are_in_the_files_when_it_is_back(started, project):
    worker = start(started)
    for name in "abc":
        assert started.api.create(project, name, new_key("EC", kid=name)).json["deploymentResult"]["success"]
    worker.kill()
    later = new_key("EC", kid="later")
    assert started.api.update(project, "a", {"name": "d"}, prefer="respond-async").status == 202
    assert started.api.delete(project, "b", prefer="respond-async").status == 202
    assert replace(started, project, "c", later, prefer="respond-async").status == 202
    started.restart_worker(worker)
    assert set(of(started, project)) == {"c.jwk", "d.jwk"}
    assert of(started, project)["c.jwk"] == later


def hook(installation, text):
    path = installation.directory / "hook"
    path.write_text(f"#!/bin/sh\ncd '{installation.directory}'\n{text}\n")
    path.chmod(0o700)
    return path


@pytest.mark.parametrize("asked", [False, True])
def test_a_hook_gets_the_private_half_only_when_it_asks(started, project, asked):
    path = hook(started, "cat > $JWK_OPERATION.hooked")
    started.start_worker("production", "edge-1", "--hook", path, *(["--hook-private-key"] if asked else []))
    started.wait_connected()
    key, oct_key = new_key("EC", kid="k"), new_key("OCT", kid="o")
    assert started.api.create(project, "a", key).json["deploymentResult"]["success"]
    created = json.loads((started.directory / "create.hooked").read_text())
    assert created == key if asked else created.items() >= public_half(key).items() and "d" not in created
    assert started.api.create(project, "o", oct_key).json["deploymentResult"]["success"]
    content = (started.directory / "create.hooked").read_text()
    assert json.loads(content) == oct_key if asked else content == ""
    assert started.api.create(project, "p", public_half(key)).json["deploymentResult"]["success"]
    assert json.loads((started.directory / "create.hooked").read_text()) == public_half(key)
    assert started.api.delete(project, "a").json["deploymentResult"]["success"]
    assert (started.directory / "delete.hooked").read_text() == ""


def rekey(installation, environment="production"):
    """New keys at the API; the worker still has the credentials of before. Returns the new ones."""
    fresh = installation.directory / "fresh.credentials"
    fresh.unlink(missing_ok=True)
    installation.admin("environment", "rekey", environment, "--credentials", fresh)
    return fresh


UNOPENED = "private half of the JWK can not be opened"


@pytest.mark.parametrize("verb", ["add", "rekey"])
def test_what_was_sealed_before_the_credentials_were_made_is_no_warning_when_it_came_again(started, project, verb):
    if verb == "rekey":
        started.add_environment("staging")
    for name in "abc":
        assert started.api.create(project, name, prefer="respond-async").status == 202
    started.add_environment_with_keys("staging", verb)
    for name in "abc":
        started.topics.wait_event(lambda value, name=name: value["jwk"]["name"] == name and value["version"] == 2, "it is deployed again")
    hooked = started.directory / "hooked"
    hooked.touch()
    path = hook(started, 'echo "$JWK_VERSION" >>hooked')
    worker = started.start_worker("staging", "edge-1", "--hook", path, "--hook-retry-initial", "100ms")
    wait_until(lambda: hooked.read_text().split().count("2") == 3, "the hook has run for all")
    assert UNOPENED not in worker.log()


def test_what_stays_unopened_once_all_is_read_is_told_and_its_public_half_goes_to_the_hook(started, project):
    key = new_key("EC", kid="k")
    assert started.api.create(project, "a", key, prefer="respond-async").status == 202
    rekey(started)
    started.topics.wait_event(lambda value: value["version"] == 2, "it is deployed again")
    worker = started.start_worker("production", "edge-1", "--hook", hook(started, 'cat >"of-$JWK_VERSION"'),
                                  "--hook-retry-initial", "100ms")
    wait_until(lambda: UNOPENED in worker.log(), "it says what it lacks")
    assert json.loads((started.directory / "of-2").read_text()) == public_half(key)


def test_a_worker_gets_its_new_credentials_by_a_reload(started, project):
    worker = start(started)
    key = new_key("EC", kid="k")
    assert started.api.create(project, "a", key).json["deploymentResult"]["success"]
    fresh = rekey(started)
    # What it says is not believed any more, and what is sealed from now on it can not open.
    result = started.api.update(project, "a", {"name": "b"}, prefer="wait=1").json["deploymentResult"]
    assert not result["success"]
    wait_until(lambda: "sealed for the key" in worker.log(), "it says what it lacks")
    started.credentials("production").write_bytes(fresh.read_bytes())
    worker.reload()
    started.wait_connected("production")
    wait_until(lambda: of(started, project) == {"b.jwk": key}, "its file follows")
    assert started.api.update(project, "b", {"name": "c"}).json["deploymentResult"]["success"]
    assert of(started, project) == {"c.jwk": key}


def test_credentials_with_the_keys_of_before_and_after_miss_nothing(started, project):
    worker = start(started)
    key = new_key("EC", kid="k")
    assert started.api.create(project, "a", key).json["deploymentResult"]["success"]
    old = json.loads(started.credentials("production").read_text())
    new = json.loads(rekey(started).read_text())
    both = new | {"keys": new["keys"] + old["keys"]}
    started.credentials("production").write_text(json.dumps(both))
    worker.reload()
    started.wait_connected("production")
    assert started.api.update(project, "a", {"name": "b"}).json["deploymentResult"]["success"]
    assert of(started, project) == {"b.jwk": key}
    worker.stop()
    started.restart_worker(worker)
    assert of(started, project) == {"b.jwk": key}


def test_an_environment_that_gets_keys_later_gets_the_private_halves_then(installation, project):
    installation.add_environment("production", keys=False)
    installation.start_api()
    worker = installation.start_worker("production")
    installation.wait_connected()
    key = new_key("EC", kid="k")
    assert installation.api.create(project, "a", key).json["deploymentResult"]["success"]
    worker.stop()
    installation.admin("environment", "rekey", "production", "--credentials", installation.credentials("production"))
    worker = start(installation)
    wait_until(lambda: of(installation, project) == {"a.jwk": key}, "it is deployed again by itself")
    assert worker.kids(project) == ["k"]
