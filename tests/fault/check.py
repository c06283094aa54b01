"""Judges a run by the invariants, from what it has left behind alone. Each judge yields sentences that begin with its invariant.

1. What was answered is stored and stays.
2. Every recorded change reaches every replica, by itself.
3. When all is quiet each replica equals the API, and none ever goes back.
4. Success means applied, durable, and served.
5. Each event is on its topic, in order, and a duplicate is marked.
6. Nothing private leaves.
7. Memory is bounded.
8. The audit trail is one unbroken chain, signed, and tells each change and what came of it (check_trail.py).
9. Who says something has signed it, and private halves open for their environments (check_trust.py).
0. And no program ends by itself, or in another way than it should."""

import collections
import functools
import json
import re
import sys

from . import check_trail, check_trust
from .evidence import RESULT_SUCCEEDED, SECRET_SIZE_MIN, URL_SAFE, Evidence, digest
from .load import SHARED_PROJECT, STILL_IN_PROGRESS, UNDEPLOYED

PRIVATE_MEMBERS = check_trust.PRIVATE_MEMBERS
STATUS_OUT_OF_MEMORY = 71
RESIDENT_MAX = 400 << 20
SETTLING_S = 3.0  # a replica that was ready for this long is known to the API
RETIRING_GRAIN_MS = 1000  # by so much a replica may be early or late where a replaced key's time ends
REFUSED = set(range(400, 500)) - {STILL_IN_PROGRESS}
AT_MOST = 20  # sentences of one sort
STORED_AS = {"generate": "create", "rotate": "update"}  # the operation of a deployment, where it has another name than the request's


# ---- 1 ----

def answered_is_stored(evidence):
    described = {value["deploymentId"]: value for _, value in evidence.events if value}
    for line in evidence.lines["request"]:
        if line["status"] not in (200, 202) or line["operation"] in UNDEPLOYED:
            continue
        what = f"invariant 1: {line['operation']} {line['number']} of client {line['client']}, answered {line['status']}"
        if not line["location"]:
            yield f"{what}, names no deployment"
            continue
        deployment = evidence.deployments.get(line["location"].rstrip("/").rpartition("/")[2])
        if deployment is None:
            yield f"{what}, is not in the store: {line['location']}"
            continue
        name = line.get("new_name") or line["name"]
        if deployment["operation"] != STORED_AS.get(line["operation"], line["operation"]) or deployment["jwk_name"] != name:
            yield f"{what}, is stored as {deployment['operation']} of {deployment['jwk_name']}: {line['location']}"
        event = described.get(deployment["uid"])
        if event and line.get("description") and event["jwk"]["description"] != line["description"]:
            yield f"{what}, was published with another description: {line['location']}"


def readers_see_their_writes(evidence):
    """Names that one client alone changes: what it was answered must agree with what it did."""
    by_client = collections.defaultdict(list)
    for line in evidence.lines["request"]:
        if line["project"] != SHARED_PROJECT:
            by_client[line["client"]].append(line)
    for client, lines in by_client.items():
        known = {}  # name -> description, or None when it is known not to exist
        for line in sorted(lines, key=lambda each: each["start"]):
            name, new_name, status, operation = line["name"], line.get("new_name"), line["status"], line["operation"]
            said = (line["answer"] or {}).get("error_description", "") if status and status >= 400 else ""
            what = f"invariant 1: {operation} {line['number']} of client {client}"
            if "is not found" in said and known.get(name) is not None:
                yield f"{what} was answered {said!r}, but {name} exists"
            if "already exist" in said and known.get(new_name or name, "") is None:
                yield f"{what} was answered {said!r}, but there is none"
            creates = operation in ("create", "generate")
            if status in (200, 202) and (creates or new_name) and known.get(new_name or name) is not None:
                yield f"{what} was answered {status}, but {new_name or name} exists"
            if status in (200, 202) and not creates and operation != "get" and known.get(name, "") is None:
                yield f"{what} was answered {status}, but {name} was deleted"
            if operation == "get":
                if status == 200 and name in known and known[name] is None:
                    yield f"{what} found {name}, which was deleted"
                elif status == 200 and known.get(name) and line["answer"]["description"] != known[name]:
                    yield f"{what} found {line['answer']['description']!r}, but {known[name]!r} was answered before"
            elif status in (200, 202):
                if operation in ("create", "generate", "update"):
                    if new_name:
                        known[name] = None
                    known[new_name or name] = line["description"]
                elif operation == "delete":
                    known[name] = None
            elif status is None or status >= 500:
                known.pop(name, None)  # it may have been recorded
                known.pop(new_name, None)


