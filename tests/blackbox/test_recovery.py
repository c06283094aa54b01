"""Recovery: a store put back from a backup, and a topic made again."""

import contextlib
import json
import shutil
import sqlite3

import confluent_kafka
import pytest

from harness.broker import EmbeddedBroker
from harness.keys import new_key
from harness.program import wait_until


@pytest.fixture
def started(installation):
    installation.add_environment("production")
    installation.start_api()
    installation.start_worker("production")
    installation.wait_connected()
    return installation


def test_store_put_back_from_a_backup_is_refused_and_is_the_truth_again_once_adopted(started, project, broker):
    api, worker = started.api, started.workers["production", "edge-1"]
    assert api.create(project, "kept", new_key("EC", kid="kept")).status == 200
    assert api.create(project, "renamed", new_key("EC", kid="renamed")).status == 200
    assert api.stop() == 0
    backup = started.directory / "backup"
    shutil.copytree(started.data_directory, backup)

    api = started.start_api()
    assert api.create(project, "newer", new_key("EC", kid="newer")).status == 200
    for number in range(5):
        assert api.update(project, "renamed" if number == 0 else f"renamed-{number - 1}", {"name": f"renamed-{number}"}).status == 200
    assert api.stop() == 0
    shutil.rmtree(started.data_directory)
    shutil.copytree(backup, started.data_directory)

    with pytest.raises(AssertionError, match="jwk-api adopt"):
        started.start_api()
    started.programs.pop()
    adopted = started.admin("adopt", *started.broker_options)
    assert "epoch 2" in adopted.stdout
    api = started.start_api()
    wait_until(lambda: worker.names(project) == ["kept", "renamed"], "the replica follows the older store")
    assert worker.kids(project) == ["kept", "renamed"]
    answer = api.update(project, "renamed", {"name": "after"})
    assert answer.json["deploymentResult"]["success"], answer
    assert worker.names(project) == ["after", "kept"]


NEVER = 1_000_000  # changes ahead of every store here


def forge_ends(installation, count):
    """Puts so many records at the end of each partition that only claim to be events of the API: far ahead, or of another installation."""
    topics = installation.topics
    topics.forged = True
    real = next(record for record in topics.read(topics.events) if record.value)
    value = real.value
    ahead = json.dumps(value | {"sequence": value["sequence"] + NEVER, "version": value["version"] + NEVER})
    unsigned = {name: text for name, text in real.headers.items() if not name.startswith("ce_signature")}
    forged = ((ahead, real.headers), (ahead, unsigned), ("{", None), (ahead, unsigned | {"ce_source": "urn:jwk-api:another"}))
    producer = confluent_kafka.Producer({"bootstrap.servers": installation.broker.address})
    partitions = len(producer.list_topics(topics.events, timeout=10).topics[topics.events].partitions)
    for number in range(count):
        text, headers = forged[number % len(forged)]
        for partition in range(partitions):
            producer.produce(topics.events, text, real.key, partition, headers=headers)
    assert producer.flush(30) == 0


@pytest.mark.parametrize("count", [1, 4, 350])
def test_what_others_write_to_the_end_of_the_topic_does_not_keep_the_api_from_its_start(started, project, count):
    assert started.api.create(project, "before").status == 200
    assert started.api.stop() == 0
    forge_ends(started, count)
    started.start_api()
    answer = started.api.create(project, "after")
    assert answer.json["deploymentResult"]["success"], answer


def test_what_others_write_to_the_end_of_the_topic_does_not_hide_that_the_store_was_put_back(started, project):
    assert started.api.create(project, "before").status == 200
    assert started.api.stop() == 0
    backup = started.directory / "backup"
    shutil.copytree(started.data_directory, backup)
    api = started.start_api()
    for number in range(8):
        assert api.create(project, f"newer-{number}").status == 200
    assert api.stop() == 0
    shutil.rmtree(started.data_directory)
    shutil.copytree(backup, started.data_directory)
    forge_ends(started, 3)
    with pytest.raises(AssertionError, match="is ahead of this store"):
        started.start_api()
    started.programs.pop()


