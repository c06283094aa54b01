"""Secrets go in through every door, while both programs log all that they can, and then are looked for everywhere: in logs, records,
metrics, answers, files and processes. Where one may stand is listed, and it stands there alone."""

import base64
import itertools
import json
import os
import re
import resource
import secrets
import sqlite3
import stat
import urllib.parse

import confluent_kafka
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from harness import sources
from harness.broker import EmbeddedBroker
from harness.canaries import FORMS, Canary, Hunt
from harness.certificates import Authority
from harness.installation import ROLE_ADMIN, Installation, jwk_path, jwks_path
from harness.keys import any_rsa, new_key
from harness.program import PATIENCE, wait_until
from harness.sources import SourceServer, Sources, base64_of, certificate, certificate_pem, ec_key, keystore, private_pem

PROJECT = "MyProject"
SIGNATURE = {"useType": "SIGNATURE"}
KINDS = ("EC", "RSA", "OKP", "OCT")


# ---- the hunt itself ----

def forms_of(secret):
    """Ways in which a secret may come to stand somewhere, made without the code that looks for them."""
    wrapped = base64.encodebytes(b"-" * 40 + secret)
    return {
        "raw": b"x=" + secret + b"\n", "base64": base64.b64encode(secret), "base64 behind a byte": base64.b64encode(b"." + secret + b"..."),
        "base64 behind two bytes": base64.b64encode(b".," + secret + b".."), "base64url": base64.urlsafe_b64encode(b"ab" + secret),
        "PEM": b"-----BEGIN X-----\n" + wrapped + b"-----END X-----", "PEM in JSON": json.dumps(wrapped.decode()).encode(),
        "PEM in a form": urllib.parse.quote(wrapped, safe="+/=").encode(), "hex": secret.hex().encode(), "HEX": secret.hex().upper().encode(),
        "percent": "".join(f"%{byte:02X}" for byte in secret).encode(), "form": urllib.parse.quote_plus(secret).encode(),
        "cut off": secret[:20], "the end of it": secret[-20:],
    }


@pytest.mark.parametrize("secret", [b"canary-of-text-" + b"0123456789abcdef" * 3, 'gr\u00fcn "and" \\ blue / & 100 % of + it'.encode(), bytes(range(60, 108)),
                                    bytes(range(200, 248)), b"\0\1\n\2\xff\xfe\n\n" + bytes(range(128, 168)), b"short-one-12"])
def test_a_secret_is_found_in_every_form(tmp_path, secret):
    hunt = Hunt(tmp_path)
    hunt.add("it", secret)
    hunt.add("another", secrets.token_bytes(32))
    forms = forms_of(secret)
    if secret.isascii() or secret.startswith(b"gr"):
        text = secret.decode()
        forms |= {"JSON": json.dumps(text).encode(), "JSON in UTF-8": json.dumps(text, ensure_ascii=False).encode(),
                  "JSON in JSON": json.dumps(json.dumps(text)).encode(), "all escaped": "".join(f"\\u{ord(c):04x}" for c in text).encode()}
    for name, content in forms.items():
        hunt.search_in(name, b"before " + content + b" after")
        hunt.search_in(f"not {name}", b"before  after")
    hunt.search_in("nothing", secrets.token_bytes(1 << 16))
    found = hunt.hunt()
    assert {sighting.place for sighting in found} == set(forms)
    assert {sighting.canary for sighting in found} == {"it"}


def test_what_came_as_base64url_is_found_as_what_it_stands_for(tmp_path):
    hunt, secret = Hunt(tmp_path), secrets.token_bytes(32)
    hunt.add_key("key", {"kty": "oct", "k": base64.urlsafe_b64encode(secret).rstrip(b"=").decode()})
    for name, content in forms_of(secret).items():
        hunt.search_in(name, content)
    hunt.search_in("twice", base64.b64encode(b"?" + base64.urlsafe_b64encode(secret)))
    assert {sighting.place for sighting in hunt.hunt()} == set(forms_of(secret)) | {"twice"}
    assert set(Canary("", secret).needles()) == set(FORMS)


# ---- what goes in ----

