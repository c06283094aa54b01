"""JWKs from every source: what is served is what the source holds, and what is wrong with a source is said."""

import hashlib
import base64
import json

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwcrypto import jwk

from harness import sources
from harness.installation import jwks_path, quote
from harness.keys import new_key, public_half, thumbprint
from harness.sources import (SourceServer, Sources, base64_of, certificate, certificate_pem, ec_key, ed_key, keystore, private_der,
                             private_pem, public_pem, rsa_key)


@pytest.fixture(scope="module")
def system(embedded_broker, tmp_path_factory):
    installation = sources.start_system(embedded_broker, tmp_path_factory.mktemp("system"), environments=("production", "staging"))
    yield installation
    installation.stop()


@pytest.fixture(scope="module")
def server():
    server = SourceServer()
    yield server
    server.close()


@pytest.fixture
def source(system, project):
    return Sources(system.api, project)


def material_of(item):
    return item[item["type"].lower()]


def expected(key):
    """The public JWK of a key by an independent library, without kid."""
    made = json.loads(jwk.JWK.from_pem(public_pem(key)).export())
    made.pop("kid", None)
    return made


def check_served(system, project, name, key, **members):
    """Both workers serve exactly the public half."""
    want = expected(key)
    for worker in system.workers.values():
        have = worker.jwk(project, name)
        assert {member: have[member] for member in want} == want
        assert have["kid"] == jwk.JWK(**want).thumbprint()
        assert not {"d", "p", "q", "k"} & have.keys()
        for member, value in members.items():
            assert have.get(member) == value, (member, have)


def deployed(answer):
    assert answer.status == 200 and answer.json["deploymentResult"]["success"], answer
    return answer


def refused(answer, *parts):
    assert answer.status == 400, answer
    sentence = answer.json["error_description"]
    for part in parts:
        assert part in sentence, sentence
    return sentence


# ---- certificate ----

def test_jwk_from_a_certificate_has_its_key_chain_and_times(system, project, source):
    root_key, key = ec_key(), rsa_key()
    root = certificate(root_key, "root")
    leaf = certificate(key, "leaf", issuer=root, issuer_key=root_key)
    source.add_certificate("my-certificate", certificate_pem(leaf, root), "production, staging", alias="a1")
    deployed(source.create("my-jwk", "CERTIFICATE", certificateName="my-certificate", environmentName="staging", useType="SIGNATURE",
                           algorithm="RS256"))
    digest = hashlib.sha256(leaf.public_bytes(serialization.Encoding.DER)).digest()
    check_served(system, project, "my-jwk", key, use="sig", alg="RS256",
                 x5c=[base64_of(each.public_bytes(serialization.Encoding.DER)) for each in (leaf, root)],
                 **{"x5t#S256": base64.urlsafe_b64encode(digest).decode().rstrip("=")},
                 exp=int(leaf.not_valid_after_utc.timestamp()))
    item = system.api.item(project, "my-jwk")
    assert item["sourceType"] == "CERTIFICATE"
    assert item["sourceId"] == source.get("certificates", "my-certificate")["id"]
    assert item["kid"] == thumbprint(expected(key))
    assert "d" not in material_of(item)


# ---- key ----

@pytest.mark.parametrize("make", [rsa_key, ec_key, lambda: ec_key(ec.SECP384R1), lambda: ec_key(ec.SECP521R1),
                                  lambda: ec_key(ec.SECP256K1), ed_key], ids=["RSA", "P-256", "P-384", "P-521", "secp256k1", "Ed25519"])
def test_jwk_from_a_private_key_holds_it_and_serves_its_public_half(system, project, source, make):
    key = make()
    source.add_key("my-key", private_pem(key))
    deployed(source.create("my-jwk", "PRIVATE_KEY", keyName="my-key", environmentName="production"))
    check_served(system, project, "my-jwk", key)
    item = system.api.item(project, "my-jwk")
    made = jwk.JWK.from_json(json.dumps(material_of(item)))
    assert made.has_private and made.export_to_pem(private_key=True, password=None) == private_pem(key)


