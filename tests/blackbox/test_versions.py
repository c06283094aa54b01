"""A program of the version before or after on the other side: what it leaves out and what it adds makes no difference.

Version 1 had no signatures, no sealed private halves and no enrolment. A later one may add members anywhere, headers, and types."""

import base64
import hashlib
import json
import uuid

import confluent_kafka
import pytest

from harness.hand_worker import HandWorker, headers_of, now
from harness.keys import new_key, public_half
from harness.program import wait_until
from harness.signatures import Signer

LATER_HEADERS = {"ce_partitionkey": "x", "ce_later": "y", "tracestate": "a=b"}
LATER = {"later": {"a": [1, None, {"b": "c"}]}, "laterText": "x", "laterNull": None}


def grown(value):
    """The same with members of a later version in every object of ours: keys are as they are."""
    if isinstance(value, list):
        return [grown(item) for item in value]
    if not isinstance(value, dict) or "kty" in value:
        return value
    return {name: grown(item) for name, item in value.items()} | LATER


def of_version(version, record):
    """A record (key, headers, value) as that version would write it."""
    key, headers, value = record
    if version == "earlier":
        return record
    return key, headers | LATER_HEADERS, json.dumps(grown(json.loads(value))).encode()


# ---- the API hears a worker ----

class OtherWorker(HandWorker):
    version = "earlier"

    def presence(self, kind, **changes):
        earlier = {"after": ...} if self.version == "earlier" else {}
        return of_version(self.version, super().presence(kind, **earlier | changes))

    def ack_of(self, event, **changes):
        return of_version(self.version, super().ack_of(event, **changes))

    def enrol(self, **changes):
        return super().enrol(**(LATER if self.version == "later" else {}) | changes)


class LaterWorker(OtherWorker):
    version = "later"


@pytest.mark.parametrize("kind, keys", [(OtherWorker, False), (LaterWorker, False), (LaterWorker, True)],
                         ids=["version 1", "a later one", "a later one with credentials"])
def test_the_api_counts_on_a_worker_of_another_version(installation, project, kind, keys):
    credentials = installation.add_environment_with_keys("production") if keys else None
    if not keys:
        installation.add_environment("production", keys=False)
    installation.start_api()
    assert installation.api.create(project, "a", prefer="respond-async").status == 202
    worker = kind(installation, "production", credentials=credentials).start()
    wait_until(lambda: any("replica connected" in line and worker.worker in line for line in installation.api.log().splitlines()), "it is known")

    def change():
        text = uuid.uuid4().hex
        location = installation.api.update(project, "a", {"description": text}, prefer="respond-async").headers["Location"]
        return installation.topics.wait_event(lambda value: value["jwk"]["description"] == text, "the event"), location
    event, location = change()
    worker.ack(event)
    installation.api.wait_deployment(location)
    event, location = change()
    worker.ack(event, status="failed", message="gateway is down")
    installation.api.wait_deployment(location, "FAILED")
    worker.ack(event)
    installation.api.wait_deployment(location)
    # An ack that never comes is made good by a heartbeat that tells how far the replica is.
    event, location = change()
    worker.say("heartbeat", positions=[{"partition": event.partition, "offset": event.offset + 1, "sequence": event.value["sequence"]}])
    installation.api.wait_deployment(location)
    worker.say("goodbye", ready=False)
    wait_until(lambda: any("replica left" in line for line in installation.api.log().splitlines()), "its goodbye is heard")


# ---- a worker hears the API, and another start of itself ----

class OtherApi:
    """Publishes by hand. signer: None signs nothing."""

    def __init__(self, installation, version, signer=None):
        self.installation, self.version, self.signer = installation, version, signer
        self.sequence = 0
        self.producer = confluent_kafka.Producer({"bootstrap.servers": installation.broker.address, "log_level": 0})

    def event(self, operation, jwk_id, version, name, key, **changes):
        self.sequence += 1
        jwk = {"id": jwk_id, "name": name, "description": None, "type": key["kty"], "kid": key["kid"],
               "publicKey": None if operation == "delete" else public_half(key), "retiring": []}
        value = {"operation": operation, "deploymentId": str(uuid.uuid4()), "epoch": 1, "version": version, "sequence": self.sequence,
                 "project": {"id": "0199b3c4-5a10-7c3e-8f21-0000000000aa", "name": "P"}, "jwk": jwk, "actor": "alice", "time": now()} | changes
        kind = {"redeploy": "jwk.redeployed.v1"}.get(operation, f"jwk.{operation}d.v1")
        headers = headers_of(kind, "event", jwk_id) | {"ce_source": "urn:jwk-api:by-hand"}
        return of_version(self.version, (jwk_id, headers, json.dumps(value).encode()))

    def publish(self, *records):
        headers = self.signer.sign_records(records) if self.signer else [each for _, each, _ in records]
        for (key, _, value), each in zip(records, headers):
            self.producer.produce(self.installation.topics.events, value, key, 0, headers=each)
        assert self.producer.flush(20) == 0