def test_topic_made_again_is_filled_again_for_new_replicas(started, project, broker, tmp_path):
    api = started.api
    for name in ("a", "b", "c"):
        assert api.create(project, name).status == 200
    assert api.stop() == 0
    assert started.workers["production", "edge-1"].stop() == 0
    fresh = None
    if broker.kind == "kafka":
        started.topics.delete(started.topics.events)
    else:  # the embedded broker forgets everything when it ends
        fresh = EmbeddedBroker(tmp_path, started.prefix)
        started.use_broker(fresh)
    started.start_api()
    worker = started.start_worker("production", "edge-2")
    wait_until(lambda: worker.names(project) == ["a", "b", "c"], "a replica that has never seen the old topic has every key")
    started.stop()
    if fresh:
        fresh.stop()


def test_topic_deleted_while_serving_is_made_again_and_filled(started, project, broker):
    if broker.kind != "kafka":
        pytest.skip("the embedded broker cannot delete a topic")
    for name in ("a", "b"):
        assert started.api.create(project, name).status == 200
    started.topics.delete(started.topics.events)
    # The change is recorded; its event is what shows the API that the topic is gone.
    assert started.api.create(project, "c", prefer="respond-async").status == 202
    worker = started.start_worker("production", "edge-2", ready=False)
    wait_until(lambda: worker.names(project) == ["a", "b", "c"], "a new replica gets what was published before the loss", 120)
    wait_until(lambda: started.topics.config(started.topics.events)["cleanup.policy"] == "compact", "it has the right settings")


def test_workers_that_announce_themselves_anew_stay_waited_for(started, project, broker):
    """Else a deployment would be told as successful in the moment in which a replica that serves is not counted."""
    if broker.kind != "kafka":
        pytest.skip("the embedded broker cannot delete a topic")
    assert started.api.create(project, "a").status == 200
    started.topics.delete(started.topics.workers)

    def hellos():
        topics = started.topics
        records = topics.read(topics.workers) if topics.exists(topics.workers) else []
        return [record.value for record in records if record.headers["ce_type"] == "jwk.worker.hello.v1"]
    said = wait_until(hellos, "the topic is made again, and the replicas announce themselves", 120)
    assert all(each["ready"] for each in said)


MANY = 12000  # takes seconds to publish: 200 a transaction, and callers' changes in between


def fill(store, count):
    """As many JWKs without private halves, like the one that there is, all of them to be published again."""
    store.execute("PRAGMA foreign_keys = OFF")
    numbers = f"WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) "
    # Each id differs from that of the first JWK in its last digits; that of a deployment is its sequence.
    store.execute("INSERT INTO jwk (id, uid, project_id, name, type, kid, source_type, version, partition, created_at, updated_at,"
                  f" deployment) {numbers} SELECT jwk.id + i, printf('%s%08x', substr(jwk.uid, 1, 28), i), project_id, 'jwk-' || i, type,"
                  " kid, source_type, 1, i % partitions, jwk.created_at, updated_at, sequence + i FROM n, jwk, store"
                  " WHERE name = 'first'")
    store.execute("INSERT INTO jwk_material (jwk_id, public_key) SELECT id, public_key FROM jwk, jwk_material WHERE name <> 'first'")
    store.execute("INSERT INTO deployment (id, uid, project_id, jwk_id, operation, epoch, version, jwk_name, actor, event_hash,"
                  " created_at) SELECT deployment, uid, project_id, id, 0, 1, 1, name, 'alice', '', created_at FROM jwk"
                  " WHERE name <> 'first'")
    store.execute("UPDATE store SET sequence = (SELECT max(id) FROM deployment), republish_after = 0")


def test_publishing_again_ends_with_the_program_and_goes_on_with_the_next(installation, project):
    installation.add_environment("production")
    api = installation.start_api()
    assert api.create(project, "first", prefer="respond-async").status == 202
    assert api.stop() == 0

    @contextlib.contextmanager
    def store():
        with contextlib.closing(sqlite3.connect(installation.data_directory / "jwk-api.db")) as connection, connection:
            yield connection

    def read(sql):
        with store() as connection:
            return connection.execute(sql).fetchone()[0]
    with store() as connection:
        fill(connection, MANY)
    api = installation.start_api()
    assert api.stop() == 0
    left = read("SELECT republish_after FROM store")
    assert left is not None and left < MANY, "the end of the program waits until all is published"
    api = installation.start_api()
    wait_until(lambda: read("SELECT republish_after IS NULL FROM store"), "everything is published again")
    assert api.stop() == 0
    assert read("SELECT count(*) FROM jwk WHERE version = 2") == MANY + 1, "each once"
    assert installation.admin("check").returncode == 0