def a_key_is_one_change(evidence):
    """What was asked for again under its Idempotency-Key was done once, and each answer names the one deployment of it."""
    asked, uids = collections.defaultdict(list), {deployment["sequence"]: uid for uid, deployment in evidence.deployments.items()}
    for line in evidence.lines["request"]:
        if line["key"]:
            asked[line["key"]].append(line)
    for key, lines in asked.items():
        first = lines[0]
        what = f"invariant 1: {first['operation']} {first['number']} of client {first['client']}, asked for {len(lines)} times under one key,"
        named = {line["location"].rstrip("/").rpartition("/")[2] for line in lines if line["status"] in (200, 202) and line["location"]}
        remembered = evidence.remembered.get(key)
        if remembered is None:
            if named:
                yield f"{what} was answered, but its key is not in the store"
        else:
            follows = first["operation"] == "follow"  # there may be none, too
            recorded = {uids.get(sequence) for sequence in range(remembered["first_deployment"] or 0, (remembered["last_deployment"] or -1) + 1)}
            if len(recorded) != 1 and not follows:
                yield f"{what} has recorded {len(recorded)} deployments"
            refused = [line["answer"] for line in lines if line["status"] in REFUSED]
            if refused:
                yield f"{what} was recorded, and yet refused: {refused[0]['error_description']!r}"
            if named - recorded:
                yield f"{what} was answered with a deployment that it has not recorded: {named - recorded}"


def a_request_is_one_change(evidence):
    """What one request alone has brought is in one deployment at most, and in none when it was refused."""
    by_mark = collections.defaultdict(list)
    for line in evidence.lines["request"]:
        mark = line.get("description") or line.get("kid")  # a delete and a redeploy have none
        if mark:
            by_mark[mark].append(line)
    for mark, lines in by_mark.items():
        recorded = evidence.marked.get(mark, ())
        what = f"invariant 1: {lines[0]['operation']} {lines[0]['number']} of client {lines[0]['client']}"
        if len(recorded) > 1:
            yield f"{what} has led to {len(recorded)} deployments"
        if recorded and lines[-1]["status"] in REFUSED:
            yield f"{what} was answered {lines[-1]['status']}, but is deployment {next(iter(recorded))}"


def all_follow_or_none(evidence):
    """Another key in a key object is, in one transaction, that of every JWK that was made from it and is there."""
    if evidence.topic_begins:
        return  # which key an event brought may not be known
    for line in evidence.lines["request"]:
        if line["operation"] != "follow":
            continue
        what = f"invariant 1: {line['operation']} {line['number']} of client {line['client']}"
        reached = {evidence.deployments[uid]["jwk"]: evidence.deployments[uid]["sequence"] for uid in evidence.marked.get(line["thumbprint"], ())}
        if not reached:
            if line["status"] in (200, 202) and line["followers"]:
                yield f"{what} was answered {line['status']}, but {line['followers']} have not followed"
            continue
        there = set()
        for deployment in evidence.deployments.values():
            if deployment["sequence"] < min(reached.values()) and deployment["jwk_name"].startswith(f"{line['name']}-"):
                (there.discard if deployment["operation"] == "delete" else there.add)(deployment["jwk"])
        if reached.keys() != there:
            yield f"{what} has reached {len(reached)} of the {len(there)} JWKs that are made from the key"


def published_is_stored(evidence):
    for record, value in evidence.events:
        if value and value["deploymentId"] not in evidence.deployments:
            yield f"invariant 1: the event at {record['partition']}@{record['offset']} was sent, but its change is not in the store"


# ---- 2 ----

