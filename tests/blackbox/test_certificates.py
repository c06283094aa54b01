"""Certificates, keys and keystores: the same five operations each, and never a word of what is secret."""

import datetime

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs12

from harness import sources
from harness.sources import (DEPLOYED, Sources, base64_of, certificate, certificate_pem, ec_key, keystore, multipart, private_pem,
                             public_pem, rsa_key)
from harness.program import Program

KINDS = ("certificates", "keys", "keystores")
WORDS = {"certificates": "Certificate", "keys": "Key", "keystores": "Keystore"}
NAMES = {"certificates": "certificateName", "keys": "name", "keystores": "name"}


@pytest.fixture(scope="module")
def system(embedded_broker, tmp_path_factory):
    installation = sources.start_system(embedded_broker, tmp_path_factory.mktemp("system"), environments=("production", "staging"))
    yield installation
    installation.stop()


@pytest.fixture
def source(system, project):
    return Sources(system.api, project)


def refused(answer, *parts):
    assert answer.status == 400, answer
    sentence = answer.json["error_description"]
    for part in parts:
        assert part in sentence, sentence
    return sentence


def add(source, kind, name, key=None, environments="production"):
    key = key or ec_key()
    if kind == "certificates":
        source.add_certificate(name, certificate_pem(certificate(key)), environments)
    elif kind == "keys":
        source.add_key(name, private_pem(key), public_pem(key), environments=environments.split(","))
    else:
        source.add_keystore(name, keystore(key, certificate(key)), environments=environments.split(","))


def update(source, kind, name, members):
    if kind == "certificates":
        return source.send_certificate("PUT", name, **members)
    return source.api.request("PUT", source.path(kind, name), json_body=members)


# ---- the five operations ----

@pytest.mark.parametrize("kind", KINDS)
def test_life_of_a_source(source, kind):
    assert source.list(kind) == []
    add(source, kind, "b", environments="staging,production")
    add(source, kind, "a")
    name = NAMES[kind]
    listed = source.list(kind)
    assert [item[name] for item in listed] == ["a", "b"]
    assert [item["environmentList"] for item in listed] == [["production"], ["production", "staging"]]
    item = source.get(kind, "b")
    assert item["id"] == listed[1]["id"] and item["projectId"] == listed[1]["projectId"]
    answer = update(source, kind, "b", {name: "c"})
    assert answer.status == 200 and answer.json["deploymentResult"] == DEPLOYED
    assert source.get(kind, "c")["id"] == item["id"], "a rename keeps the object"
    assert refused(source.api.request("GET", source.path(kind, "b"))) == f"{WORDS[kind]} (name: b) is not found!"
    assert refused(update(source, kind, "c", {name: "a"})) == f"{WORDS[kind]} (name: a) is already exist!"
    assert refused(update(source, kind, "b", {name: "d"})) == f"{WORDS[kind]} (name: b) is not found! Try create operation."
    answer = source.delete(kind, "c")
    assert answer.status == 200 and answer.json["deploymentResult"] == DEPLOYED
    assert refused(source.delete(kind, "c")) == f"{WORDS[kind]} (name: c) is not found!"
    assert [each[name] for each in source.list(kind)] == ["a"]


@pytest.mark.parametrize("kind", KINDS)
def test_description_is_updated_alone(source, kind):
    add(source, kind, "a")
    before = source.get(kind, "a")
    member = "certificateDescription" if kind == "certificates" else "description"
    assert update(source, kind, "a", {member: "Signs our tokens"}).status == 200
    assert source.get(kind, "a") == before | {member: "Signs our tokens"}


