"""Updating a certificate, key or keystore: JWKs that are attached to it follow when that is asked for, detached ones never."""

import json
import pathlib
import threading

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12
from jwcrypto import jwk

from harness import sources
from harness.installation import jwk_path
from harness.sources import (DEPLOYED, Sources, base64_of, certificate, certificate_pem, ec_key, keystore, multipart, private_pem,
                             public_pem, rsa_key)

KINDS = ("certificates", "keys", "keystores")
CREATE = {"certificates": {"source_type": "CERTIFICATE", "certificateName": "source"}, "keys": {"source_type": "PRIVATE_KEY", "keyName": "source"},
          "keystores": {"source_type": "KEYSTORE", "keyStoreName": "source"}}


@pytest.fixture(scope="module")
def system(embedded_broker, tmp_path_factory):
    installation = sources.start_system(embedded_broker, tmp_path_factory.mktemp("system"), environments=("production", "staging"))
    yield installation
    installation.stop()


@pytest.fixture
def source(system, project):
    return Sources(system.api, project)


def add(source, kind, key, environments=("production",)):
    if kind == "certificates":
        source.add_certificate("source", certificate_pem(certificate(key)), ",".join(environments))
    elif kind == "keys":
        source.add_key("source", private_pem(key), environments=environments)
    else:
        source.add_keystore("source", keystore(key, certificate(key)), environments=environments)


def update(source, kind, key=None, referenced=True, environments=("production",), **options):
    """PUT with new material; headers and so on are options of the request."""
    members = {"updateReferencedJwks": referenced}
    if kind == "certificates":
        members["updateReferencedJwks"] = "true" if referenced else "false"
        if key:
            members |= {"environmentList": ",".join(environments), "pemEncodedFile": certificate_pem(certificate(key))}
        body, headers = multipart(members)
        return source.api.request("PUT", source.path(kind, "source"), body, headers=headers, **options)
    if key:
        material = (source.key_body("source", private_pem(key), environments=environments) if kind == "keys"
                    else source.keystore_body("source", keystore(key, certificate(key)), environments=environments))
        members |= material
    return source.api.request("PUT", source.path(kind, "source"), json_body=members, **options)


def attach(source, kind, name, **members):
    create = dict(CREATE[kind])
    answer = source.create(name, create.pop("source_type"), **create, **members)
    assert answer.status == 200, answer


def thumbprint(key):
    return jwk.JWK.from_pem(public_pem(key)).thumbprint()


def served(system, project):
    """The kid (a thumbprint) under which each worker serves each JWK."""
    found = [{item["name"]: worker.jwk(project, item["name"])["kid"] for item in worker.items(project)} for worker in system.workers.values()]
    assert all(each == found[0] for each in found)
    return found[0]


def ticks(pid):
    """How long a program has worked, in hundredths of a second."""
    return sum(int(each) for each in pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13])


def versions(system, project):
    return {item["name"]: item["version"] for item in system.workers["production", "edge-1"].items(project)}


def refused(answer, *parts):
    assert answer.status == 400, answer
    sentence = answer.json["error_description"]
    for part in parts:
        assert part in sentence, sentence
    return sentence


@pytest.mark.parametrize("kind", KINDS)
def test_attached_jwks_follow_and_detached_ones_do_not(system, project, source, kind):
    old, new = ec_key(), ec_key()
    add(source, kind, old)
    for name in ("one", "two", "detached"):
        attach(source, kind, name, useType="SIGNATURE", algorithm="ES256")
    assert system.api.update(project, "detached", {"description": "mine"}).status == 200
    answer = update(source, kind, new)
    assert answer.status == 200
    assert answer.json == {"success": True, "deploymentResult": {
        "success": True, "message": "Deployment completed successfully", "environmentResults": [
            {"environmentName": name, "success": True, "message": "Deployed successfully"} for name in ("production", "staging")]}}
    assert served(system, project) == {"one": thumbprint(new), "two": thumbprint(new), "detached": thumbprint(old)}
    item = system.api.item(project, "one")
    assert item["kid"] == thumbprint(new) and item["sourceId"] == source.get(kind, "source")["id"]
    have = system.workers["production", "edge-1"].jwk(project, "one")
    assert (have["use"], have["alg"]) == ("sig", "ES256"), "it is made as it was made first"
    assert versions(system, project) == {"one": 2, "two": 2, "detached": 2}


@pytest.mark.parametrize("kind", KINDS)
def test_without_being_asked_attached_jwks_stay(system, project, source, kind):
    old, new = ec_key(), ec_key()
    add(source, kind, old)
    attach(source, kind, "one")
    answer = update(source, kind, new, referenced=False)
    assert answer.status == 200 and answer.json["deploymentResult"] == DEPLOYED
    assert served(system, project) == {"one": thumbprint(old)}
    answer = update(source, kind)
    assert answer.status == 200 and answer.json["deploymentResult"]["success"]
    assert served(system, project) == {"one": thumbprint(new)}, "later they can still follow"