def everything_arrives(evidence):
    for line in evidence.lines["never"]:
        yield f"invariant 2: in vain until the patience ended: {line['what']}: {line['detail']}"
    if not evidence.complete:
        yield "invariant 2: the run was given up, and what its programs have stored was not kept"
    for uid in evidence.deployments:
        for environment in evidence.environments:
            result = evidence.results.get((uid, environment), {"state": None, "message": "it is not expected to"})
            if result["state"] != RESULT_SUCCEEDED:
                yield f"invariant 2: {environment} never confirmed deployment {uid} ({result['message']})"


# ---- 3 ----

def canonical(key):
    return json.dumps(json.loads(key), sort_keys=True)


def kids(keys):
    return [json.loads(key).get("kid") for key in keys][:4]


def replicas_equal_the_api(evidence):
    """The same JWKs, and of each project the present keys with those that they have replaced and whose time is not over."""
    for quiet in evidence.lines["quiet"]:
        expected, keys = collections.defaultdict(list), collections.defaultdict(collections.Counter)
        ending = collections.defaultdict(collections.Counter)
        for project, public_key, until in quiet["retiring"]:
            if until > quiet["wall"][1] * 1000 + RETIRING_GRAIN_MS:
                keys[project][canonical(public_key)] += 1
            elif until > quiet["wall"][0] * 1000 - RETIRING_GRAIN_MS:
                ending[project][canonical(public_key)] += 1
        for uid, project, name, version, deleted, kid, kind, public_key, _ in quiet["api"]:
            if not deleted:
                expected[project].append((uid, name, version, kid, kind))
                if public_key and kind != "OCT":
                    keys[project][canonical(public_key)] += 1
        for replica, projects in quiet["replicas"].items():
            for project in projects | expected:
                served = projects.get(project, {"items": [], "keys": []})
                items = sorted((each["id"], each["name"], each["version"], each["kid"], each["type"]) for each in served["items"])
                if items != sorted(expected[project]):
                    yield (f"invariant 3: round {quiet['round']}: {replica} and the API differ on {project}: "
                           f"{sorted(set(items) ^ set(expected[project]))[:4]}")
                there = collections.Counter(canonical(json.dumps(each)) for each in served["keys"])
                lacks, exceeds = keys[project] - there, there - keys[project] - ending[project]
                if lacks or exceeds:
                    yield (f"invariant 3: round {quiet['round']}: the set of {project} that {replica} serves is not that of the API:"
                           f" it lacks {kids(lacks)}, and has {kids(exceeds)} too many")


def replicas_keep_what_they_serve(evidence):
    """When all have ended in an orderly way."""
    expected = {jwk["uid"]: [jwk["epoch"], jwk["version"], jwk["deleted_at"] is not None] for jwk in evidence.jwks}
    for replica in evidence.replicas:
        kept = evidence.state(replica)
        for identifier, stored in expected.items():
            found = kept.get(identifier)
            if found != stored and not (found is None and stored[2]):  # one that began later never knew what was deleted
                yield f"invariant 3: {replica} has stored {found} of {identifier}, and the API {stored}"
        for identifier in kept.keys() - expected.keys():
            yield f"invariant 3: {replica} has stored {identifier}, and the API has not"


def no_replica_goes_back(evidence):
    resets = collections.defaultdict(list)
    for line in evidence.lines["state_lost"]:
        resets[line["node"]].append(line["at"])
    steps = sorted([(line["at"], "observed", line) for line in evidence.lines["observed"]]
                   + [(line["at"], "state", line) for line in evidence.lines["state"]], key=lambda each: each[0])
    seen, gone, forgotten = collections.defaultdict(dict), collections.defaultdict(set), evidence.forgotten
    died = collections.defaultdict(float)
    for at, kind, line in steps:
        replica = line["replica"]
        while resets[replica] and resets[replica][0] < at:
            resets[replica].pop(0)
            seen[replica], gone[replica] = {}, set()
        if kind == "state":
            for identifier, version in seen[replica].items():
                stored = line["items"].get(identifier)
                if stored is None and identifier in forgotten:
                    continue
                if stored is None or stored[:2] < version:
                    yield f"invariant 3: {replica} had {identifier} in version {version}, but had stored {stored} when it died"
            seen[replica] |= {identifier: stored[:2] for identifier, stored in line["items"].items()}
            gone[replica] |= {identifier for identifier, stored in line["items"].items() if stored[2]}
            died[replica] = at
            continue
        if line["start"] < died[replica]:
            continue  # what was got before, and written down after
        for identifier, version in line["changed"].items():
            before = seen[replica].get(identifier, [0, 0])
            if version < before:
                yield f"invariant 3: {replica} went back from {before} to {version} of {identifier}"
            if identifier in gone[replica]:
                yield f"invariant 3: {replica} served {identifier} again after its deletion"
            seen[replica][identifier] = version
        gone[replica].update(line["gone"])


