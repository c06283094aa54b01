"""Nobody but the API is believed: what others put on the topic changes nothing, is counted and told, and the next good event works."""

import base64
import hashlib
import hmac
import json
import re
import time

import pytest
from confluent_kafka import Producer

from harness.installation import Installation
from harness.keys import new_key, public_half
from harness.program import wait_until
from harness.signing import Signer, encode


def send(installation, records, topic=None):
    """records: (key, headers, value, partition)"""
    producer = Producer({"bootstrap.servers": installation.broker.address, "message.max.bytes": 2_000_000})
    for key, headers, value, partition in records:
        producer.produce(topic or installation.topics.events, value, key, partition, headers=list(headers.items()))
    assert producer.flush(20) == 0


def refused(worker, reason=None):
    """How many events were refused, all in all or for one reason."""
    text = worker.request("GET", "/metrics").body.decode()
    return sum(int(value) for label, value in re.findall(r'^jwk_worker_events_refused_total\{reason="([^"]*)"\} (\d+)$', text, re.M)
               if reason in (None, label))


def metric(worker, name):
    return float(re.search(rf"^{re.escape(name)} (\S+)$", worker.request("GET", "/metrics").body.decode(), re.M).group(1))


def next_good_one_works(installation, project, name="a"):
    result = installation.api.update(project, name, {"description": str(time.monotonic_ns())}).json["deploymentResult"]
    assert result["success"], result


@pytest.fixture(scope="module")
def shared(embedded_system):
    embedded_system.topics.forged = True
    return embedded_system


@pytest.fixture
def worker(shared):
    return shared.workers["production", "edge-1"]


def forgeries(record):
    """Each with the verdict that it deserves; all of the record that is given, but for one thing."""
    headers, key, value = record.headers, record.key, record.raw
    api_kid = json.loads(base64.urlsafe_b64decode(headers["ce_signature"].partition(".")[0] + "=="))["kid"]
    stranger = Signer()
    plain = {name: text for name, text in headers.items() if not name.startswith("ce_signature")}
    altered = value.replace(b'"version":', b'"version":9', 1)
    jwk = json.loads(value)
    jwk["version"] += 5
    jwk["jwk"]["name"] = "forged"
    newer = json.dumps(jwk).encode()

    def with_header(head):
        signature = encode(hmac.new(api_kid.encode(), b"x", hashlib.sha512).digest())
        return plain | {"ce_signature": f"{encode(json.dumps(head).encode())}..{signature}", "ce_signaturepath": "0/1"}
    _, by_stranger, _ = stranger.sign([(key, plain, newer)])[0]
    _, as_the_api, _ = stranger.sign([(key, plain, newer)], {"alg": "EdDSA", "kid": api_kid})[0]
    head, _, signature = headers["ce_signature"].partition("..")
    spoilt = signature[:10] + ("A" if signature[10] != "A" else "B") + signature[11:]
    return [
        ("unsigned", "missing", key, plain, newer),
        ("altered", "wrong", key, headers, altered),
        ("truncated", "wrong", key, headers, value[:-1]),
        ("empty", "wrong", key, headers, b""),
        ("another's signature", "wrong", key, headers, newer),
        ("another key", "wrong", "0199b3c4-5a10-7c3e-8f21-000000000001", headers, value),
        ("a tombstone with the event's signature", "wrong", key, headers, None),
        ("a tombstone without", "missing", key, plain, None),
        ("a bare tombstone", "malformed", key, {}, None),
        ("another type", "wrong", key, headers | {"ce_type": "jwk.deleted.v1"}, value),
        ("another id", "wrong", key, headers | {"ce_id": "0199b3c4-5a10-7c3e-8f21-000000000001"}, value),
        ("a signature spoilt", "wrong", key, headers | {"ce_signature": f"{head}..{spoilt}"}, value),
        ("a place in another batch", "wrong", key, headers | {"ce_signaturepath": "0/2:" + encode(bytes(32))}, value),
        ("no path", "malformed", key, {name: text for name, text in headers.items() if name != "ce_signaturepath"}, value),
        ("a senseless path", "malformed", key, headers | {"ce_signaturepath": "9/1"}, value),
        ("alg none", "malformed", key, with_header({"alg": "none", "kid": api_kid}), newer),
        ("alg none without signature", "malformed", key,
         plain | {"ce_signature": encode(b'{"alg":"none"}') + "..", "ce_signaturepath": "0/1"}, newer),
        ("alg confusion", "malformed", key, with_header({"alg": "HS512", "kid": api_kid}), newer),
        ("critical extension", "malformed", key, with_header({"alg": "EdDSA", "kid": api_kid, "crit": ["b64"], "b64": False}), newer),
        ("a stranger's key", "unknown-key", key, by_stranger, newer),
        ("a stranger under the API's kid", "wrong", key, as_the_api, newer),
        ("oversized", "wrong", key, headers, value + b" " * 1_200_000),
    ]


