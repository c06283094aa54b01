"""Lists: whole or in pages, in one order, without key material; projects and environments."""

import base64
import concurrent.futures
import json

import pytest

from harness.installation import ROLE_ADMIN, ROLE_SECURITY, jwk_path, jwks_path, quote
from harness.keys import PRIVATE_MEMBERS, new_key


def get(system, path, **options):
    answer = system.api.request("GET", path, **options)
    assert answer.status == 200, answer
    return answer.json


def walk(system, path, limit, **options):
    """The pages of a list, as lists of items."""
    pages, cursor = [], None
    while True:
        body = get(system, f"{path}?limit={limit}" + (f"&cursor={cursor}" if cursor else ""), **options)
        pages.append(body["resultList"])
        cursor = body["nextCursor"]
        if cursor is None:
            return pages


def names(items):
    return [item["name"] for item in items]


NAMES = sorted(["a", "b", "B", "a b", "aa", "ä", "…", "😀", "x" * 255, "é" * 127, "-"], key=lambda name: name.encode())


@pytest.fixture(scope="module")
def filled(embedded_system):
    project = embedded_system.add_project("filled")
    for name in NAMES:
        assert embedded_system.api.create(project, name, prefer="respond-async").status == 202
    return project


@pytest.mark.parametrize("limit", [1, 2, 3, len(NAMES) - 1, len(NAMES), len(NAMES) + 1, 1000])
def test_pages_are_the_whole_list_in_its_order(embedded_system, filled, limit):
    whole = get(embedded_system, jwks_path(filled))
    assert names(whole["resultList"]) == NAMES and "nextCursor" not in whole
    pages = walk(embedded_system, jwks_path(filled), limit)
    assert [item for page in pages for item in page] == whole["resultList"]
    assert all(len(page) == limit for page in pages[:-1]) and 1 <= len(pages[-1]) <= limit


def test_a_cursor_without_a_limit_gives_the_rest(embedded_system, filled):
    cursor = get(embedded_system, f"{jwks_path(filled)}?limit=4")["nextCursor"]
    rest = get(embedded_system, f"{jwks_path(filled)}?cursor={cursor}")
    assert names(rest["resultList"]) == NAMES[4:] and "nextCursor" not in rest


def test_a_page_goes_on_where_the_last_one_ended_though_its_last_item_is_gone(embedded_system, project):
    for name in "abcd":
        assert embedded_system.api.create(project, name).status == 200
    body = get(embedded_system, f"{jwks_path(project)}?limit=2")
    assert embedded_system.api.delete(project, "b").status == 200
    assert embedded_system.api.create(project, "bb").status == 200
    assert names(get(embedded_system, f"{jwks_path(project)}?limit=2&cursor={body['nextCursor']}")["resultList"]) == ["bb", "c"]


def test_limit_of_an_empty_list(embedded_system, project):
    assert get(embedded_system, f"{jwks_path(project)}?limit=5") == {"success": True, "resultList": [], "nextCursor": None}


@pytest.mark.parametrize("query, sentence", [
    ("limit=0", "limit must be a number from 1 to 1000!"), ("limit=1001", "limit must be a number from 1 to 1000!"),
    ("limit=-1", "limit must be a number from 1 to 1000!"), ("limit=", "limit must be a number from 1 to 1000!"),
    ("limit", "limit must be a number from 1 to 1000!"), ("limit=1.0", "limit must be a number from 1 to 1000!"),
    ("limit=%2B1", "limit must be a number from 1 to 1000!"), ("limit=99999999999999999999", "limit must be a number from 1 to 1000!"),
    ("cursor=", "cursor is not one that this list has given!"), ("cursor=%2F", "cursor is not one that this list has given!"),
    ("cursor=abc=", "cursor is not one that this list has given!"), ("cursor=" + "A" * 2000, "cursor is not one that this list has given!"),
    ("cursor=ZDEy", "cursor is not one that this list has given!"),  # of a list of deployments
    ("cursor=agBh", "cursor is not one that this list has given!"),  # a NUL in it
    ("Limit=1", "Query parameter Limit is not known!"), ("page=1", "Query parameter page is not known!"),
    ("limit=1&offset=2", "Query parameter offset is not known!"), ("=1", "Query parameter  is not known!"),
    ("limit=1&limit=1", "Query parameter limit is given more than once!"),
    ("a%0Ab=1", "Query parameter a?b is not known!"), ("%ff=1", "Query parameter (not UTF-8) is not known!"),
])
def test_a_query_against_the_rules_is_answered_400(embedded_system, project, query, sentence):
    answer = embedded_system.api.request("GET", f"{jwks_path(project)}?{query}")
    assert (answer.status, answer.json) == (400, {"error": "bad_request", "error_description": sentence})


@pytest.mark.parametrize("query", ["&limit=1", "limit=1&", "&&limit=1&&", "&", ""])
def test_nothing_between_two_parameters_is_no_parameter(embedded_system, project, query):
    assert embedded_system.api.create(project, "a").status == 200
    assert names(get(embedded_system, f"{jwks_path(project)}?{query}")["resultList"]) == ["a"]


