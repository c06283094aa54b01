"""The checker finds what is wrong: each violation is planted into a copy of a sound run, and must be told with its invariant."""

import contextlib
import json
import pathlib
import shutil
import sqlite3
import uuid

import pytest

from harness.signatures import Signer

from . import check
from .cluster import find_database
from .driver import Run
from .history import read_lines

PLAN = [(0.3, "kill_worker", 1), (0.6, "power_loss_api", 2), (2.0, "freeze_worker", 3), (2.5, "copied_identity", 4)]


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    directory = tmp_path_factory.mktemp("sound")
    run = Run(directory, 42, "embedded", pause_s=0.04)
    try:
        run.round([])
        run.round(PLAN)
        run.finish()
    finally:
        run.close()
    return directory


@pytest.fixture
def copy(sound, tmp_path):
    place = tmp_path / "run"
    place.mkdir()
    for path in (*(sound / name for name in ("history.jsonl", "topics.jsonl", "secrets.txt")), *sound.glob("*.credentials*")):
        shutil.copy(path, place)
    for name in ("logs", "final"):
        shutil.copytree(sound / name, place / name)
    return place


def test_a_sound_run_has_no_violation(sound):
    assert check.judge(sound) == []
    lines = read_lines(sound / "history.jsonl")
    assert len([line for line in lines if line["kind"] == "request" and line["status"] == 200]) > 50
    assert [line for line in lines if line["kind"] == "state"], "a killed worker's state was looked at"


# ---- planting ----

@contextlib.contextmanager
def lines_of(path):
    lines = read_lines(path)
    yield lines
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def edit_database(place, node, *statements):
    connection = sqlite3.connect(find_database(place / "final" / node))
    with connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def answered(place, **wanted):
    """A request answered 200 with these members."""
    return next(line for line in reversed(read_lines(place / "history.jsonl")) if line["kind"] == "request" and line["status"] == 200
                and all(line.get(name) == value for name, value in wanted.items()))


def events(lines):
    return [line for line in lines if line["topic"] == "events" and line["value"]]


def uid_of(line):
    return line["location"].rstrip("/").rpartition("/")[2]


def plant_an_ack_before_the_commit(place):
    uid = uid_of(answered(place, operation="update"))
    edit_database(place, "api", "PRAGMA foreign_keys = OFF", f"DELETE FROM deployment WHERE uid = '{uid}'")
    return "invariant 1", "is not in the store"


def plant_another_description(place):
    uid = uid_of(answered(place, operation="update"))
    with lines_of(place / "topics.jsonl") as lines:
        for line in events(lines):
            if uid in line["value"]:
                value = json.loads(line["value"])
                value["jwk"]["description"] = "another"
                line["value"] = json.dumps(value)
    return "invariant 1", "another description"


def plant_a_lost_write(place):
    """An update answered 200 that a later get of the same client does not show."""
    get = answered(place, operation="get", project="project-0")
    with lines_of(place / "history.jsonl") as lines:
        lines.append({**answered(place, operation="update"), "client": get["client"], "project": get["project"], "name": get["name"],
                      "new_name": None, "description": "never seen", "start": get["start"] - 1e-4})
    return "invariant 1", "was answered before"


def keyed(place, **wanted):
    return next(line for line in read_lines(place / "history.jsonl") if line["kind"] == "request" and line["key"] and line["status"] == 200
                and all(line.get(name) == value for name, value in wanted.items()))


def plant_a_repeat_that_was_answered_with_another_deployment(place):
    with lines_of(place / "history.jsonl") as lines:
        lines.append({**keyed(place), "location": answered(place, operation="redeploy")["location"]})
    return "invariant 1", "a deployment that it has not recorded"


def plant_a_repeat_that_was_refused(place):
    with lines_of(place / "history.jsonl") as lines:
        lines.append({**keyed(place, operation="create"), "status": 400, "location": None,
                      "answer": {"error": "bad_request", "error_description": "already exist"}})
    return "invariant 1", "and yet refused"


def plant_a_key_that_was_forgotten(place):
    edit_database(place, "api", f"DELETE FROM idempotency WHERE key = '{keyed(place)['key']}'")
    return "invariant 1", "its key is not in the store"


def plant_a_key_with_two_deployments(place):
    edit_database(place, "api", f"UPDATE idempotency SET last_deployment = first_deployment + 1 WHERE key = '{keyed(place)['key']}'")
    return "invariant 1", "has recorded 2 deployments"