@pytest.mark.parametrize("form", ["PKCS#1", "SEC1", "DER", "SPKI"])
def test_keys_come_in_every_common_form(system, project, source, form):
    key = rsa_key() if form == "PKCS#1" else ec_key()
    traditional = serialization.PrivateFormat.TraditionalOpenSSL
    data = {"PKCS#1": lambda: private_pem(key, traditional), "SEC1": lambda: private_pem(key, traditional),
            "DER": lambda: private_der(key), "SPKI": lambda: public_pem(key)}[form]()
    source.add_key("my-key", **{"public" if form == "SPKI" else "private": data})
    deployed(source.create("my-jwk", "PUBLIC_KEY", keyName="my-key"))
    check_served(system, project, "my-jwk", key)
    assert "d" not in material_of(system.api.item(project, "my-jwk"))


def test_private_key_is_asked_for_where_there_is_none(source):
    source.add_key("my-key", public=public_pem(ec_key()))
    refused(source.create("my-jwk", "PRIVATE_KEY", keyName="my-key"), "Private key is required for PRIVATE_KEY source type")


def test_each_environment_of_a_key_has_its_own(system, project, source):
    production, staging = ec_key(), ec_key()
    body = source.key_body("my-key", private_pem(production))
    body["cryptoKeyInfoEnvironmentList"].append({"environmentName": "staging", "publicKey": base64_of(public_pem(staging))})
    assert system.api.request("POST", source.path("keys"), json_body=body).status == 200
    deployed(source.create("one", "PUBLIC_KEY", keyName="my-key", environmentName="production"))
    deployed(source.create("two", "PUBLIC_KEY", keyName="my-key", environmentName="staging"))
    check_served(system, project, "one", production)
    check_served(system, project, "two", staging)
    refused(source.create("three", "PUBLIC_KEY", keyName="my-key"), "Environment name is required!", "production, staging")


# ---- keystore ----

@pytest.mark.parametrize("alias", ["signing", "SIGNING", None])
def test_jwk_from_a_keystore_has_key_and_certificate(system, project, source, alias):
    key = ec_key()
    source.add_keystore("my-keystore", keystore(key, certificate(key)))
    members = {"aliasName": alias} if alias else {}
    deployed(source.create("my-jwk", "KEYSTORE", keyStoreName="my-keystore", environmentName="production", useType="SIGNATURE",
                           algorithm="ES256", **members))
    check_served(system, project, "my-jwk", key, use="sig", alg="ES256")
    item = system.api.item(project, "my-jwk")
    assert item["sourceType"] == "KEYSTORE" and "d" in material_of(item) and len(material_of(item)["x5c"]) == 1


def test_unknown_alias_is_answered_with_those_there_are(source):
    key = ec_key()
    source.add_keystore("my-keystore", keystore(key, certificate(key)))
    refused(source.create("my-jwk", "KEYSTORE", keyStoreName="my-keystore", aliasName="other"), "other", "signing")


# ---- URL ----

def test_jwk_from_a_url(system, project, source, server):
    key = new_key("EC", kid="k1")
    url = server.put(public_half(key))
    deployed(source.create("my-jwk", "URL", url=url, urlOptionConnectTimeout=2000, urlOptionReadTimeout=2000, urlOptionSizeLimit=4096))
    item = system.api.item(project, "my-jwk")
    assert (item["sourceType"], item["sourceUrl"], item["sourceId"], item["kid"]) == ("URL", url, None, "k1")
    assert item["sourceStatus"] == "OK" and item["sourceError"] is None
    assert item["sourceCheckedTime"] < item["sourceNextCheckTime"]
    for worker in system.workers.values():
        assert worker.jwk(project, "my-jwk") == public_half(key)
    listed = [each for each in system.api.list_jwks(project).json["resultList"] if each["name"] == "my-jwk"]
    assert listed[0]["sourceUrl"] == url and "ec" not in listed[0] and "sourceStatus" not in listed[0]


def test_kid_picks_from_a_set_and_its_absence_is_answered_with_the_kids(system, project, source, server):
    keys = [public_half(new_key("EC", kid=f"k{number}")) for number in range(3)]
    url = server.put({"keys": keys})
    deployed(source.create("my-jwk", "URL", url=url, kid="k1"))
    assert system.workers["production", "edge-1"].jwk(project, "my-jwk") == keys[1]
    refused(source.create("other", "URL", url=url), "k0", "k1", "k2")
    refused(source.create("other", "URL", url=url, kid="k9"), "k9", "k0", "k1", "k2")


