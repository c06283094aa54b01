"""Judges the audit trail of a run: one unbroken chain, signed, that tells what was done and what came of it."""

import collections
import json

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from harness.audit import decoded

from .evidence import RESULT_SUCCEEDED, digest


def signature_is_genuine(jws, keys, sequence, hash_of_line):
    """Whether it is by a key of the API, over this line."""
    try:
        header, payload, signature = jws.split(".")
        signed = json.loads(decoded(payload))
        key = keys[json.loads(decoded(header))["kid"]]
        Ed25519PublicKey.from_public_bytes(decoded(key["x"])).verify(decoded(signature), f"{header}.{payload}".encode())
        return signed == {"sequence": sequence, "hash": hash_of_line}
    except (ValueError, KeyError, InvalidSignature):
        return False


def trail_is_whole(evidence):
    for record in evidence.genuine:
        if record["topic"] == "audit" and "jws" not in json.loads(record["value"].splitlines()[-1]):
            yield f"invariant 8: the record of the audit trail at {record['offset']} is not signed"
    hashes, last, last_life = {0: ""}, 0, 0
    sequence = digest_of_line = None
    for life, text in evidence.trail:
        line = json.loads(text)
        if "jws" in line:
            if evidence.complete and not signature_is_genuine(line["jws"], evidence.signing_keys, sequence, digest_of_line):
                yield f"invariant 8: the signature behind line {sequence} of the audit trail is not genuine"
            continue
        sequence, digest_of_line = line["sequence"], digest(text)
        if sequence in hashes:
            if hashes[sequence] != digest_of_line:
                yield f"invariant 8: line {sequence} of the audit trail is there twice, and differs"
            continue
        if sequence != last + 1 and (life == last_life or sequence < last):  # a topic that was lost takes what it held with it
            yield f"invariant 8: line {sequence} of the audit trail follows line {last}"
        elif sequence == last + 1 and line["previous"] != hashes[last]:
            yield f"invariant 8: line {sequence} of the audit trail does not follow the one before"
        hashes[sequence], last, last_life = digest_of_line, sequence, life


def trail_tells_everything(evidence):
    if not evidence.complete or len({life for life, _ in evidence.trail}) > 1:
        return
    changes, outcomes, acts = {}, {}, collections.Counter()
    event_ids = {value["deploymentId"]: record["headers"].get("ce_id") for record, value in evidence.events if value}
    for _, text in evidence.trail:
        line = json.loads(text)
        if line.get("type") == "change":
            changes[line["deploymentId"]] = line
        elif line.get("type") == "outcome":
            outcomes[line["deploymentId"], line["environment"]] = line["success"]
        elif line.get("type") == "administration":
            acts[line["command"]] += 1
    for uid, deployment in evidence.deployments.items():
        line = changes.pop(uid, None)
        if line is None:
            yield f"invariant 8: the audit trail does not tell deployment {uid}"
        elif line["eventId"] != event_ids.get(uid, line["eventId"]) or [
                line[name] for name in ("operation", "jwkId", "jwk", "epoch", "version", "eventHash", "actor")] != [
                deployment[name] for name in ("operation", "jwk", "jwk_name", "epoch", "version", "event_hash", "actor")]:
            yield f"invariant 8: the audit trail tells another deployment {uid} than was recorded"
    for uid in changes:
        yield f"invariant 8: the audit trail tells deployment {uid}, which is not in the store"
    for (uid, environment), result in evidence.results.items():
        if result["state"] == RESULT_SUCCEEDED and not outcomes.get((uid, environment)):
            yield f"invariant 8: the audit trail does not tell that deployment {uid} has succeeded in {environment}"
    commands = (*evidence.lines["command"], *evidence.lines["command_again"])
    done = collections.Counter(" ".join(line["words"]) for line in commands
                               if line["status"] == 0 and line["words"] != ["backup"])  # which changes nothing
    for command, count in done.items():
        if acts[command] < count:
            yield f"invariant 8: the audit trail tells of {acts[command]} times {command!r}, which was done {count} times"


JUDGES = (trail_is_whole, trail_tells_everything)
