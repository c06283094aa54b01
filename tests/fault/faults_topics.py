"""Faults of the topics: records that nobody of ours wrote, topics that are deleted, partitions that are added."""

import time

import confluent_kafka
from confluent_kafka.admin import AdminClient, NewPartitions

from . import poison
from .faults import FAULTS, fault

TOPICS = ("events", "acks", "workers", "audit")
PARTITIONS_MOST = 16


def admin_client(run):
    return AdminClient({"bootstrap.servers": run.cluster.broker.address, "log_level": 0})


@fault(weight=2)
def poison_topics(run, random):
    poison.malformed(run, random)
    yield 0


@fault(weight=3)
def forge(run, random):
    poison.forge(run, random)
    yield 0


@fault(weight=2)
def late_acks(run, random):
    poison.repeat_acks(run, random)
    yield 0


@fault(weight=2)
def repeated_events(run, random):
    poison.repeat_events(run, random)
    yield 0


def delete_topic(run, name):
    """An administrator's mistake. The API makes it again, and what was in it is made good."""
    run.take_broker()
    client = admin_client(run)  # it must outlive its answer
    since = time.time()
    try:
        client.delete_topics([f"jwk.{name}"], operation_timeout=10)[f"jwk.{name}"].result(15)
    except confluent_kafka.KafkaException as problem:
        run.miss(topic=name, reason=str(problem))  # it is being made again
    else:
        run.auditor.topic_deleted(f"jwk.{name}")
        run.history.add("topic_deleted", topic=name, since=since, until=time.time())
    run.release_broker()
    yield 1.5  # the load goes on


def register():
    def of(name):
        def delete(run, _):
            yield from delete_topic(run, name)
        return delete
    for name in TOPICS:
        # Seldom: what was lost with a topic is lost for the judges, too.
        FAULTS[f"delete topic {name}"] = (of(name), 0.1, ("kafka",))


register()


@fault(weight=0.5, brokers=("kafka",))
def add_partitions(run, random):
    """JWKs that are there stay where they are, and presence stays in the first one."""
    run.take_broker()
    client = admin_client(run)
    try:
        topic = random.choice(("jwk.events", "jwk.acks", "jwk.workers"))
        count = len(client.list_topics(topic, timeout=10).topics[topic].partitions)
        more = min(count + random.randint(1, 3), PARTITIONS_MOST)
        if 0 < count < more:
            client.create_partitions([NewPartitions(topic, more)])[topic].result(15)
            run.history.add("partitions_added", topic=topic, before=count, after=more)
        else:
            run.miss(topic=topic, partitions=count)
    except confluent_kafka.KafkaException as problem:
        run.miss(reason=str(problem))  # the topic is being made again
    run.release_broker()
    yield 0
