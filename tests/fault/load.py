"""A seeded load: clients that create, generate, update, rename, trade names, rotate, delete, re-create, redeploy and read JWKs all the time,
and make some from a key object that they follow together."""

import base64
import http.client
import json
import random
import threading
import time

from jwcrypto import jwk

from harness.http import split_address
from harness.installation import jwk_path, jwks_path
from harness.keys import any_rsa, new_key, thumbprint

from .history import now

ANSWER_TIMEOUT_S = 12
STILL_IN_PROGRESS = 409
SHARED_PROJECT, SHARED_NAMES = "shared", [f"s{number}" for number in range(8)]
NAMES_PER_CLIENT = 6
FOLLOWERS = 3  # JWKs that are made from the key object of a client
UNDEPLOYED = ("get", "add_key_object", "follow")  # operations whose answer names no one deployment
GENERATED_SHARE = 0.1  # of new keys
KEYED_SHARE = 0.5  # of changes that have an Idempotency-Key, under which they are made again when their answer is lost
REPEATED_FOR_S, REPEATED_EVERY_S = 20, 0.3  # until the API is there again
OVERLAPS_S = (0, 2, 5, 30)  # some end while all is quiet, and some are longer than a round
GENERATED = ({"type": "EC", "ec": {"curveType": "P256", "algorithm": "ES256", "keyIdType": "SHA256"}},
             {"type": "OKP", "okp": {"algorithm": "EdDSA", "keyIdType": "NONE"}}, {"type": "OCT"})


def project_of(client):
    return f"project-{client % 3}"


PROJECTS = [project_of(number) for number in range(3)] + [SHARED_PROJECT]


class Secrets:
    """The private parts of every key that was given to the API, or was got of it, for the checker to look for."""

    def __init__(self, path):
        self.file, self.lock, self.known = open(path, "a", encoding="utf-8"), threading.Lock(), set()

    def add(self, key):
        with self.lock:
            for name in ("d", "p", "q", "dp", "dq", "qi", "k"):
                if name in key and key[name] not in self.known:
                    self.known.add(key[name])
                    self.file.write(key[name] + "\n")
            self.file.flush()