@pytest.fixture(params=["version 1", "a later one", "a later one with credentials"])
def heard(request, installation):
    """A worker with nobody but an API of another version, by hand."""
    version = "earlier" if request.param == "version 1" else "later"
    if "credentials" in request.param:
        installation.add_environment_with_keys("production")
        signer, keys = Signer(), installation.directory / "keys.json"
        keys.write_text(json.dumps({"keys": [signer.public]}))
        keys.chmod(0o644)
        installation.start_worker("production", "edge-1", "--api-keys", keys)
        return OtherApi(installation, version, signer)
    installation.start_worker("production")
    return OtherApi(installation, version)


def test_a_worker_takes_events_of_another_version(heard):
    installation = heard.installation
    worker = installation.workers["production", "edge-1"]
    first, second = str(uuid.uuid4()), str(uuid.uuid4())
    one, two = new_key("EC", kid="one"), new_key("RSA", kid="two")
    heard.publish(heard.event("create", first, 1, "a", one), heard.event("create", second, 1, "b", two))
    wait_until(lambda: worker.names("P") == ["a", "b"], "both are served")
    assert sorted(worker.kids("P")) == ["one", "two"] and worker.jwk("P", "a") == public_half(one)
    other = new_key("OKP", kid="three")
    rotated = heard.event("update", second, 2, "b", other)
    body = json.loads(rotated[2])
    body["jwk"]["retiring"] = [{"publicKey": public_half(two), "until": 4102444800}]
    rotated = of_version(heard.version, (rotated[0], rotated[1], json.dumps(body).encode()))
    heard.publish(heard.event("update", first, 2, "renamed", one), rotated)
    wait_until(lambda: worker.names("P") == ["b", "renamed"], "it is renamed")
    wait_until(lambda: sorted(worker.kids("P")) == ["one", "three", "two"], "the replaced key is served beside the new one")
    gone = heard.event("delete", first, 3, "renamed", one)
    heard.publish(gone)
    wait_until(lambda: worker.names("P") == ["b"], "it is deleted")
    wanted = {"deploymentId": json.loads(gone[2])["deploymentId"], "status": "applied",
              "eventHash": base64.urlsafe_b64encode(hashlib.sha256(gone[2]).digest()).rstrip(b"=").decode()}
    wait_until(lambda: any(wanted.items() <= ack.value.items() for ack in installation.topics.read(installation.topics.acks)), "its ack is there")


def test_an_operation_of_a_later_version_holds_nothing_up(heard):
    worker = heard.installation.workers["production", "edge-1"]
    first, key = str(uuid.uuid4()), new_key("EC", kid="one")
    heard.publish(heard.event("create", first, 1, "a", key), heard.event("archive", first, 2, "a", key), heard.event("update", first, 3, "b", key))
    wait_until(lambda: worker.names("P") == ["b"], "what comes behind it is served")


def test_a_key_that_was_deleted_before_events_were_signed_goes_from_a_replica_that_was_away(installation):
    """Its delete is unsigned as its creation was. Everything else that is unsigned is refused once the replica has credentials."""
    api, revoked, kept = OtherApi(installation, "earlier"), str(uuid.uuid4()), str(uuid.uuid4())
    one, two = new_key("EC", kid="one"), new_key("EC", kid="two")
    worker = installation.start_worker("production")
    api.publish(api.event("create", revoked, 1, "a", one), api.event("create", kept, 1, "b", two))
    wait_until(lambda: worker.names("P") == ["a", "b"], "both are served")
    worker.stop()
    api.publish(api.event("delete", revoked, 2, "a", one), api.event("update", kept, 2, "forged", two))
    installation.add_environment_with_keys("production")
    api.signer, keys = Signer(), installation.directory / "keys.json"
    keys.write_text(json.dumps({"keys": [api.signer.public]}))
    keys.chmod(0o644)
    worker = installation.start_worker("production", "edge-1", "--api-keys", keys)
    assert worker.names("P") == ["b"] and worker.kids("P") == ["two"]
    assert "taken unsigned" in worker.log()
    api.publish(api.event("redeploy", kept, 2, "renamed", two))
    wait_until(lambda: worker.names("P") == ["renamed"], "what is signed takes the place of what was not")
    api.signer = None
    api.publish(api.event("delete", kept, 3, "renamed", two))
    refused = 'jwk_worker_events_refused_total{reason="missing"} 2'
    wait_until(lambda: refused in worker.request("GET", "/metrics").body.decode(), "the unsigned delete is read")
    assert worker.names("P") == ["renamed"]


