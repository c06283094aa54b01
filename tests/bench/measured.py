"""Processes whose CPU and memory are read from /proc, the broker and the pair of programs under measurement."""

import http.client
import json
import os
import pathlib
import re
import socket
import sqlite3
import subprocess
import sys
import time
import uuid

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "blackbox"))
from harness.program import BUILD, REPOSITORY, Program, wait_until  # noqa: E402 (standard library only)

TICKS = os.sysconf("SC_CLK_TCK")
# The P-256 key of RFC 7517, appendix A.1: what the benchmarks store under many names.
PRIVATE_MEMBER = {"d": "870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE"}
KEY_MEMBERS = {"kty": "EC", "crv": "P-256", "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
               "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM", "use": "sig", "alg": "ES256"}


class Failure(Exception):
    """An answer or an end of a program that is not the expected one."""


class MeasuredProgram(Program):
    def cpu_seconds(self):
        """User and system time of all its threads so far."""
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def memory_mb(self):
        """Resident now, and the most that ever was."""
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return tuple(int(re.search(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE).group(1)) / 1024
                     for name in ("VmRSS", "VmHWM"))

    def stop(self, patience=60):
        """SIGTERM, then SIGKILL when it does not end; the benchmark's judgement does not depend on how it ended."""
        if self.running:
            if self.paused:
                self.resume()
            self.terminate()
            try:
                self.process.wait(patience)
            except subprocess.TimeoutExpired:
                print(f"bench: {self.name} did not end within {patience} s", file=sys.stderr)
        self.kill()


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


