"""A client gets a token with its secret, as the page says, and nobody else does."""

import base64
import sqlite3
import urllib.parse

import pytest

from harness.installation import ROLE_ADMIN, ROLE_SECURITY, jwks_path
from harness.program import wait_until

PATH = "/apiops/auth/token"
FORM = "application/x-www-form-urlencoded"


def new_client(installation, *options, roles=("ROLE_API_SECURITY", "ROLE_DEPLOY_UNDEPLOY_PROXIES"), user="robot"):
    words = [word for role in roles for word in ("--role", role)]
    done = installation.admin("client", "create", "--user", user, *words, *options)
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


def ask(installation, fields, *, path=PATH, content_type=FORM, authorization=None):
    body = fields if isinstance(fields, bytes) else urllib.parse.urlencode(fields).encode()
    return installation.api.request("POST", path, body, token=False, headers={"Content-Type": content_type, "Authorization": authorization})


def basic(client_id, client_secret, scheme="Basic"):
    """As RFC 6749 section 2.3.1 has it."""
    return f"{scheme} " + base64.b64encode(f"{urllib.parse.quote_plus(client_id)}:{urllib.parse.quote_plus(client_secret)}".encode()).decode()


GRANT = {"grant_type": "client_credentials"}


def credentials(client, **more):
    return {"grant_type": "client_credentials", **client, **more}


def token_of(installation, client):
    answer = ask(installation, credentials(client))
    assert answer.status == 200, answer
    return answer.json["access_token"]


def bad_credentials(answer, challenge="Bearer"):
    assert (answer.status, answer.json) == (401, {"error": "unauthorized_client", "error_description": "Bad credentials"})
    assert answer.headers["WWW-Authenticate"] == f'{challenge} realm="jwk-api"'


def test_a_client_gets_a_token_that_works(embedded_system, project):
    client = new_client(embedded_system)
    for path in (PATH, f"{PATH}/"):
        answer = ask(embedded_system, credentials(client), path=path)
        assert answer.status == 200, answer
        assert answer.json["token_type"] == "Bearer" and answer.json["expires_in"] == 3600
        assert answer.headers["Cache-Control"] == "no-store" and answer.headers["Pragma"] == "no-cache"
        assert embedded_system.api.create(project, f"by{len(path)}", token=answer.json["access_token"]).status == 200
    deployments = embedded_system.api.request("GET", f"/apiops/projects/{project}/deployments/").json["resultList"]
    assert {each["actor"] for each in deployments} == {"robot"}


def test_the_form_is_read_as_forms_are_written(embedded_system):
    client = new_client(embedded_system)
    encoded = "&".join(f"{name}={''.join(f'%{ord(c):02x}' for c in value)}" for name, value in credentials(client).items())
    assert ask(embedded_system, encoded.encode()).status == 200
    assert ask(embedded_system, credentials(client, scope="anything at all", unknown="")).status == 200
    assert ask(embedded_system, credentials(client), content_type=f"{FORM}; charset=UTF-8").status == 200


def test_a_client_may_say_who_it_is_in_the_header(embedded_system, project):
    client = new_client(embedded_system)
    for authorization in (basic(**client), basic(**client, scheme="bASIC "), "Basic " + base64.b64encode(
            ":".join("".join(f"%{ord(c):02X}" for c in client[name]) for name in ("client_id", "client_secret")).encode()).decode()):
        answer = ask(embedded_system, GRANT, authorization=authorization)
        assert answer.status == 200, answer
        assert embedded_system.api.list_jwks(project, token=answer.json["access_token"]).status == 200
    # Some libraries send the id in both.
    assert ask(embedded_system, GRANT | {"client_id": client["client_id"]}, authorization=basic(**client)).status == 200
    # What is no client's way to say who it is stays without effect.
    assert ask(embedded_system, credentials(client), authorization=f"Bearer {embedded_system.token}").status == 200


def test_a_client_that_the_header_does_not_prove_is_challenged_there(embedded_system):
    client, other = new_client(embedded_system), new_client(embedded_system)
    for wrong in (client | {"client_secret": "wrong"}, client | {"client_secret": other["client_secret"]}, client | {"client_id": "nobody"},
                  client | {"client_secret": "a:b+c%é"}):
        bad_credentials(ask(embedded_system, GRANT, authorization=basic(**wrong)), "Basic")
    embedded_system.admin("client", "revoke", client["client_id"])
    bad_credentials(ask(embedded_system, GRANT, authorization=basic(**client)), "Basic")


