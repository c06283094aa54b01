"""Violations that are planted into the topics of a run (see plants.py): of events, of what is private, of the audit trail, of
signatures."""

import json
import uuid

from harness.signatures import Signer

from .plants import add_line, edit_database, events, lines_of


def plant_a_lost_event(place):
    with lines_of(place / "topics.jsonl") as lines:
        uid = json.loads(events(lines)[-1]["value"])["deploymentId"]
        lines[:] = [line for line in lines if not (line["topic"] == "events" and uid in (line["value"] or ""))]
    return "invariant 5", "is not on the topic"


def plant_an_event_before_the_commit(place):
    edit_database(place, "api", "PRAGMA foreign_keys = OFF", "DELETE FROM deployment WHERE id = (SELECT max(id) FROM deployment)")
    return "invariant 1", "was sent, but its change is not in the store"


def events_of_one_jwk(lines, count):
    """Of the first one that has so many."""
    by_key = {}
    for line in events(lines):
        by_key.setdefault(line["key"], []).append(line)
    return next(found for found in by_key.values() if len({line["headers"]["ce_id"] for line in found}) >= count)


def plant_a_missing_version(place):
    with lines_of(place / "topics.jsonl") as lines:
        gone = events_of_one_jwk(lines, 3)[1]["headers"]["ce_id"]
        lines[:] = [line for line in lines if line["headers"].get("ce_id") != gone]
    return "invariant 5", "one is missing"


def plant_an_event_that_is_not_json(place):
    with lines_of(place / "topics.jsonl") as lines:
        events(lines)[-1]["value"] = "{"
    return "invariant 5", "is not JSON"


def plant_a_jwk_on_two_partitions(place):
    with lines_of(place / "topics.jsonl") as lines:
        events_of_one_jwk(lines, 2)[-1]["partition"] += 1
    return "invariant 5", "on more than one partition"


def plant_two_events_with_one_id(place):
    with lines_of(place / "topics.jsonl") as lines:
        first, second = events_of_one_jwk(lines, 2)[:2]
        second["headers"]["ce_id"] = first["headers"]["ce_id"]
    return "invariant 5", "is that of 2 events"


def plant_an_event_without_an_id(place):
    with lines_of(place / "topics.jsonl") as lines:
        events(lines)[-1]["headers"].pop("ce_id")
    return "invariant 5", "ce_id None"


def plant_an_event_that_tells_another_change(place):
    edit_database(place, "api", "UPDATE deployment SET version = version + 1 WHERE id = (SELECT max(id) FROM deployment)")
    return "invariant 5", "tells another change"


def plant_a_change_of_the_store_that_the_topic_does_not_tell(place):
    edit_database(place, "api", "UPDATE jwk SET description = 'restored'"
                  " WHERE id = (SELECT max(id) FROM jwk WHERE deleted_at IS NULL)")
    return "invariant 5", "but the store has"


def plant_a_deletion_that_the_store_has_forgotten(place):
    edit_database(place, "api", "UPDATE jwk SET deleted_at = NULL, name = uid"
                  " WHERE id = (SELECT max(id) FROM jwk WHERE deleted_at IS NOT NULL)")
    return "invariant 5", "but the store has"


def plant_a_topic_that_was_lost_and_not_filled_again(place):
    add_line(place, "topics_lost")
    return "invariant 5", "on the topic tells None"


def plant_a_tombstone_of_what_is_there(place):
    with lines_of(place / "topics.jsonl") as lines:
        lines.append({**events(lines)[-1], "offset": 100_000, "value": None})
    return "invariant 5", "came too early"


def plant_a_tombstone_right_after_the_deletion(place):
    with lines_of(place / "topics.jsonl") as lines:
        deletion = next(line for line in events(lines) if json.loads(line["value"])["operation"] == "delete")
        lines.append({**deletion, "offset": 100_000, "value": None})
    return "invariant 5", "came too early"


def plant_events_out_of_order(place):
    with lines_of(place / "topics.jsonl") as lines:
        first, second = events_of_one_jwk(lines, 2)[:2]
        first["offset"], second["offset"] = second["offset"], first["offset"]
    return "invariant 5", "came after the later"


def plant_a_duplicate_with_another_id(place):
    with lines_of(place / "topics.jsonl") as lines:
        line = events(lines)[-1]
        lines.append({**line, "offset": line["offset"] + 100_000, "headers": {**line["headers"], "ce_id": str(uuid.uuid4())}})
    return "invariant 5", "sent twice"


def plant_an_older_event_sent_last(place):
    with lines_of(place / "topics.jsonl") as lines:
        found = events_of_one_jwk(lines, 2)
        lines.append({**found[0], "offset": found[-1]["offset"] + 100_000})
    return "invariant 5", "was sent before"


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


def secret_of(place):
    """One with a character that base64 and base64url write in different ways."""
    return next(word for word in (place / "secrets.txt").read_text().split() if "-" in word)


