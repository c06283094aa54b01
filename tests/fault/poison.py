"""Records that no program of ours would write, or would not write now."""

import json
import uuid

import confluent_kafka

from harness.signatures import Signer, decode

from .history import read_last_lines

RECENT_BYTES = 8 << 20  # of the topics, in a long run


def produce(run, records):
    """Writes (topic, partition, key, value, headers) straight to the broker, and tells the checker which they are. Returns the topics that
    some are on."""
    arrived = set()
    producer = confluent_kafka.Producer({"bootstrap.servers": run.cluster.broker.address, "log_level": 0, "message.timeout.ms": 5000})

    def delivered(error, message):
        if not error:
            topic = message.topic().rpartition(".")[2]
            arrived.add(topic)
            run.history.add("forged", topic=topic, partition=message.partition(), offset=message.offset(),
                            life=run.auditor.lives[message.topic()])
    for topic, partition, key, value, headers in records:
        producer.produce(f"jwk.{topic}", value, key, partition, on_delivery=delivered, headers=headers)
    producer.flush(8)
    return arrived


def headers_of(kind, source):
    return {"ce_specversion": "1.0", "ce_id": str(uuid.uuid4()), "ce_source": source, "ce_type": kind, "ce_subject": "x",
            "ce_time": "2026-01-01T00:00:00.000Z", "content-type": "application/json"}


def recent_records(run, *topics):
    """Records of these topics that were seen lately, the first line of each an object: garbage is there, too."""
    run.auditor.file.flush()
    result = []
    for line in read_last_lines(run.topics_path, RECENT_BYTES):
        try:
            if line["topic"] in topics and line["value"] and isinstance(json.loads(line["value"].splitlines()[0]), dict):
                result.append(line)
        except (ValueError, IndexError, RecursionError):
            pass
    return result


def own_events(run):
    return [line for line in recent_records(run, "events") if line["headers"].get("ce_id") and '"jwk":{"id":"' in line["value"]]


def malformed(run, random):
    """Garbage of every sort on every topic, some with the headers of a real one."""
    events = own_events(run)
    source = events[-1]["headers"]["ce_source"] if events else "urn:jwk-api:x"
    records = []
    for topic, kind in (("events", "jwk.updated.v1"), ("acks", "jwk.ack.v1"), ("workers", "jwk.worker.heartbeat.v1")):
        partition = random.randrange(4) if topic == "events" else 0
        values = [b"", b"\xff\xfe\x00", b"{", b"null", b"[]", b"{}", b'{"operation":"update"}', b"[" * 5000, random.randbytes(200),
                  b'{"jwk":{"id":7},"version":1e999}', b"\xef\xbb\xbf{}"]
        for value in random.sample(values, 4):
            headers = random.choice((None, headers_of(kind, source), headers_of("jwk.unknown.v9", source)))
            records.append((topic, partition, random.choice((None, b"\xff", str(uuid.uuid4()).encode())), value, headers))
    records.append(("workers", 0, b"nobody/nothing", None, None))
    if events:
        # A sound event but for a private member, which must not be served; and one under a key that is not its JWK's.
        event = json.loads(random.choice(events)["value"])
        if event["jwk"]["publicKey"]:
            stranger = str(uuid.uuid4())
            forged = event | {"jwk": event["jwk"] | {"id": stranger, "publicKey": event["jwk"]["publicKey"] | {"d": "AAAA"}},
                              "deploymentId": str(uuid.uuid4())}
            kind = {"create": "jwk.created.v1", "update": "jwk.updated.v1", "redeploy": "jwk.redeployed.v1"}[event["operation"]]
            records.append(("events", 0, stranger.encode(), json.dumps(forged).encode(), headers_of(kind, source)))
            records.append(("events", 1, stranger.encode(), json.dumps(event).encode(), headers_of(kind, source)))
    random.shuffle(records)
    if not produce(run, records) >= {"events", "acks", "workers"}:
        run.miss(fault="poison_topics")


def repeat_acks(run, random):
    """Acks of long ago come again, in another order: as they were, which their signature takes to the letter, or changed."""
    acks = [line for line in recent_records(run, "acks")
            if line["headers"].get("ce_type") == "jwk.ack.v1" and '"eventHash"' in line["value"]]
    chosen = random.sample(acks, min(len(acks), 40))
    records = []
    for line in chosen:
        ack = json.loads(line["value"])
        changes = random.choice((
            {"version": ack["version"] + 1}, {"eventHash": "A" * 43},
            {"incarnation": ack["incarnation"] + 1_000_000, "status": "failed", "message": "forged"}, None, None))
        value = json.dumps(ack | changes) if changes else line["value"]
        records.append(("acks", 0, line["key"].encode(), value.encode(), line["headers"]))
    if not produce(run, records):
        run.miss(fault="late_acks")


def repeat_events(run, random):
    """Events come again as a producer would send them again: of one JWK, from some version through its latest."""
    events, by_jwk = own_events(run), {}
    for line in events:
        by_jwk.setdefault((line["key"], line["partition"]), []).append(line)
    records = []
    for (key, partition), lines in random.sample(sorted(by_jwk.items()), min(len(by_jwk), 5)):
        for line in lines[random.randrange(len(lines)):]:
            records.append(("events", partition, key.encode(), line["value"].encode(), line["headers"]))
    if not produce(run, records):
        run.miss(fault="repeated_events")