def test_a_client_that_says_who_it_is_twice_is_refused(embedded_system):
    client, other = new_client(embedded_system), new_client(embedded_system)
    for form in (client, {"client_secret": client["client_secret"]}, {"client_id": other["client_id"]}, other):
        answer = ask(embedded_system, GRANT | form, authorization=basic(**client))
        assert (answer.status, answer.json) == (400, {"error": "bad_request", "error_description":
                                                      "Client credentials are in the form and in the Authorization header: use one of them!"})
    body = b"grant_type=client_credentials"
    with embedded_system.api.raw() as raw:
        raw.send(b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\nContent-Length: %d\r\nAuthorization: %s\r\nAuthorization: %s\r\n\r\n%s" % (
            PATH.encode(), FORM.encode(), len(body), basic(**client).encode(), basic(**client).encode(), body))
        answer = raw.receive()
    assert (answer.status, answer.json["error_description"]) == (400, "Authorization header is given more than once!")


@pytest.mark.parametrize("decoded", [b"", b"no colon", b"a%zz:b", b"a:%", b"\xff:b", b"a:\xff", b"a\0:b", b"a:b\0", b"a:%00", None])
def test_a_header_that_can_not_be_read_is_answered_400(embedded_system, decoded):
    encoded = "not/base64!" if decoded is None else base64.b64encode(decoded).decode()
    answer = ask(embedded_system, GRANT, authorization=f"Basic {encoded}")
    assert answer.status == 400 and "Basic credentials" in answer.json["error_description"], answer


def test_half_of_the_credentials_in_the_header_is_told_to_be_missing(embedded_system):
    for client, sentence in ((("", "b"), "Client id is required!"), (("a", ""), "Client secret is required!")):
        answer = ask(embedded_system, GRANT, authorization=basic(*client))
        assert (answer.status, answer.json["error_description"]) == (400, sentence)


def test_nobody_fills_the_memory_without_a_token(embedded_system):
    client = new_client(embedded_system)
    assert ask(embedded_system, credentials(client, unknown="x" * 16000)).status == 200
    answer = ask(embedded_system, credentials(client, unknown="x" * 16384))
    assert (answer.status, answer.json["error"]) == (413, "content_too_large")


def test_wrong_secrets_do_not_fill_the_log(embedded_system):
    before = embedded_system.api.log().count("client refused")
    for _ in range(40):
        bad_credentials(ask(embedded_system, credentials({"client_id": "none", "client_secret": "wrong"})))
    assert before + 1 <= embedded_system.api.log().count("client refused") < before + 40


def test_whoever_is_no_client_or_has_no_right_secret_is_told_the_same(embedded_system):
    client, other = new_client(embedded_system), new_client(embedded_system)
    for wrong in (client | {"client_secret": "wrong"}, client | {"client_secret": other["client_secret"]}, client | {"client_id": "nobody"},
                  client | {"client_id": client["client_id"].upper()}, client | {"client_secret": client["client_secret"] + " "},
                  client | {"client_id": "é"}):
        bad_credentials(ask(embedded_system, credentials(wrong)))


@pytest.mark.parametrize("change, sentence", [
    ({"grant_type": None}, "Grant type is required!"), ({"grant_type": ""}, "Grant type is required!"),
    ({"grant_type": "password"}, "Grant type is not supported! It is one of: client_credentials"),
    ({"client_id": None}, "Client id is required!"), ({"client_secret": None}, "Client secret is required!"),
    ({"client_secret": ""}, "Client secret is required!"),
])
def test_what_is_missing_is_named(embedded_system, change, sentence):
    fields = credentials({"client_id": "a", "client_secret": "b"}) | change
    answer = ask(embedded_system, {name: value for name, value in fields.items() if value is not None})
    assert (answer.status, answer.json) == (400, {"error": "bad_request", "error_description": sentence})


@pytest.mark.parametrize("body", [b"", b"&&&", b"=", b"grant_type", b"grant_type=client_credentials&client_id=a&client_id=b&client_secret=c",
                                  b"grant_type=%zz", b"grant_type=client_credentials&client_id=%ff&client_secret=a", b"client_id=%00",
                                  b'{"grant_type":"client_credentials"}', b"\x00\xff" * 100])
def test_a_bad_form_is_answered_400(embedded_system, body):
    assert ask(embedded_system, body).status == 400