def redirect_for_ever(handler):
    handler.answer("", 302, Location=handler.path)


def send_endlessly(handler):
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    while True:
        handler.wfile.write(b"1000\r\n" + b" " * 4096 + b"\r\n")


BAD_DOCUMENTS = {
    "redirect for ever": (redirect_for_ever, "URL is redirected more than"),
    "1 GB declared": (lambda handler: (handler.send_response(200), handler.send_header("Content-Length", "1000000000"),
                                       handler.end_headers()), "the size limit"),
    "no end": (send_endlessly, "the size limit"),
    "HTML": ("<!DOCTYPE html><title>Log in</title>", "an HTML page"),
    "nothing": ("", "nothing"),
    "status 404": (None, "status 404"),
    "status 500": (lambda handler: handler.answer("{}", 500), "status 500"),
    "not JSON": ("{keys}", "can not be used"),
    "cut short": ('{"kty":"EC","crv":"P-256"', "can not be used"),
    "weak RSA": (json.dumps(public_half(json.loads(jwk.JWK.from_pem(private_pem(rsa.generate_private_key(65537, 1024))).export()))), "2048"),
    "Ed448": (json.dumps(public_half(json.loads(jwk.JWK.generate(kty="OKP", crv="Ed448").export()))), "Ed448"),
    "empty set": ('{"keys":[]}', "can not be used"),
}


@pytest.mark.parametrize("document, part", BAD_DOCUMENTS.values(), ids=BAD_DOCUMENTS.keys())
def test_url_that_serves_something_else_is_refused_and_creates_nothing(system, project, source, server, document, part):
    url = server.put(document) if document is not None else server.url("/missing")
    refused(source.create("my-jwk", "URL", url=url, urlOptionReadTimeout=3000, urlOptionSizeLimit=65536), part)
    assert system.api.names(project) == []


def test_url_that_hangs_holds_up_nobody_else(system, project, source, server):
    url = server.put(lambda handler: server.closing.wait(30))
    refused(source.create("my-jwk", "URL", url=url, urlOptionConnectTimeout=300, urlOptionReadTimeout=300), "could not be fetched within 600 ms")
    assert system.api.create(project, "other").status == 200


@pytest.mark.parametrize("url, part", [("http://10.1.2.3/", "private"), ("http://169.254.169.254/latest/", "link-local"),
                                       ("http://[::1]:1/", "loopback"), ("ftp://127.0.0.1/", "must begin with"), ("file:///etc/passwd", "URL is not valid!"),
                                       ("https://user:secret@127.0.0.1/", "user name or password"), ("nonsense", "URL"), ("", "URL is required for URL source type!")])
def test_url_that_must_not_be_fetched_is_refused(source, url, part):
    sentence = refused(source.create("my-jwk", "URL", url=url), part)
    assert "secret" not in sentence


def test_by_default_neither_http_nor_private_addresses_are_fetched(installation, server):
    installation.start_api()
    project = installation.add_project("MyProject")
    source = Sources(installation.api, project)
    url = server.put(public_half(new_key()))
    refused(source.create("my-jwk", "URL", url=url), "URL must begin with https://!")
    refused(source.create("my-jwk", "URL", url=url.replace("http:", "https:")), "loopback address, which is not allowed")
    assert server.count(url) == 0


def test_https_is_judged_by_the_authorities_that_were_configured(installation, tmp_path):
    context, authorities = sources.tls_context(tmp_path)
    server = SourceServer(context)
    try:
        url = server.put(public_half(new_key("EC", kid="k")))
        installation.start_api("--source-allow-private", "127.0.0.1", "--source-ca-file", authorities)
        project = installation.add_project("MyProject")
        assert Sources(installation.api, project).create("my-jwk", "URL", url=url).status == 200
        installation.api.stop()
        installation.start_api("--source-allow-private", "127.0.0.1")
        refused(Sources(installation.api, project).create("other", "URL", url=url), "certificate is not trusted")
    finally:
        server.close()


# ---- create, whatever the source ----

