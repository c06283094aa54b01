"""A store that an earlier version left opens in today's: with its secrets in clear text before, and sealed afterwards."""

import base64
import fcntl
import itertools
import json
import pathlib
import re
import sqlite3

import confluent_kafka
import pytest

from harness.broker import EmbeddedBroker
from harness.hand_worker import headers_of, now
from harness.installation import Installation, jwks_path
from harness.keys import PRIVATE_MEMBERS
from harness.program import BUILD, REPOSITORY, Program, wait_until

DATA = pathlib.Path(__file__).parent / "data"


def load(name):
    return json.loads((DATA / f"{name}.json").read_text())


def put_in_place(installation, name):
    """The store as it was, with all of it still in the log as after a kill -9, and the token of its user."""
    installation.data_directory.mkdir(mode=0o700)
    path = installation.data_directory / "jwk-api.db"
    path.touch(0o600)
    store = sqlite3.connect(path, isolation_level=None)
    store.executescript((DATA / f"{name}.sql").read_text())
    store.close()
    expected = load(name)
    installation.token = expected["token"]
    if "masterKey" in expected:
        installation.master_key_file.write_text(expected["masterKey"])


def secrets_of(name):
    """What must not be found: members of private keys, the password and the contents of keys and keystores, as they were stored."""
    found = {"keystore-password-canary"}
    for item in load(name)["items"].values():
        material = item.get("ec") or item.get("rsa") or item.get("okp") or item.get("oct") or {}
        found |= {value for member, value in material.items() if member in PRIVATE_MEMBERS}
    store = sqlite3.connect(":memory:")
    store.executescript((DATA / f"{name}.sql").read_text())
    found |= {row[0][100:160] for row in store.execute("SELECT private_material FROM source_material WHERE private_material IS NOT NULL")}
    return found


def files_with(directory, secrets):
    forms = {form: secret for secret in secrets for form in
             (secret.encode(), base64.b64encode(secret.encode())[:-4], secret.encode().hex().encode())}
    return [(path.name, secret) for path in directory.iterdir() if path.is_file() for form, secret in forms.items() if form in path.read_bytes()]


def opened(directory, name):
    broker = EmbeddedBroker(directory)
    installation = Installation(broker, directory)
    put_in_place(installation, name)
    yield installation
    installation.stop()
    broker.stop()


@pytest.fixture
def old(tmp_path_factory):
    yield from opened(tmp_path_factory.mktemp("old"), "store-001")


@pytest.fixture
def old_2(tmp_path_factory):
    yield from opened(tmp_path_factory.mktemp("old"), "store-002")


def test_what_each_earlier_version_left_is_here():
    """Whoever adds a version adds what the one before leaves, and tests that it opens."""
    schemas = sorted(path.stem for path in (REPOSITORY / "schemas/store").glob("*.sql"))
    assert sorted(path.stem for path in DATA.glob("store-*.sql")) == [f"store-{version}" for version in schemas[:-1]]
    state = int(re.search(r"STATE_SCHEMA_VERSION = (\d+)", (REPOSITORY / "worker/state_internal.h").read_text()).group(1))
    assert sorted(path.stem for path in DATA.glob("state-*.sql")) == [f"state-{version:03}" for version in range(1, state)]


def test_the_secrets_are_there_before():
    """Else the hunt below would prove nothing."""
    text = (DATA / "store-001.sql").read_text()
    secrets = secrets_of("store-001")
    assert len(secrets) >= 10
    assert all(secret in text for secret in secrets)


def test_version_1_store_serves_the_same_and_holds_no_clear_text(old):
    expected = load("store-001")
    old.start_api()
    assert {name: old.api.item(expected["project"], name) for name in old.api.names(expected["project"])} == expected["items"]
    assert files_with(old.data_directory, secrets_of("store-001")) == []
    assert old.admin("check").returncode == 0


