"""Environments with keys: private halves reach their workers alone, and only their workers are believed."""

import itertools
import json
import sqlite3
import subprocess
import uuid

import pytest
from jwcrypto import jwe, jwk

from harness.hand_worker import HandWorker
from harness.keys import any_rsa, new_key, public_half, thumbprint
from harness.program import wait_until
from harness.server import metric
from harness.signatures import Signer, decode


def key_of(credentials, use):
    return next(key for key in credentials["keys"] if key["use"] == use)


def recipients(record):
    sealed = record.value["jwk"].get("privateKey")
    return [each["header"]["kid"] for each in sealed["recipients"]] if sealed else []


def opened(record, credentials):
    """The private JWK of an event, opened with the credentials of an environment."""
    sealed, key = record.value["jwk"]["privateKey"], key_of(credentials, "enc")
    mine, = (each for each in sealed["recipients"] if each["header"]["kid"] == key["kid"])
    assert mine["header"]["alg"] == "ECDH-ES+A256KW"
    assert json.loads(decode(sealed["protected"]))["enc"] == "A256GCM"
    assert decode(sealed["aad"]).decode() == record.key
    token = jwe.JWE()
    token.deserialize(json.dumps(sealed | {"recipients": [mine]}), jwk.JWK(**key))
    return json.loads(token.payload)


def events(installation, project, name):
    return installation.topics.events_named(project, name)


def metric_of(installation, name):
    return metric(installation.api.request("GET", "/metrics", token=False), name)


def refused_acks(installation):
    return metric_of(installation, 'jwk_api_acks_total{status="refused"}')


def refused_presence(installation):
    return metric_of(installation, "jwk_api_presence_refused_total")


def wait_current(installation, worker):
    """Until the API counts on this start of a replica: its acks were stale before."""
    wait_until(lambda: any("replica connected" in line and worker.worker in line for line in installation.api.log().splitlines()),
               "the API knows the worker")


# ---- private halves ----

@pytest.mark.parametrize("kind", ["RSA", "EC", "OKP", "OCT"])
def test_private_half_is_in_the_event_for_each_environment_and_nobody_else(installation, project, kind):
    production = installation.add_environment_with_keys("production")
    staging = installation.add_environment_with_keys("staging")
    installation.add_environment("development", keys=False)
    installation.start_api()
    key = any_rsa() if kind == "RSA" else new_key(kind, kid="k")
    assert installation.api.create(project, "a", key, prefer="respond-async").status == 202
    event = installation.topics.wait_event(lambda value: value["jwk"]["name"] == "a", "the event")
    assert opened(event, production) == opened(event, staging) == key
    assert sorted(recipients(event)) == sorted(key_of(each, "enc")["kid"] for each in (production, staging))
    assert event.value["jwk"]["publicKey"] == (None if kind == "OCT" else public_half(key))
    secrets = [key[name] for name in ("d", "p", "q", "k") if name in key]
    assert secrets and not any(secret in event.raw.decode() for secret in secrets)


def test_a_public_key_and_a_delete_carry_no_private_half(installation, project):
    installation.add_environment_with_keys("production")
    installation.start_api()
    assert installation.api.create(project, "a", public_half(new_key("EC")), prefer="respond-async").status == 202
    assert installation.api.create(project, "b", prefer="respond-async").status == 202
    assert installation.api.delete(project, "b", prefer="respond-async").status == 202
    deleted = installation.topics.wait_event(lambda value: value["operation"] == "delete", "the delete")
    assert "privateKey" not in events(installation, project, "a")[0].value["jwk"]
    assert "privateKey" not in deleted.value["jwk"]
    assert recipients(events(installation, project, "b")[0])


def test_without_any_environment_with_keys_no_private_half_leaves(installation, project):
    installation.add_environment("production", keys=False)
    installation.start_api()
    assert installation.api.create(project, "a", prefer="respond-async").status == 202
    event = installation.topics.wait_event(lambda value: value["jwk"]["name"] == "a", "the event")
    assert "privateKey" not in event.value["jwk"]


