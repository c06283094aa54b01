"""Violations that are planted into a run: of what was answered, of replicas and of programs.

Each function gets the directory of a run, changes what that has left behind, and returns the invariant that is broken by it, with
some words of what must be told."""

import contextlib
import json
import shutil
import sqlite3
import uuid

from . import check
from .cluster import find_database
from .evidence import OPERATIONS
from .history import read_lines
from .load import SHARED_PROJECT


@contextlib.contextmanager
def lines_of(path):
    lines = read_lines(path)
    yield lines
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def add_line(place, kind, at=0.0, **members):
    """To the history."""
    with lines_of(place / "history.jsonl") as lines:
        lines.append({"kind": kind, "at": at, **members})


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


# ---- what was answered ----


def plant_an_ack_before_the_commit(place):
    uid = uid_of(answered(place, operation="update"))
    edit_database(place, "api", "PRAGMA foreign_keys = OFF", f"DELETE FROM deployment WHERE uid = '{uid}'")
    return "invariant 1", ", is not in the store"


def plant_an_answer_without_a_deployment(place):
    with lines_of(place / "history.jsonl") as lines:
        next(line for line in lines if line["kind"] == "request" and line["status"] == 202)["location"] = None
    return "invariant 1", "names no deployment"


def plant_a_deployment_of_another_name(place):
    uid = uid_of(answered(place, operation="update"))
    edit_database(place, "api", f"UPDATE deployment SET jwk_name = 'another' WHERE uid = '{uid}'")
    return "invariant 1", "is stored as update of another"


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


def afterwards(place, earlier, **members):
    """A request that follows one of an earlier operation, which was answered 200, on a name that only one client changes.
    Returns that name."""
    before = next(line for line in read_lines(place / "history.jsonl") if line["kind"] == "request" and line["status"] == 200
                  and line["operation"] == earlier and line["project"] != SHARED_PROJECT and not line.get("new_name"))
    with lines_of(place / "history.jsonl") as lines:
        lines.append({**before, "start": before["start"] + 1e-4, "key": None, **members})
    return before["name"]


def refusal(words):
    return {"status": 400, "location": None, "description": None, "answer": {"error_description": words}}


def plant_a_refusal_of_what_is_there(place):
    afterwards(place, "update", **refusal("The JWK is not found"))
    return "invariant 1", "is not found', but"


def plant_a_refusal_for_what_is_not_there(place):
    afterwards(place, "delete", operation="create", **refusal("It does already exist"))
    return "invariant 1", "but there is none"


def plant_a_deleted_jwk_that_is_read(place):
    afterwards(place, "delete", operation="get", answer={"description": "there"})
    return "invariant 1", "which was deleted"


def plant_a_deleted_jwk_that_is_updated(place):
    name = afterwards(place, "delete", operation="update", description="there")
    return "invariant 1", f"was answered 200, but {name} was deleted"


def plant_a_name_that_is_given_twice(place):
    name = afterwards(place, "update", operation="create")
    return "invariant 1", f"was answered 200, but {name} exists"


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


def plant_an_update_without_a_key_that_was_done_twice(place):
    return done_twice(place, uid_of(answered(place, operation="update", key=None)))


def plant_a_change_that_was_refused_and_recorded(place):
    with lines_of(place / "history.jsonl") as lines:
        lines.append({**answered(place, operation="update", key=None), "status": 404, "location": None})
    return "invariant 1", "was answered 404, but is deployment"


def plant_a_rotation_that_was_done_twice(place):
    return done_twice(place, uid_of(next(
        line for line in read_lines(place / "history.jsonl") if line["kind"] == "request" and line["operation"] == "rotate" and line["key"]
        and line["kid"] and line["location"])))


def event_of_a_follower(place):
    """The kid of a key that several JWKs have got at once, and the deployment of one of them."""
    kids = {line["thumbprint"] for line in read_lines(place / "history.jsonl") if line["kind"] == "request" and line["operation"] == "follow"}
    found = {}
    for line in events(read_lines(place / "topics.jsonl")):
        value = json.loads(line["value"])
        if value["jwk"]["kid"] in kids and value["operation"] == "update":
            found.setdefault(value["jwk"]["kid"], set()).add(value["deploymentId"])
    return next((kid, min(uids)) for kid, uids in found.items() if len(uids) > 1)


def plant_a_jwk_that_has_not_followed_its_key(place):
    _, uid = event_of_a_follower(place)
    edit_database(place, "api", f"UPDATE deployment SET changed = 'description' WHERE uid = '{uid}'")
    return "invariant 1", "JWKs that are made from the key"


