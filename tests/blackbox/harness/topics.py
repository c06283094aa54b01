"""Reads and judges what is on the topics, as an auditor would."""

import time

import confluent_kafka
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic

from . import contract
from .program import PATIENCE, wait_until


class Record:
    def __init__(self, message):
        self.topic = message.topic()
        self.partition = message.partition()
        self.offset = message.offset()
        self.key = (message.key() or b"").decode()
        self.raw = message.value()
        self.headers = {}
        for name, value in message.headers() or []:
            assert name not in self.headers, f"header {name} twice on {self.topic}/{self.partition}@{self.offset}"
            self.headers[name] = value.decode()
        self.value = contract.judge_message(self.topic, self.key, self.headers, self.raw)

    def __repr__(self):
        return f"<{self.topic}/{self.partition}@{self.offset} {self.headers.get('ce_type')} {self.value}>"


class Topics:
    """The topics of one installation."""

    def __init__(self, brokers, prefix, client=None):
        """client: properties of librdkafka by which the broker lets its auditor in."""
        self.brokers = brokers
        self.forged = False  # a test has put records there that keep to no contract: they are left out
        self.client = {"bootstrap.servers": brokers, "log_level": 0, **(client or {})}
        self.events, self.acks, self.workers, self.audit = (f"{prefix}.{name}" for name in ("events", "acks", "workers", "audit"))

    def admin(self):
        """A client for a moment; what it was asked for is lost when it is dropped before the answer."""
        return AdminClient(self.client)

    def create(self, topic, partitions):
        admin = self.admin()
        admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(PATIENCE)

    def add_partitions(self, topic, count):
        """Until it has this many."""
        admin = self.admin()
        admin.create_partitions([NewPartitions(topic, count)])[topic].result(PATIENCE)

    def exists(self, topic):
        return topic in self.admin().list_topics(timeout=PATIENCE).topics

    def delete(self, topic):
        admin = self.admin()
        admin.delete_topics([topic])[topic].result(PATIENCE)
        wait_until(lambda: not self.exists(topic), f"{topic} is gone")

    def read(self, topic):
        """All records of a topic up to its present end, in order within each partition, each one judged."""
        consumer = confluent_kafka.Consumer({**self.client, "group.id": "auditor", "enable.auto.commit": False,
                                             "enable.partition.eof": True, "auto.offset.reset": "earliest", "fetch.wait.max.ms": 10})
        try:
            partitions = consumer.list_topics(topic, timeout=PATIENCE).topics[topic].partitions
            consumer.assign([confluent_kafka.TopicPartition(topic, number, confluent_kafka.OFFSET_BEGINNING) for number in partitions])
            records, open_partitions, deadline = [], set(partitions), time.monotonic() + PATIENCE
            while open_partitions:
                message = consumer.poll(1.0)
                assert time.monotonic() < deadline, f"the end of {topic} is not reached"
                if message is None:
                    continue
                if message.error():
                    assert message.error().code() == confluent_kafka.KafkaError._PARTITION_EOF, message.error()
                    open_partitions.discard(message.partition())
                else:
                    try:
                        records.append(Record(message))
                    except (AssertionError, ValueError):
                        if not self.forged:
                            raise
            return records
        finally:
            consumer.close()

    def events_of(self, jwk_id):
        return [record for record in self.read(self.events) if record.key == jwk_id]

    def events_named(self, project, name):
        """Events whose JWK has (or had) this name."""
        return [record for record in self.read(self.events)
                if record.value and record.value["project"]["name"] == project and record.value["jwk"]["name"] == name]

    def wait_event(self, condition, what):
        return wait_until(lambda: next((record for record in self.read(self.events) if record.value and condition(record.value)), None),
                          what)

    def config(self, topic):
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
        admin = self.admin()
        entries = admin.describe_configs([resource])[resource].result(PATIENCE)
        return {name: entry.value for name, entry in entries.items()}

    def configure(self, topic, name, value):
        entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
        admin = self.admin()
        admin.incremental_alter_configs([resource])[resource].result(PATIENCE)

    def group_offset(self, group, topic, partition):
        """The offset that a consumer group has committed; negative when it has none."""
        consumer = confluent_kafka.Consumer({**self.client, "group.id": group})
        try:
            return consumer.committed([confluent_kafka.TopicPartition(topic, partition)], PATIENCE)[0].offset
        finally:
            consumer.close()

    def partition_count(self, topic):
        return len(self.admin().list_topics(topic, timeout=PATIENCE).topics[topic].partitions)
