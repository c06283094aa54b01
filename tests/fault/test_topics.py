"""The invariants when topics are compacted, lost or deleted under the programs."""

import contextlib
import time

import confluent_kafka
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource

from harness.broker import SEVERAL_PARTITIONS
from harness.program import wait_until

from .faults import disturbing, kill_for_long
from .faults_topics import TOPICS, admin_client
from .history import read_lines
from .judged import judged
from .load import PROJECTS, Client, Secrets


def keys_of_events(run):
    """The key of each record that jwk.events has at present."""
    consumer = confluent_kafka.Consumer({"bootstrap.servers": run.cluster.broker.address, "group.id": "count", "enable.partition.eof": True})
    try:
        partitions = consumer.list_topics("jwk.events", timeout=10).topics["jwk.events"].partitions
        consumer.assign([confluent_kafka.TopicPartition("jwk.events", number, confluent_kafka.OFFSET_BEGINNING) for number in partitions])
        keys, ends = [], 0
        while ends < len(partitions):
            message = consumer.poll(1.0)
            if message is None:
                continue
            if message.error():
                ends += 1
            else:
                keys.append(message.key().decode())
        return keys
    finally:
        consumer.close()


def set_config(run, kind, name, **entries):
    resource = ConfigResource(kind, name, incremental_configs=[
        ConfigEntry(key.replace("_", "."), value, incremental_operation=AlterConfigOpType.SET) for key, value in entries.items()])
    client = admin_client(run)  # it must outlive its answer
    for future in client.incremental_alter_configs([resource]).values():
        future.result(20)


def items_of(run, node):
    """Ids of the JWKs that a replica serves."""
    return {item["id"] for project in run.served(node).values() for item in project["items"]}


def compact_at_once(run):
    """jwk.events keeps of each key the last record alone, and of a tombstone nothing, as soon as a later segment has begun."""
    set_config(run, ConfigResource.Type.BROKER, "1", log_cleaner_backoff_ms="500")
    set_config(run, ConfigResource.Type.TOPIC, "jwk.events", segment_ms="1000", min_compaction_lag_ms="0",
               min_cleanable_dirty_ratio="0.01", max_compaction_lag_ms="1000", delete_retention_ms="1")


def test_compaction_added_partitions_and_a_new_replica(tmp_path):
    """A replica that begins after compaction has every key, and partitions added later take no key away from its own."""
    with judged(tmp_path, 8, "kafka", pause_s=0.03, faults=[]) as run:
        compact_at_once(run)
        run.round([])
        before = len(keys_of_events(run))
        run.round([(0.1, "kill_worker", 1)])  # begins new segments, so that the old ones can be compacted
        wait_until(lambda: len(keys_of_events(run)) < before, "jwk.events is compacted", 60)
        run.cluster.add_worker("staging", "edge-2").wait_ready()
        # The seeds choose the topic: jwk.events, jwk.acks, jwk.workers.
        run.round([(0.3, "add_partitions", 1), (0.4, "add_partitions", 0), (0.5, "add_partitions", 5), (0.7, "kill_api", 2),
                   (1.0, "lost_state", 3)])
        added = [line["topic"] for line in read_lines(tmp_path / "history.jsonl") if line["kind"] == "partitions_added"]
        assert added == ["jwk.events", "jwk.acks", "jwk.workers"]
        run.cluster.add_worker("staging", "edge-3").wait_ready()
        run.round([(0.5, "power_loss_api", 4)])


TOMBSTONE_DELAY_MINUTES, PASSING_MINUTES = 20, 30  # Kafka takes no record of more than an hour ahead