def plant_a_key_that_was_answered_and_that_nobody_has_followed(place):
    with lines_of(place / "history.jsonl") as lines:
        line = next(line for line in lines if line["kind"] == "request" and line["operation"] == "follow" and line["status"] in (200, 202)
                    and line["followers"])
        lines.append({**line, "thumbprint": "never seen", "key": None})
    return "invariant 1", "have not followed"


def plant_an_unsettled_result(place):
    edit_database(place, "api", "UPDATE deployment_result SET state = 0 WHERE deployment_id = (SELECT max(id) FROM deployment)")
    return "invariant 2", "never confirmed"


def plant_a_result_that_is_not_expected(place):
    edit_database(place, "api", "DELETE FROM deployment_result WHERE (deployment_id, environment_id) ="
                  " (SELECT max(deployment_id), environment_id FROM deployment_result)")
    return "invariant 2", "it is not expected to"


def plant_a_wait_in_vain(place):
    add_line(place, "never", what="all replicas are equal to the API", detail=None)
    return "invariant 2", "in vain"


def plant_a_run_that_was_given_up(place):
    shutil.rmtree(place / "final")
    return "invariant 2", "was given up"


# ---- replicas ----

def plant_a_replica_that_lacks_a_project(place):
    with lines_of(place / "history.jsonl") as lines:
        [line for line in lines if line["kind"] == "quiet"][-1]["replicas"]["staging-edge-1"].pop(SHARED_PROJECT)
    return "invariant 3", f"differ on {SHARED_PROJECT}"


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


def plant_a_version_that_is_served_and_not_stored(place):
    edit_database(place, "staging-edge-1", "UPDATE jwk SET version = version - 1 WHERE number = (SELECT max(number) FROM jwk)")
    return "invariant 3", "staging-edge-1 has stored"


def plant_a_jwk_that_only_a_replica_has(place):
    edit_database(place, "staging-edge-1", "UPDATE jwk SET id = 'stranger' WHERE number = (SELECT max(number) FROM jwk)")
    return "invariant 3", "has stored stranger, and the API has not"


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


def stored_and_then_served(place, stored, served):
    """What a replica had when it died, and what a reader got of it later, of a JWK that was not looked at before."""
    with lines_of(place / "history.jsonl") as lines:
        state = next(line for line in lines if line["kind"] == "state")
        state["items"]["unseen"] = stored
        lines.append({"kind": "observed", "at": state["at"] + 1e-4, "start": state["at"] + 1e-4, "replica": state["replica"],
                      "changed": {"unseen": served}, "gone": []})


def plant_a_version_going_back_from_what_was_stored(place):
    stored_and_then_served(place, [1, 5, False], [1, 4])
    return "invariant 3", "went back"


def plant_a_key_that_returns_after_its_deletion_was_stored(place):
    stored_and_then_served(place, [1, 5, True], [1, 6])
    return "invariant 3", "again after its deletion"


def plant_a_key_that_was_served_and_never_recorded(place):
    stored_and_then_served(place, [1, 5, False], [1, 6])
    return "invariant 3", "had version [1, 6] of unseen, which is not in the store"


def plant_a_key_that_was_stored_and_never_recorded(place):
    stored_and_then_served(place, [1, 5, False], [1, 6])
    return "invariant 3", "had version [1, 5] of unseen, which is not in the store"


# ---- success, acks and positions ----

def probe_of(place, lines, operation):
    """(what a reader got after a success that nothing disturbed, the JWK, which is not deleted later)."""
    database = sqlite3.connect(find_database(place / "final" / "api"))
    uids = dict(database.execute("SELECT d.uid, j.uid FROM deployment d JOIN jwk j ON j.id = jwk_id WHERE operation = ?"
                                 " AND (deleted_at IS NULL OR d.id = j.deployment)", [OPERATIONS.index(operation)]))
    database.close()
    starts = {line["location"]: line["start"] for line in lines if line["kind"] == "request"}
    return next((line, uids[uid_of(line)]) for line in lines if line["kind"] == "probe" and uid_of(line) in uids
                and line["undisturbed_since"] + check.SETTLING_S < starts[line["location"]]
                and line["message"] in ("Deployed successfully", "Undeployed successfully"))


def plant_a_success_that_a_replica_had_not_applied(place):
    with lines_of(place / "history.jsonl") as lines:
        probe, identifier = probe_of(place, lines, "update")
        probe["items"][identifier] = [1, 0]
    return "invariant 4", "had [1, 0], not version"


def plant_a_success_of_what_a_replica_did_not_have(place):
    with lines_of(place / "history.jsonl") as lines:
        probe, identifier = probe_of(place, lines, "update")
        probe["items"].pop(identifier)
    return "invariant 4", "did not have it"


