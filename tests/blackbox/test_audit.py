"""The audit trail: whatever is done appears in it once, in order, and whoever tampers with it is found."""

import concurrent.futures
import json
import re
import shutil
import sqlite3
import subprocess
import threading
import urllib.parse

import confluent_kafka
import pytest

from harness.audit import Trail, digest
from harness.broker import EmbeddedBroker
from harness.installation import Installation, jwk_path, jwks_path, quote, run
from harness.program import PATIENCE, wait_until


@pytest.fixture
def trail(installation):
    return Trail(installation)


@pytest.fixture
def started(broker, installation):  # pylint: disable=unused-argument
    """On both brokers in turn."""
    installation.add_environment("production")
    installation.start_api()
    installation.start_workers("production")
    installation.wait_connected()
    return installation


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A trail with a few changes of two projects, of an API that has stopped."""
    directory = tmp_path_factory.mktemp("kept")
    embedded = EmbeddedBroker(directory)
    installation = Installation(embedded, directory)
    installation.add_environment("production")
    installation.start_api()
    installation.start_workers("production")
    for project in ("one", "two", "many"):
        installation.add_project(project)
    assert installation.api.create("two", "a").status == 200
    for number in range(6):
        assert installation.api.create("one", f"key-{number}").status == 200
    assert installation.api.update("one", "key-0", {"description": "x"}).status == 200
    # Many at once, so that some lines share a signature.
    with concurrent.futures.ThreadPoolExecutor(15) as pool:
        answers = pool.map(lambda number: installation.api.create("many", f"many-{number}").status, range(60))
        assert set(answers) == {200}
    installation.stop()
    yield Trail(installation)
    embedded.stop()


def told(entries, *members):
    return [tuple(entry.get(member) for member in members) for entry in entries]


# ---- what appears ----

def test_a_token_for_many_projects_is_a_line_that_auditors_take(installation, trail):
    installation.start_api()
    project = installation.add_project('"' * 255)  # each takes two bytes of the line
    installation.new_token(*["--project", project] * 300)
    installation.api.stop()
    assert " more, expires " in trail.is_whole("--type", "administration").stdout


def test_changes_appear_once_in_order_and_name_their_events(started, trail):
    project = started.add_project("MyProject")
    assert started.api.create(project, "a").status == 200
    assert started.api.update(project, "a", {"name": "b", "description": "x"}).status == 200
    assert started.api.request("POST", f"{jwk_path(project, 'b')}redeploy").status == 200
    assert started.api.delete(project, "b").status == 200
    assert started.api.create(project, "b", prefer="respond-async").status == 202
    started.api.stop()
    entries = [entry for entry in trail.entries() if entry.get("project") == project]
    assert told(entries, "type", "actor", "operation", "jwk", "version") == [
        ("change", "alice", "create", "a", 1), ("change", "alice", "update", "b", 2), ("change", "alice", "redeploy", "b", 3),
        ("change", "alice", "delete", "b", 4), ("change", "alice", "create", "b", 1)]
    assert [entry["changed"] for entry in entries] == [None, "name,description", None, None, None]
    events = {record.headers["ce_id"]: record for record in started.topics.read(started.topics.events) if record.value}
    for entry in entries:
        event = events[entry["eventId"]]
        assert digest(event.raw.decode()) == entry["eventHash"]
        assert (event.value["deploymentId"], event.value["jwk"]["id"], event.value["version"], event.value["epoch"]) == (
            entry["deploymentId"], entry["jwkId"], entry["version"], entry["epoch"])
    for entry in entries[:4]:
        results = [each for each in trail.entries() if each["type"] == "outcome" and each["deploymentId"] == entry["deploymentId"]]
        assert told(results, "environment", "settled", "success", "message") == [("production", True, True, None)]
        assert results[0]["sequence"] > entry["sequence"]
    trail.is_whole()
    trail.is_whole("--events")


def test_an_outcome_is_told_again_when_it_changes(started, trail):
    project = started.add_project("MyProject")
    assert started.api.create(project, "a").status == 200
    worker = started.workers["production", "edge-1"]
    worker.pause()
    answer = started.api.update(project, "a", {"description": "x"}, prefer="wait=1")
    worker.resume()
    started.api.wait_deployment(answer.headers["Location"])
    identifier = answer.headers["Location"].rstrip("/").rpartition("/")[2]

    def results():
        return [each for each in trail.entries() if each["type"] == "outcome" and each["deploymentId"] == identifier]
    wait_until(lambda: len(results()) == 2, "the trail has both outcomes")
    first, second = results()
    assert (first["settled"], first["success"]) == (False, False) and "Timed out after 1 s" in first["message"]
    assert (second["settled"], second["success"], second["message"]) == (True, True, None)


def test_administration_appears_in_order_while_serving_and_while_stopped(broker, installation, trail):  # pylint: disable=unused-argument
    installation.add_environment("production")  # while there is no API yet
    installation.start_api()
    installation.add_environment("staging")
    installation.admin("project", "add", "p")
    _, identifier = installation.new_token("--project", "p", user="bob")
    installation.admin("token", "revoke", identifier)
    client = dict(line.split("=", 1) for line in
                  installation.admin("client", "create", "--user", "robot", "--role", "ROLE_API_SECURITY").stdout.splitlines())
    body = urllib.parse.urlencode({"grant_type": "client_credentials", **client}).encode()
    answer = installation.api.request("POST", "/apiops/auth/token", body, token=False,
                                      headers={"Content-Type": "application/x-www-form-urlencoded"})
    assert answer.status == 200
    trail.wait_entry(lambda entry: entry.get("command") == "token issue", "what the serving API has noticed")
    installation.api.stop()
    installation.admin("client", "revoke", client["client_id"])
    installation.admin("environment", "remove", "staging")
    installation.admin("project", "remove", "p")
    assert installation.admin("project", "remove", "p", check=False).returncode == 1, "what is refused is not told"
    installation.admin("project", "list")
    kid = installation.admin("signing-key", "add").stdout.strip()
    installation.admin("signing-key", "activate", "--accept-old-for", "1h", "--", kid)
    installation.admin("environment", "rekey", "production", "--without-keys")
    installation.start_api()
    trail.wait_entry(lambda entry: entry.get("command") == "environment rekey", "what was done while the API was stopped")
    entries = trail.entries()
    assert told([entry for entry in entries if entry["type"] != "change"], "type", "command", "object")[:18] == [
        ("administration", "signing-key add", next(iter(trail.keys()))), ("administration", "environment add", "production"),
        ("administration", "token create", entries[2]["object"]), ("start", None, None), ("administration", "environment add", "staging"),
        ("administration", "project add", "p"), ("administration", "token create", identifier), ("administration", "token revoke", identifier),
        ("administration", "client create", client["client_id"]), ("administration", "token issue", entries[9]["object"]),
        ("stop", None, None), ("administration", "client revoke", client["client_id"]), ("administration", "environment remove", "staging"),
        ("administration", "project remove", "p"), ("administration", "signing-key add", kid),
        ("administration", "signing-key activate", kid), ("administration", "environment rekey", "production"), ("start", None, None)]
    commands = [entry for entry in entries if entry["type"] == "administration" and entry["command"] != "token issue"]
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    assert {entry["actor"] for entry in commands} == {user}
    assert "user bob" in entries[6]["detail"] and "projects p" in entries[6]["detail"]
    issued = next(entry for entry in entries if entry.get("command") == "token issue")
    assert (issued["actor"], issued["address"], issued["userId"]) == ("robot", "127.0.0.1", None) and client["client_id"] in issued["detail"]
    secrets = (client["client_secret"], answer.json["access_token"], installation.token)
    assert not any(secret in trail.dump() for secret in secrets)
    trail.is_whole()


def test_refusals_are_summed_up_and_never_hold_a_token(started, trail):
    wrong = "jwk_" + "x" * 43
    for number in range(300):
        assert started.api.request("GET", jwks_path(f"p{number}"), token=wrong).status in (401, 429)
    text, _ = started.new_token(user="carol", roles=("ROLE_DEPLOY_UNDEPLOY_PROXIES",))
    assert started.api.request("GET", jwks_path("known"), token=text).status in (403, 429)
    assert started.api.request("GET", f"/apiops/projects/{quote('é' * 300)}/jwks/", token=False).status in (401, 429)
    started.api.stop()
    refusals = [entry for entry in trail.entries() if entry["type"] == "refusal"]
    assert sum(entry["count"] for entry in refusals) == 302
    assert len(refusals) <= 60, "a few lines a second"
    assert {entry["status"] for entry in refusals if entry["status"]} <= {401, 403, 429}
    assert all(entry["status"] or entry["path"] is None for entry in refusals)
    first = refusals[0]
    assert (first["status"], first["method"], first["path"], first["address"], first["actor"]) == (
        401, "GET", jwks_path("p0"), "127.0.0.1", None)
    assert wrong not in trail.dump() and text not in trail.dump()
    trail.is_whole()


def test_a_refused_call_of_a_known_user_names_it(started, trail):
    text, _ = started.new_token(user="carol", roles=("ROLE_DEPLOY_UNDEPLOY_PROXIES",))
    assert started.api.request("GET", jwks_path("known"), token=text).status == 403
    entry = trail.wait_entry(lambda each: each["type"] == "refusal", "the refusal")
    assert (entry["status"], entry["actor"], entry["path"], entry["count"]) == (403, "carol", jwks_path("known"), 1)


def test_a_refused_client_is_told_without_what_it_sent(started, trail):
    answer = started.api.request("POST", "/apiops/auth/token", token=False,
                                 headers={"Content-Type": "application/x-www-form-urlencoded"},
                                 body=b"grant_type=client_credentials&client_id=guessed-id&client_secret=guessed-secret")
    assert answer.status == 401
    entry = trail.wait_entry(lambda each: each["type"] == "refusal", "the refusal")
    assert (entry["status"], entry["method"], entry["path"], entry["address"], entry["actor"], entry["count"]) == (
        401, "POST", "/apiops/auth/token", "127.0.0.1", None, 1)
    assert "guessed" not in trail.dump()


# ---- whatever happens ----

def recorded(installation):
    """Ids of all deployments in the store."""
    store = sqlite3.connect(installation.data_directory / "jwk-api.db")
    try:
        return [row[0] for row in store.execute("SELECT uid FROM deployment ORDER BY id")]
    finally:
        store.close()


def test_kill_9_under_load_breaks_no_chain_and_loses_no_line(started, trail):
    project = started.add_project("MyProject")
    for number in range(4):
        assert started.api.create(project, f"key-{number}").status == 200

    def load(api, name, seen):
        number = 0
        while True:
            try:
                api.update(project, name, {"description": str(number)}, prefer="respond-async")
            except (OSError, AssertionError):
                return  # it was killed
            number += 1
            seen.append(number)
    for _ in range(3):
        api, seen = started.api, []
        threads = [threading.Thread(target=load, args=(api, f"key-{number}", seen)) for number in range(4)]
        for thread in threads:
            thread.start()
        wait_until(lambda seen=seen: len(seen) > 60, "there is load")
        api.kill()
        for thread in threads:
            thread.join()
        started.start_api()
    trail.wait_entry(lambda entry: entry["type"] == "change" and entry["deploymentId"] == recorded(started)[-1], "the last change")
    started.api.stop()
    entries = trail.entries()
    assert [entry["deploymentId"] for entry in entries if entry["type"] == "change"] == recorded(started)
    assert [entry["type"] for entry in entries if entry["type"] in ("start", "stop")] == ["start"] * 4 + ["stop"]
    trail.is_whole("--events")


def test_what_waited_for_a_broker_goes_out_in_order(installation, trail):
    installation.add_environment("production")
    installation.start_api()
    project = installation.add_project("MyProject")
    installation.broker.pause()
    for number in range(20):
        assert installation.api.create(project, f"key-{number}", prefer="respond-async").status == 202
    installation.broker.resume()
    trail.wait_entry(lambda entry: entry.get("jwk") == "key-19", "the last change")
    names = [entry["jwk"] for entry in trail.entries() if entry["type"] == "change"]
    assert names == [f"key-{number}" for number in range(20)]
    trail.is_whole()


def test_a_store_put_back_from_a_backup_goes_on_behind_the_trail_once_adopted(started, trail):
    project = started.add_project("MyProject")
    started.api.stop()
    backup = started.directory / "backup"
    shutil.copytree(started.data_directory, backup)
    started.start_api()
    started.new_token(user="somebody")  # the events topic tells nothing of it, the trail does
    trail.wait_entry(lambda entry: "somebody" in (entry.get("detail") or ""), "the token")
    started.api.kill()
    shutil.rmtree(started.data_directory)
    shutil.copytree(backup, started.data_directory)
    with pytest.raises(AssertionError, match=r"line \d+ of an audit trail that this store does not know.*jwk-api adopt"):
        started.start_api()
    started.programs.pop() if started.programs[-1] is not started.api else None  # pylint: disable=expression-not-assigned
    started.admin("project", "add", "meanwhile")  # a line that is in nobody's chain yet
    started.admin("adopt", *started.broker_options)
    started.start_api()
    assert started.api.create(project, "a", prefer="respond-async").status == 202
    trail.wait_entry(lambda entry: entry.get("jwk") == "a", "the change")
    entries = trail.entries()
    kinds = [entry.get("command") for entry in entries if entry["type"] == "administration"]
    assert kinds[-3:] == ["token create", "project add", "adopt"]
    trail.is_whole()


def test_a_store_of_before_the_present_signing_keys_goes_on_behind_the_trail_once_adopted(started, trail, project):
    assert started.api.create(project, "before").status == 200
    assert started.api.stop() == 0
    backup, keys = started.directory / "backup", started.directory / "keys-of-before.json"
    shutil.copytree(started.data_directory, backup)
    for name in ("newer", "newest"):  # the keys of the latter alone have no end
        started.admin("signing-key", "activate", "--", started.admin("signing-key", "add").stdout.strip())
        assert started.start_api().create(project, name, prefer="respond-async").status == 202
        trail.wait_entry(lambda entry, name=name: entry.get("jwk") == name, "the change")
        assert started.api.stop() == 0
    trail.is_whole()
    known = trail.keys()
    keys.write_text(trail.key_file.read_text())
    shutil.rmtree(started.data_directory)
    shutil.copytree(backup, started.data_directory)
    done = started.admin("adopt", *started.broker_options, check=False)
    assert done.returncode == 1 and "under a key that this store does not have" in done.stderr and "--api-keys" in done.stderr
    started.admin("adopt", *started.broker_options, "--api-keys", keys)
    assert "audit topic has lost lines" not in started.start_api().log()
    assert started.api.create(project, "after", prefer="respond-async").status == 202
    trail.wait_entry(lambda entry: entry.get("jwk") == "after", "the change")
    assert [entry["jwk"] for entry in trail.entries() if entry.get("operation") == "create"][-4:] == ["before", "newer", "newest", "after"]
    assert trail.keys().keys() == known.keys() and len(known) == 3
    trail.is_whole()


def test_a_topic_that_was_made_again_is_told_and_the_chain_goes_on(started, trail):
    if started.broker.kind == "embedded":
        pytest.skip("the embedded broker cannot delete a topic")
    project = started.add_project("MyProject")
    assert started.api.create(project, "a").status == 200
    before = trail.wait_entry(lambda entry: entry["type"] == "change" and entry["jwk"] == "a", "the change")
    kept = trail.verify().stderr
    known = re.search(r"The last is (\d+:\S+)", kept).group(1)
    started.api.stop()
    last = re.search(r"The last is (\d+:\S+)", trail.is_whole().stderr).group(1)
    started.topics.delete(started.topics.audit)
    started.start_api()
    assert "audit topic has lost lines" in started.api.log()
    assert "jwk_api_audit_topic_losses_total 1" in started.api.request("GET", "/metrics", token=False).body.decode()
    assert started.api.update(project, "a", {"description": "x"}).status == 200
    started.api.stop()
    done = trail.verify()
    assert done.returncode == 1 and "the trail begins here: what is before is missing" in done.stderr
    assert trail.verify("--known", known).returncode == (0 if known == last else 1)
    done = trail.is_whole("--known", last)
    assert f"{before['sequence'] + 1} " not in done.stdout.splitlines()[0]
    assert trail.verify("--known", last[:-1] + ("A" if last[-1] != "A" else "B")).returncode == 1


# ---- what auditors see ----

def test_a_dump_is_shown_line_by_line_and_filtered(kept):
    dump, entries = kept.dump(), kept.entries()
    shown = kept.is_whole(dump=dump).stdout.splitlines()
    assert [int(line.split()[0]) for line in shown] == [entry["sequence"] for entry in entries]
    lines = kept.is_whole("--format", "json", dump=dump).stdout.splitlines()
    assert [json.loads(line) for line in lines] == entries
    assert set(lines) <= set(dump.splitlines()), "as they are"
    shown = kept.is_whole("--project", "two", dump=dump).stdout.splitlines()
    assert [line.split()[2] for line in shown] == ["change", "outcome"]
    shown = kept.is_whole("--jwk", "key-0", dump=dump).stdout.splitlines()
    assert [line.split()[2] for line in shown] == ["change", "outcome"] * 2
    shown = kept.is_whole("--project", "one", "--project", "two", "--type", "outcome", dump=dump).stdout.splitlines()
    assert [line.split()[2] for line in shown] == ["outcome"] * 8
    assert kept.is_whole("--actor", "nobody", dump=dump).stdout == ""
    assert kept.is_whole("--quiet", dump=dump).stdout == ""
    assert f"{len(entries)} lines. The last is {len(entries)}:" in kept.is_whole(dump=dump).stderr
    assert kept.verify("--expect-at-least", len(entries) + 1, dump=dump).returncode == 1
    kept.is_whole("--expect-at-least", len(entries), dump=dump)
    assert kept.verify("--type", "rename", dump=dump).returncode == 2
    chain = subprocess.run(kept.command("verify", "--quiet", "-", broker=False)[:-2], input=dump, capture_output=True, text=True, timeout=60,
                           check=True).stderr
    assert re.fullmatch(rf"The chain is whole: {len(entries)} lines, whose signatures were not judged: give --api-keys to know that none is "
                        rf"forged\. The last is {len(entries)}:\S+ \(note it down for --known\)\.\n", chain), chain


def changed(lines, index):
    lines[index] = lines[index].replace('"actor":"', '"actor":"x', 1)
    return index


def left_out(lines, index):
    del lines[index]
    return index


def moved(lines, index):
    lines[index], lines[index + 1] = lines[index + 1], lines[index]
    return index


def with_another_signature(lines, index):
    """The signature of the record before, in place of its own."""
    signatures = [number for number, line in enumerate(lines) if '"jws"' in line]
    own = next(number for number in signatures if number > index)
    header, payload, _ = json.loads(lines[own])["jws"].split(".")
    other = json.loads(lines[signatures[0]])["jws"].rpartition(".")[2]
    lines[own] = json.dumps({"jws": f"{header}.{payload}.{other}"})
    return own


@pytest.mark.parametrize("tamper", [changed, left_out, moved, with_another_signature], ids=lambda function: function.__name__)
def test_tampering_with_a_dump_is_found_at_its_line(kept, tamper):
    lines = kept.dump().splitlines()
    index = next(number for number, line in enumerate(lines) if '"project":"many"' in line and '"jws"' not in lines[number + 1])
    name = json.loads(lines[index])["jwk"]
    found = tamper(lines, index)
    done = kept.verify(dump="\n".join(lines))
    assert done.returncode == 1
    assert f"(line {found + 1})" in done.stderr, done.stderr
    assert not re.search(rf"\b{name}\b", done.stdout), "what is not proved is not shown"


def test_an_end_that_is_cut_is_found(kept):
    lines = kept.dump().splitlines()
    done = kept.verify(dump="\n".join(lines[:-1]))
    assert done.returncode == 1 and "there is no signature behind it" in done.stderr
    whole = re.search(r"The last is (\d+:\S+)", kept.is_whole(dump="\n".join(lines)).stderr).group(1)
    cut = lines[:max(number for number, line in enumerate(lines[:-1]) if '"jws"' in line) + 1]
    kept.is_whole(dump="\n".join(cut))
    done = kept.verify("--known", whole, dump="\n".join(cut))
    assert done.returncode == 1 and "its end is missing" in done.stderr


def test_what_others_write_to_the_trail_does_not_keep_the_api_from_its_start(started, trail, project):
    assert started.api.create(project, "before").status == 200
    trail.wait_entry(lambda entry: entry["type"] == "change" and entry["jwk"] == "before", "the change is told")
    assert started.api.stop() == 0
    producer = confluent_kafka.Producer({"bootstrap.servers": started.broker.address})
    for value in ("{", "", '{"sequence":1000000,"previous":"","time":"2026-01-01T00:00:00Z","type":"stop"}', '{"jws":"e30.e30.AAAA"}'):
        producer.produce(f"{started.prefix}.audit", value, partition=0)
    assert producer.flush(30) == 0
    started.start_api()
    assert started.api.create(project, "after").status in (200, 202)


def test_following_shows_what_comes_when_it_comes(started, trail):
    project = started.add_project("MyProject")
    assert started.api.create(project, "a").status == 200
    trail.wait_entry(lambda entry: entry["type"] == "change" and entry["jwk"] == "a", "what is not new")
    command = trail.command("follow", "--new", "--type", "change", "--format", "json")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as following:
        try:
            number, lines = 0, []
            reader = threading.Thread(target=lambda: lines.extend(iter(following.stdout.readline, "")), daemon=True)
            reader.start()

            def seen():
                nonlocal number
                number += 1
                assert started.api.update(project, "a", {"description": str(number)}).status == 200
                return [json.loads(line) for line in list(lines)]
            found = wait_until(seen, "the follower shows a change")
            assert found[0]["operation"] == "update" and found[0]["version"] > 1, "only what is new"
        finally:
            following.kill()
            reader.join(PATIENCE)


def test_following_ends_where_the_chain_breaks(started, trail):
    started.add_project("MyProject")
    command = trail.command("follow", "--type", "stop")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as following:
        try:
            producer = confluent_kafka.Producer({"bootstrap.servers": started.broker.address, "log_level": 0})
            producer.produce(started.topics.audit, b'{"sequence":1000,"previous":"","time":"2026-01-31T12:00:00.000Z","type":"stop"}')
            producer.flush(PATIENCE)
            _, said = following.communicate(timeout=PATIENCE)
            assert following.returncode == 1
            assert re.search(r"broken at sequence 1000 \(offset \d+, line 1 of the record\)", said), said
        finally:
            following.kill()


def test_events_that_were_changed_or_added_are_found(started, trail):
    project = started.add_project("MyProject")
    assert started.api.create(project, "a").status == 200
    assert started.api.update(project, "a", {"description": "x"}).status == 200
    event = started.topics.events_named(project, "a")[0]
    assert started.api.update(project, "a", {"description": "y"}).status == 200
    started.api.stop()
    trail.is_whole("--events")
    producer = confluent_kafka.Producer({"bootstrap.servers": started.broker.address, "log_level": 0})
    headers = {**event.headers, "ce_id": "0199b3c4-5a10-7c3e-8f21-000000000003"}
    producer.produce(started.topics.events, event.raw, event.key, event.partition, headers=list(headers.items()))
    producer.flush(PATIENCE)
    done = trail.verify("--events", "--quiet")
    assert done.returncode == 1 and "0199b3c4-5a10-7c3e-8f21-000000000003" in done.stderr and "knows nothing of it" in done.stderr
    producer.produce(started.topics.events, event.raw.replace(b"alice", b"mallory"), event.key, event.partition,
                     headers=list(event.headers.items()))
    producer.flush(PATIENCE)
    done = trail.verify("--events", "--quiet", dump=trail.dump())
    assert done.returncode == 1 and "is not the one that was recorded" in done.stderr
    trail.is_whole("--quiet")


def test_keys_that_are_not_those_of_the_api_prove_nothing(kept, tmp_path_factory):
    dump = kept.dump()
    other = kept.installation.admin("signing-key", "add").stdout.strip()
    path = tmp_path_factory.mktemp("keys") / "other.json"

    def verify(*keys):
        path.write_text(json.dumps({"keys": keys}))
        return subprocess.run([*kept.command("verify", "-", broker=False)[:-1], str(path)], input=dump, capture_output=True, text=True,
                              timeout=60, check=False)
    done = verify(kept.keys()[other])
    assert done.returncode == 1 and "unknown-key" in done.stderr
    assert "is signed with a key that --api-keys lacks" in done.stderr and "'jwk-api signing-key export --all' as it is now" in done.stderr
    assert "broken" not in done.stderr  # as a rule it is the file that is old
    done = verify()
    assert done.returncode == 2 and "it holds no key" in done.stderr


def test_another_file_in_place_of_the_keys_is_told_with_what_is_wanted(installation, tmp_path):
    credentials, master_key = tmp_path / "credentials", installation.master_key_file
    installation.admin("environment", "add", "production", "--credentials", credentials)
    for path in (credentials, master_key):
        done = run(["audit", "verify", "--api-keys", path, "/dev/null"], check=False)
        assert done.returncode == 2 and done.stderr.endswith("; give the output of 'jwk-api signing-key export --all'\n"), done.stderr
