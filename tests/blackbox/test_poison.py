"""Messages that make no sense are passed over: nothing of them is used, and the next good one works."""

import base64
import hashlib
import json

import pytest
from confluent_kafka import Producer

from harness.keys import new_key
from harness.program import wait_until

SENSELESS = [b"", b"x", b"{}", b"[]", b"null", b"\xff\xfe", b'{"deploymentId":1}', b"[" * 5000, b"\x00" * 100, b"x" * 900_000, None]


@pytest.fixture
def started(installation):
    installation.add_environment("production")
    installation.start_api()
    installation.start_worker("production")
    installation.wait_connected()
    return installation


def send(installation, topic, records):
    """records: (key, value, headers, partition)"""
    producer = Producer({"bootstrap.servers": installation.broker.address})
    for key, value, headers, partition in records:
        producer.produce(topic, value, key, partition, headers=headers)
    assert producer.flush(20) == 0


def still_works(installation, project):
    assert installation.api.update(project, "a", {"name": "b"}).json["deploymentResult"]["success"]
    assert installation.workers["production", "edge-1"].names(project) == ["b"]


def test_senseless_records_on_any_topic_are_passed_over(started, project, broker):
    assert started.api.create(project, "a").status == 200
    topics = started.topics
    for topic, ce_type in ((topics.acks, "jwk.ack.v1"), (topics.workers, "jwk.worker.heartbeat.v1"), (topics.events, "jwk.updated.v1")):
        for partition in range(topics.partition_count(topic)):
            send(started, topic, [("poison", value, headers, partition) for value in SENSELESS
                                  for headers in (None, {"ce_type": ce_type, "ce_specversion": "1.0", "ce_id": "1", "ce_source": "x"})])
    still_works(started, project)


def test_an_ack_of_nobody_does_not_count(started, project, broker):
    """A replica that is paused has not applied it, whatever someone else writes in its name."""
    assert started.api.create(project, "a").status == 200
    event = started.topics.events_named(project, "a")[0]
    ack = next(record for record in started.topics.read(started.topics.acks) if record.key == event.value["deploymentId"])
    worker = started.workers["production", "edge-1"]
    worker.pause()
    try:
        answer = started.api.update(project, "a", {"description": "x"}, prefer="respond-async")
        location = answer.headers["Location"]
        update = started.topics.wait_event(lambda value: value["version"] == 2 and value["project"]["name"] == project, "the update's event")
        true = ack.value | {name: update.value[name] for name in ("deploymentId", "epoch", "version", "sequence")}
        true["eventId"] = update.headers["ce_id"]
        true["eventHash"] = base64.urlsafe_b64encode(hashlib.sha256(update.raw).digest()).rstrip(b"=").decode()
        forged = [  # each right but for one thing
            true | {"eventHash": ack.value["eventHash"]},
            true | {"incarnation": true["incarnation"] + 1},
            true | {"replica": "edge-9"},
            true | {"environment": "staging"},
            true | {"version": 1},
            true | {"epoch": 2},
            true | {"jwkId": "0199b3c4-5a10-7c3e-8f21-000000000001"},
            true | {"deploymentId": "0199b3c4-5a10-7c3e-8f21-000000000001"},
        ]
        send(started, started.topics.acks, [(each["deploymentId"], json.dumps(each).encode(), ack.headers, 0) for each in forged])
        # Another one that waits a while: by its end the gatherer has passed the forged ones.
        assert started.api.update(project, "a", {"description": "y"}, prefer="wait=1").json["deploymentResult"]["success"] is False
        assert started.api.deployment(location)["deploymentResult"]["success"] is False
    finally:
        worker.resume()
    started.api.wait_deployment(location)
    still_works(started, project)


def test_an_older_event_that_is_sent_again_changes_nothing(started, project, broker):
    assert started.api.create(project, "a", new_key("EC", kid="k")).status == 200
    assert started.api.update(project, "a", {"description": "new"}).status == 200
    old = started.topics.events_named(project, "a")[0]
    assert old.value["version"] == 1
    send(started, started.topics.events, [(old.key, old.raw, old.headers, old.partition)])
    assert started.api.update(project, "a", {"description": "newest"}).json["deploymentResult"]["success"]
    assert started.workers["production", "edge-1"].items(project)[0]["version"] == 3
    still_works(started, project)


def test_a_hello_that_comes_again_cuts_no_replica_off(started, project, broker):
    """A mirrored or restored topic, a replayed record: its later offset would be another incarnation, of which nobody is."""
    assert started.api.create(project, "a").json["deploymentResult"]["success"]
    hello = next(record for record in reversed(started.topics.read(started.topics.workers)) if record.headers["ce_type"].endswith("hello.v1"))
    send(started, started.topics.workers, [(hello.key.encode(), hello.raw, list(hello.headers.items()), hello.partition)])

    def counted_again():
        return started.api.update(project, "a", {"description": "x"}, prefer="wait=1").json["deploymentResult"]["success"]
    wait_until(counted_again, "the replica announces itself anew and its acks count")