@pytest.mark.parametrize("body, sentence", [
    ({}, "JWK name can not be empty!"),
    ({"name": ""}, "JWK name can not be empty!"),
    ({"name": None}, "JWK name can not be empty!"),
    ({"name": "j"}, "Source type is required!"),
    ({"name": "j", "sourceType": ""}, "Source type is required!"),
    ({"name": "j", "sourceType": "URL"}, "URL is required for URL source type!"),
    ({"name": "j", "sourceType": "COPY_PASTE"}, "JWK string is required for COPY_PASTE source type!"),
    ({"name": "j", "sourceType": "CERTIFICATE"}, "Certificate name is required for CERTIFICATE source type!"),
    ({"name": "j", "sourceType": "PUBLIC_KEY"}, "Key name is required for PUBLIC_KEY source type!"),
    ({"name": "j", "sourceType": "PRIVATE_KEY", "keyName": None}, "Key name is required for PRIVATE_KEY source type!"),
    ({"name": "j", "sourceType": "KEYSTORE"}, "Keystore name is required for KEYSTORE source type!"),
    ({"name": "j", "sourceType": "CERTIFICATE", "certificateName": "c"}, "Certificate (name: c) is not found!"),
    ({"name": "j", "sourceType": "PUBLIC_KEY", "keyName": "k"}, "Key (name: k) is not found!"),
    ({"name": "j", "sourceType": "KEYSTORE", "keyStoreName": "s"}, "Keystore (name: s) is not found!"),
    ({"name": "j", "sourceType": "GENERATE"}, "JWKs are generated by the generate operation!"),
    ({"name": "j", "sourceType": "FILE"}, "Source type is not known! It is one of: URL, COPY_PASTE, CERTIFICATE, PUBLIC_KEY, PRIVATE_KEY, KEYSTORE"),
])
def test_what_is_missing_is_said_in_the_operations_words(system, project, body, sentence):
    assert refused(system.api.request("POST", jwks_path(project), json_body=body)) == sentence


@pytest.mark.parametrize("text, reason", [("x", "Not valid JSON at line 1, column 1: a value is expected"),
                                          ("{}", 'Member "kty" is required')])
def test_what_is_wrong_in_pasted_text_is_told_to_be_there(source, text, reason):
    assert refused(source.create("my-jwk", "COPY_PASTE", jwkStr=text)) == f"JWK string can not be used: {reason}"


def test_members_that_are_null_are_as_good_as_absent(system, project, source):
    deployed(source.create("my-jwk", "COPY_PASTE", jwkStr=json.dumps(new_key()), kid=None, url=None, certificateName=None, description=None))
    refused(source.create("other", "COPY_PASTE", jwkStr=json.dumps(new_key()), url="https://issuer.example/"), "url")


def test_an_empty_kid_is_as_good_as_absent(source, server):
    key = json.dumps(public_half(new_key("EC", kid="k1")))
    deployed(source.create("pasted", "COPY_PASTE", jwkStr=key, kid=""))
    deployed(source.create("fetched", "URL", url=server.put(key), kid=""))


def test_name_that_is_taken_is_refused_for_every_source(system, project, source, server):
    key = ec_key()
    source.add_key("my-key", private_pem(key))
    assert system.api.create(project, "my-jwk").status == 200
    sentence = "JWK (name: my-jwk) is already exist! Try update operation if want to change its value."
    assert refused(source.create("my-jwk", "URL", url=server.put(public_half(new_key())))) == sentence
    assert refused(source.create("my-jwk", "PRIVATE_KEY", keyName="my-key")) == sentence
    assert refused(source.shortcut("generate", "my-jwk", type="EC")) == sentence
    assert system.api.request("DELETE", source.path("keys", "my-key")).status == 200, "nothing was attached"


def test_sources_of_another_project_are_not_found(system, project, source):
    other = Sources(system.api, system.add_project(f"{project}-other"))
    key = ec_key()
    other.add_key("my-key", private_pem(key))
    other.add_certificate("my-certificate", certificate_pem(certificate(key)))
    other.add_keystore("my-keystore", keystore(key, certificate(key)))
    assert refused(source.create("j", "PUBLIC_KEY", keyName="my-key")) == "Key (name: my-key) is not found!"
    assert refused(source.create("j", "CERTIFICATE", certificateName="my-certificate")) == "Certificate (name: my-certificate) is not found!"
    assert refused(source.create("j", "KEYSTORE", keyStoreName="my-keystore")) == "Keystore (name: my-keystore) is not found!"
    assert source.list("keys") == source.list("certificates") == source.list("keystores") == []