@pytest.mark.parametrize("kind", KINDS)
def test_names_and_environments_are_checked(source, kind):
    add(source, kind, "a")
    word = WORDS[kind]

    def create(name, environments=("production",)):
        key = ec_key()
        if kind == "certificates":
            return source.send_certificate("POST", certificateName=name, environmentList=",".join(environments),
                                           pemEncodedFile=certificate_pem(certificate(key)))
        body = (source.key_body(name, private_pem(key), environments=environments) if kind == "keys"
                else source.keystore_body(name, keystore(key, certificate(key)), environments=environments))
        return source.api.request("POST", source.path(kind), json_body=body)

    assert refused(create("a")) == f"{word} (name: a) is already exist! Try update operation if want to change its value."
    assert refused(create("")) == f"{word} name can not be empty!"
    refused(create("x" * 256), "255 bytes")
    refused(create("a/b"), "'/'")
    assert refused(create("b", ("nowhere",))) == "Environment (name: nowhere) is not found!"
    unreadable = {"certificates": None, "keys": source.key_body("b", b"x", environments=("nowhere",)),
                  "keystores": source.keystore_body("b", b"x", environments=("nowhere",))}[kind]
    if unreadable:  # it takes long to look into what is for an environment that there is not
        answer = source.api.request("POST", source.path(kind), json_body=unreadable)
        assert refused(answer) == "Environment (name: nowhere) is not found!"
    assert refused(create("b", ("production", "production"))) == "Environment (name: production) is named twice!"
    refused(create("b", ()), "can not be empty!")
    assert [item[NAMES[kind]] for item in source.list(kind)] == ["a"], "what was refused left nothing"


@pytest.mark.parametrize("kind", KINDS)
def test_lists_come_in_pages(source, kind):
    for name in "edcba":
        add(source, kind, name)
    names, cursor = [], ""
    while cursor is not None:
        page = source.api.request("GET", source.path(kind) + "?limit=2" + (f"&cursor={cursor}" if cursor else "")).json
        names += [item[NAMES[kind]] for item in page["resultList"]]
        cursor = page["nextCursor"]
    assert names == list("abcde")


@pytest.mark.parametrize("kind", KINDS)
def test_roles(system, source, kind):
    add(source, kind, "a")
    security, _ = system.new_token(roles=("ROLE_API_SECURITY",))
    deploy, _ = system.new_token(roles=("ROLE_DEPLOY_UNDEPLOY_PROXIES",))
    assert source.api.request("GET", source.path(kind), token=deploy).status == 403
    assert source.api.request("GET", source.path(kind), token=security).status == 200
    body, headers = multipart({"updateReferencedJwks": "true"})
    for token, referenced, status in ((security, False, 200), (security, True, 403), (deploy, False, 403)):
        if kind == "certificates":
            body, headers = multipart({"updateReferencedJwks": "true" if referenced else "false"})
            answer = source.api.request("PUT", source.path(kind, "a"), body, headers=headers, token=token)
        else:
            answer = source.api.request("PUT", source.path(kind, "a"), json_body={"updateReferencedJwks": referenced}, token=token)
        assert answer.status == status, answer


@pytest.mark.parametrize("kind", KINDS)
def test_conditions_hold_on_the_state_that_was_read(source, kind):
    add(source, kind, "a")
    answer = source.api.request("GET", source.path(kind, "a"))
    tag = answer.headers["ETag"]
    assert source.api.request("GET", source.path(kind, "a"), headers={"If-None-Match": tag}).status == 304

    def put(condition):
        if kind == "certificates":
            body, headers = multipart({"certificateDescription": "x"})
            return source.api.request("PUT", source.path(kind, "a"), body, headers=headers | {"If-Match": condition})
        return source.api.request("PUT", source.path(kind, "a"), json_body={"description": "x"}, headers={"If-Match": condition})

    assert put('"other"').status == 412
    assert put(tag).status == 200
    stale = put(tag)
    assert stale.status == 412
    assert stale.json["error_description"] == f"{WORDS[kind]} (name: a) is not in the state that If-Match names!"
    assert source.api.request("DELETE", source.path(kind, "a"), headers={"If-Match": tag}).status == 412
    tag = source.api.request("GET", source.path(kind, "a")).headers["ETag"]
    assert source.api.request("DELETE", source.path(kind, "a"), headers={"If-Match": tag}).status == 200


@pytest.mark.parametrize("kind", KINDS)
def test_repeated_create_with_one_idempotency_key_is_answered_again(source, kind):
    key = ec_key()
    if kind == "certificates":
        body, headers = multipart({"certificateName": "a", "environmentList": "production", "pemEncodedFile": certificate_pem(certificate(key))})
        answers = [source.api.request("POST", source.path(kind), body, headers=headers | {"Idempotency-Key": source.project}) for _ in range(2)]
    else:
        body = (source.key_body("a", private_pem(key)) if kind == "keys" else source.keystore_body("a", keystore(key, certificate(key))))
        answers = [source.api.request("POST", source.path(kind), json_body=body, headers={"Idempotency-Key": source.project}) for _ in range(2)]
    assert [answer.status for answer in answers] == [200, 200] and answers[0].body == answers[1].body
    assert answers[1].headers["Idempotency-Replayed"] == "true"
    assert len(source.list(kind)) == 1