def test_forged_and_altered_events_change_nothing_and_are_counted(shared, worker, project):
    assert shared.api.create(project, "a", new_key("EC", kid="good")).json["deploymentResult"]["success"]
    record = shared.topics.events_named(project, "a")[0]
    before, items = worker.key_set(project), worker.items(project)
    for what, verdict, key, headers, value in forgeries(record):
        counted, all_counted = refused(worker, verdict), refused(worker)
        send(shared, [(key, headers, value, record.partition)])
        wait_until(lambda: refused(worker) > all_counted, f"{what} is refused")
        assert (refused(worker, verdict), refused(worker)) == (counted + 1, all_counted + 1), what
        assert worker.key_set(project) == before and worker.items(project) == items, what
    assert 'event="event refused"' in worker.log()
    next_good_one_works(shared, project)


def test_who_waits_for_a_refused_event_is_told_unless_it_was_applied(shared, worker, project):
    assert shared.api.create(project, "a").json["deploymentResult"]["success"]
    record = shared.topics.events_named(project, "a")[0]
    plain = {name: text for name, text in record.headers.items() if not name.startswith("ce_signature")}
    newer = json.loads(record.raw) | {"version": 7, "deploymentId": "0199b3c4-5a10-7c3e-8f21-0000000000aa"}
    copied = {"ce_id": "0199b3c4-5a10-7c3e-8f21-0000000000bb"}
    send(shared, [(record.key, plain | copied, record.raw, record.partition),  # a copy of what is applied, without its signature
                  (record.key, plain, json.dumps(newer).encode(), record.partition)])

    def nack():
        return next((ack for ack in shared.topics.read(shared.topics.acks)
                     if ack.key == newer["deploymentId"] and ack.value["environment"] == "production"), None)
    ack = wait_until(nack, "the refused event is told to have failed")
    assert ack.value["status"] == "failed" and "not signed" in ack.value["message"], ack
    assert not any(ack.value["eventId"] == copied["ce_id"] for ack in shared.topics.read(shared.topics.acks))
    next_good_one_works(shared, project)


def test_events_that_come_again_in_any_order_change_nothing(shared, worker, project):
    assert shared.api.create(project, "a", new_key("EC", kid="first")).json["deploymentResult"]["success"]
    for number in range(3):
        assert shared.api.update(project, "a", {"description": str(number)}).json["deploymentResult"]["success"]
    records = shared.topics.events_named(project, "a")
    items, duplicates = worker.items(project), metric(worker, 'jwk_worker_events_total{result="duplicate"}')
    again = [(record.key, record.headers, record.raw, record.partition) for record in reversed(records)]
    send(shared, again)
    wait_until(lambda: metric(worker, 'jwk_worker_events_total{result="duplicate"}') >= duplicates + len(again), "they were read")
    assert worker.items(project) == items
    next_good_one_works(shared, project)


def test_a_flood_of_forged_events_fills_no_log_and_holds_nothing_up(shared, worker, project):
    assert shared.api.create(project, "a").json["deploymentResult"]["success"]
    record = shared.topics.events_named(project, "a")[0]
    before, log = refused(worker), len(worker.log())
    forged = [(record.key, record.headers | {"ce_id": "x" * 36}, b"x" * 100, record.partition)] * 3000  # as the embedded broker keeps
    send(shared, forged)
    wait_until(lambda: refused(worker) >= before + len(forged), "all are refused")
    assert len(worker.log()) - log < 20_000
    next_good_one_works(shared, project)