def only_what_was_recorded_is_served(evidence):
    """At no moment anything that somebody has made up, or that was never committed."""
    recorded = {(deployment["jwk"], deployment["epoch"], deployment["version"]) for deployment in evidence.deployments.values()}
    for line in (*evidence.lines["observed"], *evidence.lines["state"]):
        for identifier, (epoch, version, *_) in line["changed" if line["kind"] == "observed" else "items"].items():
            if (identifier, epoch, version) not in recorded:
                yield (f"invariant 3: {line['replica']} had version {[epoch, version]} of {identifier},"
                       " which is not in the store")


# ---- 4 ----

def success_is_served(evidence):
    starts = {line["location"]: line["start"] for line in evidence.lines["request"] if line["location"] and line["status"] == 200}
    deleted = {deployment["jwk"]: deployment["version"] for deployment in evidence.deployments.values()
               if deployment["operation"] == "delete"}
    for probe in evidence.lines["probe"]:
        deployment = evidence.deployments.get(probe["location"].rstrip("/").rpartition("/")[2])
        if deployment is None or probe["message"] not in ("Deployed successfully", "Undeployed successfully"):
            continue  # the message names who was not there
        if starts.get(probe["location"], 0) < probe["undisturbed_since"] + SETTLING_S or probe["start"] < probe["answered"]:
            continue
        if evidence.is_lost_unnoticed(probe["answered"]) and not (
                evidence.acked.get((deployment["uid"], probe["replica"]), float("inf")) < probe["start"]):
            continue  # what it has acked itself it has, whichever topic that was on
        found = probe["items"].get(deployment["jwk"])
        what = f"invariant 4: {probe['location']} had succeeded in {probe['environment']}, but then {probe['replica']}"
        if deployment["operation"] == "delete":
            if found is not None:
                yield f"{what} still served the deleted JWK"
        elif found is None:
            if deployment["jwk"] not in deleted:
                yield f"{what} did not have it"
        elif found < [deployment["epoch"], deployment["version"]]:
            yield f"{what} had {found}, not version {deployment['version']}"


def lost_before(evidence, replica, at):
    """When a replica began without a state for the last time before this."""
    return max((line["at"] for line in evidence.lines["state_lost"] if line["node"] == replica and line["at"] < at),
               default=0.0)


def fenced_copies(evidence):
    """Workers whose state was another's, which has gone on from where it was copied."""
    return {line["copy_worker"] for line in evidence.lines["fenced"]}


def acks_are_durable(evidence):
    """What was acked is there after the replica's death, and no reader gets less of it."""
    copies = fenced_copies(evidence)
    acks = collections.defaultdict(lambda: collections.defaultdict(list))
    for record, ack in evidence.acks:
        if ack["status"] == "applied" and ack["worker"] not in copies:
            order = [ack["epoch"], ack["version"]]
            acks[f"{ack['environment']}-{ack['replica']}"][ack["jwkId"]].append((record["seen"], order))

    def acked(replica, identifier, since, until):
        return max((order for seen, order in acks[replica][identifier] if since < seen < until), default=[0, 0])
    for state in evidence.lines["state"]:
        replica, since = state["replica"], lost_before(evidence, state["replica"], state["at"])
        for identifier in acks[replica]:
            order, stored = acked(replica, identifier, since, state["at"]), state["items"].get(identifier)
            if stored is None and (order == [0, 0] or identifier in evidence.forgotten):
                continue
            if stored is None or stored[:2] < order:
                yield f"invariant 4: {replica} had acked version {order} of {identifier}, but had stored {stored} when it died"
    for line in evidence.lines["observed"]:
        replica, since = line["replica"], lost_before(evidence, line["replica"], line["start"])
        for identifier, version in line["changed"].items():
            order = acked(replica, identifier, since, line["start"])
            if version < order:
                yield f"invariant 4: {replica} had acked version {order} of {identifier}, but then served {version}"