def test_one_followed_jwk_is_one_deployment_with_a_location(system, project, source):
    add(source, "keys", ec_key())
    attach(source, "keys", "one")
    answer = update(source, "keys", ec_key())
    deployment = system.api.deployment(answer.headers["Location"])
    assert (deployment["jwkName"], deployment["operation"], deployment["actor"], deployment["version"]) == ("one", "update", "alice", 2)
    assert deployment["changed"] == ["kid", "material"]
    events = [record.value for record in system.topics.events_named(project, "one")]
    assert [(event["operation"], event["version"]) for event in events] == [("create", 1), ("update", 2)]


def test_nothing_attached_deploys_nothing(source):
    add(source, "keys", ec_key())
    answer = update(source, "keys", ec_key())
    assert answer.status == 200 and answer.json["deploymentResult"] == DEPLOYED and "Location" not in answer.headers


def test_update_is_refused_as_a_whole_when_one_jwk_can_not_follow(system, project, source):
    old = ec_key()
    add(source, "keys", old)
    attach(source, "keys", "any")
    attach(source, "keys", "es256", algorithm="ES256")
    before = source.get("keys", "source")
    refused(update(source, "keys", rsa_key()), "JWK (name: es256) can not be made from it again", "RS256")
    assert source.get("keys", "source") == before
    assert served(system, project) == {"any": thumbprint(old), "es256": thumbprint(old)}
    assert versions(system, project) == {"any": 1, "es256": 1}


def test_environment_that_a_jwk_is_made_from_can_not_go_with_it(system, project, source):
    old = ec_key()
    add(source, "keys", old, ("production", "staging"))
    attach(source, "keys", "one", environmentName="staging")
    refused(update(source, "keys", ec_key()), "JWK (name: one) can not be made from it again",
            "is not defined in environment (name: staging)! It is defined in: production")
    assert update(source, "keys", ec_key(), referenced=False).status == 200
    assert served(system, project) == {"one": thumbprint(old)}


@pytest.mark.parametrize("kind", KINDS)
def test_jwks_of_an_environment_that_was_removed_follow_once_it_is_added_again(installation, project, kind):
    both = ("production", "staging")
    for environment in both:
        installation.add_environment(environment)
    installation.start_api()
    source = Sources(installation.api, project)
    add(source, kind, ec_key(), both)
    attach(source, kind, "one", environmentName="staging")
    installation.admin("environment", "remove", "staging")
    refused(update(source, kind, ec_key()), "JWK (name: one) can not be made from it again",
            "is not defined in environment (name: staging)! It is defined in: production")
    installation.add_environment("staging")
    new = ec_key()
    assert update(source, kind, new, environments=both).status == 200
    assert installation.api.item(project, "one")["kid"] == thumbprint(new)


@pytest.mark.parametrize("scope", ["SAME_PROJECT", "ALL_PROJECTS", ""])
def test_scopes(system, project, source, scope):
    new = ec_key()
    add(source, "keys", ec_key())
    attach(source, "keys", "one")
    body = source.key_body("source", private_pem(new), updateReferencedJwks=True, updateScope=scope)
    assert system.api.request("PUT", source.path("keys", "source"), json_body=body).json["deploymentResult"]["success"]
    assert served(system, project) == {"one": thumbprint(new)}
    body["updateScope"] = "SOME"
    assert "SAME_PROJECT, ALL_PROJECTS" in refused(system.api.request("PUT", source.path("keys", "source"), json_body=body))


def test_many_attached_jwks_follow_in_one_transaction(system, project, source):
    new = ec_key()
    add(source, "keys", ec_key())
    names = [f"j{number:03}" for number in range(60)]
    for name in names:
        create = source.api.request("POST", jwk_path(project, "x")[:-2], headers={"Prefer": "respond-async"},
                                    json_body={"name": name, "sourceType": "PUBLIC_KEY", "keyName": "source"})
        assert create.status == 202, create
    answer = update(source, "keys", new)
    assert answer.status == 200 and answer.json["deploymentResult"]["success"], answer
    assert served(system, project) == {name: thumbprint(new) for name in names}


def test_asynchronous_update_follows_later(system, project, source):
    new = ec_key()
    add(source, "keys", ec_key())
    attach(source, "keys", "one")
    attach(source, "keys", "two")
    answer = update(source, "keys", new, prefer="respond-async")
    assert answer.status == 202 and "Location" not in answer.headers
    want = {"one": thumbprint(new), "two": thumbprint(new)}
    for worker in system.workers.values():
        sources.wait_until(lambda worker=worker: {name: worker.jwk(project, name)["kid"] for name in want} == want, "both follow")