def test_a_form_is_the_same_request_whatever_boundary_a_client_chooses_for_it(source):
    fields = {"certificateName": "a", "environmentList": "production", "pemEncodedFile": certificate_pem(CERT)}

    def send(boundary, **other):
        body, headers = multipart(fields | other, boundary)
        headers["Idempotency-Key"] = source.project
        return source.api.request("POST", source.path("certificates"), body, headers=headers)
    first, again, other = send("one"), send("another"), send("one", certificateDescription="x")
    assert (first.status, first.headers["Idempotency-Replayed"]) == (200, None)
    assert (again.status, again.body, again.headers["Idempotency-Replayed"]) == (200, first.body, "true")
    assert other.status == 422


def test_sources_survive_a_restart(installation):
    installation.add_environment("production")
    installation.start_api()
    project = installation.add_project("MyProject")
    for kind in KINDS:
        add(Sources(installation.api, project), kind, "a")
    before = [Sources(installation.api, project).get(kind, "a") for kind in KINDS]
    installation.api.kill()
    installation.start_api()
    assert [Sources(installation.api, project).get(kind, "a") for kind in KINDS] == before


# ---- what is told, and what is not ----

def test_certificate_tells_what_it_is(source):
    key = rsa_key()
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
    cert = certificate(key, "signer", start=start, days=31)
    source.add_certificate("a", b"Some text before it\n" + certificate_pem(cert), alias="one", certificateDescription="two")
    item = source.get("certificates", "a")
    assert item["alias"] == "one" and item["certificateDescription"] == "two"
    assert item["pemEncodedFile"].encode() == certificate_pem(cert)
    info = item["certificateInfo"]
    assert info["subject"] == info["issuer"] == "CN=signer"
    assert int(info["serialNumber"], 16) == cert.serial_number
    assert (info["notBeforeTime"], info["expirationTime"]) == ("2026-01-01T00:00:00.000Z", "2026-02-01T00:00:00.000Z")
    assert info["type"] == "RSA" and info["chainLength"] == 1


def test_der_is_taken_too(source):
    cert = certificate(ec_key())
    source.add_certificate("a", cert.public_bytes(serialization.Encoding.DER))
    assert source.get("certificates", "a")["pemEncodedFile"].encode() == certificate_pem(cert)


def test_key_tells_its_public_half_alone(source):
    key = ec_key()
    source.add_key("a", private_pem(key), public_pem(key))
    item = source.get("keys", "a")
    assert item["keyType"] == "EC"
    info = item["cryptoKeyInfoEnvironmentList"][0]
    assert info["publicKey"] == base64_of(public_pem(key))
    from jwcrypto import jwk  # the judge of the thumbprint
    made = jwk.JWK.from_pem(public_pem(key))
    assert info["keyInfo"] == {"type": "EC", "curve": "P-256", "size": 256, "hasPrivateKey": True, "thumbprint": made.thumbprint()}


def test_keystore_tells_its_entries_alone(source):
    key = ec_key()
    source.add_keystore("a", keystore(key, certificate(key)))
    assert source.get("keystores", "a")["keyStoreEnvironmentList"] == [
        {"environmentName": "production", "type": "PKCS12", "entries": [{"aliasName": "signing", "hasPrivateKey": True}]}]