class System:
    """An installation that tells the hunt all that it answers and has."""

    def __init__(self, directory):
        self.directory = directory / "installation"
        self.directory.mkdir(mode=0o700)
        elsewhere = directory / "hunt"
        elsewhere.mkdir()
        self.hunt = Hunt(elsewhere)
        self.allowed = {}  # place: the groups of canaries that may stand there, and do
        self.numbers = itertools.count(1)
        self.server = SourceServer()
        self.broker = EmbeddedBroker(self.directory, options=["--log-level", "debug"])
        self.installation = Installation(self.broker, self.directory)
        self.listen_to_commands()

    def secret(self, name, form="{}"):
        """A new canary, within other text where a form is given."""
        return form.replace("{}", self.hunt.add(name, secrets.token_urlsafe(24)))

    def password(self, name):
        """One that has to be escaped in many places, at both of its ends."""
        return self.hunt.add(f"{name} {next(self.numbers)}", f'\u00e4"\\/& +%{secrets.token_urlsafe(24)}%+ &/\\"\u00e4')

    def allow(self, place, *groups):
        self.allowed.setdefault(place, set()).update(groups)

    def allowed_at(self, place):
        """A hook that asked for private halves gets what a get shows."""
        hooked = re.fullmatch(r"file hooks-production/(.*)\.\d+\.input", place)
        return self.allowed.get(f"api: GET {jwk_path(PROJECT, hooked.group(1))}" if hooked else place, ())

    # ---- listening ----

    def listen_to_commands(self):
        admin = self.installation.admin

        def listening(*arguments, **options):
            done = admin(*arguments, **options)
            self.hunt.search_in(f"command {' '.join(map(str, arguments[:2]))}", done.stdout + done.stderr)
            return done
        self.installation.admin = listening

    def listen_to_answers(self, program):
        request = program.request

        def listening(method, path, *arguments, **options):
            answer = request(method, path, *arguments, **options)
            self.hunt.search_in(f"{program.name}: {method} {path.partition('?')[0]}", f"{answer.status} {answer.headers}".encode() + answer.body)
            return answer
        program.request = listening

    # ---- programs ----

    def start(self):
        authority = Authority(self.directory, "authority")
        files = {name: authority.issue(name) for name in ("api", "worker")}
        for path in (authority.key, *(key for _, key in files.values())):
            key = serialization.load_pem_private_key(path.read_bytes(), None)
            self.add_made_key(f"TLS key {path.name}", key)
            self.allow(f"file {path.name}", f"TLS key {path.name}")
        self.tls = {name: ["--tls-certificate", certificate_file, "--tls-key", key] for name, (certificate_file, key) in files.items()}
        self.debug = {name: ["--log-level", "debug", "--kafka-config", self.kafka_config(name), "-X", "debug=conf,security"]
                      for name in ("api", "worker")}
        master_key = self.installation.master_key_file
        self.hunt.add_encoded("master key", master_key.read_text().strip())
        self.allow(f"file {master_key.name}", "master key")
        for environment in ("production", "staging"):
            for key in self.installation.add_environment_with_keys(environment)["keys"]:
                self.hunt.add_key(f"credentials of {environment}: {key['use']}", key)
            self.allow(f"file {environment}.credentials", f"credentials of {environment}")
        self.installation.add_project(PROJECT)
        self.installation.token = self.new_token("the caller's token")
        self.start_api()
        hooks = {}
        for environment in ("production", "staging"):
            (self.directory / f"hooks-{environment}").mkdir()
            hooks[environment] = self.directory / f"hook-{environment}"
            hooks[environment].write_text(f"#!/bin/sh\ncd '{self.directory}/hooks-{environment}' || exit 1\n"
                                          'cat >"$JWK_NAME.$JWK_VERSION.input"\n'
                                          'for what in environ cmdline limits; do cat "/proc/$$/$what" >"$JWK_NAME.$JWK_VERSION.$what"; done\n')
            hooks[environment].chmod(0o700)
        self.private_keys = self.directory / "private-keys"
        self.start_worker("production", "--hook", hooks["production"], "--hook-private-key", "--private-key-dir", self.private_keys)
        self.start_worker("staging", "--hook", hooks["staging"], "--log-format", "json", *self.tls["worker"])
        self.installation.wait_connected()

    def start_api(self, *options):
        api = self.installation.start_api(*self.debug["api"], *self.tls["api"], "--source-allow-private", "127.0.0.0/8", "--source-allow-http",
                                          "--source-refresh-min", "200ms", "--source-refresh-default", "300ms", *options)
        self.listen_to_answers(api)

    def start_worker(self, environment, *options):
        worker = self.installation.start_worker(environment, "edge-1", *self.debug["worker"], "--export-dir",
                                                self.directory / f"export-{environment}", *options)
        self.listen_to_answers(worker)

    def kafka_config(self, name):
        path = self.directory / f"{name}.properties"
        path.write_text("sasl.username = me\n"
                        f"sasl.password = {self.secret(f'kafka password of {name}: sasl.password')}\n"
                        f"ssl.key.password = {self.secret(f'kafka password of {name}: ssl.key.password')}\n")
        path.chmod(0o600)
        self.allow(f"file {path.name}", f"kafka password of {name}")
        return path

    # ---- doors ----

    def new_token(self, name, *options, **named):
        token, identifier = self.installation.new_token(*options, **named)
        self.hunt.add_token(name, token)
        self.allow("command token create", name)
        self.token_id = identifier
        return token

    def add_made_key(self, group, key):
        """A key of `cryptography`, by its numbers and by what is alone private in a line of its PEM, which may be encoded once more."""
        if hasattr(key, "private_numbers"):
            numbers = key.private_numbers()
            numbers = {"d": numbers.d, "p": numbers.p, "q": numbers.q} if hasattr(numbers, "p") else {"d": numbers.private_value}
            members = {member: number.to_bytes((number.bit_length() + 7) // 8, "big") for member, number in numbers.items()}
        else:
            members = {"d": key.private_bytes_raw()}
        for member, octets in members.items():
            self.hunt.add(f"{group}: {member}", octets)
        begin = sources.private_der(key).index(members["d"])
        end = begin + len(members["d"])
        first, last = -(-begin * 8 // 6), end * 8 // 6  # the characters that stand for nothing else
        lines = private_pem(key).decode().splitlines()[1:-1]
        self.hunt.add(f"{group}: PEM", max((line[max(first - 64 * number, 0):max(last - 64 * number, 0)] for number, line in enumerate(lines)), key=len))
        return key

    def may_hold(self, name, *groups, everywhere=True):
        """Of a JWK's private half: the get of that JWK, the file for gateways, and the hook that asked for it."""
        self.allow(f"api: GET {jwk_path(PROJECT, name)}", *groups)
        if everywhere:
            self.allow(f"file private-keys/{PROJECT}/{name}.jwk", *groups)

    def material(self, name):
        item = self.installation.api.item(PROJECT, name)
        return item[item["type"].lower()]

    def post(self, path, body, expected=200, **options):
        answer = self.installation.api.request("POST", path, json_body=body, **options)
        assert answer.status == expected, answer
        return answer


def paste(system):
    for kind in KINDS:
        key = new_key(kind, kid=f"pasted-{kind}")
        system.hunt.add_key(f"pasted-{kind}", key)
        body = {"name": f"pasted-{kind}", "jwkStr": json.dumps(key)}
        path = jwks_path(PROJECT) + ("parse-from-clipboard" if kind == "OKP" else "")
        system.post(path, body if kind == "OKP" else body | {"sourceType": "COPY_PASTE"}, headers={"Idempotency-Key": f'"{kind}"'})
        again = system.post(path, body if kind == "OKP" else body | {"sourceType": "COPY_PASTE"}, headers={"Idempotency-Key": f'"{kind}"'})
        assert again.headers["Idempotency-Replayed"] == "true"
        assert system.material(f"pasted-{kind}").items() >= {name: key[name] for name in ("d", "k") if name in key}.items()
        system.may_hold(f"pasted-{kind}", f"pasted-{kind}")
    key = any_rsa()
    system.hunt.add_key("several", key)
    system.post(jwks_path(PROJECT), {"name": "several", "sourceType": "COPY_PASTE", "kid": "two",
                                     "jwkStr": json.dumps({"keys": [new_key("EC", kid="one"), key | {"kid": "two"}]})})
    system.may_hold("several", "several")
    assert "d" in system.material("several")


def generate_and_rotate(system):
    for kind in KINDS:
        name = f"generated-{kind}"
        system.post(f"{jwks_path(PROJECT)}generate", {"name": name, "type": kind})
        system.hunt.add_key(f"{name} before", system.material(name))
        system.allow(f"api: GET {jwk_path(PROJECT, name)}", f"{name} before", f"{name} after")
        system.allow(f"file private-keys/{PROJECT}/{name}.jwk", f"{name} after")
        body = {"generate": {"type": kind}} if kind != "OKP" else {"sourceType": "COPY_PASTE", "jwkStr": json.dumps(new_key("OKP"))}
        system.post(f"{jwk_path(PROJECT, name)}rotate", body)
        system.hunt.add_key(f"{name} after", system.material(name))
        assert system.installation.api.update(PROJECT, name, {"description": "changed"}).status == 200


def keys(system):
    source, key = Sources(system.installation.api, PROJECT), {}
    for name in ("before", "after"):
        key[name] = system.add_made_key(f"private key {name}", ec_key())
    system.add_made_key("private key in DER", sources.rsa_key())
    source.add_key("a-key", private_pem(key["before"]), environments=("production", "staging"))
    source.add_key("in-DER", sources.private_der(sources.rsa_key()))
    system.post(f"{jwks_path(PROJECT)}parse-from-key", {"name": "from-key", "keyName": "a-key", "environmentName": "production"})
    assert source.create("from-DER", "PRIVATE_KEY", keyName="in-DER", **SIGNATURE).status == 200
    system.may_hold("from-DER", "private key in DER")
    system.material("from-DER")
    system.allow(f"api: GET {jwk_path(PROJECT, 'from-key')}", "private key before", "private key after")
    system.material("from-key")
    body = source.key_body("a-key", private_pem(key["after"]), environments=("production", "staging"), updateReferencedJwks=True)
    answer = system.installation.api.request("PUT", source.path("keys", "a-key"), json_body=body)
    assert answer.status == 200 and answer.json["deploymentResult"]["success"], answer
    system.may_hold("from-key", "private key after")
    system.material("from-key")
    password = system.password("password of an encrypted key")
    encrypted = private_pem(system.add_made_key("encrypted key", ec_key()), password=password.encode())
    body = source.key_body("encrypted", encrypted)
    system.post(source.path("keys"), body, 400)
    body["cryptoKeyInfoEnvironmentList"][0]["password"] = password
    system.post(source.path("keys"), body, 400)
    halves = source.key_body("two", private_pem(system.add_made_key("half of another", ec_key())), sources.public_pem(ec_key()))
    system.post(source.path("keys"), halves, 400)
    upside_down = source.key_body("public", None, private_pem(system.add_made_key("handed in as public", ec_key())))
    system.post(source.path("keys"), upside_down, 400)


def keystores(system):
    source = Sources(system.installation.api, PROJECT)
    for name in ("before", "after"):
        key = system.add_made_key(f"key of keystore {name}", ec_key())
        password = system.password(f"password of keystore {name}")
        file = keystore(key, certificate(key), password=password)
        system.hunt.add(f"file of keystore {name}", file[150:220])
        if name == "before":
            wrong = system.password("wrong password of a keystore")
            system.post(source.path("keystores"), source.keystore_body("wrong", file, wrong), 400)
            source.add_keystore("a-keystore", file, password)
            system.post(f"{jwks_path(PROJECT)}parse-from-keystore", {"name": "from-keystore", "keyStoreName": "a-keystore", **SIGNATURE})
        else:
            body = source.keystore_body("a-keystore", file, password, updateReferencedJwks=True)
            answer = system.installation.api.request("PUT", source.path("keystores", "a-keystore"), json_body=body)
            assert answer.status == 200 and answer.json["deploymentResult"]["success"], answer
        system.allow(f"api: GET {jwk_path(PROJECT, 'from-keystore')}", f"key of keystore {name}")
        assert "d" in system.material("from-keystore")
    system.allow(f"file private-keys/{PROJECT}/from-keystore.jwk", "key of keystore after")


def certificates(system):
    source, key = Sources(system.installation.api, PROJECT), system.add_made_key("key in a certificate's file", ec_key())
    clean = certificate_pem(certificate(key))
    source.add_certificate("a-certificate", clean, environments="production,staging")
    system.post(f"{jwks_path(PROJECT)}parse-from-certificate", {"name": "from-certificate", "certificateName": "a-certificate",
                                                                "environmentName": "production"})
    for pem in (private_pem(key) + clean, clean + private_pem(key), private_pem(key)):
        for method, name, fields in (("POST", None, {"certificateName": f"with-key-{next(system.numbers)}"}), ("PUT", "a-certificate", {})):
            answer = source.send_certificate(method, name, **fields, environmentList="production", pemEncodedFile=pem)
            assert answer.status in (200, 400), answer
    odd = system.secret("in a field that is unknown")
    assert source.send_certificate("POST", certificateName="odd", environmentList="production", pemEncodedFile=clean, password=odd).status == 400


def urls(system):
    source, server = Sources(system.installation.api, PROJECT), system.server
    for name in ("before", "after"):
        system.hunt.add_key(f"from a URL {name}", new := new_key("EC", kid=name))
        url = server.put(new, "/key")
        if name == "before":
            system.post(f"{jwks_path(PROJECT)}parse-from-url", {"name": "from-url", "url": url})
            system.material("from-url")
        else:
            wait_until(lambda: system.installation.workers["production", "edge-1"].jwk(PROJECT, "from-url")["kid"] == "after", "it follows")
    system.may_hold("from-url", "from a URL after")
    system.allow(f"api: GET {jwk_path(PROJECT, 'from-url')}", "from a URL before")
    system.material("from-url")
    for name, document in (("broken", '{"kty":"EC","crv":"P-256","d":"{}"'), ("of no key", '{"kty":"oct","k":{"a":"{}"}}'),
                           ("of a page", "<p>{}</p>"), ("bare", '"{}"')):
        url = server.put(system.secret(f"in a document that is {name}", document), f"/{next(system.numbers)}")
        assert source.create("not-made", "URL", url=url).status == 400
    system.server.put(system.secret("in a document that breaks later", '{"kty":"oct","k":"!{}'), "/key")
    failing = wait_until(lambda: (item := system.installation.api.item(PROJECT, "from-url"))["sourceStatus"] == "FAILING" and item, "it fails")
    assert failing["sourceError"]
    secret = system.secret("password in a URL")
    assert source.create("not-made", "URL", url=f"http://user:{secret}@127.0.0.1:{server.port}/key").status == 400


# What is refused, with "SECRET" where its secret is.
REFUSED = [
    ("POST", "jwks/", '{"name":"a","sourceType":"COPY_PASTE","jwkStr":"{\\"kty\\":\\"oct\\",\\"k\\":\\"SECRET\\"'),
    ("POST", "jwks/", '{"name":"a","sourceType":"COPY_PASTE","jwkStr":"SECRET"}'),
    ("POST", "jwks/", '{"name":"a","sourceType":"COPY_PASTE","jwkStr":{"kty":"oct","k":"SECRET"}}'),
    ("POST", "jwks/", '{"name":"a","sourceType":"COPY_PASTE","jwkStr":["SECRET"]}'),
    ("POST", "jwks/", '{"name":"a","sourceType":"COPY_PASTE","jwkStr":"{\\"kty\\":\\"EC\\",\\"crv\\":\\"P-256\\",\\"x\\":\\"AA\\",\\"y\\":\\"AA\\",\\"d\\":\\"SECRET\\"}"}'),
    ("POST", "jwks/", '{"name":"a","sourceType":"COPY_PASTE","jwkStr":"{\\"kty\\":\\"RSA\\",\\"n\\":\\"AQAB\\",\\"e\\":\\"AQAB\\",\\"d\\":\\"SECRET\\"}"}'),
    ("POST", "jwks/", '{"name":"a","sourceType":"COPY_PASTE","jwkStr":"{\\"kty\\":\\"oct\\",\\"k\\":\\"!SECRET\\"}"}'),
    ("POST", "jwks/", '{"name":"a","sourceType":"COPY_PASTE","jwkStr":"{\\"kty\\":\\"oct\\",\\"k\\":{\\"SECRET\\":\\"SECRET\\"}}"}'),
    ("POST", "jwks/", '{"name":"a","sourceType":"COPY_PASTE","jwkStr":"x","password":"SECRET"}'),
    ("POST", "jwks/", '{"name":"a","sourceType":"COPY_PASTE","jwkStr":"x","k":"SECRET"'),
    ("POST", "jwks/", 'SECRET'), ("POST", "jwks/", '["SECRET"]'), ("POST", "jwks/", '"SECRET"'),
    ("POST", "jwks/parse-from-clipboard", '{"name":"a","jwkStr":"{\\"keys\\":[{\\"kty\\":\\"SECRET\\'),
    ("POST", "jwks/generate", '{"name":"a","type":"OCT","oct":{"k":"SECRET"}}'),
    ("POST", "jwks/pasted-EC/rotate", '{"sourceType":"COPY_PASTE","jwkStr":"{\\"kty\\":\\"OKP\\",\\"crv\\":\\"Ed25519\\",\\"x\\":\\"AA\\",\\"d\\":\\"SECRET\\"}"}'),
    ("PUT", "jwks/pasted-EC/", '{"description":"a","d":"SECRET"}'),
    ("PUT", "jwks/pasted-EC/", '{"d":"SECRET'),
    ("POST", "keys/", '{"name":"a","cryptoKeyInfoEnvironmentList":[{"environmentName":"production","privateKey":"SECRET"}]}'),
    ("POST", "keys/", '{"name":"a","cryptoKeyInfoEnvironmentList":[{"environmentName":"production","privateKey":{"pem":"SECRET"}}]}'),
    ("POST", "keys/", '{"name":"a","cryptoKeyInfoEnvironmentList":[{"environmentName":"production","privateKey":"BASE64"}]}'),
    ("PUT", "keys/a-key/", '{"cryptoKeyInfoEnvironmentList":[{"environmentName":"production","privateKey":"BASE64"}]}'),
    ("PUT", "keys/a-key/", '{"privateKey":"SECRET"}'),
    ("POST", "keystores/", '{"name":"a","keyStoreEnvironmentList":[{"environmentName":"production","file":"BASE64","password":"SECRET"}]}'),
    ("POST", "keystores/", '{"name":"a","keyStoreEnvironmentList":[{"environmentName":"production","file":"AAAA","password":["SECRET"]}]}'),
    ("PUT", "keystores/a-keystore/", '{"keyStoreEnvironmentList":[{"environmentName":"production","file":"AAAA","password":"SECRET"}]}'),
    ("PUT", "keystores/a-keystore/", '{"password":"SECRET"}'),
    ("POST", "certificates/", "pemEncodedFile=SECRET"),
]


def refused(system):
    base = f"/apiops/projects/{PROJECT}/"
    for method, path, template in REFUSED:
        number = next(system.numbers)
        secret = system.secret(f"in refused body {number}")
        body = template.replace("BASE64", base64_of(secret.encode())).replace("SECRET", secret)
        headers = {"Idempotency-Key": f'"refused-{number}"'} if number % 2 else {}
        answer = system.installation.api.request(method, base + path, body.encode(), headers=headers)
        assert 400 <= answer.status < 500, (template, answer)
    secret = system.secret(f"in a body of another type {next(system.numbers)}")
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "application/xml"):
        answer = system.installation.api.request("POST", f"{base}jwks/", f"k={secret}".encode(), headers={"Content-Type": content_type})
        assert answer.status == 415
    secret = system.secret(f"in a header that is not known {next(system.numbers)}")
    for name, value in (("Cookie", f"session={secret}"), ("X-Api-Key", secret), ("Proxy-Authorization", f"Bearer {secret}")):
        assert system.installation.api.request("GET", f"{base}jwks/", headers={name: value}).status == 200
        system.installation.workers["staging", "edge-1"].request("GET", "/healthz", headers={name: value})
    secret = system.secret(f"in a query {next(system.numbers)}")
    for path in (f"{base}jwks/?access_token={secret}", f"/apiops/auth/token?client_secret={secret}", f"/healthz?token={secret}"):
        for token in (None, False, "wrong"):
            system.installation.api.request("GET", path, token=token)
    for path in ("/healthz", "/nothing", f"/projects/{PROJECT}/.well-known/jwks.json"):
        system.installation.workers["production", "edge-1"].request("GET", f"{path}?access_token={secret}")


def tokens(system):
    api = system.installation.api
    unlimited = system.new_token(f"an administrator's token {next(system.numbers)}", roles=(ROLE_ADMIN,))
    assert api.request("GET", "/apiops/environments/", token=unlimited).status == 200
    revoked = system.new_token(f"revoked token {next(system.numbers)}")
    system.installation.admin("token", "revoke", system.token_id)
    expired = system.new_token(f"token for nothing {next(system.numbers)}", "--expires-in", "1s", roles=("ROLE_API_SECURITY",))
    assert api.create(PROJECT, "forbidden", token=expired).status in (401, 403)
    garbage = system.secret(f"garbage in place of a token {next(system.numbers)}")
    mistyped = system.new_token(f"mistyped token {next(system.numbers)}")
    for token in (revoked, garbage, f"{garbage}\u00e9 \"", mistyped + "x", f"x{mistyped}", mistyped[:-1]):
        for method, path in (("GET", jwks_path(PROJECT)), ("DELETE", jwk_path(PROJECT, "pasted-EC"))):
            answer = api.request(method, path, headers={"Authorization": f"Bearer {token}".encode()})
            assert answer.status == 401, answer
    basic = base64_of(f"me:{garbage}".encode())
    for value in (f"Basic {basic}", f"Digest {garbage}", garbage, f"bearer  {garbage}", f"Bearer {garbage} {garbage}"):
        assert api.request("GET", jwks_path(PROJECT), headers={"Authorization": value}).status == 401


def clients(system):
    number = next(system.numbers)
    done = system.installation.admin("client", "create", "--user", "robot", "--role", "ROLE_API_SECURITY")
    client = dict(line.split("=", 1) for line in done.stdout.splitlines())
    system.hunt.add_token(f"client secret {number}", client["client_secret"])
    system.allow("command client create", f"client secret {number}")
    wrong = system.password(f"wrong client secret {number}")
    path, form, api = "/apiops/auth/token", "application/x-www-form-urlencoded", system.installation.api

    def ask(fields, headers=None):
        body = fields if isinstance(fields, bytes) else urllib.parse.urlencode({"grant_type": "client_credentials"} | fields).encode()
        return api.request("POST", path, body, token=False, headers={"Content-Type": form} | (headers or {}))
    answer = ask(client)
    assert answer.status == 200, answer
    token = system.hunt.add_token(f"issued token {number}", answer.json["access_token"])
    system.allow(f"api: POST {path}", f"issued token {number}")
    assert api.request("GET", jwks_path(PROJECT), token=token).status == 200
    assert ask(client | {"client_secret": wrong}).status == 401
    assert ask(client | {"client_id": "nobody"}).status == 401
    assert ask(client | {"grant_type": "password", "password": wrong}).status == 400
    assert ask(urllib.parse.urlencode(client).encode() + b"&client_secret=%zz").status == 400
    for secret, status in ((client["client_secret"], 200), (wrong, 401)):
        header = "Basic " + base64_of((client["client_id"] + ":" + urllib.parse.quote_plus(secret)).encode())
        answer = ask({}, {"Authorization": header})
        assert answer.status == status, answer
        if status == 200:
            system.hunt.add_token(f"issued token {number} by header", answer.json["access_token"])
            system.allow(f"api: POST {path}", f"issued token {number} by header")
        assert ask({"client_secret": secret}, {"Authorization": header}).status == 400
        assert ask({}, {"Authorization": header[:-3] + "!"}).status == 400
        assert ask(json.dumps(client | {"client_secret": secret}).encode(), {"Content-Type": "application/json"}).status == 415
    system.installation.admin("client", "revoke", client["client_id"])
    assert ask(client).status == 401


# ---- what the store seals itself: found by whoever has the master key ----

def keys_of_the_store(system):
    encoded = system.installation.master_key_file.read_text().strip()
    master_key = AESGCM(base64.urlsafe_b64decode(encoded + "="))
    with sqlite3.connect(f"file:{system.installation.data_directory / 'jwk-api.db'}?mode=ro", uri=True) as store:
        data_keys = {number: master_key.decrypt(sealed[:12], sealed[12:], f"data_key.sealed:{number}".encode())
                     for number, sealed in store.execute("SELECT id, sealed FROM data_key")}
        signing_keys = {}
        for kid, sealed in store.execute("SELECT kid, private_key FROM signing_key WHERE private_key IS NOT NULL"):
            opened = AESGCM(data_keys[int.from_bytes(sealed[1:5], "big")]).decrypt(sealed[5:17], sealed[17:],
                                                                                  f"signing_key.private_key:{kid}".encode())
            signing_keys[kid] = json.loads(opened)
    for number, key in data_keys.items():
        system.hunt.add(f"data key {number}", key)
    for kid, key in signing_keys.items():
        system.hunt.add_key(f"signing key {kid}", key)
    assert data_keys and signing_keys


# ---- where it is looked for ----

def search_records(system):
    """Every record as it is, without judging it; returns how many there are of each topic."""
    topics, counts = system.installation.topics, {}
    for topic in (topics.events, topics.acks, topics.workers, topics.audit):
        consumer = confluent_kafka.Consumer({"bootstrap.servers": topics.brokers, "group.id": "hunt", "enable.partition.eof": True})
        try:
            left = set(consumer.list_topics(topic, timeout=PATIENCE).topics[topic].partitions)
            consumer.assign([confluent_kafka.TopicPartition(topic, number, confluent_kafka.OFFSET_BEGINNING) for number in left])
            while left:
                message = consumer.poll(PATIENCE)
                assert message is not None, f"the end of {topic} is not reached"
                if message.error():
                    assert message.error().code() == confluent_kafka.KafkaError._PARTITION_EOF, message.error()
                    left.discard(message.partition())
                    continue
                counts[topic] = counts.get(topic, 0) + 1
                for part in (message.key(), message.value(), *itertools.chain(*(message.headers() or []))):
                    system.hunt.search_in(f"topic {topic}", part)
        finally:
            consumer.close()
    return counts


def ask_for_everything(system):
    """All that can be read over HTTP and by commands."""
    api, project = system.installation.api, f"/apiops/projects/{PROJECT}/"
    paths = ["/apiops/projects/", f"/apiops/environments/{PROJECT}", f"{project}drift/", f"{project}deployments/?limit=100", "/healthz", "/readyz",
             "/metrics", "/nothing"]
    for kind in ("jwks", "certificates", "keys", "keystores"):
        items = api.request("GET", f"{project}{kind}/").json["resultList"]
        assert items
        paths += [f"{project}{kind}/", *(f"{project}{kind}/{item.get('name') or item['certificateName']}/" for item in items)]
        if kind == "jwks":
            names = [item["name"] for item in items]
    paths += [f"{project}jwks/{name}/deployments/" for name in names]
    for path in paths:
        api.request("GET", path)
    for deployment in api.request("GET", f"{project}deployments/?limit=100").json["resultList"]:
        api.request("GET", f"{project}deployments/{deployment['deploymentId']}/")
    for worker in system.installation.workers.values():
        served = f"/projects/{PROJECT}/"
        for path in (f"{served}.well-known/jwks.json", f"{served}jwks/", *(f"{served}jwks/{name}" for name in names), "/healthz", "/readyz", "/metrics",
                     "/nothing"):
            worker.request("GET", path)
    system.installation.admin("backup", system.directory / "store.backup")
    for command in (["check"], ["token", "list"], ["client", "list"], ["environment", "list"], ["project", "list"], ["signing-key", "list"],
                    ["signing-key", "export", "--all"]):
        system.installation.admin(*command)


def search_processes(system):
    programs = [*system.installation.programs, system.broker]
    for program in filter(lambda each: each.running, programs):
        process = f"/proc/{program.pid}"
        for what in ("cmdline", "environ"):
            try:
                with open(f"{process}/{what}", "rb") as file:
                    content = file.read()
            except PermissionError:  # the kernel shows root alone what may not be dumped; what the program would pass on, hooks show
                assert what == "environ" and os.geteuid() != 0
                continue
            assert content
            system.hunt.search_in(f"{what} of {program.name}", content)
        with open(f"{process}/limits", encoding="ascii") as file:
            limits = file.read()
        if program is not system.broker:
            assert re.search(r"^Max core file size\s+0\s", limits, re.MULTILINE), f"{program.name} may dump core:\n{limits}"


def group(canary, groups):
    return next((each for each in groups if canary == each or canary.startswith(f"{each}: ")), None)


@pytest.fixture(scope="module")
def core_dumps():
    """Allowed as far as they can be, to whatever is started from now on: that they are not made is then the programs' doing."""
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))


