"""Tokens, roles and projects: who may do what, and that administration works while the API serves."""

import re

import pytest

from harness.installation import ROLE_ADMIN, ROLE_DEPLOY, ROLE_SECURITY, jwk_path, jwks_path
from harness.program import wait_until

UNAUTHORIZED = {"error": "unauthorized_client", "error_description": "Invalid token"}


def not_found(name):
    return {"error": "not_found", "error_description": f"Project ({name}) is not found or user does not have privilege to access it!"}


def refused_401(answer, *, token_was_sent):
    assert (answer.status, answer.json) == (401, UNAUTHORIZED), answer
    challenge = answer.headers["WWW-Authenticate"]
    assert challenge.split()[0] == "Bearer"
    # RFC 6750, section 3.1: no error code when the request carried no authentication at all.
    assert ('error="invalid_token"' in challenge) == token_was_sent, challenge
    return True


def test_without_a_token_it_is_401_with_a_bare_challenge(embedded_system, project):
    for method, path in (("GET", jwks_path(project)), ("POST", jwks_path(project)), ("PUT", jwk_path(project, "a")),
                         ("GET", jwk_path(project, "a")), ("DELETE", jwk_path(project, "a"))):
        refused_401(embedded_system.api.request(method, path, token=False), token_was_sent=False)


@pytest.mark.parametrize("token", ["x", "jwk_" + "A" * 43, "A" * 4000, "jwk_", "é".encode().decode("latin-1"), "..", "' OR 1=1 --"],
                         ids=["short", "unknown", "long", "prefix", "not ASCII", "dots", "SQL"])
def test_unknown_or_garbled_token_is_401_invalid_token(embedded_system, project, token):
    refused_401(embedded_system.api.request("GET", jwks_path(project), token=token), token_was_sent=True)


@pytest.mark.parametrize("change", [lambda token: token[:-1], lambda token: token + "A", lambda token: token.swapcase(),
                                    lambda token: token[1:], lambda token: token + " " + token],
                         ids=["cut", "longer", "other case", "without its head", "twice"])
def test_a_token_that_is_nearly_right_is_401(embedded_system, project, change):
    refused_401(embedded_system.api.request("GET", jwks_path(project), token=change(embedded_system.token)), token_was_sent=True)


@pytest.mark.parametrize("form", ["{}", "Basic {}", "Token {}", "Bearer", "Bearer ", "Bearer{}", ""])
def test_authorization_of_another_form_is_401(embedded_system, project, form):
    answer = embedded_system.api.request("GET", jwks_path(project),
                                         headers={"Authorization": form.format(embedded_system.token)})
    refused_401(answer, token_was_sent=False)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_scheme_is_read_without_case(embedded_system, project, scheme):
    answer = embedded_system.api.request("GET", jwks_path(project), headers={"Authorization": f"{scheme} {embedded_system.token}"})
    assert answer.status == 200


def test_two_authorization_headers_are_401(embedded_system, project):
    with embedded_system.api.raw() as connection:
        header = f"Authorization: Bearer {embedded_system.token}\r\n"
        connection.send(f"GET {jwks_path(project)} HTTP/1.1\r\nHost: a\r\n{header}{header}\r\n".encode())
        answer = connection.receive()
    assert answer.status in (400, 401), answer


def test_a_token_in_the_query_is_no_token(embedded_system, project):
    refused_401(embedded_system.api.request("GET", f"{jwks_path(project)}?access_token={embedded_system.token}", token=False),
                token_was_sent=False)


def test_unauthorized_is_told_before_anything_about_the_project_or_the_body(embedded_system, project):
    for path in (jwk_path(project, "a"), jwk_path("no such project", "a")):
        refused_401(embedded_system.api.request("PUT", path, b"{", token="unknown"), token_was_sent=True)


def test_unknown_and_invisible_projects_are_answered_alike(embedded_system, project):
    visible = embedded_system.add_project(f"{project}-visible")
    token, _ = embedded_system.new_token("--project", visible)
    assert embedded_system.api.create(visible, "a", token=token).status == 200
    assert embedded_system.api.create(project, "a").status == 200
    for call in (lambda name: embedded_system.api.list_jwks(name, token=token),
                 lambda name: embedded_system.api.get_jwk(name, "a", token=token),
                 lambda name: embedded_system.api.update(name, "a", {"description": "x"}, token=token),
                 lambda name: embedded_system.api.create(name, "b", token=token),
                 lambda name: embedded_system.api.delete(name, "a", token=token)):
        invisible, unknown = call(project), call(f"{project}-unknown")
        assert (invisible.status, invisible.json) == (404, not_found(project))
        assert (unknown.status, unknown.json) == (404, not_found(f"{project}-unknown"))
        same = ("Date", "Content-Length")
        assert sorted(name for name in invisible.headers if name not in same) == sorted(name for name in unknown.headers if name not in same)
    assert embedded_system.api.names(project) == ["a"]