def test_nothing_secret_is_ever_told(system, project, source):
    key = ec_key()
    secrets = [base64_of(private_pem(key)), base64_of(keystore(key, certificate(key), password="a-very-secret-password")), "a-very-secret-password"]
    file = keystore(key, certificate(key), password="a-very-secret-password")
    secrets.append(base64_of(file))
    source.add_key("a", private_pem(key))
    source.add_keystore("a", file, "a-very-secret-password")
    assert source.create("one", "PRIVATE_KEY", keyName="a").status == 200
    assert source.create("two", "KEYSTORE", keyStoreName="a").status == 200
    d = base64_of(key.private_numbers().private_value.to_bytes(32, "big")).rstrip("=").replace("+", "-").replace("/", "_")
    told = [str(source.get("keys", "a")), str(source.list("keys")), str(source.get("keystores", "a")), str(source.list("keystores")),
            str(system.api.list_jwks(project).json)]
    told += [refused(source.api.request("POST", source.path("keystores"), json_body=source.keystore_body("b", file, "wrong-password")))]
    told += [str(record.raw) for record in system.topics.read(system.topics.events)]
    told += [program.log() for program in Program.started if program.name != "broker"]
    for text in told:
        assert not any(secret in text for secret in secrets + [d, "wrong-password", private_pem(key).decode().splitlines()[1]])


# ---- what is wrong with them ----

def changed(data, at=-20):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]


CERT_KEY = ec_key()
CERT = certificate(CERT_KEY)
BAD_CERTIFICATES = {
    "empty": (b"", "empty"),
    "truncated PEM": (certificate_pem(CERT)[:200], "truncated"),
    "truncated DER": (CERT.public_bytes(serialization.Encoding.DER)[:-10], "truncated"),
    "a key": (public_pem(CERT_KEY), "holds a key (PUBLIC KEY)"),
    "a private key": (private_pem(CERT_KEY), "PRIVATE KEY"),
    "with its private key": (certificate_pem(CERT) + private_pem(CERT_KEY), "key"),
    "trailing text": (certificate_pem(CERT) + b"x", "behind its end"),
    "too large": (b"-" * (256 * 1024 + 1), "256 KB"),
    "chain out of order": (certificate_pem(CERT, certificate(ec_key(), "other")), "Certificate"),
    "weak key": (certificate_pem(certificate(rsa.generate_private_key(65537, 1024))), "2048"),
    "a keystore": (keystore(CERT_KEY, CERT), "Certificate"),
}


@pytest.mark.parametrize("data, part", BAD_CERTIFICATES.values(), ids=BAD_CERTIFICATES.keys())
def test_bad_certificate_is_refused(source, data, part):
    refused(source.send_certificate("POST", certificateName="a", environmentList="production", pemEncodedFile=data), part)
    assert source.list("certificates") == []


BAD_KEYS = {
    "none": ({}, "Public key or private key is required!"),
    "not base64": ({"publicKey": "%%%"}, "base64"),
    "truncated": ({"privateKey": base64_of(private_pem(CERT_KEY)[:100])}, "Private key"),
    "private in the place of public": ({"publicKey": base64_of(private_pem(CERT_KEY))}, "Public key is a private key!"),
    "public in the place of private": ({"privateKey": base64_of(public_pem(CERT_KEY))}, "Private key is a public key!"),
    "a certificate": ({"publicKey": base64_of(certificate_pem(CERT))}, "ertificate"),
    "halves of two": ({"publicKey": base64_of(public_pem(ec_key())), "privateKey": base64_of(private_pem(CERT_KEY))}, "do not belong together"),
    "encrypted": ({"privateKey": base64_of(private_pem(CERT_KEY, password=b"secret"))}, "encrypted"),
    "weak": ({"privateKey": base64_of(private_pem(rsa.generate_private_key(65537, 1024)))}, "2048"),
    "another curve": ({"publicKey": base64_of(public_pem(ec_key(ec.SECP224R1)))}, "curve"),
    "too large": ({"publicKey": "A" * 400000}, "256 KB"),
    "unknown member": ({"publicKey": base64_of(public_pem(CERT_KEY)), "secretKey": "x"}, "secretKey"),
}


@pytest.mark.parametrize("material, part", BAD_KEYS.values(), ids=BAD_KEYS.keys())
def test_bad_key_is_refused(source, material, part):
    body = {"name": "a", "cryptoKeyInfoEnvironmentList": [{"environmentName": "production", **material}]}
    refused(source.api.request("POST", source.path("keys"), json_body=body), part)
    assert source.list("keys") == []


def test_key_type_must_be_that_of_the_keys(source):
    body = source.key_body("a", private_pem(CERT_KEY), keyType="RSA")
    assert refused(source.api.request("POST", source.path("keys"), json_body=body)) == (
        "Key type is RSA, and the key of environment (name: production) is EC!")


