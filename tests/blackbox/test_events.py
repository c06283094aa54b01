"""What auditors and replicas read on the topics. Each record that is read is judged by the AsyncAPI document on the way."""

import base64
import hashlib
import json

from harness.installation import jwk_path
from harness.keys import PRIVATE_MEMBERS, any_rsa, new_key, public_half


def history(system, project, name):
    """All events of the JWK that has this name now, in the order of their versions."""
    jwk_id = system.topics.events_named(project, name)[-1].value["jwk"]["id"]
    return system.topics.events_of(jwk_id)


def test_each_change_is_one_event_with_the_full_state_keyed_by_the_id_that_never_changes(system, project):
    key = new_key("EC", kid="k")
    assert system.api.create(project, "a", key, description="first").status == 200
    assert system.api.update(project, "a", {"name": "b", "description": "second"}).status == 200
    assert system.api.delete(project, "b").status == 200
    created, updated, deleted = history(system, project, "b")
    assert [record.headers["ce_type"] for record in (created, updated, deleted)] == ["jwk.created.v1", "jwk.updated.v1", "jwk.deleted.v1"]
    assert [record.value["version"] for record in (created, updated, deleted)] == [1, 2, 3]
    assert len({record.key for record in (created, updated, deleted)}) == 1
    assert len({record.partition for record in (created, updated, deleted)}) == 1, "through a rename it stays on its partition"
    sealed = created.value["jwk"]["privateKey"]
    assert len(sealed["recipients"]) == 2, "one for each environment"
    assert created.value["jwk"] == {"id": created.key, "name": "a", "description": "first", "type": "EC", "kid": "k",
                                    "publicKey": public_half(key), "privateKey": sealed, "retiring": []}
    assert updated.value["jwk"] == created.value["jwk"] | {"name": "b", "description": "second"}
    assert deleted.value["jwk"]["publicKey"] is None
    assert {record.value["actor"] for record in (created, updated, deleted)} == {"alice"}
    assert {record.value["project"]["name"] for record in (created, updated, deleted)} == {project}
    assert system.api.create(project, "c").status == 200
    assert created.value["project"]["id"] == system.api.item(project, "c")["projectId"]


def test_ce_id_is_unique_and_the_deployment_of_an_event_is_the_one_that_the_answer_names(system, project):
    locations = [system.api.create(project, "a").headers["Location"]]
    locations += [system.api.update(project, "a", {"description": str(number)}).headers["Location"] for number in range(5)]
    records = history(system, project, "a")
    assert [f"/apiops/projects/{project}/deployments/{record.value['deploymentId']}/" for record in records] == locations
    everything = [record for record in system.topics.read(system.topics.events) if record.raw is not None]
    assert len({record.headers["ce_id"] for record in everything}) == len(everything)
    for topic in (system.topics.acks, system.topics.workers):
        records = system.topics.read(topic)
        assert len({record.headers["ce_id"] for record in records}) == len(records)


def test_sequences_grow_with_the_offsets_of_each_partition(system, project):
    for number in range(12):
        assert system.api.create(project, f"key-{number}", prefer="respond-async").status == 202
    system.wait_connected()
    by_partition = {}
    for record in system.topics.read(system.topics.events):
        if record.value:
            by_partition.setdefault(record.partition, []).append(record.value["sequence"])
    assert len(by_partition) > 1, "keys are spread over the partitions"
    for sequences in by_partition.values():
        assert sequences == sorted(set(sequences))


def test_trace_of_the_request_goes_on_in_its_event_and_acks(system, project):
    assert system.api.create(project, "a").status == 200
    trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    answer = system.api.request("PUT", jwk_path(project, "a"), json_body={"description": "traced"},
                                headers={"traceparent": f"00-{trace}-{parent}-01"})
    assert answer.status == 200
    event = history(system, project, "a")[-1]
    version, trace_id, parent_id, _ = event.headers["traceparent"].split("-")
    assert (version, trace_id) == ("00", trace)
    acks = [record for record in system.topics.read(system.topics.acks) if record.key == event.value["deploymentId"]]
    assert len(acks) == 2
    assert {record.headers["traceparent"].split("-")[1] for record in acks} == {trace}


def test_a_request_without_a_sound_trace_gets_a_new_one(system, project):
    assert system.api.create(project, "a").status == 200
    for text in (None, "x", "00-" + "0" * 32 + "-00f067aa0ba902b7-01", "00-4bf92f3577b34da6a3ce929d0e0e4736-" + "0" * 16 + "-01",
                 "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"):
        assert system.api.request("PUT", jwk_path(project, "a"), json_body={}, headers={"traceparent": text}).status == 200
    traces = [record.headers["traceparent"].split("-")[1] for record in history(system, project, "a")]
    assert len(set(traces)) == len(traces) == 6
    assert "0" * 32 not in traces


def test_acks_name_deployment_event_hash_replica_and_incarnation(system, project):
    assert system.api.create(project, "a").status == 200
    event, = history(system, project, "a")
    acks = [record for record in system.topics.read(system.topics.acks) if record.key == event.value["deploymentId"]]
    assert sorted((ack.value["environment"], ack.value["replica"]) for ack in acks) == [("production", "edge-1"), ("staging", "edge-1")]
    digest = base64.urlsafe_b64encode(hashlib.sha256(event.raw).digest()).rstrip(b"=").decode()
    hellos = {record.value["worker"]: record.offset for record in system.topics.read(system.topics.workers)
              if record.headers["ce_type"] == "jwk.worker.hello.v1"}
    for ack in acks:
        assert ack.value["eventId"] == event.headers["ce_id"]
        assert ack.value["eventHash"] == digest
        assert ack.value["jwkId"] == event.key
        assert [ack.value[name] for name in ("epoch", "version", "sequence")] == [event.value[name] for name in ("epoch", "version", "sequence")]
        assert ack.value["status"] == "applied"
        assert ack.value["incarnation"] == hellos[ack.value["worker"]]


def test_private_members_are_never_on_a_topic(system, project):
    keys = [any_rsa(), new_key("EC"), new_key("OKP"), new_key("OCT")]
    for number, key in enumerate(keys):
        assert system.api.create(project, f"key-{number}", key).status == 200
        assert system.api.update(project, f"key-{number}", {"description": "changed"}).status == 200
    secrets = [key[member] for key in keys for member in PRIVATE_MEMBERS & key.keys()]
    assert len(secrets) == 6 + 1 + 1 + 1
    seen = 0
    for topic in (system.topics.events, system.topics.acks, system.topics.workers):
        for record in system.topics.read(topic):
            text = (record.raw or b"").decode() + json.dumps(record.headers)
            seen += 1
            for secret in secrets + [system.token]:
                assert secret not in text, record
    assert seen > 16


def test_a_refused_update_makes_no_event(system, project):
    assert system.api.create(project, "a").status == 200
    assert system.api.create(project, "b").status == 200
    before = len(system.topics.read(system.topics.events))
    assert system.api.update(project, "a", {"name": "b"}).status == 400
    assert system.api.update(project, "none", {"name": "c"}).status == 400
    assert system.api.update(project, "a", {"nonsense": 1}).status == 400
    assert system.api.update(project, "a", {}, token="unknown").status == 401
    assert system.api.update(project, "a", {"description": "last"}).status == 200
    assert len(system.topics.read(system.topics.events)) == before + 1