def test_a_deployment_is_found_only_in_its_own_project(embedded_system, project):
    other = embedded_system.add_project(f"{project}-other")
    location = embedded_system.api.create(project, "a").headers["Location"]
    assert embedded_system.api.request("GET", location).status == 200
    elsewhere = embedded_system.api.request("GET", location.replace(project, other))
    assert elsewhere.status == 400 and elsewhere.json["error"] == "bad_request"
    token, _ = embedded_system.new_token("--project", other)
    assert embedded_system.api.request("GET", location, token=token).json == not_found(project)
    for identifier in ("0199b3c4-5a10-7c3e-8f21-00000000001a", "x", "%00", "1"):
        answer = embedded_system.api.request("GET", location.rsplit("/", 2)[0] + f"/{identifier}/")
        assert answer.status == 400, answer


def test_token_limited_to_several_projects_sees_exactly_these(embedded_system, project):
    names = [project, embedded_system.add_project(f"{project}-b"), embedded_system.add_project(f"{project}-c")]
    token, _ = embedded_system.new_token("--project", names[0], "--project", names[1])
    assert [embedded_system.api.list_jwks(name, token=token).status for name in names] == [200, 200, 404]


def test_revoked_token_is_401_from_the_next_request_on(system, project):
    token, identifier = system.new_token()
    for _ in range(3):  # it may be remembered by now
        assert system.api.list_jwks(project, token=token).status == 200
    system.admin("token", "revoke", identifier)
    refused_401(system.api.list_jwks(project, token=token), token_was_sent=True)
    assert system.api.list_jwks(project).status == 200, "another token must not suffer"


def test_expired_token_is_401(embedded_system, project):
    token, _ = embedded_system.new_token("--expires-in", "1s")
    assert embedded_system.api.list_jwks(project, token=token).status == 200
    wait_until(lambda: embedded_system.api.list_jwks(project, token=token).status == 401, "the token expires")
    refused_401(embedded_system.api.list_jwks(project, token=token), token_was_sent=True)
    longer, _ = embedded_system.new_token("--expires-in", "90d")
    assert embedded_system.api.list_jwks(project, token=longer).status == 200


def test_token_is_shown_once_and_stored_only_hashed(embedded_system, project):
    created = embedded_system.admin("token", "create", "--user", "bob", "--role", ROLE_SECURITY, "--project", project)
    token = created.stdout.strip()
    assert re.fullmatch(r"jwk_[A-Za-z0-9_-]{43}", token)
    assert created.stdout == token + "\n", "standard output has the token alone"
    assert token not in created.stderr
    assert embedded_system.api.list_jwks(project, token=token).status == 200
    listed = embedded_system.admin("token", "list")
    assert "bob" in listed.stdout and token not in listed.stdout
    files = [path for path in embedded_system.data_directory.rglob("*") if path.is_file()]
    assert any(path.name.endswith("-wal") for path in files)
    for path in files:
        assert token.encode() not in path.read_bytes(), path
        assert token.removeprefix("jwk_").encode() not in path.read_bytes(), path
    for program in embedded_system.programs:
        assert token not in program.log()


def test_a_project_that_is_named_twice_is_taken_once(embedded_system, project):
    token, identifier = embedded_system.new_token("--project", project, "--project", project, user="carol")
    assert embedded_system.api.list_jwks(project, token=token).status == 200
    listed = embedded_system.admin("token", "list").stdout.splitlines()
    assert [line.split("\t")[3] for line in listed if identifier in line] == [project]
    embedded_system.admin("client", "create", "--user", "carol", "--role", ROLE_SECURITY, "--project", project, "--project", project)


def test_token_list_tells_user_roles_projects_and_state(embedded_system, project):
    _, identifier = embedded_system.new_token("--project", project, roles=[ROLE_SECURITY, ROLE_DEPLOY], user="carol")
    line, = [line for line in embedded_system.admin("token", "list").stdout.splitlines() if identifier in line]
    for word in ("carol", ROLE_SECURITY, ROLE_DEPLOY, project):
        assert word in line
    embedded_system.admin("token", "revoke", identifier)
    after, = [line for line in embedded_system.admin("token", "list").stdout.splitlines() if identifier in line]
    assert after != line