def test_version_1_store_goes_on_to_work(old):
    expected = load("store-001")
    project = expected["project"]
    old.start_api()
    old.start_workers("production", "staging")
    # All is published again, since the topic is another, and what waited in the outbox with it.
    for environment in ("production", "staging"):
        worker = old.workers[environment, "edge-1"]
        wait_until(lambda: set(worker.names(project)) == set(expected["items"]), f"{environment} has all", 60)
    old.wait_connected()
    assert old.api.update(project, "ec", {"description": "Changed today"}).json["deploymentResult"]["success"]
    # What is made from a key and a keystore opens them.
    for name, members in (("again-from-key", {"sourceType": "PRIVATE_KEY", "keyName": "a-key", "environmentName": "production"}),
                          ("again-from-keystore", {"sourceType": "KEYSTORE", "keyStoreName": "a-keystore", "aliasName": "signing"})):
        answer = old.api.request("POST", jwks_path(project), json_body={"name": name, **members})
        assert answer.status == 200, answer
    assert old.api.item(project, "again-from-key")["ec"]["d"] == expected["items"]["from-key"]["ec"]["d"]
    client = expected["client"]
    answer = old.api.request("POST", "/apiops/auth/token", f"grant_type=client_credentials&client_id={client['id']}&client_secret={client['secret']}".encode(),
                             headers={"Content-Type": "application/x-www-form-urlencoded"}, token=False)
    assert answer.status == 200, answer
    assert old.admin("check").returncode == 0


def publish_as_version_1(installation):
    """Puts the latest event of each JWK of the store on the topic, unsigned; returns the ids of the JWKs."""
    store = sqlite3.connect(installation.data_directory / "jwk-api.db")
    source = store.execute("SELECT uid FROM store").fetchone()[0]
    rows = store.execute("SELECT jwk.uid, jwk.name, type, kid, public_key, version, partition, max(deployment.id), deployment.uid, epoch, project.uid,"
                         " project.name FROM jwk JOIN jwk_material ON jwk_id = jwk.id JOIN project ON project.id = jwk.project_id"
                         " JOIN deployment USING (jwk_id, version) WHERE deleted_at IS NULL GROUP BY jwk.id").fetchall()
    store.close()
    producer = confluent_kafka.Producer({"bootstrap.servers": installation.broker.address, "log_level": 0})
    for uid, name, kind, kid, public_key, version, partition, sequence, deployment, epoch, project, project_name in rows:
        jwk = {"id": uid, "name": name, "description": None, "type": kind, "kid": kid, "publicKey": json.loads(public_key) if public_key else None,
               "retiring": []}
        value = {"operation": "redeploy", "deploymentId": deployment, "epoch": epoch, "version": version, "sequence": sequence,
                 "project": {"id": project, "name": project_name}, "jwk": jwk, "actor": "alice", "time": now()}
        headers = headers_of("jwk.redeployed.v1", "event", uid) | {"ce_source": f"urn:jwk-api:{source}"}
        producer.produce(installation.topics.events, json.dumps(value).encode(), uid, partition, headers=headers)
    assert producer.flush(20) == 0
    installation.topics.forged = True  # these keep to the contract of version 1
    return {row[0] for row in rows}


def test_what_version_1_published_unsigned_is_there_signed_after_the_first_start(old):
    """Else a new replica, once its environment has keys, would have nothing of it."""
    published = publish_as_version_1(old)
    assert len(published) > 5
    old.start_api()
    assert "topic lacks what this store has published and signed" in old.api.log()

    def signed():
        return {record.key for record in old.topics.read(old.topics.events)}
    wait_until(lambda: signed() >= published, "each is there as today, which is signed")
    old.api.stop()
    old.start_api()
    assert "publishing every JWK" not in old.api.log()


def test_administration_migrates_and_the_first_start_seals(old):
    """A command that needs no master key has opened the store first."""
    assert "MyProject" in old.admin("project", "list").stdout
    found = old.admin("check", check=False)
    assert found.returncode == 1 and "in clear text: 'jwk-api serve' seals it" in found.stdout, found
    old.start_api()
    assert files_with(old.data_directory, secrets_of("store-001")) == []
    assert old.admin("check").returncode == 0