@pytest.mark.parametrize("content_type", [None, "application/json", "multipart/form-data; boundary=a", "application/x-www-form-urlencodedx"])
def test_another_content_type_is_answered_415(embedded_system, content_type):
    client = new_client(embedded_system)
    assert ask(embedded_system, credentials(client), content_type=content_type).status == 415


def test_only_post_and_no_query(embedded_system):
    client = new_client(embedded_system)
    assert embedded_system.api.request("GET", PATH, token=False).status == 405
    assert ask(embedded_system, b"", path=f"{PATH}?{urllib.parse.urlencode(credentials(client))}").status == 400


def test_a_token_has_its_clients_roles_and_projects(embedded_system, project):
    other = embedded_system.add_project(f"{project}-other")
    reader = token_of(embedded_system, new_client(embedded_system, "--project", project, roles=[ROLE_SECURITY]))
    assert embedded_system.api.list_jwks(project, token=reader).status == 200
    assert embedded_system.api.create(project, "a", token=reader).status == 403
    assert embedded_system.api.list_jwks(other, token=reader).status == 404
    admin = token_of(embedded_system, new_client(embedded_system, roles=[ROLE_ADMIN]))
    assert embedded_system.api.request("GET", "/apiops/environments/", token=admin).status == 200


def test_a_revoked_client_gets_no_token_and_its_tokens_end(embedded_system, project):
    client, other = new_client(embedded_system), new_client(embedded_system)
    token, others = token_of(embedded_system, client), token_of(embedded_system, other)
    embedded_system.admin("client", "revoke", client["client_id"])
    bad_credentials(ask(embedded_system, credentials(client)))
    assert embedded_system.api.list_jwks(project, token=token).status == 401
    assert embedded_system.api.list_jwks(project, token=others).status == 200
    assert embedded_system.admin("client", "revoke", client["client_id"], check=False).returncode == 1


def test_clients_are_listed_without_their_secrets(embedded_system, project):
    client = new_client(embedded_system, "--project", project, user="listed")
    done = embedded_system.admin("client", "list")
    line, = [line for line in done.stdout.splitlines() if client["client_id"] in line]
    assert "listed" in line and project in line and "ROLE_API_SECURITY" in line
    assert client["client_secret"] not in done.stdout


def test_the_store_keeps_neither_secrets_nor_tokens_in_clear(installation):
    installation.start_api()
    client = new_client(installation)
    token = token_of(installation, client)
    installation.api.stop()
    with sqlite3.connect(installation.data_directory / "jwk-api.db") as store:
        store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    kept = b"".join(path.read_bytes() for path in installation.data_directory.iterdir())
    for secret in (client["client_secret"], token):
        assert secret.encode() not in kept
        assert secret not in installation.api.log()


def test_issued_tokens_expire_and_are_cleared_away(installation, project):
    installation.start_api("--token-lifetime", "1s")
    client = new_client(installation)
    tokens = [token_of(installation, client) for _ in range(5)]
    wait_until(lambda: all(installation.api.list_jwks(project, token=token).status == 401 for token in tokens), "the tokens have expired")
    for _ in range(3):
        token_of(installation, client)
    with sqlite3.connect(installation.data_directory / "jwk-api.db", timeout=30) as store:
        kept, = store.execute("SELECT count(*) FROM token WHERE client_id IS NOT NULL").fetchone()
        personal, = store.execute("SELECT count(*) FROM token WHERE client_id IS NULL").fetchone()
    assert kept <= 3 and personal == 1


@pytest.mark.parametrize("words", [["--user", "a"], ["--role", "ROLE_ADMIN"], ["--user", "a", "--role", "ROLE_NONE"],
                                   ["--user", "a", "--role", "ROLE_ADMIN", "--project", "none"]])
def test_client_create_says_what_is_wrong(embedded_system, words):
    done = embedded_system.admin("client", "create", *words, check=False)
    assert done.returncode in (1, 2) and done.stdout == "" and done.stderr.startswith("jwk-api: ")


def test_an_issued_token_is_no_secret_and_a_secret_is_no_token(embedded_system, project):
    client = new_client(embedded_system)
    assert embedded_system.api.request("GET", jwks_path(project), token=client["client_secret"]).status == 401
    bad_credentials(ask(embedded_system, credentials(client | {"client_secret": token_of(embedded_system, client)})))
