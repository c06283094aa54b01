"""A worker by hand: says what a test makes it say, signed as the test wants it. What it sends is read by the real API."""

import base64
import datetime
import hashlib
import json
import uuid

import confluent_kafka

from .program import PATIENCE
from .signatures import Signer


def now():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.") + "000Z"


def headers_of(ce_type, kind, subject):
    return {"ce_specversion": "1.0", "ce_id": str(uuid.uuid4()), "ce_source": "urn:jwk-worker:by-hand", "ce_type": ce_type, "ce_time": now(),
            "ce_dataschema": f"urn:jwk-api:schema:jwk-{kind}:1", "content-type": "application/json"} | ({"ce_subject": subject} if subject else {})


class HandWorker:
    """credentials: of its environment, as `environment add` has written them; None signs nothing."""

    def __init__(self, installation, environment, replica="edge-1", credentials=None):
        self.topics, self.environment, self.replica = installation.topics, environment, replica
        self.worker = str(uuid.uuid4())
        self.producer = confluent_kafka.Producer({"bootstrap.servers": installation.broker.address, "log_level": 0})
        self.incarnation = -1
        self.signer = Signer() if credentials else None
        self.enroller = Signer(next(key for key in credentials["keys"] if key["use"] == "sig")) if credentials else None
        self.enrolment = self.enrol() if credentials else None

    def enrol(self, **changes):
        """The enrolment of the replica key by the environment's, or of something else."""
        payload = {"environment": self.environment, "replica": self.replica, "worker": self.worker, "jwk": self.signer.public} | changes
        return self.enroller.sign(json.dumps(payload))

    def end(self):
        """The end of the workers topic."""
        consumer = confluent_kafka.Consumer({"bootstrap.servers": self.topics.brokers, "group.id": "by-hand", "log_level": 0})
        try:
            return consumer.get_watermark_offsets(confluent_kafka.TopicPartition(self.topics.workers, 0), PATIENCE)[1]
        finally:
            consumer.close()

    def send(self, topic, records, signer=None):
        """records: (key, headers, value), sent as one signed batch when there is a signer. Returns their offsets."""
        offsets = []

        def delivered(error, message):
            assert error is None, error
            offsets.append(message.offset())
        signed = signer.sign_records(records) if signer else [headers for _, headers, _ in records]
        for (key, _, value), headers in zip(records, signed):
            self.producer.produce(topic, value, key, 0, headers=headers, on_delivery=delivered)
        assert self.producer.flush(PATIENCE) == 0
        return offsets

    def presence(self, kind, **changes):
        """One record of the workers topic, not sent yet."""
        value = {"environment": self.environment, "replica": self.replica, "worker": self.worker,
                 "incarnation": -1 if kind == "hello" else self.incarnation, "epoch": 1, "ready": kind == "heartbeat", "keys": 0,
                 "intervalMs": 600000, "url": None, "version": "0", "positions": [], "failing": [], "failingTruncated": False, "time": now()}
        if self.signer:
            value |= {"replicaKey": self.signer.public, "enrolment": self.enrolment}
        if kind == "hello":
            after = self.end()
            value |= {"after": after} if after else {}
        value = {name: member for name, member in (value | changes).items() if member is not ...}
        key = f"{self.environment}/{self.replica}"
        return key, headers_of(f"jwk.worker.{kind}.v1", "presence", key), json.dumps(value).encode()

    def say(self, kind, **changes):
        offset, = self.send(self.topics.workers, [self.presence(kind, **changes)], self.signer)
        if kind == "hello":
            self.incarnation = offset
        return offset

    def start(self):
        """Says that it is there and ready."""
        self.say("hello")
        self.say("heartbeat")
        return self

    def ack_of(self, event, **changes):
        """The ack of an event, not sent yet."""
        value = {"deploymentId": event.value["deploymentId"], "eventId": event.headers["ce_id"],
                 "eventHash": base64.urlsafe_b64encode(hashlib.sha256(event.raw).digest()).rstrip(b"=").decode(),
                 "environment": self.environment, "replica": self.replica, "worker": self.worker, "incarnation": self.incarnation,
                 "jwkId": event.key, "epoch": event.value["epoch"], "version": event.value["version"], "sequence": event.value["sequence"],
                 "status": "applied", "message": None, "time": now()} | changes
        return value["deploymentId"], headers_of("jwk.ack.v1", "ack", None), json.dumps(value).encode()

    def ack(self, *events, **changes):
        return self.send(self.topics.acks, [self.ack_of(event, **changes) for event in events], self.signer)