def test_sealing_that_is_killed_goes_on_at_the_next_start(old, tmp_path):
    """kill -9 a little later each time, until a start gets through."""
    expected = load("store-001")
    store = sqlite3.connect(old.data_directory / "jwk-api.db")
    # Enough JWKs for several transactions.
    material = store.execute("SELECT public_key, private_key FROM jwk JOIN jwk_material ON jwk_id = id WHERE name = 'rsa'").fetchone()
    columns = "project_id, description, type, kid, source_type, version, partition, created_at, updated_at"
    with store:
        for number in range(2000):
            cursor = store.execute(f"INSERT INTO jwk (uid, name, {columns}) SELECT ?, ?, {columns} FROM jwk WHERE name = 'rsa'",
                                   (f"00000000-0000-7000-8000-{number:012}", f"copy-{number}"))
            store.execute("INSERT INTO jwk_material VALUES (?, ?, ?)", (cursor.lastrowid, *material))
    store.close()
    command = [BUILD / "jwk-api", "serve", "--data-dir", old.data_directory, "--listen", "127.0.0.1:0", *old.master_key_options,
               "--brokers", "127.0.0.1:1"]
    sealed, kills = False, 0
    while not sealed:
        program = Program("sealing", command, tmp_path)
        looks = itertools.count()
        wait_until(lambda: "secrets are sealed" in program.log() or next(looks) > 3 * kills, "the moment of the kill has come", 120)
        sealed = "secrets are sealed" in program.log()
        program.kill()
        kills += 1
    assert kills > 2
    old.start_api()
    assert files_with(old.data_directory, secrets_of("store-001")) == []
    assert old.api.item(expected["project"], "copy-1999")["rsa"] == expected["items"]["rsa"]["rsa"]
    assert old.admin("check").returncode == 0


def history(installation, project):
    """The ids of all deployments of a project, read in small pages."""
    found, cursor = [], ""
    while cursor is not None:
        answer = installation.api.request("GET", f"/apiops/projects/{project}/deployments/?limit=2{cursor and '&cursor=' + cursor}")
        assert answer.status == 200, answer
        found += [each["deploymentId"] for each in answer.json["resultList"]]
        cursor = answer.json.get("nextCursor")
    return found


def test_version_2_store_tells_the_same_history_of_each_project_and_goes_on_with_it(old_2):
    """Each deployment names the one before it in its project, since an index tells no more which they are."""
    expected = load("store-002")
    old_2.start_api()
    assert {project: {name: old_2.api.item(project, name) for name in old_2.api.names(project)} for project in expected["items"]} == expected["items"]
    for project, before in expected["histories"].items():
        # The topic is another: each JWK was published again.
        again = history(old_2, project)
        assert again[len(expected["items"][project]):] == before
        answer = old_2.api.update(project, "ec", {"description": "Changed today"}, prefer="respond-async")
        assert answer.status == 202, answer
        assert history(old_2, project)[1:] == again
    assert old_2.admin("check").returncode == 0


def test_store_is_not_brought_up_to_date_while_a_program_of_before_serves_from_it(old_2):
    """It would go on recording changes as its own version has them."""
    path = old_2.data_directory / "serving.lock"
    path.touch(0o600)
    with path.open("r+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = old_2.admin("project", "list", check=False)
        assert done.returncode == 1 and "its schema is version 2, and a jwk-api serves from it" in done.stderr, done
        store = sqlite3.connect(old_2.data_directory / "jwk-api.db")
        assert store.execute("PRAGMA user_version").fetchone() == (2,)
        store.close()
    assert "MyProject" in old_2.admin("project", "list").stdout
    old_2.start_api()


def test_newer_store_is_refused(old):
    store = sqlite3.connect(old.data_directory / "jwk-api.db")
    store.execute("PRAGMA user_version = 999")
    store.close()
    done = old.admin("project", "list", check=False)
    assert done.returncode == 1 and "install a newer jwk-api" in done.stderr, done


def test_jwk_of_the_old_store_can_be_deleted(old):
    project = load("store-001")["project"]
    old.start_api()
    assert old.api.delete(project, "from-keystore", prefer="respond-async").status == 202
    assert "from-keystore" not in old.api.names(project)
