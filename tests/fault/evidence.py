"""What a run has left behind, read for the checker: history, records of the topics, databases, logs."""

import base64
import collections
import functools
import hashlib
import json
import pathlib
import sqlite3

from .cluster import find_database
from .history import read_lines

DELETION_MARGIN_S = 3.0  # what was written so shortly before its topic was deleted may not have been read
URL_SAFE = str.maketrans("+/", "-_")  # base64 as base64url
SECRET_SIZE_MIN = 20  # characters by which one is known: what is shorter may be there by chance
TOMBSTONE_DELAY_MINUTES = 30 * 24 * 60  # the default
CLOCKS_TURNED_MINUTES = 2 * 30 * 60  # from the most that faults set one back to the most that they set it forth
RESULT_SUCCEEDED = 1  # enum result_state
OPERATIONS = ("create", "update", "delete", "redeploy")  # enum event_operation


def digest(text):
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def rows(directory, statement):
    database = find_database(directory) if pathlib.Path(directory).is_dir() else None
    if database is None:
        return []
    connection = sqlite3.connect(database)
    connection.row_factory = sqlite3.Row
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


class Evidence:
    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.lines = collections.defaultdict(list)
        for line in read_lines(self.directory / "history.jsonl"):
            self.lines[line["kind"]].append(line)
        topics = self.directory / "topics.jsonl"
        self.records = read_lines(topics) if topics.exists() else []
        forged = {(line["topic"], line["partition"], line["offset"], line["life"]) for line in self.lines["forged"]}
        self.genuine = [record for record in self.records
                        if (record["topic"], record["partition"], record["offset"], record["life"]) not in forged]
        self.final = self.directory / "final"
        self.complete = (self.final / "replicas.json").exists()  # false when the run was given up
        self.replicas = json.loads((self.final / "replicas.json").read_text()) if self.complete else {}

    @functools.cached_property
    def deployments(self):
        """By id, in the order of commits."""
        return {row["uid"]: dict(row) | {"operation": OPERATIONS[row["operation"]]} for row in rows(
            self.final / "api", "SELECT deployment.id AS sequence, deployment.uid, jwk.uid AS jwk, deployment.operation, epoch,"
            " deployment.version, jwk_name, changed, actor, event_hash, deployment.created_at"
            " FROM deployment JOIN jwk ON jwk.id = jwk_id ORDER BY deployment.id")}

    @functools.cached_property
    def remembered(self):
        """What the store knows of each Idempotency-Key; the load has one user."""
        return {row["key"]: dict(row) for row in rows(self.final / "api", "SELECT key, first_deployment, last_deployment FROM idempotency")}

    @functools.cached_property
    def marked(self):
        """Ids of the deployments that a request of the load has led to, by what it alone has brought: the description, or the kid where
        another key came. Of those whose event was read."""
        result = collections.defaultdict(set)
        for _, value in self.events:
            deployment = self.deployments.get(value["deploymentId"]) if value else None
            if deployment and deployment["operation"] in ("create", "update"):
                rotated = "material" in (deployment["changed"] or "")
                result[value["jwk"]["kid" if rotated else "description"]].add(deployment["uid"])
        return result

    def may_be_lost(self, deployment):
        """Whether its event may have been on a topic that was deleted before it was written down here. Wall clocks are good enough
        for that: no fault turns them where a topic is deleted."""
        return any(line["topic"] == "events" and (line["since"] - DELETION_MARGIN_S) * 1000 < deployment["created_at"]
                   < (line["until"] + DELETION_MARGIN_S) * 1000 for line in self.lines["topic_deleted"])

    def is_lost_unnoticed(self, at):
        """Whether replicas may not have noticed yet that the events topic is another one: they look back every ten seconds, and what
        they tell of their places until then is of both."""
        return any(line["topic"] == "events" and line["at"] - DELETION_MARGIN_S < at
                   < min((quiet["at"] for quiet in self.lines["quiet"] if quiet["at"] > line["at"]), default=float("inf"))
                   for line in self.lines["topic_deleted"])

    @functools.cached_property
    def jwks(self):
        """With the epoch of its latest change; those that are deleted, too."""
        return [dict(row) for row in rows(
            self.final / "api", "SELECT jwk.uid, jwk.name, description, type, kid, jwk.version, deleted_at, epoch FROM jwk"
            " JOIN deployment ON deployment.id = jwk.deployment")]

    @property
    def tombstone_delay_ms(self):
        """How long after a deletion its tombstone may come, by the clock of the API; of clocks that are turned, at the least."""
        options = [*self.lines["run"][0]["api_options"], "--tombstone-delay", f"{TOMBSTONE_DELAY_MINUTES}m"]
        minutes = int(options[options.index("--tombstone-delay") + 1].removesuffix("m"))
        return 60_000 * (minutes - (CLOCKS_TURNED_MINUTES if self.lines["clock"] else 0))

    @functools.cached_property
    def environments(self):
        return [row["name"] for row in rows(self.final / "api", "SELECT name FROM environment WHERE removed_at IS NULL")]

    @functools.cached_property
    def results(self):
        """(deployment, environment) -> what came of it."""
        return {(row["uid"], row["name"]): dict(row) for row in rows(
            self.final / "api", "SELECT deployment.uid, environment.name, state, message FROM deployment_result"
            " JOIN deployment ON deployment.id = deployment_id JOIN environment ON environment.id = environment_id")}

    @functools.cached_property
    def topic_begins(self):
        """How often the events topic has begun again, as far as is known."""
        return len(self.lines["topics_lost"]) + sum(line["topic"] == "events" for line in self.lines["topic_deleted"])

    @functools.cached_property
    def events(self):
        """(record, value) of each genuine event, in the order of each partition, life after life."""
        result = []
        for record in sorted((each for each in self.genuine if each["topic"] == "events" and each["value"] is not None),
                             key=lambda each: (each["life"], each["partition"], each["offset"])):
            try:
                result.append((record, json.loads(record["value"])))
            except ValueError:
                result.append((record, None))
        return result

    @functools.cached_property
    def forgotten(self):
        """JWKs that a replica may have forgotten: their tombstone was there, or they were deleted before their topic was, and swept."""
        result = {record["key"] for record in self.genuine if record["topic"] == "events" and record["value"] is None}
        if any(line["topic"] == "events" for line in self.lines["topic_deleted"]):
            result |= {jwk["uid"] for jwk in self.jwks if jwk["deleted_at"] is not None}
            # The same of a run that was given up, whose store is not at hand.
            result |= {record["key"] for record, value in self.events if value and value["operation"] == "delete"}
        return result

    @functools.cached_property
    def acks(self):
        """(record, value) of each genuine ack, as it was seen."""
        return [(record, json.loads(record["value"])) for record in self.genuine if record["topic"] == "acks" and record["value"]]

    @functools.cached_property
    def presence(self):
        """(record, value) of each genuine record of a worker, as it was seen."""
        return [(record, json.loads(record["value"])) for record in self.genuine
                if record["topic"] == "workers" and record["value"]]

    @functools.cached_property
    def acked(self):
        """(deployment, replica) -> when its first genuine ack that it is applied was made. That is of the replica's wall clock, which no fault
        turns while a replica is asked for what it serves."""
        result = {}
        monotonic, wall = self.lines["run"][0]["clock"]
        for record, ack in self.acks:
            if ack["status"] == "applied":
                result.setdefault((ack["deploymentId"], f"{ack['environment']}-{ack['replica']}"),
                                  monotonic + record["timestamp"] / 1000 - wall)
        return result

    @functools.cached_property
    def trail(self):
        """(life, line as text) of the audit trail: as it was read, and then what the store still has."""
        records = sorted((each for each in self.genuine if each["topic"] == "audit" and each["value"]),
                         key=lambda each: (each["life"], each["offset"]))
        lines = [(record["life"], line) for record in records for line in record["value"].splitlines()]
        life = records[-1]["life"] if records else 0
        return lines + [(life, line) for row in rows(self.final / "api", "SELECT lines FROM audit_outbox ORDER BY sequence")
                        for line in row["lines"].splitlines()]

    @functools.cached_property
    def signing_keys(self):
        """Public JWKs of the API, by kid."""
        return {row["kid"]: json.loads(row["public_key"]) for row in rows(self.final / "api", "SELECT kid, public_key FROM signing_key")}

    @functools.cached_property
    def credentials(self):
        """What each environment's workers have been given, one after the other: environment -> credentials."""
        result = collections.defaultdict(list)
        for path in sorted(self.directory.glob("*.credentials*")):
            each = json.loads(path.read_text())
            result[each["environment"]].append(each)
        return result

    def private_halves(self, replica):
        """JWK id -> JWE, as text, in the state that a replica has left behind."""
        return {row["id"]: row["sealed"] for row in rows(self.final / replica, "SELECT id, sealed FROM jwk_private"
                                                         " JOIN jwk ON number = jwk_private.jwk")}

    def state(self, replica):
        """JWK id -> [epoch, version, deleted] in the state that a replica has left behind."""
        return {row["id"]: [row["epoch"], row["version"], bool(row["deleted"])]
                for row in rows(self.final / replica, "SELECT id, epoch, version, deleted FROM jwk")}

    def logs(self):
        for path in sorted((self.directory / "logs").glob("*.log")):
            yield path.name, path.read_text(errors="replace")

    def secrets(self):
        """Private parts of the load's keys and of the environments' own, and master keys."""
        found = {key["d"] for each in self.credentials.values() for generation in each for key in generation["keys"]}
        for path in (self.directory / "secrets.txt", self.directory / "master-key"):
            found.update(path.read_text().translate(URL_SAFE).split() if path.exists() else ())
        return {secret for secret in found if len(secret) >= SECRET_SIZE_MIN}