def plant_a_secret_on_a_topic(place):
    with lines_of(place / "topics.jsonl") as lines:
        line = presence(lines)[0]
        line["value"] = json.dumps(json.loads(line["value"]) | {"url": secret_of(place)})
    return "invariant 6", "in workers 0@"


def plant_a_secret_in_a_header(place):
    with lines_of(place / "topics.jsonl") as lines:
        events(lines)[0]["headers"]["ce_subject"] = secret_of(place)
    return "invariant 6", "in events "


def log_line(place, text):
    with open(next((place / "logs").glob("api-*.log")), "a", encoding="utf-8") as log:
        log.write(f"refused {text}\n")
    return "invariant 6", "in log api-"


def plant_a_secret_in_a_log(place):
    return log_line(place, f"key={secret_of(place)}")


def plant_a_secret_within_a_word_of_a_log(place):
    return log_line(place, f"key_{secret_of(place)}_")


def plant_a_secret_in_base64_in_a_log(place):
    return log_line(place, secret_of(place).replace("-", "+").replace("_", "/") + "=")


def plant_the_key_of_an_environment_in_a_log(place):
    return log_line(place, json.loads((place / "staging.credentials").read_text())["keys"][0]["d"])


def plant_the_master_key_in_a_log(place):
    return log_line(place, (place / "master-key").read_text().strip())


def plant_a_secret_in_what_a_command_says(place):
    add_line(place, "command", words=["rekey"], killed=True, status=-9, error=secret_of(place))
    return "invariant 6", "in what a command said"


def plant_a_secret_in_an_answer(place):
    with lines_of(place / "history.jsonl") as lines:
        line = next(line for line in lines if line["kind"] == "request" and line["answer"])
        line["answer"]["error_description"] = secret_of(place)
    return "invariant 6", "in answer to"


def serve_key(place, **members):
    with lines_of(place / "history.jsonl") as lines:
        quiet = next(line for line in lines if line["kind"] == "quiet")
        next(each for each in quiet["replicas"]["staging-edge-1"].values() if each["keys"])["keys"][0].update(members)


def plant_a_secret_that_is_served(place):
    serve_key(place, kid=secret_of(place))
    return "invariant 6", "in what staging-edge-1 serves"


def plant_a_private_member_that_is_served(place):
    serve_key(place, d="x")
    return "invariant 6", "serves a private member"


def plant_a_symmetric_key_that_is_served(place):
    serve_key(place, kty="oct")
    return "invariant 6", "or a symmetric key"


# ---- the audit trail ----

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


def plant_a_signature_of_the_trail_over_an_earlier_line(place):
    with lines_of(place / "topics.jsonl") as lines:
        one, two = audit_records(lines)[:2]
        two["value"] = two["value"].rpartition("\n")[0] + "\n" + one["value"].rpartition("\n")[2]
    return "invariant 8", "is not genuine"


def plant_a_record_of_the_trail_without_a_signature(place):
    with lines_of(place / "topics.jsonl") as lines:
        record = audit_records(lines)[2]
        record["value"] = record["value"].rpartition("\n")[0]
    return "invariant 8", "is not signed"


def plant_a_trail_without_its_beginning(place):
    with lines_of(place / "topics.jsonl") as lines:
        lines.remove(audit_records(lines)[0])
    return "invariant 8", "follows line 0"


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


def plant_a_change_that_the_trail_tells_of_another_user(place):
    edit_database(place, "api", "UPDATE deployment SET actor = 'mallory' WHERE id = (SELECT max(id) FROM deployment)")
    return "invariant 8", "tells another deployment"


def plant_a_change_that_the_trail_tells_with_another_event(place):
    with lines_of(place / "topics.jsonl") as lines:
        for line in events_of_one_jwk(lines, 1):
            line["headers"]["ce_id"] = str(uuid.uuid4())
    return "invariant 8", "tells another deployment"


def plant_a_success_that_the_trail_does_not_tell(place):
    with lines_of(place / "topics.jsonl") as lines:
        uid = json.loads(events(lines)[-1]["value"])["deploymentId"]
        for record in audit_records(lines):
            record["value"] = "\n".join(line.replace('"success":true', '"success":false') if uid in line else line
                                        for line in record["value"].split("\n"))
    return "invariant 8", f"does not tell that deployment {uid} has succeeded"


def plant_a_command_that_the_trail_does_not_tell(place):
    add_line(place, "command_again", words=["rekey"], status=0, error="")
    return "invariant 8", "tells of 0 times 'rekey'"


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


def plant_a_private_half_that_outlives_its_jwk(place):
    edit_database(place, "staging-edge-1", "UPDATE jwk_private SET jwk = (SELECT min(number) FROM jwk WHERE deleted)"
                  " WHERE jwk = (SELECT max(jwk) FROM jwk_private)")
    return "invariant 9", "does not keep the private half"
