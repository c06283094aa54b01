"""Rotation with an overlap: the old key stays served beside the new one for the stated time, then leaves by itself, everywhere."""

import datetime
import json

import pytest
from jwcrypto import jwk, jws

from harness import sources
from harness.broker import EmbeddedBroker
from harness.installation import Installation, jwk_path, quote
from harness.keys import PRIVATE_MEMBERS, new_key, public_half
from harness.program import wait_until
from harness.sources import SourceServer, Sources

LONG = 3600
SHORT = 4  # seconds: a test waits for their end, and needs them for what must be seen before


def rotate(installation, project, name, body, **options):
    return installation.api.request("POST", jwk_path(project, name) + "rotate", json_body=body, **options)


def pasted(key, overlap=None):
    return {"sourceType": "COPY_PASTE", "jwkStr": json.dumps(key)} | ({} if overlap is None else {"overlapSeconds": overlap})


def rotated(installation, project, key, overlap=None, name="a"):
    answer = rotate(installation, project, name, pasted(key, overlap))
    assert answer.status == 200 and answer.json["deploymentResult"]["success"], answer
    return answer


def signed_by(key):
    token = jws.JWS(b"claims")
    token.add_signature(jwk.JWK(**key), protected=json.dumps({"alg": "ES256", "kid": key["kid"]}))
    return token.serialize(compact=True)


def verifies(worker, project, token):
    """As a verifier does it: the key of the token's kid in the served set."""
    check = jws.JWS()
    check.deserialize(token)
    key = jwk.JWKSet.from_json(json.dumps({"keys": worker.key_set(project)})).get_key(check.jose_header["kid"])
    if key is None:
        return False
    check.verify(key)
    return check.payload == b"claims"


def refused(answer, *parts):
    assert answer.status == 400, answer
    for part in parts:
        assert part in answer.json["error_description"], answer


def until_of(installation, project, name="a"):
    return [datetime.datetime.fromisoformat(each["until"].replace("Z", "+00:00")).timestamp()
            for each in installation.api.item(project, name)["retiring"]]


def test_a_token_of_the_old_key_verifies_during_the_overlap_and_not_after(system, project):
    old, new = new_key("EC", kid="old"), new_key("EC", kid="new")
    worker = system.workers["production", "edge-1"]
    assert system.api.create(project, "a", old, description="kept").status == 200
    before = system.api.item(project, "a")
    rotated(system, project, new, SHORT)
    end = system.topics.events_named(project, "a")[-1].value["jwk"]["retiring"][0]["until"]
    for replica in system.workers.values():
        assert replica.key_set(project) == [public_half(new), public_half(old)], "both are there when the answer is"
        assert replica.jwk(project, "a") == public_half(new)
    assert verifies(worker, project, signed_by(old)) and verifies(worker, project, signed_by(new))
    item = system.api.item(project, "a")
    assert (item["kid"], item["ec"]) == ("new", new)
    assert [each["kid"] for each in item["retiring"]] == ["old"] and until_of(system, project) == [end]
    assert {name: item[name] for name in ("name", "description", "projectId")} == {name: before[name] for name in ("name", "description", "projectId")}
    wait_until(lambda: not verifies(worker, project, signed_by(old)), "the old key leaves")
    assert datetime.datetime.now().timestamp() >= end
    assert verifies(worker, project, signed_by(new))
    for replica in system.workers.values():
        wait_until(lambda: replica.key_set(project) == [public_half(new)], "it leaves everywhere")  # pylint: disable=cell-var-from-loop
    assert system.api.item(project, "a")["retiring"] == []


def test_a_rotation_is_one_deployment_answered_as_an_update(system, project):
    old, new = new_key("EC", kid="old"), new_key("OKP", kid="new")
    assert system.api.create(project, "a", old).status == 200
    answer = rotated(system, project, new)
    created, updated = system.topics.events_named(project, "a")
    assert (updated.headers["ce_type"], updated.value["operation"], updated.value["version"]) == ("jwk.updated.v1", "update", 2)
    assert updated.key == created.key and updated.partition == created.partition
    assert created.value["jwk"]["retiring"] == []
    assert updated.value["jwk"]["publicKey"] == public_half(new) and updated.value["jwk"]["type"] == "OKP"
    kept, = updated.value["jwk"]["retiring"]
    assert kept["publicKey"] == public_half(old)
    assert 86395 < kept["until"] - datetime.datetime.now().timestamp() <= 86401, "a day when it is left out"
    deployment = system.api.deployment(answer.headers["Location"])
    assert (deployment["operation"], deployment["version"]) == ("update", 2)
    assert set(deployment["changed"]) == {"type", "kid", "material", "retiring"}
    text = json.dumps([updated.value, updated.headers])
    assert not [secret for key in (old, new) for secret in (key[member] for member in PRIVATE_MEMBERS & key.keys()) if secret in text]