PKCS12 = keystore(CERT_KEY, CERT)
BAD_KEYSTORES = {
    "empty": ({"file": ""}, "empty"),
    "not base64": ({"file": "%%%"}, "base64"),
    "truncated": ({"file": base64_of(PKCS12[:-30])}, "eystore"),
    "changed": ({"file": base64_of(changed(PKCS12, 120))}, "eystore"),
    "wrong password": ({"file": base64_of(PKCS12), "password": "wrong"}, "assword"),
    "no password": ({"file": base64_of(PKCS12), "password": None}, "assword"),
    "PEM": ({"file": base64_of(private_pem(CERT_KEY))}, "PEM"),
    "JKS": ({"file": base64_of(bytes.fromhex("feedfeed00000002") + bytes(40)), "type": "JKS"}, "keytool"),
    "unknown type": ({"file": base64_of(PKCS12), "type": "BKS"}, "must be PKCS12 or JKS"),
    "nothing in it": ({"file": base64_of(pkcs12.serialize_key_and_certificates(None, None, None, [CERT], serialization.NoEncryption()))}, "eystore"),
    "too large": ({"file": base64_of(bytes(1024 * 1024 + 10))}, "1024 KB"),
}


@pytest.mark.parametrize("material, part", BAD_KEYSTORES.values(), ids=BAD_KEYSTORES.keys())
def test_bad_keystore_is_refused(source, material, part):
    body = {"name": "a", "keyStoreEnvironmentList": [{"environmentName": "production", "type": "PKCS12", "password": "changeit", **material}]}
    refused(source.api.request("POST", source.path("keystores"), json_body=body), part)
    assert source.list("keystores") == []


# ---- forms ----

FORM = {"certificateName": "a", "environmentList": "production", "pemEncodedFile": certificate_pem(CERT)}
BODY, HEADERS = multipart(FORM)
BAD_FORMS = {
    "empty": b"",
    "no first boundary": BODY[2:],
    "no last boundary": BODY[:-20],
    "cut in a header": BODY[:40],
    "text behind its end": BODY + b"x",
    "a field twice": BODY.replace(b'name="environmentList"', b'name="certificateName"'),
    "no name": BODY.replace(b'; name="environmentList"', b""),
    "empty name": BODY.replace(b'name="environmentList"', b'name=""'),
    "unknown field": BODY.replace(b'name="environmentList"', b'name="environments"'),
    "transfer encoding": BODY.replace(b"Content-Type: application/x-pem-file", b"Content-Transfer-Encoding: base64"),
    "not UTF-8": BODY.replace(b"\r\n\r\na\r\n", b"\r\n\r\n\xff\r\n"),
    "NUL": BODY.replace(b"\r\n\r\na\r\n", b"\r\n\r\na\0b\r\n"),
    "long header": BODY.replace(b"Content-Type: application/x-pem-file", b"X: " + b"x" * 5000),
    "many fields": multipart({f"field{number}": "x" for number in range(100)})[0],
}


@pytest.mark.parametrize("body", BAD_FORMS.values(), ids=BAD_FORMS.keys())
def test_bad_form_is_refused(source, body):
    refused(source.api.request("POST", source.path("certificates"), body, headers=HEADERS))
    assert source.list("certificates") == []


@pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=" + "x" * 71,
                                          'multipart/form-data; boundary="x'])
def test_form_without_a_usable_boundary_is_refused(source, content_type):
    refused(source.api.request("POST", source.path("certificates"), BODY, headers={"Content-Type": content_type}), "boundary")


@pytest.mark.parametrize("content_type", [None, "application/json", "multipart/mixed; boundary=----boundary", "application/x-www-form-urlencoded"])
def test_other_media_types_are_answered_415(source, content_type):
    assert source.api.request("POST", source.path("certificates"), BODY, headers={"Content-Type": content_type}).status == 415


def test_boundary_may_be_quoted_and_occur_as_content(source):
    body, _ = multipart({**FORM, "certificateDescription": "------boundaryless\r\n--x"}, "----boundary")
    answer = source.api.request("POST", source.path("certificates"), body, headers={"Content-Type": 'multipart/form-data; boundary="----boundary"'})
    assert answer.status == 200
    assert source.get("certificates", "a")["certificateDescription"] == "------boundaryless\r\n--x"