def test_a_rename_carries_the_same_sealed_key_and_a_rotation_another(installation, project):
    production = installation.add_environment_with_keys("production")
    installation.start_api()
    first, second = new_key("EC", kid="1"), new_key("OKP", kid="2")
    assert installation.api.create(project, "a", first, prefer="respond-async").status == 202
    assert installation.api.update(project, "a", {"name": "b"}, prefer="respond-async").status == 202
    assert installation.api.request("POST", f"/apiops/projects/{project}/jwks/b/redeploy", prefer="respond-async").status == 202
    body = {"sourceType": "COPY_PASTE", "jwkStr": json.dumps(second), "overlapSeconds": 60}
    assert installation.api.request("POST", f"/apiops/projects/{project}/jwks/b/rotate", json_body=body, prefer="respond-async").status == 202
    assert installation.api.update(project, "b", {"name": "c"}, prefer="respond-async").status == 202
    last = installation.topics.wait_event(lambda value: value["version"] == 5, "the last event")
    created, renamed, redeployed, rotated, renamed_again = installation.topics.events_of(last.key)
    assert created.value["jwk"]["privateKey"] == renamed.value["jwk"]["privateKey"] == redeployed.value["jwk"]["privateKey"]
    assert opened(renamed, production) == first
    assert opened(rotated, production) == second
    assert rotated.value["jwk"]["privateKey"] == renamed_again.value["jwk"]["privateKey"]


# ---- keys come and go ----

def all_sealed_for(installation, names, kids):
    """Whether the last event of each JWK is sealed for exactly these."""
    last = {record.value["jwk"]["name"]: record for record in installation.topics.read(installation.topics.events) if record.value}
    return all(sorted(recipients(last[name])) == sorted(kids) for name in names) and last


@pytest.mark.parametrize("serving", [True, False])
def test_an_added_environment_gets_everything_by_itself(installation, project, serving):
    production = installation.add_environment_with_keys("production")
    installation.start_api()
    keys = {f"key-{number}": new_key("EC", kid=str(number)) for number in range(150)}
    for name, key in keys.items():
        assert installation.api.create(project, name, key, prefer="respond-async").status == 202
    if not serving:
        assert installation.api.stop() == 0
    staging = installation.add_environment_with_keys("staging")
    if not serving:
        installation.start_api()
    kids = [key_of(each, "enc")["kid"] for each in (production, staging)]
    last = wait_until(lambda: all_sealed_for(installation, keys, kids), "everything is sealed for both")
    for name, key in keys.items():
        assert last[name].headers["ce_type"] == "jwk.redeployed.v1"
        assert opened(last[name], staging) == opened(last[name], production) == key
    assert {record.value["version"] for record in last.values()} == {2}


def test_two_environments_added_one_behind_the_other_both_get_everything(installation, project):
    installation.start_api()
    names = [f"key-{number}" for number in range(300)]
    for name in names:
        assert installation.api.create(project, name, prefer="respond-async").status == 202
    kids = [key_of(installation.add_environment_with_keys(name), "enc")["kid"] for name in ("production", "staging")]
    wait_until(lambda: all_sealed_for(installation, names, kids), "everything is sealed for both")


@pytest.mark.parametrize("serving", [True, False])
def test_other_keys_of_an_environment_make_the_ones_before_useless(installation, project, serving):
    before = installation.add_environment_with_keys("production")
    installation.start_api()
    key = new_key("EC", kid="k")
    assert installation.api.create(project, "a", key, prefer="respond-async").status == 202
    if not serving:
        assert installation.api.stop() == 0
    after = installation.add_environment_with_keys("production", "rekey")
    if not serving:
        installation.start_api()
    kid = key_of(after, "enc")["kid"]
    last = wait_until(lambda: all_sealed_for(installation, ["a"], [kid]), "it is sealed for the new key")["a"]
    assert opened(last, after) == key
    assert key_of(before, "enc")["kid"] not in recipients(last)