def test_overlaps_go_on_through_updates_and_redeploys_and_end_with_the_jwk(system, project):
    keys = [new_key("EC", kid=str(number)) for number in range(3)]
    worker = system.workers["staging", "edge-1"]
    assert system.api.create(project, "a", keys[0]).status == 200
    rotated(system, project, keys[1], LONG)
    rotated(system, project, keys[2], LONG)
    assert worker.kids(project) == ["2", "1", "0"], "what was replaced last follows the present one"
    assert system.api.update(project, "a", {"name": "b"}).status == 200
    assert system.api.request("POST", jwk_path(project, "b") + "redeploy").status == 200
    assert worker.kids(project) == ["2", "1", "0"]
    assert [each["kid"] for each in system.api.item(project, "b")["retiring"]] == ["1", "0"]
    assert system.api.delete(project, "b").status == 200
    assert worker.key_set(project) == []


def test_an_overlap_of_nothing_ends_at_once(system, project):
    old, new = new_key("EC", kid="same"), new_key("EC", kid="same")
    assert system.api.create(project, "a", old).status == 200
    rotated(system, project, new, 0)
    for replica in system.workers.values():
        assert replica.key_set(project) == [public_half(new)]
    item = system.api.item(project, "a")
    assert item["retiring"] == [] and item["ec"] == new


def test_an_answer_says_that_it_is_good_until_the_overlap_ends(system, project):
    assert system.api.create(project, "a", new_key("EC", kid="old")).status == 200
    rotated(system, project, new_key("EC", kid="new"), 60)
    answer = system.workers["production", "edge-1"].request("GET", f"/projects/{quote(project)}/.well-known/jwks.json")
    assert 0 < int(answer.headers["Cache-Control"].rpartition("max-age=")[2]) <= 61


def test_restarted_and_new_replicas_let_an_old_key_leave_with_no_event(installation, project):
    """The event is long applied, or read from the topic; the API is gone: time alone takes the key out, in exported files too."""
    installation.add_environment("production")
    installation.start_api()
    export = installation.directory / "export"
    first = installation.start_worker("production", "edge-1", "--export-dir", export)
    installation.wait_connected()
    old, new = new_key("EC", kid="old"), new_key("EC", kid="new")
    assert installation.api.create(project, "a", old).status == 200
    rotated(installation, project, new, 2 * SHORT)
    installation.api.stop()
    first.kill()
    first = installation.restart_worker(first)
    second = installation.start_worker("production", "edge-2")
    for worker in (first, second):
        assert worker.kids(project) == ["new", "old"], worker.name
    path = export / f"{project}.json"
    assert json.loads(path.read_text()) == {"keys": [public_half(new), public_half(old)]}
    for worker in (first, second):
        wait_until(lambda: worker.kids(project) == ["new"], f"the old key leaves {worker.name}")  # pylint: disable=cell-var-from-loop
    wait_until(lambda: json.loads(path.read_text()) == {"keys": [public_half(new)]}, "the old key leaves the file")
    assert first.running and second.running


def test_a_key_may_be_generated_in_the_place_of_another(embedded_system, project):
    assert embedded_system.api.create(project, "a", new_key("EC", kid="old"), description="kept").status == 200
    body = {"generate": {"type": "OKP", "okp": {"algorithm": "EdDSA", "keyIdType": "SHA256"}}, "overlapSeconds": LONG}
    answer = rotate(embedded_system, project, "a", body)
    assert answer.status == 200 and answer.json["deploymentResult"]["success"], answer
    item = embedded_system.api.item(project, "a")
    assert (item["sourceType"], item["type"], item["description"]) == ("GENERATE", "OKP", "kept")
    assert item["kid"] == jwk.JWK(**item["okp"]).thumbprint()
    worker = embedded_system.workers["production", "edge-1"]
    assert worker.kids(project) == [item["kid"], "old"]
    assert rotate(embedded_system, project, "a", {"generate": {"type": "OCT"}}).status == 200
    assert worker.kids(project) == [item["kid"], "old"], "a symmetric key is not served; what it replaced is"
    assert worker.jwk(project, "a") is None