def plant_a_deletion_that_had_succeeded_and_was_not_applied(place):
    with lines_of(place / "history.jsonl") as lines:
        probe, identifier = probe_of(place, lines, "delete")
        probe["items"][identifier] = [1, 1]
    return "invariant 4", "still served the deleted JWK"


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
    return "invariant 4", "had acked version"


def plant_an_ack_of_what_a_reader_did_not_get(place):
    line = next(line for line in read_lines(place / "topics.jsonl") if line["topic"] == "acks")
    ack = json.loads(line["value"])
    later = line["seen"] + 1e-4
    add_line(place, "observed", later, start=later, replica=f"{ack['environment']}-{ack['replica']}",
             changed={ack["jwkId"]: [1, 0]}, gone=[])
    return "invariant 4", "but then served [1, 0]"


def change_ack(place, **members):
    with lines_of(place / "topics.jsonl") as lines:
        line = next(line for line in lines if line["topic"] == "acks")
        line["value"] = json.dumps(json.loads(line["value"]) | members)


def plant_an_ack_of_what_was_never_recorded(place):
    change_ack(place, deploymentId="stranger")
    return "invariant 4", "is for what is not in the store: stranger"


def plant_an_ack_of_another_event(place):
    change_ack(place, eventHash="A" * 43)
    return "invariant 4", "does not fit"


def plant_a_position_ahead_of_what_is_stored(place):
    dead = next(line for line in read_lines(place / "history.jsonl") if line["kind"] == "state" and line["items"])
    with lines_of(place / "topics.jsonl") as lines:
        line = [line for line in lines if line["topic"] == "workers" and line["key"].replace("/", "-") == dead["replica"]
                and line["seen"] < dead["at"]][-1]
        value = json.loads(line["value"])
        line["value"] = json.dumps(value | {"positions": [each | {"offset": 1_000_000} for each in value["positions"]]})
    return "invariant 4", "was past version"


# ---- programs ----

def plant_memory_that_grew(place):
    with lines_of(place / "history.jsonl") as lines:
        next(line for line in lines if line["kind"] == "usage")["resident"] = 4 << 30
    return "invariant 7", "used"


def plant_a_program_that_ended(place):
    add_line(place, "ended", node="api", status=-6, log="assertion")
    return "invariant 0", "ended by itself"


def plant_a_program_that_crashed_under_a_fault(place):
    add_line(place, "crashed", node="api", status=-11, log="")
    return "invariant 0", "crashed with status -11"


def plant_a_program_that_did_not_end_when_told_to(place):
    add_line(place, "told_to_end", node="api", status=None, log="")
    return "invariant 0", "told to end"


def plant_a_program_without_memory_that_ended_as_if_all_were_well(place):
    add_line(place, "out_of_memory", node="api", status=0, log="out of memory")
    return "invariant 0", "without memory ended with status 0"


def plant_a_program_without_memory_that_did_not_say_so(place):
    add_line(place, "out_of_memory", node="api", status=check.STATUS_OUT_OF_MEMORY, log="")
    return "invariant 0", "without memory ended with status 71"


def plant_a_start_that_would_not_be_tried_again(place):
    add_line(place, "refused_start", node="api", status=2, log="can not serve")
    return "invariant 0", "to be started again"


def plant_a_second_api_that_was_not_refused(place):
    add_line(place, "second_api", status=0, first_running=True)
    return "invariant 0", "a second API"


def plant_a_second_api_that_crashed(place):
    add_line(place, "second_api", status=-11, first_running=True)
    return "invariant 0", "a second API"


def plant_a_second_api_that_ended_the_first(place):
    add_line(place, "second_api", status=1, first_running=False)
    return "invariant 0", "a second API"


def change_fenced(place, **members):
    with lines_of(place / "history.jsonl") as lines:
        next(line for line in lines if line["kind"] == "fenced").update(members)
    return "invariant 0", "one identity"


def plant_two_workers_that_both_live(place):
    return change_fenced(place, status=None)


def plant_two_workers_that_both_end(place):
    return change_fenced(place, copy_status=3)


def plant_a_command_that_failed_by_itself(place):
    add_line(place, "command", words=["rekey"], killed=False, status=1, error="wrong key")
    return "invariant 0", "jwk-api rekey ended with status 1"


def plant_a_command_that_can_not_be_run_again(place):
    add_line(place, "command_again", words=["rekey"], status=1, error="wrong key")
    return "invariant 0", "run again"


def plant_a_backup_that_is_not_whole(place):
    add_line(place, "backup", after_kill=1, status=0, said="")
    return "invariant 0", "a copy that is not whole"


def plant_a_backup_that_is_not_sound(place):
    add_line(place, "backup", after_kill=False, status=1, said="damaged")
    return "invariant 0", "a backup is not sound"