def done_twice(place, uid):
    """The deployment and its event once more, as when the key had been unknown to the repeat."""
    again = str(uuid.uuid4())
    edit_database(place, "api", "PRAGMA foreign_keys = OFF", "CREATE TABLE again AS SELECT * FROM deployment WHERE uid = '%s'" % uid,
                  "UPDATE again SET uid = '%s', id = (SELECT max(id) + 1 FROM deployment)" % again,
                  "INSERT INTO deployment SELECT * FROM again")
    with lines_of(place / "topics.jsonl") as lines:
        line = next(line for line in events(lines) if uid in line["value"])
        lines.append({**line, "offset": line["offset"] + 100_000, "value": line["value"].replace(uid, again)})
    return "invariant 1", "has led to 2 deployments"


def plant_an_update_that_was_done_twice(place):
    return done_twice(place, uid_of(keyed(place, operation="update")))


def plant_a_rotation_that_was_done_twice(place):
    return done_twice(place, uid_of(next(
        line for line in read_lines(place / "history.jsonl") if line["kind"] == "request" and line["operation"] == "rotate" and line["key"]
        and line["kid"] and line["location"])))


def plant_an_unsettled_result(place):
    edit_database(place, "api", "UPDATE deployment_result SET state = 0 WHERE deployment_id = (SELECT max(id) FROM deployment)")
    return "invariant 2", "never confirmed"


def plant_a_replica_that_lacks_a_key(place):
    with lines_of(place / "history.jsonl") as lines:
        quiet = [line for line in lines if line["kind"] == "quiet"][-1]
        served = next(each for each in quiet["replicas"]["staging-edge-1"].values() if each["items"])
        served["items"].pop()
    return "invariant 3", "differ"


def plant_a_served_key_that_was_deleted(place):
    with lines_of(place / "history.jsonl") as lines:
        quiet = [line for line in lines if line["kind"] == "quiet"][-1]
        served = next(each for each in quiet["replicas"]["staging-edge-1"].values() if each["keys"])
        served["keys"].append({**served["keys"][0], "kid": "deleted"})
    return "invariant 3", "is not that of the API"


def quiet_with_retiring(lines):
    """A silence, and one of the replaced keys that must be served in it."""
    return next((line, each) for line in lines if line["kind"] == "quiet" for each in line["retiring"]
                if each[2] > line["wall"][1] * 1000 + check.RETIRING_GRAIN_MS)


def plant_a_replica_that_lacks_a_replaced_key_before_its_end(place):
    with lines_of(place / "history.jsonl") as lines:
        quiet, (project, public_key, _) = quiet_with_retiring(lines)
        quiet["replicas"]["staging-edge-1"][project]["keys"].remove(json.loads(public_key))
    return "invariant 3", "it lacks"


def plant_a_replaced_key_that_is_served_after_its_end(place):
    with lines_of(place / "history.jsonl") as lines:
        quiet, retiring = quiet_with_retiring(lines)
        retiring[2] = quiet["wall"][0] * 1000 - check.RETIRING_GRAIN_MS - 1
    return "invariant 3", "too many"


def plant_a_version_going_back(place):
    with lines_of(place / "history.jsonl") as lines:
        line = next(line for line in lines if line["kind"] == "observed" and any(version > [1, 1] for version in line["changed"].values()))
        identifier = next(each for each, version in line["changed"].items() if version > [1, 1])
        lines.append({**line, "at": line["at"] + 1e-4, "changed": {identifier: [1, 1]}, "gone": []})
    return "invariant 3", "went back"


def plant_a_deleted_key_that_returns(place):
    with lines_of(place / "history.jsonl") as lines:
        line = next(line for line in lines if line["kind"] == "observed" and line["gone"])
        lines.append({**line, "at": line["at"] + 1e-4, "changed": {line["gone"][0]: [1, 1000]}, "gone": []})
    return "invariant 3", "again after its deletion"


def plant_a_state_behind_what_was_served(place):
    with lines_of(place / "history.jsonl") as lines:
        state = next(line for line in lines if line["kind"] == "state" and line["items"])
        seen = next(line for line in lines if line["kind"] == "observed" and line["replica"] == state["replica"] and line["changed"]
                    and line["at"] < state["at"])
        state["items"].pop(next(iter(seen["changed"])))
    return "invariant 3", "when it died"


def plant_a_success_that_a_replica_had_not_applied(place):
    with lines_of(place / "history.jsonl") as lines:
        database = sqlite3.connect(find_database(place / "final" / "api"))
        uids = {row[0]: row[1] for row in database.execute("SELECT d.uid, j.uid FROM deployment d JOIN jwk j ON j.id = jwk_id"
                                                           " WHERE operation = 1")}
        database.close()
        starts = {line["location"]: line["start"] for line in lines if line["kind"] == "request"}
        probe = next(line for line in lines if line["kind"] == "probe" and uid_of(line) in uids
                     and line["undisturbed_since"] + check.SETTLING_S < starts[line["location"]]
                     and line["message"] == "Deployed successfully" and uids[uid_of(line)] in line["items"])
        probe["items"][uids[uid_of(probe)]] = [1, 0]
    return "invariant 4", "had succeeded"


