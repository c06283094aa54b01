"""One run: rounds of load with faults under it, each followed by silence in which everything must become equal."""

import contextlib
import json
import pathlib
import random
import shutil
import signal
import sqlite3
import time

from harness import http
from harness.installation import jwk_path, quote
from harness.program import wait_until

from . import faults_keys, faults_network, faults_topics  # noqa: F401 (they register their faults)
from .auditor import Auditor
from .check_trust import key_digest
from .cluster import Cluster, find_database, read_copy
from .faults import FAULTS
from .history import History, now
from .load import PROJECTS, Load, Secrets
from .observer import Observer

USE_LOOKS, USE_EVERY_S = 10, 0.1  # at what a program uses in a quiet moment
QUIET_PATIENCE_S = 60  # what is not equal by then never will be
TRIES_MOST = 4  # of a fault that is to happen for certain
ENVIRONMENTS = ("production", "staging")
API_DUMP = ("SELECT jwk.uid, project.name, jwk.name, jwk.version, jwk.deleted_at IS NOT NULL, jwk.kid, jwk.type, public_key, description"
            " FROM jwk JOIN project ON project.id = project_id LEFT JOIN jwk_material ON jwk_id = jwk.id WHERE deleted_at IS NULL")
RETIRING_DUMP = ("SELECT project.name, public_key, until FROM jwk_retiring JOIN jwk ON jwk.id = jwk_id JOIN project ON project.id = project_id"
                 " WHERE deleted_at IS NULL")  # those whose time is over among them, until the next change of their JWK


class Skip(Exception):
    """What a fault wants is taken by another."""