@pytest.fixture(scope="module")
def hunted(core_dumps, tmp_path_factory):
    """After everything has gone in: the system, the sightings, and how many records the topics had."""
    system = System(tmp_path_factory.mktemp("leaks"))
    try:
        system.start()
        for door in (paste, generate_and_rotate, keys, keystores, certificates, urls, refused, tokens, clients):
            door(system)
        system.installation.api.stop()
        system.start_api("--log-format", "json")
        for door in (refused, tokens, clients):
            door(system)
        keys_of_the_store(system)
        ask_for_everything(system)
        search_processes(system)
        counts = search_records(system)
        system.hunt.search_files("file", system.directory)
        system.installation.stop()
        system.broker.stop()
        system.hunt.search_files("file", system.directory)
        sightings = system.hunt.hunt()
        print(system.hunt.report())
        yield system, sightings, counts
    finally:
        system.server.close()
        for program in (*system.installation.programs, system.broker):
            program.kill()


def test_no_secret_is_where_it_does_not_belong(hunted):
    system, sightings, _ = hunted
    leaks = [sighting for sighting in sightings if not group(sighting.canary, system.allowed_at(sighting.place))]
    assert not leaks, "\n".join(f"{each.canary}, as {each.form}, in {each.place}" for each in sorted(leaks, key=str)[:50])