def test_a_replica_that_does_not_answer_is_told_for_all_jwks(installation):
    installation.add_environment("production")
    installation.start_api()
    worker = installation.start_worker("production")
    installation.wait_connected()
    source = Sources(installation.api, installation.add_project("MyProject"))
    add(source, "keys", ec_key())
    attach(source, "keys", "one")
    attach(source, "keys", "two")
    worker.pause()
    answer = update(source, "keys", ec_key(), prefer="wait=1")
    assert answer.status == 200 and answer.json["success"] and not answer.json["deploymentResult"]["success"]
    result = answer.json["deploymentResult"]["environmentResults"][0]
    assert result["message"] == "2 of 2 JWKs did not confirm: Timed out after 1 s waiting for replica edge-1; the deployment goes on"
    worker.resume()
    want = source.get("keys", "source")["cryptoKeyInfoEnvironmentList"][0]["keyInfo"]["thumbprint"]
    sources.wait_until(lambda: {name: worker.jwk(source.project, name)["kid"] for name in ("one", "two")} == {"one": want, "two": want},
                       "the deployments go on")


def test_updates_and_creates_at_once_leave_every_jwk_at_the_last_key(system, project, source):
    """Each either is in time for an update, or is refused with 503, to be tried again."""
    keys = [ec_key() for _ in range(20)]
    add(source, "keys", ec_key())
    statuses = []

    def create(number):
        for attempt in range(20):
            answer = source.create(f"j{number}-{attempt}", "PUBLIC_KEY", keyName="source")
            statuses.append(answer.status)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for key in keys:
        while update(source, "keys", key).status == 503:
            pass
    for thread in threads:
        thread.join()
    assert set(statuses) <= {200, 503} and 200 in statuses
    kids = served(system, project)
    assert kids and set(kids.values()) == {thumbprint(keys[-1])}
    assert len(kids) == statuses.count(200)


def test_update_survives_a_kill_whole(installation):
    installation.add_environment("production")
    installation.start_api()
    installation.start_worker("production")
    installation.wait_connected()
    source = Sources(installation.api, installation.add_project("MyProject"))
    new = ec_key()
    add(source, "keys", ec_key())
    for name in ("one", "two", "three"):
        attach(source, "keys", name)
    assert update(source, "keys", new, prefer="respond-async").status == 202
    installation.api.kill()
    installation.start_api()
    worker = installation.workers["production", "edge-1"]
    sources.wait_until(lambda: {name: (worker.jwk(source.project, name) or {}).get("kid") for name in ("one", "two", "three")}
                       == dict.fromkeys(("one", "two", "three"), thumbprint(new)), "what was recorded is deployed")
    assert json.dumps(base64_of(private_pem(new))) not in installation.api.log()


def slow_keystore(key):
    """It takes about a second to open."""
    slow = (serialization.PrivateFormat.PKCS12.encryption_builder().kdf_rounds(1000000)
            .key_cert_algorithm(pkcs12.PBES.PBESv2SHA256AndAES256CBC).build(b"changeit"))
    return pkcs12.serialize_key_and_certificates(b"signing", key, certificate(key), None, slow)


def stop_while_it_works(installation, method, path, body):
    """Ends the API while a slow keystore of that request is opened: it is answered 503 after that one."""
    answers = []
    thread = threading.Thread(target=lambda: answers.append(installation.api.request(method, path, json_body=body)))
    worked = ticks(installation.api.pid)
    thread.start()
    sources.wait_until(lambda: ticks(installation.api.pid) >= worked + 50, "a keystore is at work")
    installation.api.terminate()
    thread.join()
    assert answers[0].status == 503, answers[0]
    assert installation.api.wait_exit() == 0


def test_a_stop_does_not_wait_for_every_jwk_of_a_slow_keystore(installation):
    installation.add_environment("production")
    installation.start_api("--shutdown-timeout", "0ms")
    installation.start_worker("production")
    installation.wait_connected()
    source = Sources(installation.api, installation.add_project("MyProject"))
    old, new = ec_key(), ec_key()
    add(source, "keystores", old)
    for number in range(6):
        attach(source, "keystores", f"j{number}")
    file = slow_keystore(new)
    body = source.keystore_body("source", file, updateReferencedJwks=True)
    stop_while_it_works(installation, "PUT", source.path("keystores", "source"), body)
    installation.start_api()
    assert set(served(installation, source.project).values()) == {thumbprint(old)}


def test_a_stop_does_not_wait_for_every_environment_of_a_slow_keystore(installation):
    environments = [f"environment-{number}" for number in range(40)]
    for environment in environments:
        installation.add_environment(environment, keys=False)
    installation.start_api("--shutdown-timeout", "0ms")
    source = Sources(installation.api, installation.add_project("MyProject"))
    path, body = source.path("keystores"), source.keystore_body("source", slow_keystore(ec_key()), environments=environments)
    stop_while_it_works(installation, "POST", path, body)