class Run:
    def __init__(self, directory, seed, broker, clients=8, pause_s=0.08, faults=None, faults_per_round=5, round_s=4.0,
                 workers=(("production", "edge-1"), ("production", "edge-2"), ("staging", "edge-1")), most_workers=5, **options):
        self.directory, self.seed, self.kind = pathlib.Path(directory), seed, broker
        self.directory.mkdir(parents=True, exist_ok=True)
        self.random = random.Random(f"{seed}/faults")
        self.names = [name for name, (_, _, brokers) in FAULTS.items() if broker in brokers and (faults is None or name in faults)]
        self.faults_per_round, self.round_s, self.most_workers = faults_per_round, round_s, most_workers
        self.topics_path = self.directory / "topics.jsonl"
        self.history = History(self.directory / "history.jsonl")
        self.history.add("run", seed=seed, broker=broker, clock=[now(), time.time()], api_options=list(options.get("api_options", ())))
        self.environments = ENVIRONMENTS
        self.copies = self.rounds = self.backups = self.key_generations = 0
        self.closed = False
        self.broker_taken = self.front_taken = False
        self.missed = False  # whether the fault that was gone on with has just told so
        self.recoveries = []
        self.cluster = Cluster(broker, self.directory, self.history, ENVIRONMENTS, **options)
        self.auditor = self.observer = self.load = None
        try:
            for project in PROJECTS:
                self.cluster.admin("project", "add", project)
            self.second_environment = {"FAULT_CONTROL": ""}
            self.cluster.api.start()
            self.cluster.api.wait_ready()
            for environment, replica in workers:
                self.cluster.add_worker(environment, replica)
            for node in self.cluster.workers.values():
                node.wait_ready()
            self.auditor = Auditor(self.topics_path, self.cluster.broker.address)
            self.observer = Observer(self.cluster, self.history)
            self.observer.start()
            self.load = Load(self.cluster, self.history, seed, clients, pause_s, Secrets(self.directory / "secrets.txt"))
        except BaseException:
            self.close()
            raise

    # ---- what faults ask for ----

    @staticmethod
    def _free(node):
        return node.running and not node.busy and not node.program.paused

    def take_api(self):
        if not self._free(self.cluster.api):
            raise Skip
        return self.cluster.api

    def take_worker(self, chance):
        free = [node for node in self.cluster.workers.values() if self._free(node)]
        if not free:
            raise Skip
        return chance.choice(free)

    def take_all_workers(self):
        nodes = list(self.cluster.workers.values())
        if not all(self._free(node) for node in nodes):
            raise Skip
        return nodes

    def take_broker(self):
        if self.broker_taken:
            raise Skip
        self.broker_taken = True

    def release_broker(self):
        self.broker_taken = False

    @contextlib.contextmanager
    def taking_front(self):
        if self.front_taken:
            raise Skip
        self.front_taken = True
        try:
            yield self.cluster.api.front
        finally:
            self.front_taken = False

    def revive(self, node):
        """Starts it again when it does not run, and has it looked after again."""
        with node.lock:
            if not node.running:
                status = node.program.process.returncode
                if status < 0 and status != -signal.SIGKILL:
                    self.history.add("crashed", node=node.name, status=status, log=node.program.log()[-1500:])
                node.start()
            node.expect_end = False

    def miss(self, **what):
        """A fault tells that it has met nothing to harm, since little was going on."""
        self.missed = True
        self.history.add("missed", **what)

    def note_state(self, node):
        """What a worker that has just died had made durable."""
        if node is not self.cluster.api and not node.running:
            self.history.add("state", replica=node.name, items=node.read_state())

    # ---- rounds ----

    def schedule(self):
        weights = [FAULTS[name][1] for name in self.names]
        count = self.random.randint(1, self.faults_per_round) if self.names else 0
        return sorted((self.random.uniform(0.2, self.round_s), name, self.random.randrange(2 ** 32))
                      for name in (self.random.choices(self.names, weights, k=count) if count else ()))

    def go_on(self, each, generator):
        """Goes on with a fault of a plan. Returns when to do so again, with these two, or nothing when it is over; and it alone, or nothing,
        of those that have missed. Raises Skip when there is no room for it."""
        self.missed = False
        pause = next(generator, None)
        return [] if pause is None else [(now() + pause, each, generator)], [each] if self.missed else []

    def round(self, plan=None):
        """One round: load with faults, then silence until all are equal. plan: (seconds from its begin, fault, seed) each.

        Of a plan that is given each fault happens, or the round fails: when what it wants is taken it begins as soon as that is free, and
        those after it later; and what has met nothing to harm is tried again in a further round. Of a plan by chance such a fault is left
        out."""
        given = plan is not None
        plan = plan if given else self.schedule()
        missed = self.one_round(plan, given)
        for _ in range(TRIES_MOST - 1 if given else 0):
            missed = missed and self.one_round(missed, given)
        assert not (given and missed), f"{missed} did not happen: there was nothing to harm"

    def one_round(self, plan, given):
        """Returns what of the plan has missed."""
        self.rounds += 1
        self.history.add("round", number=self.rounds, plan=plan)
        self.load.resume()
        begin, waiting, active, all_missed = now(), list(plan), [], []
        while waiting or active or (not plan and now() < begin + self.round_s):
            if waiting and now() >= begin + waiting[0][0]:
                _, name, seed = each = waiting.pop(0)
                try:
                    started, missed = self.go_on(each, FAULTS[name][0](self, random.Random(seed)))
                    self.history.add("fault", name=name, seed=seed, round=self.rounds)
                    active += started
                    all_missed += missed
                except Skip:
                    if given:
                        assert active, f"{name} did not happen: what it wants is taken, and nothing will give it back"
                        waiting.insert(0, each)
                    else:
                        self.history.add("skipped", name=name)
            for when, *fault in list(active):
                if now() >= when:
                    active.remove((when, *fault))
                    more, missed = self.go_on(*fault)
                    active += more
                    all_missed += missed
            time.sleep(0.005)  # the schedule's grain
        ended = now()
        self.history.add("faults_end", round=self.rounds)
        self.become_quiet(ended)
        return all_missed

    def become_quiet(self, ended):
        self.load.pause()
        self.wait_for(self.load.is_idle, "every client has its answer")
        for node in self.cluster.nodes:
            self.wait_for(node.is_ready, f"{node.name} is ready")
        self.wait_for(self.all_equal, "all replicas are equal to the API")
        self.recoveries.append(now() - ended)  # the last answers of the load included
        self.wait_for(self.all_settled, "every result is settled")
        settled = now() - ended
        self.auditor.catch_up()
        begin, replicas = time.time(), {node.name: self.served(node) for node in self.cluster.workers.values()}
        self.history.add("quiet", round=self.rounds, recovery=self.recoveries[-1], settled=settled, wall=[begin, time.time()],
                         api=[list(row) for row in self.api_rows(API_DUMP)],
                         retiring=[list(row) for row in self.api_rows(RETIRING_DUMP)], replicas=replicas)
        self.history.flush()

    def note_use(self):
        """What each program uses while nothing happens. Of a few looks the fewest descriptors and threads: connections end a moment after
        their last answer."""
        looks = []
        for _ in range(USE_LOOKS):
            looks.append({node.name: node.use() for node in self.cluster.nodes})
            time.sleep(USE_EVERY_S)  # between two looks
        for node in self.cluster.nodes:
            resident, descriptors, threads = zip(*(look[node.name] for look in looks))
            self.history.add("quiet_use", node=node.name, pid=node.program.pid, resident=resident[-1], descriptors=min(descriptors),
                             threads=min(threads))

    def wait_for(self, condition, what):
        deadline = now() + QUIET_PATIENCE_S
        while not condition():
            if now() > deadline:
                self.history.add("never", what=what, detail=getattr(self, "difference", None))
                self.history.flush()
                raise AssertionError(f"seed {self.seed}: {QUIET_PATIENCE_S} s after the last fault in vain: {what}"
                                     f" ({getattr(self, 'difference', None)}); see {self.directory}")
            time.sleep(0.02)  # between two looks

    # ---- looks ----

    def api_rows(self, statement):
        return self._rows(self.cluster.api.directory, statement)

    @staticmethod
    def _rows(directory, statement):
        database = find_database(directory)
        if database is None:
            return []
        connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=5)
        try:
            return connection.execute(statement).fetchall()
        finally:
            connection.close()

    def all_equal(self):
        """Compares the databases themselves: JWK ids with their versions, of what is not deleted."""
        try:
            expected = dict(self.api_rows("SELECT uid, version FROM jwk WHERE deleted_at IS NULL"))
            for node in self.cluster.workers.values():
                there = dict(self._rows(node.directory, "SELECT id, version FROM jwk WHERE NOT deleted"))
                if there != expected:
                    self.difference = {"replica": node.name, "missing": sorted(set(expected.items()) - set(there.items()))[:5],
                                       "too_many": sorted(set(there.items()) - set(expected.items()))[:5]}
                    return False
        except sqlite3.OperationalError as problem:
            self.difference = str(problem)
            return False
        self.difference = None
        return True

    def all_settled(self):
        """Every environment has confirmed every deployment, and nothing waits in the outbox."""
        pending = self.api_rows("SELECT deployment_id, environment_id, state, message FROM deployment_result WHERE state <> 1 LIMIT 5")
        outgoing = self.api_rows("SELECT count(*) FROM outbox")[0][0]
        self.difference = {"unsettled": pending, "outbox": outgoing} if pending or outgoing else None
        return self.difference is None

    def served(self, node):
        """What a reader gets of a replica."""
        result = {}
        for project in PROJECTS:
            answer = http.request(node.address, "GET", f"/projects/{quote(project)}/.well-known/jwks.json", headers={"Host": "x"})
            items = http.request(node.address, "GET", f"/projects/{quote(project)}/jwks/", headers={"Host": "x"})
            result[project] = {"keys": answer.json["keys"] if answer.status == 200 else [],
                               "items": items.json if items.status == 200 else []}
        return result

    # ---- life ----

    def go(self, seconds):
        end = now() + seconds
        while now() < end:
            self.round()
        self.finish()

    def note_private_halves(self):
        """What the API answers for each JWK, as a digest: the history holds nothing private."""
        keys = {}
        for uid, project, name in self.api_rows("SELECT jwk.uid, project.name, jwk.name FROM jwk JOIN project ON project.id = project_id"
                                                " WHERE deleted_at IS NULL"):
            answer = http.request(self.cluster.api.address, "GET", jwk_path(project, name),
                                  headers={"Authorization": f"Bearer {self.cluster.token}"})
            item = answer.json["resultList"][0]
            keys[uid] = key_digest(item[item["type"].lower()])
        self.history.add("private", keys=keys)

    def finish(self):
        """Ends the programs and keeps their databases for the checker."""
        self.load.stop()
        self.note_private_halves()
        wait_until(lambda: self.api_rows("SELECT count(*) FROM audit_outbox")[0][0] == 0, "the audit trail is on its topic", QUIET_PATIENCE_S)
        self.auditor.catch_up()
        self.close()
        for node in self.cluster.nodes:
            place = self.directory / "final" / node.name
            read_copy(node.directory, place)
        (self.directory / "final" / "replicas.json").write_text(json.dumps(
            {node.name: {"environment": node.environment, "replica": node.replica} for node in self.cluster.workers.values()}))
        shutil.rmtree(self.directory / "shims", ignore_errors=True)

    def close(self):
        if self.closed:
            return
        self.closed = True
        if self.load:
            self.load.stop()
            self.load = None
        if self.observer:
            self.observer.stop()
            self.observer = None
        for node in self.cluster.nodes:
            node.expect_end = True
        self.cluster.stop()
        if self.auditor:
            self.auditor.close()
            self.auditor = None
        self.history.close()