# ---- presence ----

def test_a_hello_that_nobody_vouches_for_fences_nobody(shared, worker, project):
    assert shared.api.create(project, "a").json["deploymentResult"]["success"]
    hello = next(record for record in reversed(shared.topics.read(shared.topics.workers))
                 if record.headers["ce_type"] == "jwk.worker.hello.v1" and record.key == "production/edge-1")
    plain = {name: text for name, text in hello.headers.items() if not name.startswith("ce_signature")}
    other = hello.value | {"worker": "0199b3c4-5a10-7c3e-8f21-0000000000cc", "after": hello.offset + 1}
    stranger = Signer()
    with_key = other | {"replicaKey": stranger.public_key,
                        "enrolment": stranger.jws(json.dumps({"environment": "production", "replica": "edge-1",
                                                              "worker": other["worker"], "jwk": stranger.public_key}).encode(),
                                                  attached=True)}
    stolen = other | {"replicaKey": stranger.public_key}
    unsigned = {name: value for name, value in other.items() if name not in ("replicaKey", "enrolment")}
    forged = [(hello.key, plain, json.dumps(unsigned).encode())]
    for value in (with_key, stolen, other):
        forged += [record for record in stranger.sign([(hello.key, plain, json.dumps(value).encode())])]
    before = metric(worker, "jwk_worker_presence_refused_total")
    send(shared, [(*record, hello.partition) for record in forged], shared.topics.workers)
    wait_until(lambda: metric(worker, "jwk_worker_presence_refused_total") == before + len(forged), "all are refused")
    assert worker.running
    next_good_one_works(shared, project)


def test_an_old_hello_that_comes_again_cuts_nobody_off(shared, project):
    assert shared.api.create(project, "a").json["deploymentResult"]["success"]
    old = next(record for record in reversed(shared.topics.read(shared.topics.workers))
               if record.headers["ce_type"] == "jwk.worker.hello.v1" and record.key == "production/edge-1")
    worker = shared.workers["production", "edge-1"]
    worker.kill()
    worker = shared.restart_worker(worker)
    shared.wait_connected("production")
    send(shared, [(old.key, old.headers, old.raw, old.partition)], shared.topics.workers)
    for _ in range(3):
        next_good_one_works(shared, project)
    assert worker.running


def test_what_a_worker_has_said_before_does_not_bring_it_back(installation):
    """Whoever can write to the topic, another environment's worker for one, has the records of all others to copy."""
    installation.add_environment("production")
    installation.start_api()
    worker = installation.start_worker("production")
    installation.wait_connected()
    worker.stop()
    said = [record for record in installation.topics.read(installation.topics.workers) if record.key == "production/edge-1"]
    heartbeat = next(record for record in reversed(said) if record.headers["ce_type"] == "jwk.worker.heartbeat.v1")
    assert said[-1].headers["ce_type"] == "jwk.worker.goodbye.v1"

    ready = 'jwk_api_replicas{environment="production",state="ready"}'
    wait_until(lambda: metric(installation.api, ready) == 0, "it has left")
    again = (heartbeat.key, heartbeat.headers, heartbeat.raw, heartbeat.partition)
    send(installation, [again, ("x", {}, b"x", heartbeat.partition)], installation.topics.workers)
    wait_until(lambda: metric(installation.api, "jwk_api_presence_malformed_total") == 1, "both are read")
    assert metric(installation.api, ready) == 0
    installation.topics.forged = True
    installation.restart_worker(worker)
    installation.wait_connected()


# ---- what needs an installation of its own ----

