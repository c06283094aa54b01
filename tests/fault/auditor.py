"""Keeps every record of the topics as it comes, as an auditor would: brokers forget, and topics are deleted."""

import base64
import collections
import json
import queue
import threading
import time

import confluent_kafka

from .history import now

PARTITIONS_EVERY_S = 1.0
STUCK_S = 8.0  # a consumer that has not reached an end by then is replaced: some do not get over a topic that was deleted and made again


class Auditor:
    """Appends to a file of JSON lines. The life of a record counts how often its topic had begun again."""

    def __init__(self, path, address, prefix="jwk"):
        self.file = open(path, "a", encoding="utf-8")
        self.names = [f"{prefix}.{name}" for name in ("events", "acks", "workers", "audit")]
        self.lives = collections.Counter()
        self.deletions = queue.SimpleQueue()
        self.start(address)

    def start(self, address, places=None):
        """places: where to go on, by (topic, partition); from the beginning elsewhere."""
        self.address = address
        self.stopping = threading.Event()
        self.consumer = confluent_kafka.Consumer({
            "bootstrap.servers": address, "group.id": "fault-auditor", "enable.auto.commit": False, "auto.offset.reset": "earliest",
            "log_level": 0, "fetch.wait.max.ms": 20, "topic.metadata.refresh.interval.ms": 1000, "reconnect.backoff.max.ms": 500,
            "enable.partition.eof": True})
        self.assigned, self.next, self.ends = set(), dict(places or {}), {}
        self.thread = threading.Thread(target=self._run, name="auditor", daemon=True)
        self.thread.start()

    def _look_for_partitions(self):
        try:
            topics = self.consumer.list_topics(timeout=2).topics
        except confluent_kafka.KafkaException:
            return  # the broker is away
        found = {(name, number) for name in self.names if name in topics for number in topics[name].partitions} - self.assigned
        if found:
            self.consumer.incremental_assign([
                confluent_kafka.TopicPartition(*where, self.next.get(where, confluent_kafka.OFFSET_BEGINNING)) for where in sorted(found)])
            self.assigned |= found

    def _forget_deleted(self):
        while not self.deletions.empty():
            name, done = self.deletions.get()
            gone = {where for where in self.assigned if where[0] == name}
            self.consumer.incremental_unassign([confluent_kafka.TopicPartition(*where) for where in sorted(gone)])
            self.assigned -= gone
            for where in gone:
                self.next.pop(where, None)
                self.ends.pop(where, None)
            self.lives[name] += 1
            done.set()

    def topic_deleted(self, name):
        """Called once a topic is gone: what comes under its name later begins at its beginning."""
        done = threading.Event()
        self.deletions.put((name, done))
        done.wait()

    def _run(self):
        look_at = 0.0
        while not self.stopping.is_set():
            self._forget_deleted()
            if time.monotonic() >= look_at:
                self._look_for_partitions()
                look_at = time.monotonic() + PARTITIONS_EVERY_S
            for message in self.consumer.consume(500, 0.1):
                where = (message.topic(), message.partition())
                if message.error():
                    if message.error().code() == confluent_kafka.KafkaError._PARTITION_EOF:
                        self.ends[where] = message.offset()
                    continue
                if where not in self.assigned:
                    continue  # of before its topic was deleted
                if message.offset() < self.next.get(where, 0):
                    self.lives[message.topic()] += 1
                self.next[where] = message.offset() + 1
                self._write(message)

    def _write(self, message):
        value = message.value()
        try:
            text = value.decode() if value is not None else None
        except UnicodeDecodeError:
            text = "base64:" + base64.b64encode(value).decode()
        headers = {name: (content or b"").decode(errors="replace") for name, content in message.headers() or []}
        line = {"seen": now(), "life": self.lives[message.topic()], "topic": message.topic().rpartition(".")[2], "partition": message.partition(), "offset": message.offset(),
                "timestamp": message.timestamp()[1], "key": (message.key() or b"").decode(errors="replace"), "headers": headers,
                "value": text}
        self.file.write(json.dumps(line, separators=(",", ":")) + "\n")

    def restart(self, address):
        """The topics begin again, on this broker."""
        self.stop()
        self.lives.update(self.names)
        self.start(address)

    def catch_up(self, patience=30):
        """Until everything that is on the topics now is written down."""
        deadline = time.monotonic() + patience
        while {name for name, _ in self.assigned} < set(self.names):  # one was deleted, and is not found again yet
            assert time.monotonic() < deadline, f"of {self.names} there are only {sorted(self.assigned)}"
            time.sleep(0.02)  # between two looks
        # A client of its own: one that fetches answers such questions late.
        asking = confluent_kafka.Consumer({"bootstrap.servers": self.address, "group.id": "fault-ends", "log_level": 0})
        highs = {where: asking.get_watermark_offsets(confluent_kafka.TopicPartition(*where), timeout=10)[1] for where in sorted(self.assigned)}
        asking.close()
        replace_at = time.monotonic() + STUCK_S
        for where, high in highs.items():
            while max(self.next.get(where, 0), self.ends.get(where, 0)) < high:
                if time.monotonic() > replace_at:
                    replace_at = deadline
                    self.stop()
                    self.start(self.address, self.next)
                assert time.monotonic() < deadline, f"the auditor does not reach the end of {where}"
                time.sleep(0.02)  # between two looks
        self.file.flush()

    def stop(self):
        self.stopping.set()
        self.thread.join()
        self.consumer.close()
        self.file.flush()

    def close(self):
        self.stop()
        self.file.close()