def test_every_secret_is_where_it_belongs(hunted):
    """So that the list of these places is no longer than it has to be, and what is looked for is what really went in."""
    system, sightings, _ = hunted
    seen = {(sighting.place, name) for sighting in sightings if (name := group(sighting.canary, system.allowed_at(sighting.place)))}
    missing = {(place, name) for place, groups in system.allowed.items() for name in groups} - seen
    assert not missing
    inputs = {sighting.place for sighting in sightings if sighting.place.startswith("file hooks-production/")}
    assert len(inputs) >= 2 * len(KINDS)


def test_it_was_looked_for_everywhere(hunted):
    system, _, counts = hunted
    topics = system.installation.topics
    assert set(counts) == {topics.events, topics.acks, topics.workers, topics.audit} and min(counts.values()) >= 2
    places = list(system.hunt.places)
    for wanted in (r"file data/jwk-api\.db", r"file data/jwk-api\.db-wal", r"file data/jwk-api\.db-shm", "file store.backup", r"file api-\d+\.log",
                   r"file broker-\d+\.log", r"file worker-production-edge-1-\d+\.log", r"file worker-staging-edge-1-\d+\.log",
                   r"file state-production-edge-1/.*-wal", r"file state-staging-edge-1/.*", r"file export-staging/.*", r"file hooks-staging/.*\.environ",
                   "api: GET /metrics", "worker-staging-edge-1: GET /metrics", "command check", "cmdline of worker-production-edge-1"):
        assert any(re.fullmatch(wanted, place) for place in places), wanted
    for pattern in ("api-*.log", "worker-*.log"):
        text = "".join(path.read_text() for path in system.directory.glob(pattern))
        assert " debug event=" in text and '"level":"debug"' in text.replace(": ", ":"), pattern