def acks_fit(evidence):
    """Each names what was recorded, and stands under its deployment. What is forged may be acked as failed."""
    for record, ack in evidence.acks:
        if ack["status"] != "applied":
            continue
        deployment = evidence.deployments.get(ack["deploymentId"])
        what = f"invariant 4: the ack at {record['partition']}@{record['offset']}"
        if deployment is None:
            yield f"{what} is for what is not in the store: {ack['deploymentId']}"
        elif [record["key"], *(ack[name] for name in ("jwkId", "epoch", "version", "eventHash"))] != [
                deployment[name] for name in ("uid", "jwk", "epoch", "version", "event_hash")]:
            yield f"{what} does not fit deployment {deployment['uid']}"


def positions_are_durable(evidence):
    """What a replica says that it is past, it has: a deployment is settled by that where the ack is lost."""
    if evidence.topic_begins:
        return  # the places are of one topic or another
    copies, told, events = fenced_copies(evidence), collections.defaultdict(list), collections.defaultdict(list)
    for record, value in evidence.presence:
        if value["worker"] not in copies:
            told[f"{value['environment']}-{value['replica']}"].append((record["seen"], value["positions"]))
    for record, value in evidence.events:
        if value:
            events[record["partition"]].append((record["offset"], record["key"], [value["epoch"], value["version"]]))
    for state in evidence.lines["state"]:
        replica, since = state["replica"], lost_before(evidence, state["replica"], state["at"])
        places = {each["partition"]: each["offset"]
                  for seen, positions in told[replica] if since < seen < state["at"] for each in positions}
        passed = {}
        for partition, place in places.items():
            for offset, key, order in events[partition]:
                if offset < place:
                    passed[key] = max(order, passed.get(key, order))
        for identifier, order in passed.items():
            stored = state["items"].get(identifier)
            if (stored is None and identifier not in evidence.forgotten) or (stored and stored[:2] < order):
                yield f"invariant 4: {replica} was past version {order} of {identifier}, but had stored {stored} when it died"


# ---- 5 ----

def events_are_in_order(evidence):
    by_jwk = collections.defaultdict(list)
    for record, value in evidence.events:
        if value is None:
            yield f"invariant 5: the event at {record['partition']}@{record['offset']} is not JSON"
            continue
        by_jwk[record["life"], record["key"]].append((record, value))
    first_life = min((record["life"] for record, _ in evidence.events), default=0)
    for (life, key), found in by_jwk.items():
        if len({record["partition"] for record, _ in found}) > 1:
            yield f"invariant 5: JWK {key} is on more than one partition"
        first, highest = {}, None
        for record, value in found:
            order = (value["epoch"], value["version"])
            mark = (record["headers"].get("ce_id"), record["value"])
            if order in first:
                if first[order] != mark:
                    yield f"invariant 5: version {order} of {key} was sent twice, and the second is not the same"
                continue
            first[order] = mark
            if highest is not None and order < highest:
                yield f"invariant 5: version {order} of {key} came after the later {highest}"
            elif life == first_life and order[1] != (highest[1] + 1 if highest else 1):
                yield f"invariant 5: version {order} of {key} came after {highest}: one is missing"
            highest = max(highest or order, order)
        last = found[-1][1]
        if (last["epoch"], last["version"]) != highest:
            yield f"invariant 5: the last event of {key} is version {last['version']}, but {highest} was sent before"


def events_are_all_there(evidence):
    sent, identifiers = {}, collections.defaultdict(set)
    for record, value in evidence.events:
        if value:
            sent.setdefault(value["deploymentId"], (digest(record["value"]), [
                value["operation"], record["key"], value["jwk"]["id"], value["epoch"], value["version"], value["jwk"]["name"]]))
            identifiers[record["headers"].get("ce_id")].add(value["deploymentId"])
    for uid, deployment in evidence.deployments.items():
        if uid not in sent and evidence.may_be_lost(deployment):
            continue
        if uid not in sent:
            yield f"invariant 5: the event of deployment {uid} (version {deployment['version']} of {deployment['jwk']}) is not on the topic"
        elif sent[uid][0] != deployment["event_hash"]:
            yield f"invariant 5: the event of deployment {uid} is not the one that was recorded"
        elif sent[uid][1] != [deployment[name] for name in ("operation", "jwk", "jwk", "epoch", "version", "jwk_name")]:
            yield f"invariant 5: the event of deployment {uid} tells another change than the store: {sent[uid][1]}"
    for identifier, of in identifiers.items():
        if len(of) > 1 or identifier is None:
            yield f"invariant 5: ce_id {identifier} is that of {len(of)} events"


