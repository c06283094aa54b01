"""One installation: an API with its store, its environments with their workers, on one broker."""

import json
import os
import pathlib
import re
import signal
import subprocess
import urllib.parse
import uuid

from . import contract, http
from .broker import SEVERAL_PARTITIONS
from .keys import new_key
from .program import BUILD, PATIENCE, Program, wait_until
from .topics import Topics

ROLE_SECURITY, ROLE_DEPLOY, ROLE_ADMIN = "ROLE_API_SECURITY", "ROLE_DEPLOY_UNDEPLOY_PROXIES", "ROLE_ADMIN"


def run(arguments, check=True, environment=None):
    """Runs a jwk-api that ends by itself; with check it must succeed."""
    words = [str(argument) for argument in arguments]
    clean = {key: value for key, value in os.environ.items() if not key.startswith("JWK_API_")}
    done = subprocess.run([str(BUILD / "jwk-api"), *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE,
                          check=False, env=clean | (environment or {}))
    if check:
        assert done.returncode == 0, f"jwk-api {' '.join(words)} ended with {done.returncode}: {done.stderr}"
    return done


def new_master_key(directory):
    """Makes a master key in a new file of that directory."""
    path = pathlib.Path(directory) / f"master-key-{uuid.uuid4().hex}"
    run(["master-key", "generate", "--output", path])
    return path


def quote(segment):
    return urllib.parse.quote(segment, safe="")


def jwks_path(project):
    return f"/apiops/projects/{quote(project)}/jwks/"


def jwk_path(project, name):
    return f"{jwks_path(project)}{quote(name)}/"


class Api(Program):
    """`jwk-api serve`. Each answer is judged by the OpenAPI document."""

    def __init__(self, installation, options=()):
        address_file = installation.directory / f"api-{uuid.uuid4().hex}.address"
        super().__init__("api", [BUILD / "jwk-api", "serve", "--data-dir", installation.data_directory, "--listen", "127.0.0.1:0",
                                 "--address-file", address_file, *installation.master_key_options, *installation.broker_options,
                                 *SEVERAL_PARTITIONS, *options], installation.directory)
        self.token = installation.token
        self.context = http.trusting_context(options)
        self.address = self.wait_address(address_file)

    def request(self, method, path, body=None, *, json_body=None, headers=None, token=None, prefer=None):
        """token: None is the installation's own, False is none at all."""
        sent = {"Host": "localhost"}
        if token is not False:
            sent["Authorization"] = f"Bearer {token or self.token}"
        if json_body is not None:
            body = json.dumps(json_body).encode()
        if body is not None:
            sent["Content-Type"] = "application/json"
        if prefer:
            sent["Prefer"] = prefer
        sent.update(headers or {})
        answer = http.request(self.address, method, path, body, {name: value for name, value in sent.items() if value is not None},
                              self.context)
        contract.judge_answer(method, path, answer)
        return answer

    def raw(self):
        return http.RawConnection(self.address, contract.judge_answer)

    def ready(self):
        return self.request("GET", "/readyz", token=False).status == 200

    def wait_ready(self):
        wait_until(self.ready, "the API is ready")

    def list_jwks(self, project, **options):
        return self.request("GET", jwks_path(project), **options)

    def get_jwk(self, project, name, **options):
        return self.request("GET", jwk_path(project, name), **options)

    def item(self, project, name):
        """The JWK object of a get that must succeed."""
        answer = self.get_jwk(project, name)
        assert answer.status == 200, answer
        return answer.json["resultList"][0]

    def names(self, project):
        answer = self.list_jwks(project)
        assert answer.status == 200, answer
        return [item["name"] for item in answer.json["resultList"]]

    def create(self, project, name, key=None, *, description=None, kid=None, **options):
        body = {"name": name, "sourceType": "COPY_PASTE", "jwkStr": json.dumps(key or new_key("EC", kid=name))}
        if description is not None:
            body["description"] = description
        if kid is not None:
            body["kid"] = kid
        return self.request("POST", jwks_path(project), json_body=body, **options)

    def update(self, project, jwk, body, **options):
        return self.request("PUT", jwk_path(project, jwk), json_body=body, **options)

    def delete(self, project, name, **options):
        return self.request("DELETE", jwk_path(project, name), **options)

    def deployment(self, location):
        """The deployment object behind a Location."""
        answer = self.request("GET", location)
        assert answer.status == 200, answer
        return answer.json["resultList"][0]

    def wait_deployment(self, location, state="SUCCEEDED"):
        def look():
            deployment = self.deployment(location)
            return deployment if deployment["state"] == state else None
        return wait_until(look, f"{location} becomes {state}")


class Worker(Program):
    """`jwk-worker`: one replica of one environment."""

    def __init__(self, installation, environment, replica, options=(), state_directory=None, environment_variables=None):
        self.installation, self.environment, self.replica = installation, environment, replica
        self.options, self.environment_variables = options, environment_variables
        self.context = http.trusting_context(options)
        self.state_directory = state_directory or installation.directory / f"state-{environment}-{replica}"
        address_file = installation.directory / f"worker-{uuid.uuid4().hex}.address"
        super().__init__(f"worker-{environment}-{replica}",
                         [BUILD / "jwk-worker", "--environment", environment, "--replica", replica, "--state-dir", self.state_directory,
                          *installation.trust_options(environment), "--listen", "127.0.0.1:0", "--address-file", address_file, *installation.broker_options, *options],
                         installation.directory, environment_variables)
        self.address = self.wait_address(address_file)

    def reload(self):
        """Has it read its credentials again."""
        self.process.send_signal(signal.SIGHUP)

    def request(self, method, path, headers=None):
        return http.request(self.address, method, path, None, {"Host": "localhost"} | (headers or {}), self.context)

    def ready(self):
        return self.request("GET", "/readyz").status == 200

    def wait_ready(self):
        wait_until(self.ready, f"{self.name} is ready")

    def key_set(self, project):
        """The JWK Set that verifiers fetch."""
        answer = self.request("GET", f"/projects/{quote(project)}/.well-known/jwks.json")
        if answer.status == 404:
            return []
        assert answer.status == 200, answer
        assert answer.headers["Content-Type"] == "application/jwk-set+json", answer
        return answer.json["keys"]

    def kids(self, project):
        return [key.get("kid") for key in self.key_set(project)]

    def items(self, project):
        answer = self.request("GET", f"/projects/{quote(project)}/jwks/")
        if answer.status == 404:
            return []
        assert answer.status == 200, answer
        return answer.json

    def names(self, project):
        return sorted(item["name"] for item in self.items(project))

    def jwk(self, project, name):
        """The public JWK of that name, or None."""
        answer = self.request("GET", f"/projects/{quote(project)}/jwks/{quote(name)}")
        if answer.status == 404:
            return None
        assert answer.status == 200, answer
        return answer.json


class Installation:
    def __init__(self, broker, directory, deploy_timeout="10s"):
        self.broker = broker
        self.directory = pathlib.Path(directory)
        self.data_directory = self.directory / "data"
        self.master_key_file = new_master_key(self.directory)
        self.master_key_options = ["--master-key-file", self.master_key_file]
        self.prefix = broker.prefix or f"t{uuid.uuid4().hex[:12]}"
        self.broker_options = ["--brokers", broker.address, "--topic-prefix", self.prefix]
        self.deploy_timeout = deploy_timeout
        self.api = None
        self.token = None
        self.workers = {}
        self.programs = []
        self.topics = Topics(broker.address, self.prefix)

    def use_broker(self, broker):
        """From now on programs are started on another broker."""
        self.broker = broker
        self.broker_options = ["--brokers", broker.address, "--topic-prefix", self.prefix]
        self.topics = Topics(broker.address, self.prefix)

    def admin(self, *arguments, check=True):
        """Runs an administrative subcommand on the store; with check it must succeed. The master key is in its environment, unless an
        option names another."""
        named = any(str(argument).startswith("--master-key-") for argument in arguments)
        return run(["--data-dir", self.data_directory, *arguments], check,
                   {} if named else {"JWK_API_MASTER_KEY_FILE": str(self.master_key_file)})

    def new_token(self, *options, roles=(ROLE_SECURITY, ROLE_DEPLOY), user="alice"):
        """Returns the token's text and its id."""
        words = [word for role in roles for word in ("--role", role)]
        done = self.admin("token", "create", "--user", user, *words, *options)
        identifier = re.search(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", done.stderr)
        assert identifier, f"no id in {done.stderr!r}"
        return done.stdout.strip(), identifier.group()

    def add_project(self, name):
        self.admin("project", "add", name)
        return name

    def add_environment(self, name, *, keys=True):
        """With keys, its workers started from then on have its credentials."""
        if keys:
            self.add_environment_with_keys(name)
        else:
            self.admin("environment", "add", name, "--without-keys")
        return name

    def add_environment_with_keys(self, name, verb="add"):
        """Returns its credentials, as its workers are given them."""
        path = self.credentials(name)
        path.unlink(missing_ok=True)
        self.admin("environment", verb, name, "--credentials", path)
        return json.loads(path.read_text())

    def credentials(self, environment):
        """The file with the credentials of an environment; there is none for one without keys."""
        return self.directory / f"{environment}.credentials"

    def trust_options(self, environment):
        path = self.credentials(environment)
        return ["--credentials", path] if path.exists() else ["--unsigned"]

    def signing_keys(self, *options):
        """The public keys that events are to be believed by."""
        return json.loads(self.admin("signing-key", "export", *options).stdout)

    def start_api(self, *options):
        if self.token is None:
            self.token, _ = self.new_token()
        self.api = Api(self, ["--deploy-timeout", self.deploy_timeout, *options])
        self.programs.append(self.api)
        self.api.wait_ready()
        return self.api

    def start_worker(self, environment, replica="edge-1", *options, state_directory=None, ready=True, environment_variables=None):
        worker = Worker(self, environment, replica, options, state_directory, environment_variables)
        self.workers[environment, replica] = worker
        self.programs.append(worker)
        if ready:
            worker.wait_ready()
        return worker

    def try_worker(self, environment, *options):
        """Starts one that must refuse to; returns its exit status and what it said. Nothing is added to the options."""
        done = subprocess.run([str(BUILD / "jwk-worker"), "--environment", environment, "--replica", "edge-1", "--state-dir",
                               str(self.directory / "refused"), "--listen", "127.0.0.1:0", *self.broker_options, *map(str, options)],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False)
        return done.returncode, done.stderr

    def start_workers(self, *environments):
        """One replica of each, started together: each waits for the broker on its own."""
        workers = [self.start_worker(environment, ready=False) for environment in environments]
        for worker in workers:
            worker.wait_ready()

    def restart_worker(self, worker, *, ready=True):
        return self.start_worker(worker.environment, worker.replica, *worker.options, state_directory=worker.state_directory, ready=ready,
                                 environment_variables=worker.environment_variables)

    def wait_connected(self, *environments):
        """Until the API counts on a replica of each of these environments (all when none is named).

        What a worker knows of itself (readyz) reaches the API a moment later."""
        project = f"probe-{uuid.uuid4().hex[:8]}"
        self.add_project(project)
        assert self.api.create(project, "probe", prefer="respond-async").status == 202

        def connected():
            result = self.api.update(project, "probe", {"description": uuid.uuid4().hex}, prefer="wait=1").json["deploymentResult"]
            done = {each["environmentName"] for each in result["environmentResults"] if each["success"]}
            return done.issuperset(environments) if environments else result["success"]
        wait_until(connected, f"the API deploys to {environments or 'every environment'}")
        assert self.api.delete(project, "probe", prefer="respond-async").status == 202

    def stop(self):
        """Ends what still runs: workers first, so that nothing waits for them."""
        for program in reversed(self.programs):
            if program.paused and program.running:
                program.resume()
        failures = []
        for program in reversed(self.programs):
            try:
                running = program.running
                status = program.stop()
                # Where a sanitizer has found something, it shows in the exit status.
                assert status == 0 or not running, f"{program.name} ended with status {status}:\n{program.log()[-4000:]}"
            except AssertionError as failure:
                failures.append(str(failure))
        self.programs.clear()
        assert not failures, "\n".join(failures)