# ---- forgery ----

SIGNATURE = ("ce_signature", "ce_signaturepath")
NEVER = 1_000_000  # a version, an offset and a sequence that no run reaches


def signers(run, environment=None):
    """Those whom nobody may believe: a stranger, and the workers of another environment. None: nobody signs."""
    stranger = Signer()
    result = [None, stranger]
    for name in run.environments:
        if name != environment:
            credentials = json.loads(run.cluster.credentials(name).read_text())
            result.append(Signer(next(key for key in credentials["keys"] if key["use"] == "sig")))
    return result


def signed(signer, key, headers, value):
    return signer.sign_records([(key, headers, value)])[0] if signer else headers


def forged_events(run, random, events):
    """A change, a delete and a tombstone by those who may not: of a JWK that is there when no key would make it good, else of one that
    was made up, since an event that other keys may verify rightly keeps the results of its JWK open."""
    line = random.choice(events)
    event, partition = json.loads(line["value"]), line["partition"]
    plain = {name: text for name, text in line["headers"].items() if name not in SIGNATURE} | {"ce_id": str(uuid.uuid4())}
    order = {"version": event["version"] + NEVER, "sequence": event["sequence"] + NEVER, "deploymentId": str(uuid.uuid4())}
    api_kid = json.loads(decode(line["headers"]["ce_signature"].partition(".")[0]))["kid"]
    for signer in (*signers(run), "claimed"):
        key = line["key"] if signer in (None, "claimed") else str(uuid.uuid4())
        jwk = event["jwk"] | {"id": key, "description": "forged", "name": "forged"}
        changed = json.dumps(event | order | {"jwk": jwk})
        deleted = json.dumps(event | order | {"operation": "delete", "jwk": jwk})
        if signer == "claimed":  # the key of the API, but not its signature
            signer = Signer()
            signer.kid = api_kid
        yield "events", partition, key, changed, signed(signer, key, plain, changed)
        headers = plain | {"ce_type": "jwk.deleted.v1", "ce_id": str(uuid.uuid4())}
        yield "events", partition, key, deleted, signed(signer, key, headers, deleted)
        yield "events", partition, key, None, signed(signer, key, plain, None)
    changed = json.dumps(event | order)
    yield "events", partition, line["key"], changed, plain | {name: line["headers"][name] for name in SIGNATURE}


def forged_acks(run, random, acks):
    """Success and failure of what others have acked or not, told by those who may not."""
    line = random.choice(acks[-50:])
    ack, key = json.loads(line["value"]), line["key"]
    plain = {name: text for name, text in line["headers"].items() if name not in SIGNATURE}
    for worker in list(run.cluster.workers.values()):
        for status in ("applied", "failed"):
            value = json.dumps(ack | {"environment": worker.environment, "replica": worker.replica, "status": status,
                                      "message": None if status == "applied" else "forged"})
            signer = random.choice(signers(run, worker.environment))
            yield "acks", 0, key, value, signed(signer, key, plain, value)


def forged_presence(run, random, presence):
    """Another start of a replica, which would fence it, its goodbye, and a position that settles everything."""
    line = random.choice(presence[-50:])
    value, key = json.loads(line["value"]), line["key"]
    plain = {name: text for name, text in line["headers"].items() if name not in SIGNATURE}
    for signer in signers(run, value["environment"]):
        own = {"replicaKey": signer.public, "enrolment": signer.sign(json.dumps({
            name: value[name] for name in ("environment", "replica", "worker")} | {"jwk": signer.public}))} if signer else {}
        positions = [each | {"offset": each["offset"] + NEVER, "sequence": each["sequence"] + NEVER} for each in value["positions"]]
        for kind, changes in (("hello", {"worker": str(uuid.uuid4()), "incarnation": -1}), ("goodbye", {}), ("heartbeat", {"positions": positions})):
            text = json.dumps(value | own | changes)
            yield "workers", 0, key, text, signed(signer, key, plain | {"ce_type": f"jwk.worker.{kind}.v1"}, text)


def forged_evidence(run, random, trail):
    """A line that follows the last one as far as was seen, signed by a stranger or not at all."""
    line = random.choice(trail[-5:])
    told = json.loads(line["value"].splitlines()[0]) | {"actor": "nobody"}
    text = json.dumps(told, separators=(",", ":"))
    signer = random.choice((None, Signer()))
    jws = "\n" + json.dumps({"jws": signer.sign(json.dumps({"sequence": told["sequence"], "hash": "A" * 43}))}) if signer else ""
    yield "audit", 0, None, text + jws, line["headers"]
    yield "audit", 0, None, random.choice(("", "{", "[]", "\n\n", '{"sequence":1e99}')), random.choice((None, line["headers"]))


def forge(run, random):
    """What somebody who may write to the topics, but has no key, would try."""
    seen = {name: [] for name in ("events", "acks", "workers", "audit")}
    for line in recent_records(run, *seen):
        if line["headers"].get("content-type" if line["topic"] == "audit" else "ce_signature"):
            seen[line["topic"]].append(line)
    records = []
    for make, topic in ((forged_events, "events"), (forged_acks, "acks"), (forged_presence, "workers"), (forged_evidence, "audit")):
        if seen[topic]:
            records += make(run, random, seen[topic])
    random.shuffle(records)
    if produce(run, records) != seen.keys():
        run.miss(fault="forge")