def test_what_was_deleted_and_compacted_away_is_served_no_more_by_replicas_that_were_away(tmp_path):
    """One was dead, one was cut off from the broker, and one was cut off and then ended in good order before it came back."""
    delay = ["--tombstone-delay", f"{TOMBSTONE_DELAY_MINUTES}m"]
    names = [f"edge-{number}" for number in range(1, 5)]
    workers = [("staging", "edge-1"), *(("production", name) for name in names)]
    with judged(tmp_path, 19, "kafka", clients=0, faults=[], workers=workers, api_options=delay, worker_options=delay) as run, \
            contextlib.ExitStack() as away:
        compact_at_once(run)
        dead, cut, ended = (run.cluster.workers[f"production-{name}"] for name in names[1:])
        client = Client(99, 19, run.cluster, run.history, Secrets(tmp_path / "secrets.txt"), 1)

        def by_partition():
            found = {}
            for uid, name, number in run.api_rows("SELECT uid, name, partition FROM jwk WHERE deleted_at IS NULL ORDER BY id"):
                found.setdefault(number, []).append((uid, name))
            return found
        # Of each partition one is deleted, and another one goes on: its changes begin new segments, so that compaction begins.
        number = 0
        while len([names for names in by_partition().values() if len(names) > 1]) < int(SEVERAL_PARTITIONS[1]):
            assert client.create(PROJECTS[0], f"c99-{number}")
            number += 1
        run.become_quiet(time.monotonic())
        deleted, kept = ([each[index] for each in by_partition().values()] for index in (0, 1))
        gone = {uid for uid, _ in deleted}

        for node in (dead, cut, ended):
            away.enter_context(disturbing(node))
        kill_for_long(run, dead)
        for node in (cut, ended):
            node.proxy.refuse()
        for _, name in deleted:
            assert client.delete(PROJECTS[0], name)
        for node in run.cluster.nodes:
            node.shim.fields.clock_offset_ms = PASSING_MINUTES * 60_000
        kill_for_long(run, run.cluster.api)
        run.revive(run.cluster.api)
        run.cluster.api.wait_ready()
        wait_until(lambda: run.api_rows("SELECT count(*) FROM jwk WHERE tombstoned_at IS NOT NULL") == [(len(gone),)],
                   "the tombstones are due")

        def compacted():
            for _, name in kept:
                client.update(PROJECTS[0], name)
            return not gone & set(keys_of_events(run))
        wait_until(compacted, "deletes and tombstones are compacted away", 120)
        run.auditor.catch_up()
        seen = [line["key"] for line in read_lines(run.topics_path) if line["topic"] == "events" and line["value"] is None]
        assert set(seen) == gone, "the tombstones were there"
        assert gone <= dead.read_state().keys()
        assert all(gone <= items_of(run, node) for node in (cut, ended)), "they serve on while they are cut off"

        with ended.lock:
            ended.expect_end = True
            ended.program.terminate()
            assert ended.program.wait_exit() == 0
        for node in (cut, ended):
            node.proxy.heal()
        for node in (dead, ended):
            run.revive(node)
            node.wait_ready()
            assert not gone & items_of(run, node), f"{node.name} is ready, and serves what was deleted"
        run.become_quiet(time.monotonic())
        assert not any(gone & items_of(run, node) for node in run.cluster.workers.values())


def test_topics_that_are_lost_are_filled_again(tmp_path):
    """The embedded broker comes back with nothing. What was there is published again, to those who were there too."""
    with judged(tmp_path, 9, "embedded", faults=[]) as run:
        run.round([])
        run.cluster.restart_broker(clean=False)
        run.auditor.restart(run.cluster.broker.address)
        run.history.add("topics_lost")
        run.round([])
        run.cluster.add_worker("staging", "edge-2")
        run.round([])


def test_topics_that_are_deleted_under_load_are_made_again_and_filled(tmp_path):
    """On Kafka, where nothing makes a topic up: what was in one is made good by the programs themselves."""
    with judged(tmp_path, 12, "kafka", faults=[]) as run:
        for number, name in enumerate(TOPICS):
            run.round([(1.0, f"delete topic {name}", number)])
        run.round([(0.5, "add_partitions", 1), (0.8, "delete topic events", 6), (1.0, "kill_worker", 7), (1.2, "new_replica", 8)])
        # The replicas that saw more partitions than there are now read all of them again.
        run.round([(0.3, "forge", 9), (1.5, "rotate_signing_key", 10)])