class Kafka(MeasuredProgram):
    """One node in KRaft mode with the heap and the collector of Kafka's own start script."""

    def __init__(self, libraries, directory):
        if not list(pathlib.Path(libraries).glob("kafka_*.jar")):
            raise Failure(f"no Apache Kafka in {libraries}")
        directory = pathlib.Path(directory) / "kafka"
        directory.mkdir()
        port, controller_port = free_ports(2)
        properties = (REPOSITORY / "tests" / "kafka" / "server.properties").read_text()
        # That small index is for many small topics; a large topic would get a new segment every few megabytes by it.
        properties = re.sub(r"^log\.index\.size\.max\.bytes=.*$", "", properties, flags=re.MULTILINE)
        for name, value in {"PORT": port, "CONTROLLER_PORT": controller_port, "DIRECTORY": directory}.items():
            properties = properties.replace(f"@{name}@", str(value))
        settings = directory / "server.properties"
        settings.write_text(properties)
        java = ["java", "-Xms1g", "-Xmx1g", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35",
                "-cp", f"{libraries}/*"]
        done = subprocess.run([*java, "kafka.tools.StorageTool", "format", "--cluster-id", uuid.uuid4().hex[:22], "--config", settings],
                              capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failure(f"formatting Kafka's storage: {done.stdout}{done.stderr}")
        super().__init__("kafka", [*java, "kafka.Kafka", settings], directory)
        self.address = f"127.0.0.1:{port}"

        def listens():
            if not self.running:
                raise Failure(f"Kafka ended:\n{self.log()}")
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return True
            except OSError:
                return False
        wait_until(listens, "Kafka listens", 90)


def request(address, method, path, body=None, headers=None, timeout=60):
    """One request on a connection of its own; returns status, headers, body."""
    connection = http.client.HTTPConnection(address, timeout=timeout)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def counter(program, name):
    """A metric of a program: of all its labels, or of those that the name tells."""
    _, _, text = request(program.address, "GET", "/metrics")
    return sum(map(int, re.findall(rf"^{re.escape(name)}(?:\{{[^}}]*\}})? (\d+)$", text.decode(), re.MULTILINE)))


class Pair:
    """jwk-api and its workers on one broker, in a directory of their own, with the default settings. with_keys=False: environments
    without keys, whose workers neither verify nor sign nor get private halves."""

    def __init__(self, kafka, directory, environments=("production", "staging"), replicas=1, api_options=(), worker_options=(),
                 with_keys=True):
        self.kafka = kafka
        self.directory = pathlib.Path(directory) / f"pair-{uuid.uuid4().hex[:8]}"
        self.directory.mkdir()
        self.data = self.directory / "data"
        self.api_options, self.worker_options = api_options, worker_options
        self.broker_options = ["--brokers", kafka.address, "--topic-prefix", f"bench-{uuid.uuid4().hex[:8]}"]
        self.api = None
        self.workers = {}
        self.master_key_file = self.directory / "master-key"
        subprocess.run([BUILD / "jwk-api", "master-key", "generate", "--output", self.master_key_file], check=True, capture_output=True)
        self.with_keys = with_keys
        for name in environments:
            self.admin("environment", "add", name, *(("--credentials", self.credentials(name), "--master-key-file",
                                                      self.master_key_file) if with_keys else ("--without-keys",)))
        self.identities = [(name, f"replica-{number}") for name in environments for number in range(1, replicas + 1)]
        self.token = self.admin("token", "create", "--user", "bench", "--role", "ROLE_API_SECURITY",
                                "--role", "ROLE_DEPLOY_UNDEPLOY_PROXIES")

    def admin(self, *arguments):
        done = subprocess.run([BUILD / "jwk-api", *arguments, "--data-dir", self.data], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failure(f"jwk-api {' '.join(arguments)}: {done.stderr}")
        return done.stdout.strip()

    def credentials(self, environment):
        return self.directory / f"{environment}.credentials"

    def add_projects(self, names):
        """Many at once, while the API is stopped: a subcommand each would take longer than the measurement."""
        self.admin("project", "list")
        with sqlite3.connect(self.data_file()) as store:
            store.executemany("INSERT INTO project (uid, name, created_at) VALUES (?, ?, ?)",
                              [(str(uuid.uuid4()), name, int(time.time() * 1000)) for name in names])
        store.close()

    def data_file(self):
        for path in self.data.iterdir():
            if path.is_file():
                with open(path, "rb") as file:
                    if file.read(15) == b"SQLite format 3":
                        return path
        raise Failure(f"no SQLite file in {self.data}")

    def start_api(self):
        """Returns the seconds until it was ready."""
        address_file = self.directory / f"api-{uuid.uuid4().hex}"
        began = time.monotonic()
        self.api = MeasuredProgram("api", [BUILD / "jwk-api", "serve", "--data-dir", self.data, "--listen", "127.0.0.1:0",
                                           "--address-file", address_file, "--master-key-file", self.master_key_file,
                                           *self.broker_options, *self.api_options],
                                   self.directory)
        self.api.address = wait_until(lambda: self.address(self.api, address_file), "the API listens", 120)
        wait_until(lambda: self.is_ready(self.api), "the API is ready", 120)
        return time.monotonic() - began

    def start_worker(self, environment, replica):
        """Starts it without waiting until it is ready; it listens when this returns."""
        address_file = self.directory / f"worker-{uuid.uuid4().hex}"
        name = f"{environment}/{replica}"
        worker = MeasuredProgram(f"worker-{environment}-{replica}",
                                 [BUILD / "jwk-worker", "--environment", environment, "--replica", replica,
                                  "--state-dir", self.directory / f"state-{environment}-{replica}", "--listen", "127.0.0.1:0",
                                  "--address-file", address_file,
                                  *(("--credentials", self.credentials(environment)) if self.with_keys else ("--unsigned",)),
                                  *self.broker_options, *self.worker_options],
                                 self.directory)
        self.workers[name] = worker
        worker.address = wait_until(lambda: self.address(worker, address_file), f"worker {name} listens", 120)
        return worker

    @staticmethod
    def address(program, path):
        if not program.running:
            raise Failure(f"{program.name} ended:\n{program.log()[-4000:]}")
        return path.read_text().strip() if path.exists() else None

    @staticmethod
    def is_ready(program):
        if not program.running:
            raise Failure(f"{program.name} ended:\n{program.log()[-4000:]}")
        try:
            return request(program.address, "GET", "/readyz", timeout=5)[0] == 200
        except OSError:
            return False

    def start_workers(self):
        for environment, replica in self.identities:
            self.start_worker(environment, replica)
        for name, worker in self.workers.items():
            wait_until(lambda worker=worker: self.is_ready(worker), f"worker {name} is ready", 300)

    def start(self):
        self.start_api()
        self.start_workers()
        return self

    def call(self, method, path, body=None, headers=None):
        """A request with the token; returns status and the JSON of the answer."""
        sent = {"Authorization": f"Bearer {self.token}", **(headers or {})}
        if body is not None:
            sent["Content-Type"] = "application/json"
        status, _, answer = request(self.api.address, method, path, json.dumps(body) if body is not None else None, sent)
        return status, json.loads(answer)

    def wait_connected(self, project):
        """Until an update of the project's JWK k0 is confirmed by every environment."""
        def connected():
            status, answer = self.call("PUT", f"/apiops/projects/{project}/jwks/k0/", {"description": uuid.uuid4().hex})
            if status != 200:
                raise Failure(f"update of k0 in {project}: {status} {answer}")
            return answer["deploymentResult"]["success"]
        wait_until(connected, "every environment confirms an update", 120)

    def slowest_acks(self, since):
        """For each deployment recorded since then (ms since 1970), the milliseconds until its last environment had confirmed it."""
        with sqlite3.connect(f"file:{self.data_file()}?mode=ro", uri=True) as store:
            rows = store.execute("SELECT max(settled_at) - created_at FROM deployment JOIN deployment_result ON deployment_id = id"
                                 " WHERE created_at >= ? GROUP BY id HAVING count(*) = count(settled_at)", (since,)).fetchall()
        store.close()
        return sorted(milliseconds for milliseconds, in rows)

    def programs(self):
        """All measured processes by name."""
        return {"api": self.api, **self.workers, "broker": self.kafka}

    def stop_workers(self):
        for worker in self.workers.values():
            worker.terminate()
        for worker in self.workers.values():
            worker.stop()
        self.workers.clear()

    def stop(self):
        self.stop_workers()
        if self.api:
            self.api.stop()
            self.api = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def run_tool(name, arguments, environment=None):
    """Runs floor or load and returns its JSON; an exit status of 1 is a wrong answer, any other a tool that could not run."""
    done = subprocess.run([BUILD / "bench" / name, "--json", *map(str, arguments)], capture_output=True, text=True, check=False,
                          env=os.environ | (environment or {}))
    if done.returncode or not done.stdout:
        raise Failure(f"{name} {' '.join(map(str, arguments))} ended with {done.returncode}: {done.stdout}{done.stderr}")
    return json.loads(done.stdout)


def cpu_of(programs):
    return {name: program.cpu_seconds() for name, program in programs.items() if program.running}


def with_cpu(programs, work):
    """Runs work() and adds to its result the CPU per completed update of each process, in microseconds, and memory in MB."""
    before = cpu_of(programs)
    result = work()
    after = cpu_of(programs)
    count = result.get("answered") or result.get("completed") or 1
    result["cpu_us"] = {name: (after[name] - before[name]) * 1e6 / count for name in after if name in before}
    result["memory_mb"] = {name: program.memory_mb()[0] for name, program in programs.items() if program.running}
    return result


def run_floor(kafka, directory, in_flight, consumers, duration, warm_up=1.0, commit=False):
    """commit: each consumer commits before it acks, as a worker must."""
    result = with_cpu({"broker": kafka}, lambda: run_tool("floor", [
        "--brokers", kafka.address, "--in-flight", in_flight, "--consumers", consumers, "--duration", duration,
        "--warm-up", warm_up, "--dir", directory, *(["--commit"] if commit else [])]))
    result["cpu_us"]["floor"] = result["cpu_us_per_update"]
    return result


def run_load(pair, *, connections, projects, keys, duration=None, warm_up=1.0, requests=None, first=0, rate=None, method="PUT",
             path="/apiops/projects/p%p/jwks/k%k/", body='{"description":"change %n"}', sequential=False,
             check=("--expect-deployed",), timeout=60):
    arguments = ["--url", pair.api.address, "--path", path, "--projects", projects, "--keys", keys, "--first", first,
                 "--connections", connections, "--method", method, "--timeout", timeout, *check]
    if body:
        arguments += ["--body", body]
    if duration:
        arguments += ["--duration", duration, "--warm-up", warm_up]
    if requests:
        arguments += ["--requests", requests]
    if rate:
        arguments += ["--rate", rate]
    if sequential:
        arguments.append("--sequential")
    result = with_cpu(pair.programs(), lambda: run_tool("load", arguments, {"LOAD_TOKEN": pair.token}))
    result["cpu_us"]["generator"] = result["cpu_us_per_request"]
    return result


def seed(pair, projects, keys, first, count, connections=1000, prefix="p", private=False):
    """Creates JWKs first to first + count - 1: k0 in each project, then k1 in each; private: with their private halves."""
    if count <= 0:
        return None
    key = json.dumps(KEY_MEMBERS | (PRIVATE_MEMBER if private else {}) | {"kid": "p%p-k%k"}, separators=(",", ":"))
    body = json.dumps({"name": "k%k", "sourceType": "COPY_PASTE", "jwkStr": key}, separators=(",", ":"))
    return run_load(pair, connections=min(connections, count), projects=projects, keys=keys, requests=count, first=first,
                    method="POST", path=f"/apiops/projects/{prefix}%p/jwks/", body=body, sequential=True, check=(), timeout=120)