def the_topic_holds_the_store(evidence):
    """Who begins now, with the topic alone, gets each JWK as the API has it, and of those that are deleted no other event."""
    last = {record["key"]: value for record, value in evidence.events if value and record["life"] >= evidence.topic_begins}
    for jwk in evidence.jwks:
        value = last.get(jwk["uid"])
        stored = [jwk["version"], jwk["name"], jwk["description"], jwk["type"], jwk["kid"], jwk["deleted_at"] is not None]
        told = value and [value["version"], *(value["jwk"][name] for name in ("name", "description", "type", "kid")),
                          value["operation"] == "delete"]
        if told != stored and not (told is None and jwk["deleted_at"] is not None):
            yield f"invariant 5: the last event of {jwk['uid']} on the topic tells {told}, but the store has {stored}"


def tombstones_come_late(evidence):
    """A replica that was away must still read the delete."""
    deleted_at = {jwk["uid"]: jwk["deleted_at"] for jwk in evidence.jwks}
    for record in evidence.genuine:
        if record["topic"] == "events" and record["value"] is None:
            at = deleted_at.get(record["key"])
            if at is None or record["timestamp"] < at + evidence.tombstone_delay_ms:
                yield (f"invariant 5: the tombstone of {record['key']} at {record['partition']}@{record['offset']} came too early:"
                       f" deleted at {at}")


# ---- 6 ----

def look_for(beginnings, clean, text, where):
    """Of secrets, in base64url or base64, alone or within a longer word. clean: words that were looked at before, and are
    none."""
    size = SECRET_SIZE_MIN
    for word in set(re.findall(f"[A-Za-z0-9_-]{{{size},}}", text.translate(URL_SAFE))) - clean:
        if beginnings.isdisjoint(word[i:i + size] for i in range(len(word) - size + 1)):
            clean.add(word)
        else:
            yield f"invariant 6: private material ({word[:4]}…) in {where}"


def nothing_private_leaves(evidence):
    look = functools.partial(look_for, {secret[:SECRET_SIZE_MIN] for secret in evidence.secrets()}, set())
    for record in evidence.genuine:
        yield from look(json.dumps([record["key"], record["headers"], record["value"]]),
                        f"{record['topic']} {record['partition']}@{record['offset']}")
    for name, text in evidence.logs():
        yield from look(text, f"log {name}")
    for record, value in evidence.events:
        jwk = (value or {}).get("jwk", {})
        for key in (jwk.get("publicKey") or {}, *(each["publicKey"] for each in jwk.get("retiring", ()))):
            if PRIVATE_MEMBERS & set(key):
                yield f"invariant 6: private member {sorted(PRIVATE_MEMBERS & set(key))} in the event at {record['partition']}@{record['offset']}"
    for quiet in evidence.lines["quiet"]:
        for replica, projects in quiet["replicas"].items():
            yield from look(json.dumps(projects), f"what {replica} serves")
            for served in projects.values():
                for key in served["keys"]:
                    if PRIVATE_MEMBERS & set(key) or key["kty"] == "oct":
                        yield f"invariant 6: {replica} serves a private member or a symmetric key ({key.get('kid')})"
    for line in (*evidence.lines["command"], *evidence.lines["command_again"], *evidence.lines["backup"]):
        yield from look(json.dumps(line), f"what a command said: {line['kind']}")
    for line in evidence.lines["request"]:
        yield from look(json.dumps(line["answer"]), f"answer to {line['operation']} {line['number']} of client {line['client']}")


# ---- 7 and 0 ----

def memory_is_bounded(evidence):
    most = collections.defaultdict(int)
    for line in evidence.lines["usage"]:
        most[line["node"]] = max(most[line["node"]], line["resident"])
    for node, resident in most.items():
        if resident > RESIDENT_MAX:
            yield f"invariant 7: {node} used {resident >> 20} MB"