def plant_a_success_that_a_replica_had_acked_but_not_applied_while_a_topic_was_deleted(place):
    told = plant_a_success_that_a_replica_had_not_applied(place)
    with lines_of(place / "history.jsonl") as lines:
        probe = next(line for line in lines if line["kind"] == "probe" and [1, 0] in line["items"].values())
        lines.append({"kind": "topic_deleted", "topic": "events", "at": probe["answered"], "since": 0, "until": 0})
    return told


def plant_an_ack_that_was_not_durable(place):
    with lines_of(place / "history.jsonl") as lines:
        state = next(line for line in lines if line["kind"] == "state" and line["items"])
        ack = next(json.loads(line["value"]) for line in read_lines(place / "topics.jsonl") if line["topic"] == "acks"
                   and f"{json.loads(line['value'])['environment']}-{json.loads(line['value'])['replica']}" == state["replica"]
                   and line["seen"] < state["at"])
        state["items"][ack["jwkId"]] = [1, 0, False]
    return "invariant 4", "had acked"


def plant_a_lost_event(place):
    with lines_of(place / "topics.jsonl") as lines:
        uid = json.loads(events(lines)[-1]["value"])["deploymentId"]
        lines[:] = [line for line in lines if not (line["topic"] == "events" and uid in (line["value"] or ""))]
    return "invariant 5", "is not on the topic"


def plant_events_out_of_order(place):
    with lines_of(place / "topics.jsonl") as lines:
        by_key = {}
        for line in events(lines):
            by_key.setdefault(line["key"], []).append(line)
        first, second = next(found for found in by_key.values() if len(found) > 1)[:2]
        first["offset"], second["offset"] = second["offset"], first["offset"]
    return "invariant 5", "came after"


def plant_a_duplicate_with_another_id(place):
    with lines_of(place / "topics.jsonl") as lines:
        line = events(lines)[-1]
        lines.append({**line, "offset": line["offset"] + 100_000, "headers": {**line["headers"], "ce_id": str(uuid.uuid4())}})
    return "invariant 5", "sent twice"


def plant_an_older_event_sent_last(place):
    with lines_of(place / "topics.jsonl") as lines:
        by_key = {}
        for line in events(lines):
            by_key.setdefault(line["key"], []).append(line)
        found = next(each for each in by_key.values() if len({line["headers"]["ce_id"] for line in each}) > 1)
        lines.append({**found[0], "offset": found[-1]["offset"] + 100_000})
    return "invariant 5", "the last event of"


def plant_a_changed_event(place):
    with lines_of(place / "topics.jsonl") as lines:
        line = events(lines)[-1]
        line["value"] = line["value"].replace('"actor":"alice"', '"actor":"mallory"')
    return "invariant 5", "not the one that was recorded"


def plant_a_private_member_on_a_topic(place):
    with lines_of(place / "topics.jsonl") as lines:
        line = next(line for line in events(lines) if json.loads(line["value"])["jwk"]["publicKey"])
        value = json.loads(line["value"])
        value["jwk"]["publicKey"]["d"] = "x"
        line["value"] = json.dumps(value)
    return "invariant 6", "private member"


def plant_a_private_member_of_a_replaced_key_on_a_topic(place):
    with lines_of(place / "topics.jsonl") as lines:
        line = next(line for line in events(lines) if json.loads(line["value"])["jwk"]["retiring"])
        value = json.loads(line["value"])
        value["jwk"]["retiring"][0]["publicKey"]["d"] = "x"
        line["value"] = json.dumps(value)
    return "invariant 6", "private member"


def plant_a_secret_in_a_log(place):
    secret = (place / "secrets.txt").read_text().split()[0]
    with open(next((place / "logs").glob("api-*.log")), "a", encoding="utf-8") as log:
        log.write(f"refused key={secret}\n")
    return "invariant 6", "log"


def plant_memory_that_grew(place):
    with lines_of(place / "history.jsonl") as lines:
        next(line for line in lines if line["kind"] == "usage")["resident"] = 4 << 30
    return "invariant 7", "used"


def plant_a_program_that_ended(place):
    with lines_of(place / "history.jsonl") as lines:
        lines.append({"kind": "ended", "at": 0, "node": "api", "status": -6, "log": "assertion"})
    return "invariant 0", "ended by itself"