def test_nothing_is_sealed_for_a_removed_environment(installation, project):
    production = installation.add_environment_with_keys("production")
    installation.add_environment_with_keys("staging")
    installation.start_api()
    assert installation.api.create(project, "a", prefer="respond-async").status == 202
    installation.admin("environment", "remove", "staging")
    assert installation.api.update(project, "a", {"description": "x"}, prefer="respond-async").status == 202
    update = installation.topics.wait_event(lambda value: value["version"] == 2, "the update")
    assert recipients(update) == [key_of(production, "enc")["kid"]]


def test_credentials_are_made_once_and_the_store_has_their_public_part_alone(installation):
    shown = json.loads(installation.admin("environment", "add", "production").stdout)
    assert shown["environment"] == "production"
    assert {key["use"]: (key["kty"], key["crv"]) for key in shown["keys"]} == {"enc": ("EC", "P-256"), "sig": ("OKP", "Ed25519")}
    assert all(key["kid"] == thumbprint(key) for key in shown["keys"])
    assert shown["apiKeys"] == installation.signing_keys()
    with sqlite3.connect(installation.data_directory / "jwk-api.db") as store:
        content = "\n".join(store.iterdump())
    for key in shown["keys"]:
        assert key["x"] in content and key["d"] not in content
    listed = installation.admin("environment", "list").stdout
    assert all(key["kid"] in listed for key in shown["keys"]) and key["d"] not in listed


def test_credentials_are_written_for_their_owner_into_a_new_file_only(installation):
    path = installation.directory / "credentials.json"
    done = installation.admin("environment", "add", "production", "--credentials", path)
    assert done.stdout == ""
    assert path.stat().st_mode & 0o777 == 0o600
    first = path.read_text()
    refused = installation.admin("environment", "add", "staging", "--credentials", path, check=False)
    assert (refused.returncode, refused.stderr) == (
        1, f"jwk-api: The credentials file {path} exists already; it was left as it is: give the name of a new file\n")
    assert path.read_text() == first
    assert installation.admin("environment", "list").stdout.count("\n") == 1, "nothing was added"
    other = installation.directory / "other.json"
    assert installation.admin("environment", "add", "production", "--credentials", other, check=False).returncode != 0
    assert not other.exists(), "credentials of nothing are left behind"


def test_an_operator_hands_in_the_public_part_alone(installation, project):
    enc = json.loads(jwk.JWK.generate(kty="OKP", crv="X25519", use="enc", kid="mine").export())
    sig = Signer()
    path = installation.directory / "keys.json"
    path.write_text(json.dumps({"keys": [enc, sig.public]}))
    refused = installation.admin("environment", "add", "production", "--public-keys", path, check=False)
    assert refused.returncode != 0 and "hand in the public part only" in refused.stderr and enc["d"] not in refused.stderr
    path.write_text(json.dumps({"keys": [public_half(enc), sig.public]}))
    assert installation.admin("environment", "add", "production", "--public-keys", path).stdout == ""
    installation.start_api()
    key = new_key("EC", kid="k")
    assert installation.api.create(project, "a", key, prefer="respond-async").status == 202
    event = installation.topics.wait_event(lambda value: value["jwk"]["name"] == "a", "the event")
    assert opened(event, {"keys": [enc]}) == key


@pytest.mark.parametrize("content", ["", "{}", "no JSON", '{"keys":[]}', json.dumps({"keys": [public_half(new_key("EC")) | {"use": "enc"}]}),
                                     json.dumps({"keys": [Signer().public]}), json.dumps({"keys": [public_half(any_rsa())]})])
def test_public_keys_that_are_no_use_are_refused(installation, content):
    path = installation.directory / "keys.json"
    path.write_text(content)
    done = installation.admin("environment", "add", "production", "--public-keys", path, check=False)
    assert done.returncode != 0 and str(path) in done.stderr
    assert not installation.data_directory.exists(), "nothing was added, and no store was made for it"