def test_an_event_of_before_its_tombstone_brings_no_jwk_back(installation, project):
    installation.add_environment("production")
    installation.start_api("--tombstone-delay", "1s")
    worker = installation.start_worker("production")
    installation.wait_connected()
    assert installation.api.create(project, "gone", new_key("EC", kid="revoked")).json["deploymentResult"]["success"]
    assert installation.api.create(project, "a").json["deploymentResult"]["success"]
    created = installation.topics.events_named(project, "gone")[0]
    assert installation.api.delete(project, "gone").json["deploymentResult"]["success"]
    deleted_at = time.monotonic()
    installation.api.stop()
    wait_until(lambda: time.monotonic() > deleted_at + 1, "the delete is as old as it must be")
    installation.start_api("--tombstone-delay", "1s")  # which looks for what is due at its start
    wait_until(lambda: metric(worker, 'jwk_worker_events_total{result="tombstone"}') >= 1, "the tombstone has come")
    send(installation, [(created.key, created.headers, created.raw, created.partition)])
    wait_until(lambda: refused(worker, "replayed") == 1, "the replay is told")
    assert "revoked" not in worker.kids(project) and "gone" not in worker.names(project)
    next_good_one_works(installation, project)
    worker.kill()
    worker = installation.restart_worker(worker)
    send(installation, [(created.key, created.headers, created.raw, created.partition)])
    wait_until(lambda: refused(worker, "replayed") == 1, "the replay is told after a restart too")
    assert "revoked" not in worker.kids(project)


def start_worker_with_key_file(installation):
    """An API, and a worker that has the keys it believes from a file of their own, which anybody may read. (the file, the worker)."""
    installation.add_environment("production")
    keys = installation.directory / "api-keys.json"
    keys.write_text(installation.admin("signing-key", "export").stdout)
    keys.chmod(0o644)
    installation.start_api()
    worker = installation.start_worker("production", "edge-1", "--api-keys", keys)
    installation.wait_connected()
    return keys, worker


@pytest.mark.parametrize("reload", [True, False], ids=["told", "by itself"])
def test_events_of_a_new_key_are_made_good_once_it_is_believed(installation, project, reload):
    keys, worker = start_worker_with_key_file(installation)
    assert installation.api.create(project, "a", new_key("EC", kid="one")).json["deploymentResult"]["success"]
    # A new key without the accepted way of telling the workers first.
    kid = installation.admin("signing-key", "add").stdout.strip()
    installation.admin("signing-key", "activate", "--", kid)

    def not_believed():
        result = installation.api.update(project, "a", {"description": "x"}, prefer="wait=2")
        message = result.json["deploymentResult"]["environmentResults"][0]["message"]
        return result if f"The signing key {kid} is not trusted" in message else None
    answer = wait_until(not_believed, "events of the new key are refused and told so")
    assert refused(worker, "unknown-key") > 0
    keys.write_text(installation.admin("signing-key", "export").stdout)
    if reload:
        worker.reload()
    installation.api.wait_deployment(answer.headers["Location"])
    assert worker.items(project)[0]["version"] == installation.topics.events_named(project, "a")[-1].value["version"]
    next_good_one_works(installation, project)


def test_a_worker_that_reads_its_files_again_stays_ready_while_kafka_does_not_take_what_it_says(kafka, tmp_path):
    """As when its certificate is renewed: nobody is better off without what it serves."""
    installation = Installation(kafka, tmp_path)
    try:
        installation.add_environment("production")
        installation.start_api()
        worker = installation.start_worker("production")
        installation.topics.configure(installation.topics.workers, "max.message.bytes", "100")
        worker.reload()
        wait_until(lambda: "presence refused" in worker.log(), "it has said hello once more, in vain")
        assert worker.request("GET", "/readyz").json == {"status": "ok"}
        installation.topics.configure(installation.topics.workers, "max.message.bytes", "1048576")
        wait_until(lambda: worker.log().count("event=announced") == 2, "it is announced again")
        assert worker.log().count("event=ready") == 1 and "not ready" not in worker.log()
        installation.wait_connected()
    finally:
        installation.stop()