def test_what_is_planted_in_any_of_these_places_is_found_there(hunted, tmp_path):
    system, _, _ = hunted
    hunt = Hunt(tmp_path)
    for number, (place, contents) in enumerate(system.hunt.places.items()):
        plant = secrets.token_bytes(24)
        hunt.add(place, plant)
        content = max(contents, key=len)
        planted = [base64.b64encode(plant), base64.urlsafe_b64encode(plant), plant.hex().encode(), plant][number % 4]
        hunt.search_in(place, content[:len(content) // 2] + planted + content[len(content) // 2:])
    found = hunt.hunt()
    assert {sighting.canary for sighting in found} == set(system.hunt.places)
    assert all(sighting.place == sighting.canary for sighting in found)


def test_files_with_secrets_are_their_owners_alone(hunted):
    system, sightings, _ = hunted
    for place in {sighting.place for sighting in sightings if sighting.place.startswith("file ")}:
        path = system.directory / place.removeprefix("file ")
        if path.exists() and not place.startswith("file hooks-"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_hooks_may_not_dump_core(hunted):
    system, _, _ = hunted
    limits = list(system.directory.glob("hooks-*/*.limits"))
    assert limits
    for path in limits:
        assert re.search(r"^Max core file size\s+0\s", path.read_text(), re.MULTILINE), path