@pytest.mark.parametrize("options", list(itertools.combinations(["--credentials=c", "--public-keys=p", "--without-keys"], 2)))
def test_an_environment_has_one_kind_of_keys(installation, options):
    done = installation.admin("environment", "add", "production", *options, check=False)
    assert done.returncode == 2 and "one of --credentials, --public-keys and --without-keys" in done.stderr


# ---- whose word counts ----

@pytest.fixture
def proven(installation, project):
    """An API with production, which has keys, and one JWK."""
    installation.granted = installation.add_environment_with_keys("production")
    installation.start_api()
    assert installation.api.create(project, "a", prefer="respond-async").status == 202
    return installation


def change(installation, project):
    """A change that nobody has acknowledged yet: its event, and where its deployment is."""
    text = uuid.uuid4().hex
    location = installation.api.update(project, "a", {"description": text}, prefer="respond-async").headers["Location"]
    return installation.topics.wait_event(lambda value: value["jwk"]["description"] == text, "the event"), location


def state_of(installation, location):
    return installation.api.deployment(location)["state"]


def test_a_worker_that_its_environment_vouches_for_is_believed(proven, project):
    worker = HandWorker(proven, "production", credentials=proven.granted).start()
    wait_current(proven, worker)
    event, location = change(proven, project)
    worker.ack(event)
    proven.api.wait_deployment(location)
    assert refused_acks(proven) == refused_presence(proven) == 0


def test_acks_of_a_batch_are_believed_together(proven, project):
    worker = HandWorker(proven, "production", credentials=proven.granted).start()
    wait_current(proven, worker)
    changes = [change(proven, project) for _ in range(7)]
    worker.ack(*(event for event, _ in changes))
    for _, location in changes:
        proven.api.wait_deployment(location)
    assert refused_acks(proven) == 0


def test_what_is_not_signed_by_the_enrolled_key_proves_nothing(proven, project):
    """Somebody who can write to the topic, and has read all that is on it, claims that production has the key."""
    worker = HandWorker(proven, "production", credentials=proven.granted).start()
    wait_current(proven, worker)
    event, location = change(proven, project)
    other, other_location = change(proven, project)
    attacker = Signer()
    key, headers, value = worker.ack_of(event)
    good, = worker.signer.sign_records([worker.ack_of(event, status="failed", message="no")])
    forged = {
        "unsigned": headers,
        "signed by another key": attacker.sign_records([(key, headers, value)])[0],
        "by another key that says it is the enrolled one": None,
        "with the signature of another ack": headers | {name: good[name] for name in ("ce_signature", "ce_signaturepath")},
        "with another path": worker.signer.sign_records([(key, headers, value)])[0] | {"ce_signaturepath": "1/2"},
        "with no path": {name: text for name, text in worker.signer.sign_records([(key, headers, value)])[0].items() if name != "ce_signaturepath"},
        "signed before its time was changed": worker.signer.sign_records([(key, headers, value)])[0] | {"ce_time": "2020-01-01T00:00:00.000Z"},
        "with alg none": headers | {"ce_signature": "eyJhbGciOiJub25lIn0..", "ce_signaturepath": "0/1"},
        "no signature at all": headers | {"ce_signature": "x", "ce_signaturepath": "x"},
        "an endless path": headers | {"ce_signature": good["ce_signature"], "ce_signaturepath": "0/4096:" + "A" * 60000},
    }
    attacker.kid = worker.signer.kid
    forged["by another key that says it is the enrolled one"] = attacker.sign_records([(key, headers, value)])[0]
    before = refused_acks(proven)
    for headers in forged.values():
        worker.send(worker.topics.acks, [(key, headers, value)])
    wait_until(lambda: refused_acks(proven) == before + len(forged), "each is refused")
    assert state_of(proven, location) == "IN_PROGRESS"
    worker.ack(other)
    proven.api.wait_deployment(other_location)
    assert state_of(proven, location) == "IN_PROGRESS", "the next good one works, and those before have changed nothing"
    assert "ack is refused" in proven.api.log()