@pytest.mark.parametrize("arguments", [
    ["token", "create", "--role", ROLE_SECURITY],
    ["token", "create", "--user", "x"],
    ["token", "create", "--user", "x", "--role", "ROLE_NONE"],
    ["token", "create", "--user", "", "--role", ROLE_SECURITY],
    ["token", "create", "--user", "x", "--role", ROLE_SECURITY, "--project", "no such project"],
    ["token", "create", "--user", "x", "--role", ROLE_SECURITY, "--expires-in", "soon"],
    ["token", "create", "--user", "x", "--role", ROLE_SECURITY, "--expires-in", "-1s"],
    ["token", "revoke", "0199b3c4-5a10-7c3e-8f21-00000000001a"],
    ["token", "revoke"],
    ["project", "add", ""], ["project", "add", "a/b"], ["project", "add", ".."], ["project", "add", "a\nb"], ["project", "add", "x" * 256],
    ["project", "add"], ["project", "remove", "no such project"],
    ["environment", "add", ""], ["environment", "add", "a/b"], ["environment", "remove", "no such environment"],
    ["environment"], ["nothing"], ["token", "create", "--unknown"],
], ids=" ".join)
def test_wrong_administration_is_refused_with_one_clear_line(embedded_system, arguments):
    done = embedded_system.admin(*arguments, check=False)
    assert done.returncode != 0
    assert done.stdout == ""
    assert 1 <= len(done.stderr.strip().splitlines()) <= 2, done.stderr


def test_projects_are_added_listed_and_removed_while_the_api_serves(embedded_system):
    assert embedded_system.api.list_jwks("Added").status == 404
    embedded_system.add_project("Added")
    assert embedded_system.api.list_jwks("Added").status == 200
    assert "Added" in embedded_system.admin("project", "list").stdout.split()
    assert embedded_system.admin("project", "add", "Added", check=False).returncode != 0
    embedded_system.admin("project", "remove", "Added")
    assert embedded_system.api.list_jwks("Added").status == 404
    assert "Added" not in embedded_system.admin("project", "list").stdout.split()


def test_project_with_a_history_is_not_removed(embedded_system, project):
    assert embedded_system.api.create(project, "a").status == 200
    assert embedded_system.admin("project", "remove", project, check=False).returncode != 0
    assert embedded_system.api.delete(project, "a").status == 200
    assert embedded_system.admin("project", "remove", project, check=False).returncode != 0
    assert embedded_system.api.list_jwks(project).status == 200


def test_environments_are_added_and_removed_while_the_api_serves(installation, project):
    installation.add_environment("production")
    installation.start_api()
    installation.start_worker("production")
    installation.wait_connected()
    assert installation.api.create(project, "a").json["deploymentResult"]["success"]
    installation.add_environment("staging")
    results = installation.api.update(project, "a", {"description": "1"}).json["deploymentResult"]["environmentResults"]
    assert [(each["environmentName"], each["success"]) for each in results] == [("production", True), ("staging", False)]
    worker = installation.start_worker("staging")
    installation.wait_connected()
    assert worker.names(project) == ["a"], "the new environment has what was there before"
    installation.admin("environment", "remove", "staging")
    results = installation.api.update(project, "a", {"description": "2"}).json["deploymentResult"]["environmentResults"]
    assert [each["environmentName"] for each in results] == ["production"]
    assert installation.admin("environment", "list").stdout.split()[0] == "production"


def test_administration_works_before_the_first_start_and_files_are_private(installation):
    token, _ = installation.new_token(roles=[ROLE_ADMIN])
    installation.add_project("Early")
    assert installation.data_directory.stat().st_mode & 0o777 == 0o700
    for path in installation.data_directory.iterdir():
        assert path.stat().st_mode & 0o077 == 0, path
    installation.token = token
    installation.start_api()
    assert installation.api.list_jwks("Early").json["resultList"] == []


def test_help_and_manual_page_tell_every_option():
    import subprocess
    from harness.program import BUILD
    for program in ("jwk-api", "jwk-worker"):
        arguments = [BUILD / program, "serve", "--help"] if program == "jwk-api" else [BUILD / program, "--help"]
        text = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout
        manual = subprocess.run([BUILD / program, "--man"], capture_output=True, text=True, check=True).stdout
        options = set(re.findall(r"--[a-z][a-z-]+", text))
        assert {"--brokers", "--listen", "--address-file"} <= options
        plain = manual.replace("\\-", "-")
        for option in options - {"--help", "--version", "--man"}:
            assert option in plain, f"{program}: {option} is not in the manual page"