def plant_two_workers_that_both_live(place):
    with lines_of(place / "history.jsonl") as lines:
        next(line for line in lines if line["kind"] == "fenced")["status"] = None
    return "invariant 0", "one identity"


def audit_records(lines):
    return [line for line in lines if line["topic"] == "audit"]


def plant_a_changed_line_of_the_trail(place):
    with lines_of(place / "topics.jsonl") as lines:
        record = audit_records(lines)[1]
        record["value"] = record["value"].replace('"time":"2', '"time":"3', 1)
    return "invariant 8", "does not follow the one before"


def plant_a_lost_record_of_the_trail(place):
    with lines_of(place / "topics.jsonl") as lines:
        lines.remove(audit_records(lines)[2])
    return "invariant 8", "follows line"


def plant_a_forged_signature_of_the_trail(place):
    with lines_of(place / "topics.jsonl") as lines:
        one, two = audit_records(lines)[:2]
        one["value"] = one["value"].rpartition("\n")[0] + "\n" + two["value"].rpartition("\n")[2]
    return "invariant 8", "is not genuine"


def plant_a_repetition_that_differs(place):
    with lines_of(place / "topics.jsonl") as lines:
        records = audit_records(lines)
        lines.append({**records[0], "offset": records[-1]["offset"] + 1, "value": records[0]["value"].replace('"time":"2', '"time":"3', 1)})
    return "invariant 8", "is there twice, and differs"


def plant_a_change_that_the_trail_does_not_tell(place):
    edit_database(place, "api", "PRAGMA foreign_keys = OFF", f"UPDATE deployment SET uid = '{uuid.uuid4()}' WHERE id = (SELECT max(id) FROM deployment)")
    return "invariant 8", "does not tell deployment"


def plant_a_change_that_only_the_trail_tells(place):
    edit_database(place, "api", "PRAGMA foreign_keys = OFF", "DELETE FROM deployment WHERE id = (SELECT max(id) FROM deployment)")
    return "invariant 8", "which is not in the store"


# ---- signatures and private halves ----

def plant_an_event_without_a_signature(place):
    with lines_of(place / "topics.jsonl") as lines:
        events(lines)[3]["headers"].pop("ce_signature")
    return "invariant 9", "is not signed by a key of the API"


def plant_an_event_that_was_signed_with_another_time(place):
    with lines_of(place / "topics.jsonl") as lines:
        events(lines)[3]["headers"]["ce_time"] = "2020-01-01T00:00:00.000Z"
    return "invariant 9", "is not signed by a key of the API"


def plant_an_event_signed_by_a_stranger(place):
    with lines_of(place / "topics.jsonl") as lines:
        line = events(lines)[3]
        line["headers"], = Signer().sign_records([(line["key"], line["headers"], line["value"])])
    return "invariant 9", "is not signed by a key of the API"


def plant_an_event_in_another_place_of_its_batch(place):
    with lines_of(place / "topics.jsonl") as lines:
        line = events(lines)[3]
        line["headers"]["ce_signaturepath"] = "1/2:" + "A" * 43
    return "invariant 9", "is not signed by a key of the API"


def plant_an_ack_signed_by_another_replica(place):
    with lines_of(place / "topics.jsonl") as lines:
        acks = [line for line in lines if line["topic"] == "acks"]
        one = acks[0]
        other = next(line for line in acks if json.loads(line["value"])["environment"] != json.loads(one["value"])["environment"])
        one["headers"] |= {name: other["headers"][name] for name in ("ce_signature", "ce_signaturepath")}
    return "invariant 9", "the ack at"


def presence(lines):
    return [line for line in lines if line["topic"] == "workers" and line["value"]]


def plant_a_presence_record_without_enrolment(place):
    with lines_of(place / "topics.jsonl") as lines:
        line = presence(lines)[2]
        line["value"] = json.dumps(json.loads(line["value"]) | {"enrolment": None})
    return "invariant 9", "no enrolment that is its environment's"


def plant_a_replica_that_another_environment_has_enrolled(place):
    with lines_of(place / "topics.jsonl") as lines:
        found = {json.loads(line["value"])["environment"]: json.loads(line["value"]) for line in presence(lines)}
        line = next(line for line in presence(lines) if json.loads(line["value"])["environment"] == "staging")
        own, others = json.loads(line["value"]), found["production"]
        line["value"] = json.dumps(own | {name: others[name] for name in ("replicaKey", "enrolment")})
    return "invariant 9", "no enrolment that is its environment's"