def test_kcat_alone_makes_nothing_succeed(proven, project):
    """The plainest attack: a record written with kcat, with all that acks need but the signature."""
    worker = HandWorker(proven, "production", credentials=proven.granted).start()
    wait_current(proven, worker)
    event, location = change(proven, project)
    key, headers, value = worker.ack_of(event)
    arguments = [word for name, text in headers.items() for word in ("-H", f"{name}={text}")]
    before = refused_acks(proven)
    subprocess.run(["kcat", "-b", proven.broker.address, "-P", "-t", proven.topics.acks, "-p", "0", "-k", key, *arguments], input=value,
                   check=True, capture_output=True)
    wait_until(lambda: refused_acks(proven) == before + 1, "it is refused")
    assert state_of(proven, location) == "IN_PROGRESS"
    worker.ack(event)
    proven.api.wait_deployment(location)


def impostors(installation, credentials):
    """Workers that pretend to be a replica of production."""
    staging = installation.add_environment_with_keys("staging")
    yield "has no credentials", HandWorker(installation, "production", "fake")
    of_staging = HandWorker(installation, "production", "fake", staging)
    yield "has the credentials of another environment", of_staging
    own = HandWorker(installation, "production", "fake", {"keys": [json.loads(Signer().key.export()) | {"use": "sig"}]})
    yield "has made credentials of its own", own
    own = HandWorker(installation, "production", "fake", {"keys": [json.loads(Signer().key.export()) | {"use": "sig"}]})
    own.enroller.kid = key_of(credentials, "sig")["kid"]
    own.enrolment = own.enrol()
    yield "… and calls them production's", own
    for name, change in {"replica": {"replica": "edge-2"}, "environment": {"environment": "staging"}, "start": {"worker": str(uuid.uuid4())},
                         "key": {"jwk": Signer().public}}.items():
        worker = HandWorker(installation, "production", "fake", credentials)
        worker.enrolment = worker.enrol(**change)
        yield f"shows an enrolment for another {name}", worker
    worker = HandWorker(installation, "production", "fake", credentials)
    worker.enrolment = worker.enrolment.rpartition(".")[0] + "." + "A" * 86
    yield "shows a broken enrolment", worker
    thief = HandWorker(installation, "production", "fake", credentials)
    thief.stolen, thief.signer = thief.signer, Signer()
    thief.presence = lambda kind, **changes: HandWorker.presence(thief, kind, replicaKey=thief.stolen.public, **changes)
    yield "shows somebody's enrolment and signs with another key", thief


def test_nobody_else_becomes_a_replica(proven, project):
    for what, worker in impostors(proven, proven.granted):
        before = refused_presence(proven)
        worker.start()
        wait_until(lambda: refused_presence(proven) == before + 2, f"a worker that {what} is refused")
    proven.admin("environment", "remove", "staging")
    result, = proven.api.update(project, "a", {"description": "x"}).json["deploymentResult"]["environmentResults"]
    assert result["message"] == "No replica of this environment is connected; the change is deployed when one connects"
    worker = HandWorker(proven, "production", credentials=proven.granted).start()
    wait_current(proven, worker)
    event, location = change(proven, project)
    worker.ack(event)
    proven.api.wait_deployment(location)


def test_a_copy_of_an_old_hello_fences_nobody(proven, project):
    """Also of the present one: what it says was true once, and everybody can read it on the topic."""
    first = HandWorker(proven, "production", credentials=proven.granted)
    old = first.presence("hello")
    old = (old[0], first.signer.sign_records([old])[0], old[2])
    offset, = first.send(first.topics.workers, [old])
    first.incarnation = offset
    first.say("heartbeat")
    second = HandWorker(proven, "production", credentials=proven.granted)
    present = second.presence("hello")
    present = (present[0], second.signer.sign_records([present])[0], present[2])
    second.incarnation, = second.send(second.topics.workers, [present])
    second.say("heartbeat")
    wait_current(proven, second)
    for copy in (old, present):
        second.send(second.topics.workers, [copy])
    event, location = change(proven, project)
    second.ack(event)
    proven.api.wait_deployment(location)