def test_an_unsigned_delete_tells_a_replica_nothing_but_which_key_goes(installation):
    """Whoever can write to the topic can write one, once a key that was taken unsigned is left."""
    api, victim = OtherApi(installation, "earlier"), str(uuid.uuid4())
    one, two = new_key("EC", kid="one"), new_key("EC", kid="two")
    worker = installation.start_worker("production")
    api.publish(api.event("create", victim, 1, "a", one))
    wait_until(lambda: worker.names("P") == ["a"], "it is served")
    worker.stop()
    installation.add_environment_with_keys("production")
    api.signer, keys = Signer(), installation.directory / "keys.json"
    keys.write_text(json.dumps({"keys": [api.signer.public]}))
    keys.chmod(0o644)
    record, hook = installation.directory / "ran", installation.directory / "hook"
    hook.write_text(f'#!/bin/sh\necho "$JWK_OPERATION $JWK_PROJECT $JWK_NAME $JWK_ID $JWK_VERSION" >> "{record}"\n')
    hook.chmod(0o755)
    worker = installation.start_worker("production", "edge-1", "--api-keys", keys, "--hook", hook, "--heartbeat-interval", "100ms")
    other = {"id": "0199b3c4-5a10-7c3e-8f21-0000000000bb", "name": "Q"}
    kept = str(uuid.uuid4())
    api.publish(api.event("create", kept, 1, "b", two, project=other))
    wait_until(lambda: worker.names("Q") == ["b"], "a signed key of another project is served")
    signer, api.signer, sequence = api.signer, None, api.sequence
    forged = api.event("delete", victim, 1 << 50, "b", two, epoch=1000, sequence=1 << 50, project=other | {"name": "P"})
    api.publish(forged)
    wait_until(lambda: worker.names("P") == [] and f"delete P a {victim} 1\n" in record.read_text(), "the hook is told of the key that has gone")
    assert worker.names("Q") == ["b"] and worker.kids("Q") == ["two"]
    assert record.read_text().count("delete") == 1

    def heartbeat():
        told = [each.value for each in installation.topics.read(installation.topics.workers) if each.value and "positions" in each.value]
        return next((each for each in told if each["worker"] == told[-1]["worker"]
                     and any(place["partition"] == 0 and place["offset"] == 3 for place in each["positions"])), None)
    told = wait_until(heartbeat, "a heartbeat tells of the place behind it")
    assert next(place["sequence"] for place in told["positions"] if place["partition"] == 0) == sequence and told["epoch"] == 1
    deployment = json.loads(forged[2])["deploymentId"]
    assert not any(ack.value["deploymentId"] == deployment for ack in installation.topics.read(installation.topics.acks))
    metrics = worker.request("GET", "/metrics").body.decode()
    assert 'jwk_worker_events_total{result="unproven-delete"} 1' in metrics
    assert 'jwk_worker_events_refused_total{reason="missing"} 0' in metrics
    assert worker.log().count("taken unsigned is followed") == 1 and "event refused" not in worker.log()
    api.signer = signer
    api.publish(api.event("redeploy", victim, 1, "a", one))
    wait_until(lambda: worker.names("P") == ["a"], "its next signed event brings it back, whatever its version")


@pytest.mark.parametrize("kind, keys", [(OtherWorker, False), (LaterWorker, False), (LaterWorker, True)],
                         ids=["version 1", "a later one", "a later one with credentials"])
def test_a_start_of_another_version_takes_the_place_of_a_worker(installation, kind, keys):
    """As in an upgrade, where a new process is started on a copy of the state: the earlier one must not go on."""
    credentials = installation.add_environment_with_keys("production") if keys else None
    worker = installation.start_worker("production")
    kind(installation, "production", credentials=credentials).say("hello")
    assert worker.wait_exit() == 3