def plant_a_presence_record_that_was_changed(place):
    with lines_of(place / "topics.jsonl") as lines:
        line = presence(lines)[2]
        line["value"] = json.dumps(json.loads(line["value"]) | {"keys": 99})
    return "invariant 9", "is not signed by its replica"


def change_private_half(line, change):
    value = json.loads(line["value"])
    change(value["jwk"]["privateKey"], value)
    line["value"] = json.dumps(value)


def with_private_half(lines):
    return [line for line in events(lines) if json.loads(line["value"])["jwk"].get("privateKey")]


def plant_a_private_half_that_is_missing(place):
    with lines_of(place / "topics.jsonl") as lines:
        change_private_half(with_private_half(lines)[0], lambda sealed, value: value["jwk"].pop("privateKey"))
    return "invariant 9", "has no private half"


def plant_a_private_half_that_was_changed(place):
    with lines_of(place / "topics.jsonl") as lines:
        change_private_half(with_private_half(lines)[0], lambda sealed, _: sealed.update(ciphertext="A" + sealed["ciphertext"][1:-1] + "A"))
    return "invariant 9", "does not open in"


def plant_a_private_half_for_one_environment_less(place):
    kid = next(key["kid"] for key in json.loads((place / "staging.credentials").read_text())["keys"] if key["use"] == "enc")
    with lines_of(place / "topics.jsonl") as lines:
        change_private_half(with_private_half(lines)[0], lambda sealed, _: sealed.update(
            recipients=[each for each in sealed["recipients"] if each["header"]["kid"] != kid]))
    return "invariant 9", "does not open in staging"


def plant_the_private_half_of_another_jwk(place):
    with lines_of(place / "topics.jsonl") as lines:
        one, other = list({line["key"]: line for line in with_private_half(lines)}.values())[:2]
        change_private_half(one, lambda _, value: value["jwk"].update(privateKey=json.loads(other["value"])["jwk"]["privateKey"]))
    return "invariant 9", "does not open in"


def plant_a_private_half_beside_the_public_one_of_another_key(place):
    with lines_of(place / "topics.jsonl") as lines:
        line = next(line for line in with_private_half(lines) if json.loads(line["value"])["jwk"]["publicKey"])
        change_private_half(line, lambda _, value: value["jwk"]["publicKey"].update(kid="another"))
    return "invariant 9", "is that of another key"


def plant_a_private_half_that_the_api_does_not_have(place):
    with lines_of(place / "history.jsonl") as lines:
        keys = next(line for line in lines if line["kind"] == "private")["keys"]
        keys[next(iter(keys))] = "A" * 43
    return "invariant 9", "does not hold for"


def plant_a_replica_that_keeps_the_private_half_of_before(place):
    edit_database(place, "staging-edge-1", "UPDATE jwk_private SET sealed = (SELECT sealed FROM jwk_private WHERE jwk ="
                  " (SELECT max(jwk) FROM jwk_private)) WHERE jwk = (SELECT min(jwk) FROM jwk_private)")
    return "invariant 9", "does not keep the private half"


def plant_a_replica_without_a_private_half(place):
    edit_database(place, "staging-edge-1", "DELETE FROM jwk_private WHERE jwk = (SELECT min(number) FROM jwk WHERE NOT deleted)")
    return "invariant 9", "has no private half of"


# ---- commands ----

def plant_a_command_that_can_not_be_run_again(place):
    with lines_of(place / "history.jsonl") as lines:
        lines.append({"kind": "command_again", "at": 0, "words": ["rekey"], "status": 1, "error": "wrong key"})
    return "invariant 0", "run again"


def plant_a_backup_that_is_not_whole(place):
    with lines_of(place / "history.jsonl") as lines:
        lines.append({"kind": "backup", "at": 0, "after_kill": 1, "status": 0, "said": ""})
    return "invariant 0", "a copy that is not whole"


def test_a_replaced_key_may_be_served_or_not_where_its_time_ends(copy):
    with lines_of(copy / "history.jsonl") as lines:
        quiet, retiring = quiet_with_retiring(lines)
        retiring[2] = quiet["wall"][0] * 1000
        quiet["replicas"]["staging-edge-1"][retiring[0]]["keys"].remove(json.loads(retiring[1]))
    assert check.judge(copy) == []


@pytest.mark.parametrize("plant", [function for name, function in sorted(globals().items()) if name.startswith("plant_")],
                         ids=lambda function: function.__name__.removeprefix("plant_"))
def test_a_planted_violation_is_found(plant, copy):
    invariant, words = plant(pathlib.Path(copy))
    found = check.judge(copy)
    assert [sentence for sentence in found if sentence.startswith(invariant) and words in sentence], found