def test_a_later_start_that_knew_the_present_one_takes_its_place(proven, project):
    first = HandWorker(proven, "production", credentials=proven.granted).start()
    wait_current(proven, first)
    second = HandWorker(proven, "production", credentials=proven.granted).start()
    wait_current(proven, second)
    event, location = change(proven, project)
    first.ack(event)
    second.ack(event)
    proven.api.wait_deployment(location)
    stale = metric_of(proven, 'jwk_api_acks_total{status="stale"}')
    assert stale == 1, "the earlier start does not count any more"


def test_a_hello_that_lost_a_race_counts_once_it_is_said_again(proven, project):
    first, second = (HandWorker(proven, "production", credentials=proven.granted) for _ in range(2))
    hello = second.presence("hello")
    first.start()
    second.incarnation, = second.send(second.topics.workers, [hello], second.signer)
    second.say("heartbeat")
    wait_current(proven, first)
    event, location = change(proven, project)
    second.ack(event)
    first.ack(event)
    proven.api.wait_deployment(location)
    second.start()
    wait_current(proven, second)
    event, location = change(proven, project)
    first.ack(event)
    second.ack(event)
    proven.api.wait_deployment(location)


def test_after_a_rekey_workers_are_believed_with_the_new_credentials_alone(proven, project):
    worker = HandWorker(proven, "production", credentials=proven.granted).start()
    wait_current(proven, worker)
    credentials = proven.add_environment_with_keys("production", "rekey")
    event, location = change(proven, project)
    before = refused_acks(proven)
    worker.ack(event)
    wait_until(lambda: refused_acks(proven) == before + 1, "its ack is refused")
    before = refused_presence(proven)
    worker.say("heartbeat")
    wait_until(lambda: refused_presence(proven) == before + 1, "its heartbeat is refused")
    assert state_of(proven, location) == "IN_PROGRESS"
    worker = HandWorker(proven, "production", credentials=credentials).start()
    wait_current(proven, worker)
    worker.ack(event)
    proven.api.wait_deployment(location)


def test_what_workers_said_before_a_rekey_is_no_refusal_of_each_later_start(proven, project):
    old = HandWorker(proven, "production", credentials=proven.granted).start()
    wait_current(proven, old)
    proven.add_environment_with_keys("production", "rekey")
    assert proven.api.stop() == 0
    proven.start_api()
    old.say("heartbeat")
    wait_until(lambda: refused_presence(proven) > 0, "who goes on with the old credentials is refused")
    assert refused_presence(proven) == 1, "what was there at the start is not counted"
    assert proven.api.log().count('"presence is refused"') == 1


def test_an_environment_without_keys_believes_everybody_and_the_log_says_so(installation, project):
    installation.add_environment("production", keys=False)
    installation.start_api()
    assert "environment has no keys" in installation.api.log()
    assert installation.api.create(project, "a", prefer="respond-async").status == 202
    worker = HandWorker(installation, "production").start()
    wait_current(installation, worker)
    event, location = change(installation, project)
    worker.ack(event)
    installation.api.wait_deployment(location)
    installation.add_environment_with_keys("production", "rekey")
    before = refused_acks(installation)
    event, location = change(installation, project)
    worker.ack(event)
    wait_until(lambda: refused_acks(installation) == before + 1, "with keys it does not any more")


def test_a_flood_of_forged_acks_does_not_fill_the_disk(proven, project):
    worker = HandWorker(proven, "production", credentials=proven.granted).start()
    wait_current(proven, worker)
    event, location = change(proven, project)
    other, other_location = change(proven, project)
    forged = worker.ack_of(event)
    before, size = refused_acks(proven), len(proven.api.log())
    worker.send(worker.topics.acks, [forged] * 5000)
    worker.ack(other)
    proven.api.wait_deployment(other_location)
    assert refused_acks(proven) == before + 5000
    assert len(proven.api.log()) - size < 20000, "some lines, and how many were left out"
    assert state_of(proven, location) == "IN_PROGRESS"