class Client(threading.Thread):
    """One user. Names that begin with its number are changed by nobody else; those of the shared project by everybody."""

    def __init__(self, number, seed, cluster, history, secrets, pause_s):
        super().__init__(name=f"client-{number}", daemon=True)
        self.number, self.cluster, self.history, self.secrets, self.pause_s = number, cluster, history, secrets, pause_s
        self.random = random.Random(f"{seed}/client/{number}")
        self.project = project_of(number)
        self.present = set()  # own names that are believed to exist; a wrong belief costs a 400
        self.has_key_object, self.followers = False, set()  # the names of those that are known to be made from it
        self.count = 0
        self.lost = False  # whether the answer to the last request was, after it may have been read
        self.connection = self.connected_to = None
        self.running, self.stopping = threading.Event(), threading.Event()
        self.idle = threading.Event()

    # ---- one request ----

    def send(self, operation, method, path, body=None, **told):
        """Makes one request, and again when its answer is lost and it has an Idempotency-Key. Returns (status, answer) or None."""
        keyed = method != "GET" and operation != "add_key_object" and self.random.random() < KEYED_SHARE
        key = f"{self.number}-{self.count}" if keyed else None
        self.lost = False
        done = self.send_once(operation, method, path, body, key, **told)
        if keyed and self.lost:
            end = now() + REPEATED_FOR_S
            while (done is None or done[0] == STILL_IN_PROGRESS or done[0] >= 500) and now() < end:
                if self.stopping.wait(REPEATED_EVERY_S):
                    break
                done = self.send_once(operation, method, path, body, key, **told)
        return done

    def send_once(self, operation, method, path, body, key, **told):
        """Writes down what was asked and answered, too."""
        address = self.cluster.api.look_address()
        if address is not None and self.number % 2 == 1:
            address = f"127.0.0.1:{self.cluster.api.front.port}"
        if address is None:
            time.sleep(0.05)  # nobody to ask at present
            return None
        if self.connection is None or self.connected_to != address:
            self.connection = http.client.HTTPConnection(*split_address(address), timeout=ANSWER_TIMEOUT_S)
            self.connected_to = address
        headers = {"Authorization": f"Bearer {self.cluster.token}"}
        preference = self.random.choice((None, None, "wait=1", "respond-async")) if method != "GET" else None
        if preference:
            headers["Prefer"] = preference
        if key:
            headers["Idempotency-Key"] = key
        content = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            content = json.dumps(body)
        self.count += 1
        start = now()
        failure, status, answer, location, retry, replayed = None, None, None, None, None, False
        try:
            self.connection.request(method, path, content, headers)
            response = self.connection.getresponse()
            text = response.read()
            status, location, retry = response.status, response.headers.get("Location"), response.headers.get("Retry-After")
            replayed = response.headers.get("Idempotency-Replayed") == "true"
            answer = json.loads(text) if text else None
        except (OSError, http.client.HTTPException, ValueError) as problem:
            failure = f"{type(problem).__name__}: {problem}"
            self.connection.close()
            self.connection = None
            self.lost = "Refused" not in failure  # what was never taken is not lost
        end = now()
        self.history.add("request", client=self.number, number=self.count, operation=operation, start=start, end=end, status=status,
                         location=location, retry=retry, failure=failure, prefer=preference, key=key, replayed=replayed,
                         answer=brief(operation, answer), **told)
        if failure and "Refused" in failure:
            time.sleep(0.05)  # the API is down: no use in asking a thousand times
        if status == 200 and location and not replayed and self.random.random() < 0.5:
            self.probe(location, answer, end)
        return (status, answer) if status else None

    def probe(self, location, answer, after):
        """What a reader of each replica gets once the answer is there."""
        done = {each["environmentName"]: each["message"] for each in answer["deploymentResult"]["environmentResults"] if each["success"]}
        for worker in list(self.cluster.workers.values()):
            since = worker.undisturbed_since
            if worker.environment not in done or since is None or not worker.address:
                continue
            start = now()
            items = read_items(worker, self.project if self.project in location else SHARED_PROJECT)
            if items is not None:
                self.history.add("probe", replica=worker.name, environment=worker.environment, location=location, answered=after, start=start,
                                 undisturbed_since=since, message=done[worker.environment], items=items)

    # ---- operations ----

    def own_name(self):
        return f"c{self.number}-{self.random.randrange(NAMES_PER_CLIENT)}"

    def new_key(self, name):
        kind = self.random.choice(("EC", "EC", "EC", "OKP", "OCT", "RSA"))
        key = any_rsa() if kind == "RSA" else new_key(kind)
        key["kid"] = f"{name}-{self.number}-{self.count}"
        self.secrets.add(key)
        return key

    def create(self, project, name):
        if self.random.random() < GENERATED_SHARE:
            return self.generate(project, name)
        key = self.new_key(name)
        description = f"create-{self.number}-{self.count}"
        done = self.send("create", "POST", jwks_path(project),
                         {"name": name, "sourceType": "COPY_PASTE", "jwkStr": json.dumps(key), "description": description},
                         project=project, name=name, description=description, kid=key["kid"])
        return bool(done) and done[0] in (200, 202)

    def generate(self, project, name):
        description = f"generate-{self.number}-{self.count}"
        done = self.send("generate", "POST", jwks_path(project) + "generate",
                         self.random.choice(GENERATED) | {"name": name, "description": description},
                         project=project, name=name, description=description)
        self.get(project, name)
        return bool(done) and done[0] in (200, 202)

    def rotate(self, project, name):
        """Another key takes the place of the present one, which is served beside it until the overlap ends."""
        body, kid = {"overlapSeconds": self.random.choice(OVERLAPS_S)}, None
        if self.random.random() < 0.3:
            body["generate"] = self.random.choice(GENERATED)
        else:
            key = self.new_key(name)
            kid = key["kid"]
            body |= {"sourceType": "COPY_PASTE", "jwkStr": json.dumps(key)}
        self.send("rotate", "POST", jwk_path(project, name) + "rotate", body, project=project, name=name, kid=kid)
        if kid is None:
            self.get(project, name)

    def update(self, project, name, new_name=None):
        description = f"update-{self.number}-{self.count}"
        body = {"description": description} | ({"name": new_name} if new_name else {})
        done = self.send("update", "PUT", jwk_path(project, name), body, project=project, name=name, new_name=new_name,
                         description=description)
        return bool(done) and done[0] in (200, 202)

    def delete(self, project, name):
        done = self.send("delete", "DELETE", jwk_path(project, name), project=project, name=name)
        return bool(done) and done[0] in (200, 202)

    # ---- a key object, and the JWKs that are made from it ----

    def key_object_body(self, **members):
        """With a new key; returns (body, its thumbprint, which is the kid of what is made from it)."""
        key = new_key("EC")
        self.secrets.add(key)
        pem = jwk.JWK(**key).export_to_pem(private_key=True, password=None)
        material = {"environmentName": "production", "privateKey": base64.b64encode(pem).decode()}
        return {"name": self.key_object, "cryptoKeyInfoEnvironmentList": [material]} | members, thumbprint(key)

    @property
    def key_object(self):
        return f"c{self.number}-key"

    def follow(self):
        """Another key in the key object, which all that was made from it get in one transaction."""
        body, kid = self.key_object_body(updateReferencedJwks=True)
        self.send("follow", "PUT", f"/apiops/projects/{self.project}/keys/{self.key_object}/", body, project=self.project, name=self.key_object,
                  thumbprint=kid, followers=sorted(self.followers))

    def use_key_object(self):
        if not self.has_key_object:
            done = self.send("add_key_object", "POST", f"/apiops/projects/{self.project}/keys/", self.key_object_body()[0], project=self.project,
                             name=self.key_object)
            self.has_key_object = bool(done) and (done[0] == 200 or "already exist" in done[1].get("error_description", ""))
            return
        name = f"{self.key_object}-{self.random.randrange(FOLLOWERS)}"
        if name not in self.followers:
            description = f"create-{self.number}-{self.count}"
            done = self.send("create", "POST", jwks_path(self.project), {"name": name, "sourceType": "PRIVATE_KEY", "keyName": self.key_object,
                             "description": description}, project=self.project, name=name, description=description)
            if done and (done[0] in (200, 202) or "already exist" in done[1].get("error_description", "")):
                self.followers.add(name)
        elif self.random.random() < 0.2:
            self.followers.discard(name)
            self.delete(self.project, name)
        else:
            self.follow()

    def redeploy(self, project, name):
        self.send("redeploy", "POST", jwk_path(project, name) + "redeploy/", project=project, name=name)

    def get(self, project, name):
        done = self.send("get", "GET", jwk_path(project, name), project=project, name=name)
        if done and done[0] == 200:
            item = done[1]["resultList"][0]
            self.secrets.add(item[item["type"].lower()])  # the API may have made it
        return done

    def read(self, project, name):
        done = self.get(project, name)
        if done and done[0] == 200:
            self.present.add(name)
        elif done and done[0] in (400, 404):
            self.present.discard(name)

    def trade(self, project, first, second):
        """Two JWKs exchange their names by way of a third."""
        between = f"c{self.number}-between"
        self.update(project, first, between)
        self.update(project, second, first)
        self.update(project, between, second)

    def act(self):
        if self.random.random() < 0.2:
            name, other = self.random.sample(SHARED_NAMES, 2)
            which = self.random.random()
            if which < 0.4:
                self.create(SHARED_PROJECT, name)
            elif which < 0.45:
                self.rotate(SHARED_PROJECT, name)
            elif which < 0.7:
                self.update(SHARED_PROJECT, name, other if self.random.random() < 0.4 else None)
            else:
                self.delete(SHARED_PROJECT, name)
            return
        if self.random.random() < 0.1:
            self.use_key_object()
            return
        name = self.own_name()
        if name not in self.present:
            if self.create(self.project, name):
                self.present.add(name)
            else:
                self.read(self.project, name)
            return
        which = self.random.random()
        if which < 0.05:
            self.rotate(self.project, name)
        elif which < 0.45:
            if not self.update(self.project, name):
                self.read(self.project, name)
        elif which < 0.6:
            other = self.own_name()
            if other != name and self.update(self.project, name, other):
                self.present.discard(name)
                self.present.add(other)
        elif which < 0.7 and len(self.present) > 1:
            self.trade(self.project, *self.random.sample(sorted(self.present), 2))
        elif which < 0.8:
            self.redeploy(self.project, name)
        elif which < 0.9:
            self.read(self.project, name)
        else:
            self.delete(self.project, name)
            self.present.discard(name)

    def run(self):
        while not self.stopping.is_set():
            if not self.running.is_set():
                if self.connection:
                    self.connection.close()
                self.idle.set()
                self.running.wait(0.5)
                continue
            self.idle.clear()
            self.act()
            self.stopping.wait(self.random.expovariate(1 / self.pause_s))  # the rate of the load