def test_a_cursor_of_another_list_is_refused(embedded_system, project):
    assert embedded_system.api.create(project, "a").status == 200
    assert embedded_system.api.create(project, "b").status == 200
    jwks = get(embedded_system, f"{jwks_path(project)}?limit=1")["nextCursor"]
    deployments = f"/apiops/projects/{quote(project)}/deployments/"
    assert embedded_system.api.request("GET", f"{deployments}?cursor={jwks}").status == 400
    cursor = base64.urlsafe_b64encode(b"d-1").decode().rstrip("=")
    assert embedded_system.api.request("GET", f"{deployments}?cursor={cursor}").status == 400


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_an_unknown_parameter_is_refused_wherever_it_stands_and_changes_nothing(embedded_system, project, method):
    assert embedded_system.api.create(project, "my-jwk").status == 200
    body = b'{"description":"x"}' if method == "PUT" else None
    answer = embedded_system.api.request(method, f"{jwk_path(project, 'my-jwk')}?force=true", body)
    assert (answer.status, answer.json["error_description"]) == (400, "Query parameter force is not known!")
    assert embedded_system.api.item(project, "my-jwk")["description"] is None


def test_a_long_list_is_whole_and_without_key_material(embedded_system, project):
    key = new_key("EC", kid="k")
    wanted = [f"jwk-{number:05}" for number in range(1203)]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        for answer in pool.map(lambda name: embedded_system.api.create(project, name, key, prefer="respond-async"), wanted):
            assert answer.status == 202, answer
    answer = embedded_system.api.list_jwks(project)
    assert answer.status == 200
    assert names(json.loads(answer.body)["resultList"]) == wanted
    assert answer.headers["Content-Type"] == "application/json"
    for member in (PRIVATE_MEMBERS | {"x", "y"}) & key.keys():
        assert key[member].encode() not in answer.body
    assert embedded_system.api.request("HEAD", jwks_path(project)).status == 200
    with embedded_system.api.raw() as connection:
        connection.send(f"HEAD {jwks_path(project)} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {embedded_system.api.token}\r\n\r\n".encode())
        assert connection.receive_head().startswith(b"HTTP/1.1 200 ")
        assert connection.socket.recv(100) == b"", "no part of a body that would be taken for the next answer"
    assert names([item for page in walk(embedded_system, jwks_path(project), 1000) for item in page]) == wanted
    path = f"/apiops/projects/{quote(project)}/deployments/"
    assert sorted(each["jwkName"] for each in get(embedded_system, path)["resultList"]) == wanted
    assert sum(len(page) for page in walk(embedded_system, path, 1000)) == len(wanted)


def test_a_client_that_leaves_in_the_middle_of_a_long_list_harms_nobody(embedded_system, project):
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: embedded_system.api.create(project, f"{number}", prefer="respond-async"), range(600)))
    for _ in range(5):
        with embedded_system.api.raw() as connection:
            connection.send(f"GET {jwks_path(project)} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {embedded_system.token}\r\n\r\n".encode())
            connection.receive_head()
    assert len(embedded_system.api.names(project)) == 600


# ---- projects and environments ----


def test_projects_are_those_that_the_token_may_see(embedded_system, project):
    other = embedded_system.add_project(f"{project}-other")
    limited, _ = embedded_system.new_token("--project", project, "--project", other)
    assert names(get(embedded_system, "/apiops/projects/", token=limited)["resultList"]) == sorted([project, other])
    assert names(get(embedded_system, "/apiops/projects", token=limited)["resultList"]) == sorted([project, other])
    everything = names(get(embedded_system, "/apiops/projects/")["resultList"])
    assert everything == sorted(everything) and {project, other} < set(everything)
    assert names([item for page in walk(embedded_system, "/apiops/projects/", 2) for item in page]) == everything
    assert names([item for page in walk(embedded_system, "/apiops/projects/", 1, token=limited) for item in page]) == sorted([project, other])
    item = get(embedded_system, "/apiops/projects/?limit=1", token=limited)["resultList"][0]
    assert embedded_system.api.create(project, "a").status == 200
    assert embedded_system.api.item(project, "a")["projectId"] == item["id"]


def test_environments_are_for_administrators(embedded_system):
    admin, _ = embedded_system.new_token(roles=[ROLE_ADMIN])
    assert names(get(embedded_system, "/apiops/environments/", token=admin)["resultList"]) == ["production", "staging"]
    assert names([item for page in walk(embedded_system, "/apiops/environments/", 1, token=admin) for item in page]) == ["production", "staging"]
    assert embedded_system.api.request("GET", "/apiops/environments/").status == 403


def test_environments_of_a_project_are_for_those_who_may_see_it(embedded_system, project):
    reader, _ = embedded_system.new_token("--project", project, roles=[ROLE_SECURITY])
    for path in (f"/apiops/environments/{project}", f"/apiops/environments/{project}/"):
        assert names(get(embedded_system, path, token=reader)["resultList"]) == ["production", "staging"]
    other = embedded_system.add_project(f"{project}-other")
    answers = [embedded_system.api.request("GET", f"/apiops/environments/{name}", token=reader) for name in (other, "none")]
    assert [answer.status for answer in answers] == [404, 404]
    assert [answer.json["error_description"].replace(name, "") for answer, name in zip(answers, (other, "none"))] == \
        ["Project () is not found or user does not have privilege to access it!"] * 2


def test_a_removed_environment_is_listed_no_more_and_stays_in_the_history(installation, project):
    installation.add_environment("production")
    installation.add_environment("staging")
    installation.start_api()
    assert installation.api.create(project, "my-jwk").status == 200
    installation.admin("environment", "remove", "staging")
    assert names(get(installation, f"/apiops/environments/{project}")["resultList"]) == ["production"]
    deployment, = get(installation, f"{jwk_path(project, 'my-jwk')}deployments/")["resultList"]
    assert [each["environmentName"] for each in deployment["deploymentResult"]["environmentResults"]] == ["production", "staging"]