@pytest.mark.parametrize("members, part", [
    ({"environmentName": "nowhere"}, "Environment (name: nowhere) is not found!"),
    ({"environmentName": "staging"}, "Key (name: my-key) is not defined in environment (name: staging)!"),
    ({"algorithm": "ES256"}, "RS256"), ({"algorithm": "nonsense"}, "nonsense"), ({"useType": "BOTH"}, "SIGNATURE"),
    ({"useType": "ENCRYPTION", "algorithm": "RS256"}, "RSA-OAEP"), ({"aliasName": "a"}, "aliasName"),
])
def test_what_does_not_suit_the_key_is_refused(source, members, part):
    source.add_key("my-key", private_pem(rsa_key()))
    refused(source.create("my-jwk", "PRIVATE_KEY", keyName="my-key", **members), part)


@pytest.mark.parametrize("what, source_type", [("parse-from-url", "URL"), ("parse-from-clipboard", "COPY_PASTE"), ("parse-from-certificate", "CERTIFICATE"),
                                               ("parse-from-key", "PRIVATE_KEY"), ("parse-from-keystore", "KEYSTORE")])
def test_shortcuts_create_as_their_source_type_does(system, project, source, server, what, source_type):
    key = ec_key()
    source.add_key("k", private_pem(key))
    source.add_certificate("c", certificate_pem(certificate(key)))
    source.add_keystore("s", keystore(key, certificate(key)))
    members = {"URL": {"url": server.put(expected(key))}, "COPY_PASTE": {"jwkStr": json.dumps(expected(key))}, "CERTIFICATE": {"certificateName": "c"},
               "PRIVATE_KEY": {"keyName": "k"}, "KEYSTORE": {"keyStoreName": "s"}}[source_type]
    deployed(source.shortcut(what, "my-jwk", **members))
    assert system.api.item(project, "my-jwk")["sourceType"] == source_type
    want = expected(key)
    have = system.workers["production", "edge-1"].jwk(project, "my-jwk")
    assert {member: have[member] for member in want} == want
    refused(source.shortcut(what, "other", sourceType=source_type, **members), "sourceType")


# ---- detaching ----

def test_update_detaches_from_every_source(system, project, source, server):
    key = ec_key()
    source.add_key("k", private_pem(key))
    source.add_certificate("c", certificate_pem(certificate(key)))
    deployed(source.create("one", "PRIVATE_KEY", keyName="k"))
    deployed(source.create("two", "CERTIFICATE", certificateName="c"))
    deployed(source.create("three", "URL", url=server.put(expected(key))))
    assert "JWK is made from it: one" in refused(source.delete("keys", "k"))
    for name in ("one", "two", "three"):
        deployed(system.api.update(project, name, {"description": "mine"}))
        item = system.api.item(project, name)
        assert (item["sourceType"], item["sourceId"], item["sourceUrl"]) == ("COPY_PASTE", None, None)
        assert "sourceStatus" not in item
    assert source.delete("keys", "k").status == 200 and source.delete("certificates", "c").status == 200


def test_delete_of_a_source_names_what_was_made_from_it(system, project, source):
    source.add_key("k", private_pem(ec_key()))
    for number in range(12):
        assert source.create(f"j{number:02}", "PUBLIC_KEY", keyName="k").status == 200
    assert refused(source.delete("keys", "k")) == ("Key (name: k) can not be deleted! 12 JWKs are made from it: "
                                                   + ", ".join(f"j{number:02}" for number in range(10)) + " and 2 more")
    for number in range(12):
        assert system.api.delete(project, f"j{number:02}", prefer="wait=0").status == 200
    assert source.delete("keys", "k").status == 200


def test_creating_needs_both_roles(system, project):
    token, _ = system.new_token(roles=("ROLE_API_SECURITY",))
    for what in ("", "generate", "parse-from-url", "parse-from-key"):
        answer = system.api.request("POST", jwks_path(project) + what, json_body={"name": "j"}, token=token)
        assert answer.status == 403, answer
    assert quote(project) in jwks_path(project)