BAD = [({}, "Source type"), ({"overlapSeconds": 5}, "Source type"), ({"sourceType": "GENERATE"}, "generate"), ({"sourceType": "FILE"}, "Source type"),
       (pasted({}) | {"name": "b"}, "name"), (pasted({}) | {"description": "b"}, "description"), (pasted({}) | {"unknown": 1}, "unknown"),
       (pasted({}, -1), "overlapSeconds"), (pasted({}, 31536001), "overlapSeconds"), (pasted({}, 1.5), "overlapSeconds"),
       (pasted({}, "60"), "overlapSeconds"), ({"sourceType": "COPY_PASTE"}, "JWK string"), (pasted({}), "kty"),
       ({"generate": {"type": "EC"}, "sourceType": "COPY_PASTE"}, "not both"), ({"generate": {}}, "type"), ({"generate": "EC"}, "generate"),
       ({"generate": {"type": "EC", "name": "b"}}, "name"), ({"generate": {"type": "EC", "rsa": {}}}, "rsa"), ({"generate": None}, "Source type")]


@pytest.mark.parametrize("body, part", BAD, ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else "")
def test_what_is_no_rotation_is_refused_and_changes_nothing(embedded_system, project, body, part):
    key = new_key("EC", kid="old")
    assert embedded_system.api.create(project, "a", key).status == 200
    refused(rotate(embedded_system, project, "a", body), part)
    assert embedded_system.api.item(project, "a")["ec"] == key
    assert len(embedded_system.topics.events_named(project, "a")) == 1


def test_a_kid_that_stays_served_is_refused(embedded_system, project):
    assert embedded_system.api.create(project, "a", new_key("EC", kid="one")).status == 200
    refused(rotate(embedded_system, project, "a", pasted(new_key("EC", kid="one"))), 'has the kid "one"', "overlapSeconds 0")
    rotated(embedded_system, project, new_key("EC", kid="two"), LONG)
    refused(rotate(embedded_system, project, "a", pasted(new_key("EC", kid="one"), 0)), 'has the kid "one"', "until 2")
    assert embedded_system.workers["production", "edge-1"].kids(project) == ["two", "one"]


def test_overlaps_are_bounded(embedded_system, project):
    assert embedded_system.api.create(project, "a", new_key("EC", kid="first")).status == 200
    for number in range(10):
        rotated(embedded_system, project, new_key("EC", kid=str(number)), LONG)
    refused(rotate(embedded_system, project, "a", pasted(new_key("EC", kid="more"), LONG)), "10 keys", "leaves at 2")
    assert len(embedded_system.workers["production", "edge-1"].kids(project)) == 11
    rotated(embedded_system, project, new_key("EC", kid="more"), 0)


def test_a_jwk_that_is_not_there_is_told_as_by_update(embedded_system, project):
    body = pasted(new_key("EC"))
    sent, answer = embedded_system.api.update(project, "none", {}), rotate(embedded_system, project, "none", body)
    assert (answer.status, answer.json) == (sent.status, sent.json)
    assert rotate(embedded_system, "no such project", "none", body).status == 404
    weak, _ = embedded_system.new_token(roles=("ROLE_API_SECURITY",))
    assert rotate(embedded_system, project, "none", body, token=weak).status == 403


def test_conditions_and_idempotency_keys_hold_as_for_updates(embedded_system, project):
    assert embedded_system.api.create(project, "a", new_key("EC", kid="one")).status == 200
    stale = embedded_system.api.get_jwk(project, "a").headers["ETag"]
    body = pasted(new_key("EC", kid="two"))
    first = rotate(embedded_system, project, "a", body, headers={"Idempotency-Key": "k", "If-Match": stale})
    again = rotate(embedded_system, project, "a", body, headers={"Idempotency-Key": "k", "If-Match": stale})
    assert first.status == again.status == 200 and first.json == again.json
    assert rotate(embedded_system, project, "a", pasted(new_key("EC", kid="three")), headers={"If-Match": stale}).status == 412
    assert rotate(embedded_system, project, "a", pasted(new_key("EC", kid="three")), prefer="respond-async").status == 202
    assert [record.value["version"] for record in embedded_system.topics.events_named(project, "a")] == [1, 2, 3]


