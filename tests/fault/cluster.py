"""A whole installation under faults: broker, API and replicas, each program with its shim and its own way to the broker."""

import os
import pathlib
import re
import shutil
import signal
import sqlite3
import subprocess
import threading

from harness import http
from harness.broker import SEVERAL_PARTITIONS, EmbeddedBroker, KafkaBroker
from harness.program import BUILD, PATIENCE, Program, wait_until

from . import shim
from .proxy import Network, Proxy

STATUS_FENCED = 3
HEARTBEAT_MS = 500


class Broker:
    """The broker, which may end and come back. Real Kafka comes back with its topics; the embedded one with none."""

    def __init__(self, kind, directory):
        self.kind, self.directory = kind, pathlib.Path(directory)
        self.directory.mkdir(parents=True)
        self.program = KafkaBroker(self.directory) if kind == "kafka" else EmbeddedBroker(self.directory)
        self.address = self.program.address

    @property
    def port(self):
        return int(self.address.rpartition(":")[2])

    def start_again(self):
        """Kafka only: the same node on the same port."""
        again = KafkaBroker.__new__(KafkaBroker)
        again.address, again.prefix, again.client = self.program.address, None, {}
        Program.__init__(again, "kafka", self.program.process.args, self.directory)
        self.program = again
        wait_until(again._answers, "Kafka answers again", PATIENCE + 60)


class Node:
    """A program that may end and be started again at any time: its shim, its proxy, its files and, while it runs, its process."""

    def __init__(self, cluster, name, directory):
        self.cluster, self.name, self.directory = cluster, name, pathlib.Path(directory)
        self.shim = shim.Shim(cluster.library, cluster.directory / "shims" / name, directory)
        self.proxy = Proxy(cluster.network, cluster.broker.port)
        self.shim.fields.connect_port = self.proxy.port
        self.program = None
        self.address = None
        self.starts = 0
        self.expect_end = False
        self.busy = False  # a fault has it
        self.rebuilding = False  # it has lost its state, and has not been ready since
        self.undisturbed_since = None  # ready, and nothing done to it, since then
        self.lock = threading.RLock()

    @property
    def running(self):
        return self.program is not None and self.program.running

    def arguments(self, address_file):
        raise NotImplementedError

    def start(self, *more):
        """Starts it; returns without waiting for anything."""
        self.starts += 1
        self.address_file = self.cluster.directory / f"{self.name}-{self.starts}.address"
        self.address = None
        self.program = Program(self.name, [*self.arguments(self.address_file), *more], self.cluster.logs, self.shim.environment)
        self.cluster.history.add("start", node=self.name, pid=self.program.pid)

    def look_address(self):
        if self.address is None and self.address_file.exists():
            self.address = self.address_file.read_text().strip() or None
        return self.address

    def is_ready(self):
        address = self.look_address()
        if not address or not self.running or self.program.paused:
            return False
        try:
            return http.request(address, "GET", "/readyz", headers={"Host": "localhost"}).status == 200
        except OSError:
            return False

    def wait_ready(self, patience=PATIENCE):
        def look():
            assert self.running, f"{self.name} ended with {self.program.process.returncode}:\n{self.program.log()[-3000:]}"
            return self.is_ready()
        wait_until(look, f"{self.name} is ready:\n{self.program.log()[-2000:]}", patience)

    def kill(self):
        self.undisturbed_since = None
        if self.program:
            self.program.kill()

    def signal(self, number):
        self.undisturbed_since = None
        if self.running:
            os.kill(self.program.pid, number)

    def resident(self):
        """Bytes of memory in use."""
        try:
            text = pathlib.Path(f"/proc/{self.program.pid}/status").read_text()
        except OSError:
            return 0
        found = re.search(r"VmRSS:\s+(\d+) kB", text)
        return int(found.group(1)) * 1024 if found else 0

    def use(self):
        """(bytes of memory, descriptors, threads) while it runs."""
        process = pathlib.Path(f"/proc/{self.program.pid}")
        return self.resident(), len(list((process / "fd").iterdir())), len(list((process / "task").iterdir()))


class ApiNode(Node):
    """front: a way to it whose network can be broken, for some of its clients."""

    def __init__(self, cluster, name, directory):
        super().__init__(cluster, name, directory)
        self.front = Proxy(cluster.network, None)

    def look_address(self):
        address = super().look_address()
        self.front.target = int(address.rpartition(":")[2]) if address else None
        return address

    def arguments(self, address_file):
        return [BUILD / "jwk-api", "serve", "--data-dir", self.directory, "--listen", "127.0.0.1:0", "--address-file", address_file,
                "--master-key-file", self.cluster.master_key_file,
                "--idempotency-lifetime", "30d",  # longer than clocks are turned by
                "--deploy-timeout", "3s", "--grace", "2s", "--shutdown-timeout", "3s", *SEVERAL_PARTITIONS, *self.cluster.broker_options,
                *self.cluster.api_options]