def programs_end_as_they_should(evidence):
    for line in evidence.lines["ended"]:
        yield f"invariant 0: {line['node']} ended by itself with status {line['status']}: …{line['log'][-600:]}"
    for line in evidence.lines["crashed"]:
        yield f"invariant 0: {line['node']} crashed with status {line['status']}: …{line['log'][-600:]}"
    for line in evidence.lines["told_to_end"]:
        if evidence.complete and line["status"] != 0:  # a run that was given up may have left a fault on it
            yield f"invariant 0: {line['node']}, told to end, did so with status {line['status']}: …{line['log'][-600:]}"
    for line in evidence.lines["out_of_memory"]:
        if line["status"] != STATUS_OUT_OF_MEMORY or "out of memory" not in line["log"]:
            yield f"invariant 0: {line['node']} without memory ended with status {line['status']}: …{line['log'][-300:]}"
    for line in evidence.lines["refused_start"]:
        if line["status"] != 1 or not any(words in line["log"] for words in ("can not serve", "can not go on")):
            yield f"invariant 0: {line['node']} on a broken disk did not end as one who is to be started again: {line}"
    for line in evidence.lines["second_api"]:
        if line["status"] in (0, None) or line["status"] < 0 or not line["first_running"]:
            yield f"invariant 0: a second API on one store: {line}"
    for line in evidence.lines["fenced"]:
        if line["status"] != line["expected"] or line["copy_status"] is not None:
            yield f"invariant 0: two workers with one identity: {line}"


def commands_leave_all_or_nothing(evidence):
    """A command that was killed is done by running it again, and a copy of the store that has its name is whole."""
    for line in evidence.lines["command"]:
        if line["status"] != 0 and not line["killed"]:
            yield f"invariant 0: jwk-api {' '.join(line['words'])} ended with status {line['status']}: {line['error']}"
    for line in evidence.lines["command_again"]:
        if line["status"] != 0:
            yield f"invariant 0: jwk-api {' '.join(line['words'])}, run again, ended with status {line['status']}: {line['error']}"
    for line in evidence.lines["backup"]:
        if line["after_kill"]:
            yield f"invariant 0: a backup that was killed left a copy that is not whole: {line}"
        elif line["status"] != 0:
            yield f"invariant 0: a backup is not sound: {line['said']}"


JUDGES = (answered_is_stored, readers_see_their_writes, a_key_is_one_change, a_request_is_one_change, all_follow_or_none,
          published_is_stored, everything_arrives, replicas_equal_the_api, replicas_keep_what_they_serve, no_replica_goes_back,
          only_what_was_recorded_is_served, success_is_served, acks_are_durable, acks_fit, positions_are_durable,
          events_are_in_order, events_are_all_there, the_topic_holds_the_store, tombstones_come_late, nothing_private_leaves,
          *check_trail.JUDGES, *check_trust.JUDGES, memory_is_bounded, programs_end_as_they_should, commands_leave_all_or_nothing)
NEED_THE_STORE = (answered_is_stored, a_key_is_one_change, a_request_is_one_change, all_follow_or_none, published_is_stored,
                  only_what_was_recorded_is_served, success_is_served, acks_fit, events_are_all_there, the_topic_holds_the_store,
                  tombstones_come_late)


def find(directory):
    """(sentence, judge and line that say it) of each violation that a run shows."""
    evidence = Evidence(directory)
    for each in JUDGES:
        if not evidence.complete and each in NEED_THE_STORE:
            continue  # the run was given up before the store was kept
        sentences = each(evidence)
        for sentence in sentences:
            yield sentence, (each.__name__, sentences.gi_frame.f_lineno)


def judge(directory):
    """All violations that a run shows, as sentences; of one judge not too many."""
    found, counts = [], collections.Counter()
    for sentence, (name, _) in find(directory):
        counts[name] += 1
        if counts[name] <= AT_MOST:
            found.append(sentence)
    return found + [f"… and {count - AT_MOST} more of {name}" for name, count in counts.items() if count > AT_MOST]


if __name__ == "__main__":
    violations = judge(sys.argv[1])
    print("\n".join(violations) or "every invariant holds")
    sys.exit(bool(violations))