DEEPEST, MOST_VALUES = 16, 4096


def grown(key, kid, grows):
    """With as much in an unknown member as a key can have."""
    key = public_half(key) | {"kid": kid}
    if grows == "depth":
        return key | {"x-more": json.loads("[" * (DEEPEST - 1) + "1" + "]" * (DEEPEST - 1))}
    return key | {"x-more": [1] * (MOST_VALUES - len(key) - 1)}


@pytest.mark.parametrize("grows", ["depth", "values"])
def test_the_largest_keys_are_served_together_during_their_overlaps(embedded_system, project, grows):
    kids = [f"key-{number}" for number in range(11)]
    keys = [grown(new_key("EC"), kid, grows) for kid in kids]
    assert embedded_system.api.create(project, "a", keys[0]).json["deploymentResult"]["success"]
    for key in keys[1:]:
        rotated(embedded_system, project, key, LONG)
    for worker in embedded_system.workers.values():
        assert worker.key_set(project) == keys[::-1], "each is there whole"
    more = keys[0] | {"x-more": [keys[0]["x-more"]] if grows == "depth" else keys[0]["x-more"] + [1]}
    refused(embedded_system.api.create(project, "b", more), "nested too deep" if grows == "depth" else "at most 4096 values")


def test_an_entity_tag_ends_with_the_overlap(embedded_system, project):
    assert embedded_system.api.create(project, "a", new_key("EC", kid="one")).status == 200
    rotated(embedded_system, project, new_key("EC", kid="two"), 1)
    answer = embedded_system.api.get_jwk(project, "a")
    etag = answer.headers["ETag"]
    if answer.json["resultList"][0]["retiring"]:
        wait_until(lambda: embedded_system.api.item(project, "a")["retiring"] == [], "the overlap ends")
        assert embedded_system.api.get_jwk(project, "a", headers={"If-None-Match": etag}).status == 200
    assert embedded_system.api.update(project, "a", {}, headers={"If-Match": etag}).status == 200, "the state is the same"


def test_a_rotation_attaches_to_the_new_source_and_ends_the_old_attachment(tmp_path_factory):
    directory = tmp_path_factory.mktemp("system")
    broker = EmbeddedBroker(directory)
    server = SourceServer()
    system = sources.start_system(broker, directory, "--source-refresh-min", "200ms", "--source-refresh-max", "1h", "--source-refresh-default",
                                  "300ms")
    try:
        attach_to_each_source(system, server)
    finally:
        server.close()
        system.stop()
        broker.stop()


def attach_to_each_source(system, server):
    project = system.add_project("MyProject")
    source = Sources(system.api, project)
    worker = system.workers["production", "edge-1"]
    first, second, third = (public_half(new_key("EC", kid=kid)) for kid in ("first", "second", "third"))
    urls = [server.put(first), server.put(second)]
    assert source.create("a", "URL", url=urls[0]).status == 200
    answer = rotate(system, project, "a", {"sourceType": "URL", "url": urls[1], "overlapSeconds": LONG})
    assert answer.status == 200, answer
    assert system.api.item(project, "a")["sourceUrl"] == urls[1]
    server.put(third, urls[0].removeprefix(server.url("")))
    asked = server.count(urls[1])
    wait_until(lambda: server.count(urls[1]) >= asked + 2, "the new URL is fetched on the schedule")
    assert worker.kids(project) == ["second", "first"], "nobody looks at the old one any more"
    server.put(third, urls[1].removeprefix(server.url("")))
    wait_until(lambda: worker.kids(project) == ["third", "first"], "the new source is followed, and the overlap goes on")
    source.add_key("signing", sources.private_pem(sources.ec_key()))
    assert rotate(system, project, "a", {"sourceType": "PRIVATE_KEY", "keyName": "signing"}).status == 200
    item = system.api.item(project, "a")
    assert item["sourceType"] == "PRIVATE_KEY" and item["sourceUrl"] is None and item["sourceId"] == source.get("keys", "signing")["id"]
    assert "d" in item["ec"] and "sourceStatus" not in item
    refused(source.delete("keys", "signing"), "a")
    assert [each["kid"] for each in item["retiring"]] == ["third", "first"]
    rotated(system, project, new_key("EC", kid="pasted"))
    assert system.api.item(project, "a")["sourceId"] is None
    assert source.delete("keys", "signing").status == 200