class WorkerNode(Node):
    def __init__(self, cluster, environment, replica, directory=None, name=None):
        self.environment, self.replica = environment, replica
        super().__init__(cluster, name or f"{environment}-{replica}", directory or cluster.directory / "state" / f"{environment}-{replica}")

    def arguments(self, address_file):
        return [BUILD / "jwk-worker", "--environment", self.environment, "--replica", self.replica, "--state-dir", self.directory,
                "--listen", "127.0.0.1:0", "--address-file", address_file, "--heartbeat-interval", f"{HEARTBEAT_MS}ms",
                "--sweep-delay", "2s", "--credentials", self.cluster.credentials(self.environment), "--api-keys", self.cluster.api_keys_file,
                *self.cluster.broker_options, *self.cluster.worker_options]

    def read_state(self):
        """{JWK id: [epoch, version, deleted]} of a stopped worker's state, read from a copy."""
        copy = self.cluster.directory / "scratch" / self.name
        return {identifier: [epoch, version, bool(deleted)] for identifier, epoch, version, deleted in
                read_copy(self.directory, copy, "SELECT id, epoch, version, deleted FROM jwk")}


def replace_file(path, text):
    """In one step, for its owner alone."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_text(text)
    fresh.chmod(0o600)
    fresh.replace(path)


def find_database(directory):
    found = [path for path in pathlib.Path(directory).iterdir()
             if path.is_file() and path.read_bytes()[:15] == b"SQLite format 3"]
    return found[0] if found else None


def read_copy(directory, copy, *statements):
    """Rows of a database whose owner does not run, read from a copy so that nothing of it changes."""
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir(parents=True)
    for path in pathlib.Path(directory).iterdir():
        if path.is_file() and not path.name.endswith("-shm"):
            shutil.copy2(path, copy / path.name)
    database = find_database(copy)
    if database is None:
        return []
    connection = sqlite3.connect(database)
    try:
        return [row for statement in statements for row in connection.execute(statement).fetchall()]
    except sqlite3.OperationalError:
        return []  # killed before its tables were made
    finally:
        connection.close()


class Cluster:
    """directory: where everything of the run is kept."""

    def __init__(self, kind, directory, history, environments, api_options=(), worker_options=()):
        self.directory, self.history = pathlib.Path(directory), history
        self.logs = self.directory / "logs"
        self.logs.mkdir(parents=True)
        self.library = shim.build(BUILD / "fault")
        self.network = Network()
        self.broker = Broker(kind, self.directory / "broker")
        self.broker_options = ["--brokers", self.broker.address, "--topic-prefix", "jwk"]
        self.api_options, self.worker_options = list(api_options), list(worker_options)
        self.master_key_file = self.directory / "master-key"
        subprocess.run([str(BUILD / "jwk-api"), "master-key", "generate", "--output", str(self.master_key_file)], check=True,
                       capture_output=True, timeout=PATIENCE)
        self.api = ApiNode(self, "api", self.directory / "api")
        for name in environments:
            self.admin("environment", "add", name, "--credentials", str(self.credentials(name)))
        self.api_keys_file = self.directory / "api-keys.json"
        self.export_api_keys()
        self.token = self.admin("token", "create", "--user", "alice", "--role", "ROLE_API_SECURITY", "--role",
                                "ROLE_DEPLOY_UNDEPLOY_PROXIES").strip()
        self.workers = {}
        self.extra = []  # further processes that faults start

    def credentials(self, environment):
        """The file that the workers of an environment read."""
        return self.directory / f"{environment}.credentials"

    def export_api_keys(self):
        replace_file(self.api_keys_file, self.admin("signing-key", "export"))

    def command(self, *arguments, directory=None, environment=None):
        """Runs a command on the API's store, with its shim: what it writes is in the same journal."""
        settings = {"JWK_API_MASTER_KEY_FILE": str(self.master_key_file), "JWK_API_DATA_DIR": str(directory or self.api.directory)}
        return subprocess.run([str(BUILD / "jwk-api"), *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=PATIENCE, check=False,
                              env=os.environ | settings | self.api.shim.environment | (environment or {}))

    def admin(self, *arguments):
        """Runs a command that must succeed; returns what it prints."""
        done = self.command(*arguments)
        assert done.returncode == 0, f"jwk-api {' '.join(arguments)} ended with {done.returncode}: {done.stderr}"
        return done.stdout

    def add_worker(self, environment, replica):
        node = WorkerNode(self, environment, replica)
        self.workers[node.name] = node
        node.start()
        return node

    @property
    def nodes(self):
        return [self.api, *self.workers.values()]

    def restart_broker(self, clean):
        """Kafka ends, orderly or by kill -9, and comes back; the embedded broker comes back empty, on another port."""
        if clean:
            self.broker.program.terminate()
            self.broker.program.wait_exit(60)
        else:
            self.broker.program.kill()
        self.start_broker()

    def start_broker(self):
        if self.broker.kind == "kafka":
            self.broker.start_again()
            return
        self.broker.program = EmbeddedBroker(self.broker.directory)
        self.broker.address = self.broker.program.address
        for node in self.nodes:
            node.proxy.target = self.broker.port
            node.proxy.reset()

    def stop(self):
        """Ends everything, in whatever state it is."""
        for program in [*self.extra, *(node.program for node in reversed(self.nodes) if node.program), self.broker.program]:
            if program.running:
                program.process.send_signal(signal.SIGCONT)
            if program is not self.broker.program and program.running:
                program.terminate()
                try:
                    status = program.wait_exit(20)
                except AssertionError:
                    status = None
                self.history.add("told_to_end", node=program.name, status=status, log=program.log()[-600:])
            program.kill()
        for node in self.nodes:
            node.proxy.close()
        self.api.front.close()
        self.network.close()