def test_a_replica_that_reads_all_again_is_ready_without_another_event(installation, project):
    keys, worker = start_worker_with_key_file(installation)
    kid = installation.admin("signing-key", "add").stdout.strip()
    installation.admin("signing-key", "activate", "--", kid)
    assert installation.api.create(project, "a", public_half(new_key("EC")), prefer="respond-async").status == 202
    wait_until(lambda: refused(worker, "unknown-key") == 1, "an event of the new key is refused")
    worker.stop()
    for description in ("second", "third"):
        assert installation.api.update(project, "a", {"description": description}, prefer="respond-async").status == 202
    last = wait_until(lambda: next((event for event in installation.topics.events_named(project, "a")
                                    if event.value["jwk"].get("description") == "third"), None), "all are published")
    keys.write_text(installation.admin("signing-key", "export").stdout)
    # The ack of what is made good is on its way for longer than it takes to read what is behind it.
    worker = installation.start_worker("production", "edge-1", "--api-keys", keys, "-X", "linger.ms=1000",
                                       state_directory=worker.state_directory)
    assert worker.items(project)[0]["version"] == last.value["version"]


def test_an_unknown_key_is_looked_up_in_a_file_that_has_changed(installation, project):
    keys, worker = start_worker_with_key_file(installation)
    assert installation.api.create(project, "a").json["deploymentResult"]["success"]
    kid = installation.admin("signing-key", "add").stdout.strip()
    # A look for the sake of a stranger's key, before there is something new, does not keep the next one from being taken at once.
    event = installation.topics.events_named(project, "a")[0]
    plain = {name: text for name, text in event.headers.items() if not name.startswith("ce_signature")}
    _, by_stranger, _ = Signer().sign([(event.key, plain, event.raw)])[0]
    send(installation, [(event.key, by_stranger, event.raw, event.partition)])
    wait_until(lambda: refused(worker) == 1, "the stranger's event is refused")
    keys.write_text(installation.admin("signing-key", "export").stdout)
    installation.admin("signing-key", "activate", "--", kid)
    next_good_one_works(installation, project)
    assert f"The signing key {kid}" not in worker.log()


@pytest.mark.parametrize("arguments, told", [
    ([], "--credentials is required"),
    (["--unsigned", "--api-keys", "FILE"], "exclude each other"),
    (["--unsigned", "--private-key-dir", "DIRECTORY"], "needs --credentials"),
    (["--credentials", "OTHER"], "those of environment staging"),
    (["--credentials", "READABLE"], "chmod"),
])
def test_credentials_that_do_not_suit_are_refused_at_start(installation, arguments, told):
    installation.add_environment("staging")
    installation.add_environment("production")
    readable = installation.directory / "readable"
    readable.write_bytes(installation.credentials("production").read_bytes())
    readable.chmod(0o644)
    paths = {"OTHER": installation.credentials("staging"), "READABLE": readable}
    status, log = installation.try_worker("production", *[paths.get(argument, argument) for argument in arguments])
    assert status in (1, 2) and told in log, log


def test_a_worker_of_an_environment_without_keys_runs_unsigned(installation, project):
    installation.add_environment("production", keys=False)
    installation.start_api()
    installation.start_worker("production")
    installation.wait_connected()
    assert installation.api.create(project, "a").json["deploymentResult"]["success"]
    event = installation.topics.events_named(project, "a")[0]
    assert "privateKey" not in event.value["jwk"]
    ack = next(record for record in installation.topics.read(installation.topics.acks) if record.key == event.value["deploymentId"])
    assert "ce_signature" not in ack.headers
    next_good_one_works(installation, project)


@pytest.mark.parametrize("hours", [-2, 2])
def test_a_clock_that_is_off_by_hours_believes_the_same(installation, project, shifted_clock, hours):
    installation.add_environment("production")
    installation.start_api()
    worker = installation.start_worker("production", environment_variables=shifted_clock(hours))
    installation.wait_connected()
    assert installation.api.create(project, "a").json["deploymentResult"]["success"]
    ack = installation.topics.read(installation.topics.acks)[-1]
    # It is off indeed: its acks tell the time.
    told = time.mktime(time.strptime(ack.value["time"][:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone
    assert abs(told - time.time() - hours * 3600) < 600
    record = installation.topics.events_named(project, "a")[0]
    send(installation, [(record.key, record.headers, record.raw + b" ", record.partition)])
    wait_until(lambda: refused(worker, "wrong") == 1, "a forged one is refused")
    next_good_one_works(installation, project)