def brief(operation, answer):
    """What the checker needs of an answer; of a JWK that was read, nothing private."""
    if not isinstance(answer, dict):
        return None
    if operation == "get" and answer.get("success"):
        item = answer["resultList"][0]
        return {name: item.get(name) for name in ("name", "description", "kid", "type")}
    return {name: value for name, value in answer.items() if name != "resultList"}


def read_items(worker, project):
    """{JWK id: [epoch, version]} that a replica tells at present, or None when it does not answer."""
    try:
        connection = http.client.HTTPConnection(*split_address(worker.address), timeout=3)
        try:
            connection.request("GET", f"/projects/{project}/jwks/")
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        if response.status == 404:
            return {}
        return {item["id"]: [item["epoch"], item["version"]] for item in json.loads(body)} if response.status == 200 else None
    except (OSError, http.client.HTTPException, ValueError):
        return None


class Load:
    def __init__(self, cluster, history, seed, clients, pause_s, secrets):
        self.clients = [Client(number, seed, cluster, history, secrets, pause_s) for number in range(clients)]
        for client in self.clients:
            client.start()

    def resume(self):
        for client in self.clients:
            client.running.set()

    def pause(self):
        for client in self.clients:
            client.idle.clear()
            client.running.clear()

    def is_idle(self):
        """Whether no request is under way."""
        return all(client.idle.is_set() for client in self.clients)

    def stop(self):
        for client in self.clients:
            client.stopping.set()
            client.running.set()
        for client in self.clients:
            client.join()
