"""Requests as they should not be: each answered in the documented form, without effect on anyone else."""

import json

import pytest

from harness import http
from harness.installation import jwk_path, jwks_path, quote
from harness.keys import new_key
from harness.server import metric

NAME_LIMIT = 255  # bytes
BODY_LIMIT = 2 << 20  # bytes, the default


def refused(answer, status, error):
    assert answer.status == status, answer
    assert answer.json["error"] == error
    return answer.json["error_description"]


@pytest.fixture
def jwk(embedded_system, project):
    """A JWK that must be found unchanged when the test is over."""
    assert embedded_system.api.create(project, "my-jwk", description="before").status == 200
    yield "my-jwk"
    assert embedded_system.api.item(project, "my-jwk")["description"] == "before"
    assert embedded_system.api.names(project) == ["my-jwk"]


BAD_BODIES = {
    "empty": b"",
    "not JSON": b"name=updated-jwk",
    "cut short": b'{"name":"updated-jwk"',
    "array": b"[]",
    "string": b'"updated-jwk"',
    "null": b"null",
    "number as name": b'{"name":1}',
    "null as name": b'{"name":null}',
    "array as name": b'{"name":["a"]}',
    "boolean as description": b'{"description":true}',
    "object as description": b'{"description":{}}',
    "duplicate member": b'{"description":"a","description":"b"}',
    "duplicate member by escape": b'{"name":"a","n\\u0061me":"b"}',
    "trailing bytes": b'{"description":"a"}x',
    "two documents": b'{"description":"a"}{"description":"b"}',
    "empty name": b'{"name":""}',
    "name of 256 bytes": json.dumps({"name": "x" * 256}).encode(),
    "name of 256 bytes in 128 characters": json.dumps({"name": "é" * 128}, ensure_ascii=False).encode(),
    "newline in name": b'{"name":"a\\nb"}',
    "DEL in name": b'{"name":"a\\u007fb"}',
    "C1 control in name": b'{"name":"a\\u0085b"}',
    "slash in name": b'{"name":"a/b"}',
    "escaped slash in name": b'{"name":"a\\/b"}',
    "dot as name": b'{"name":"."}',
    "dots as name": b'{"name":".."}',
    "invalid UTF-8": b'{"description":"\xff"}',
    "overlong UTF-8": b'{"description":"\xc0\xaf"}',
    "surrogate in UTF-8": b'{"description":"\xed\xa0\x80"}',
    "lone surrogate": b'{"description":"\\ud800"}',
    "raw NUL": b'{"description":"a\x00b"}',
    "escaped NUL": b'{"description":"a\\u0000b"}',
    "escaped NUL in a member's name": b'{"name\\u0000x":"a"}',
    "raw control character": b'{"description":"a\x01b"}',
    "byte order mark": b'\xef\xbb\xbf{"description":"a"}',
    "single quotes": b"{'description':'a'}",
    "comment": b'{"description":"a"/*b*/}',
    "trailing comma": b'{"description":"a",}',
    "deep nesting": b'{"description":' + b"[" * 20000 + b"]" * 20000 + b"}",
}


@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES.keys())
def test_bad_body_is_answered_400_and_changes_nothing(embedded_system, project, jwk, body):
    refused(embedded_system.api.request("PUT", jwk_path(project, jwk), body), 400, "bad_request")


@pytest.mark.parametrize("member", ["names", "Name", "jwkStr", "sourceType", ""])
def test_unknown_member_is_answered_400_and_named(embedded_system, project, jwk, member):
    sentence = refused(embedded_system.api.update(project, jwk, {"description": "after", member: "x"}), 400, "bad_request")
    assert member in sentence


def test_an_answer_about_a_name_with_special_characters_is_sound_json(embedded_system, project, jwk):
    name = 'q"uo\\te <é> 😀'
    sentence = refused(embedded_system.api.update(project, name, {"description": "x"}), 400, "bad_request")
    assert sentence == f"JWK (name: {name}) is not found! Try create operation."


@pytest.mark.parametrize("name", ["x" * NAME_LIMIT, "é" * 127, "a b", "a+b", "a%2Fb", "a%b", "…", "😀", "a?b#c", "a;b=c", "a&b", '"', "...", "-"],
                         ids=repr)
def test_any_name_within_the_rules_works_on_every_way(embedded_system, project, name):
    assert embedded_system.api.create(project, "my-jwk", new_key("EC", kid="k")).status == 200
    assert embedded_system.api.update(project, "my-jwk", {"name": name}).json["deploymentResult"]["success"]
    assert embedded_system.api.item(project, name)["name"] == name
    for worker in embedded_system.workers.values():
        assert worker.names(project) == [name]
        assert worker.jwk(project, name)["kid"] == "k"
    assert embedded_system.api.update(project, name, {"name": "my-jwk"}).status == 200
    assert embedded_system.api.names(project) == ["my-jwk"]


def test_path_is_percent_decoded_exactly_once(embedded_system, project):
    assert embedded_system.api.create(project, "a%41").status == 200
    assert embedded_system.api.request("GET", jwks_path(project) + "a%2541/").json["resultList"][0]["name"] == "a%41"
    refused(embedded_system.api.request("GET", jwks_path(project) + "a%41/"), 400, "bad_request")  # the name aA
    assert embedded_system.api.create(project, "a b").status == 200
    assert embedded_system.api.request("GET", jwks_path(project) + "%61%20b").json["resultList"][0]["name"] == "a b"
    refused(embedded_system.api.request("GET", jwks_path(project) + "a+b/"), 400, "bad_request")  # a plus is no space in a path


@pytest.mark.parametrize("segment", ["%", "%4", "%zz", "a%00b", "%ff", "%c0%af", "%ed%a0%80", "%2e%2e", "%2E", "a%2fb", "%0a", "x" * 256])
def test_path_segment_against_the_rules_is_refused(embedded_system, project, jwk, segment):
    for method in ("GET", "PUT", "DELETE"):
        body = b'{"description":"after"}' if method == "PUT" else None
        answer = embedded_system.api.request(method, jwks_path(project) + segment + "/", body)
        assert answer.status in (400, 404), answer
        answer.json["error_description"].encode()


@pytest.mark.parametrize("segment", ["%", "%zz", "a%00b", "%ff", "%2e%2e", "a%2fb", "x" * 300])
def test_project_segment_against_the_rules_is_refused(embedded_system, segment):
    answer = embedded_system.api.request("GET", f"/apiops/projects/{segment}/jwks/")
    assert answer.status in (400, 404), answer


@pytest.mark.parametrize("name", ["x" * 256, "x" * 510, "x" * 511, "é" * 1000, "x" + "😀" * 1000])
def test_what_is_said_of_a_name_of_any_length_is_a_whole_sentence(embedded_system, project, name):
    shown = name if len(name.encode()) <= 510 else name[:100]
    for path, before, after in ((jwk_path(project, name), "JWK (name: ", ") is not found!"),
                                (jwks_path(name), "Project (", ") is not found or user does not have privilege to access it!")):
        sentence = embedded_system.api.request("GET", path).json["error_description"]
        assert sentence.startswith(before + shown) and sentence.endswith(after)
        assert sentence == before + name + after or sentence.endswith("…" + after)


def test_path_is_answered_alike_with_and_without_its_last_slash(embedded_system, project):
    api = embedded_system.api
    bodies = {}
    for slash in ("", "/"):
        base = jwks_path(project).rstrip("/")
        name = f"name{len(slash)}"
        body = json.dumps({"name": name, "sourceType": "COPY_PASTE", "jwkStr": json.dumps(new_key())}).encode()
        created = api.request("POST", base + slash, body)
        location = created.headers["Location"].rstrip("/") + slash
        bodies[slash] = [created.status, api.request("PUT", f"{base}/{name}{slash}", b'{"description":"x"}').json,
                         api.request("GET", f"{base}/{name}{slash}").status, api.request("GET", location).status,
                         api.request("GET", base + slash).status, api.request("DELETE", f"{base}/{name}{slash}").json]
    assert bodies[""] == bodies["/"]
    assert bodies[""][0] == 200 and bodies[""][2:5] == [200, 200, 200]


@pytest.mark.parametrize("path", ["/", "/apiops", "/apiops/", "/apiops/project", "/apiops/nothing/", "/apiops/projects/{p}/nothing/",
                                  "/apiops/projects/{p}/jwks/a/b/", "/apiops/projects/{p}//jwks/", "//apiops/projects/{p}/jwks/",
                                  "/APIOPS/projects/{p}/jwks/", "/apiops/projects/{p}/jwks//", "/apiops/projects/{p}/../{p}/jwks/"])
def test_unknown_path_is_answered_404(embedded_system, project, path):
    path = path.replace("{p}", quote(project))
    answer = embedded_system.api.request("GET", path)
    assert answer.status in (404, 405, 400), answer
    if answer.status == 404:
        assert answer.json["error"] == "not_found"


@pytest.mark.parametrize("method", ["PATCH", "POST", "TRACE", "PROPFIND", "get"])
def test_wrong_method_on_a_jwk_is_answered_405_with_allow(embedded_system, project, jwk, method):
    answer = embedded_system.api.request(method, jwk_path(project, jwk), headers={"Content-Type": "application/json"})
    refused(answer, 405, "method_not_allowed")
    assert set(answer.headers["Allow"].split(", ")) >= {"GET", "PUT", "DELETE"}


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
def test_wrong_method_on_the_list_is_answered_405_with_allow(embedded_system, project, jwk, method):
    answer = embedded_system.api.request(method, jwks_path(project), headers={"Content-Type": "application/json"})
    refused(answer, 405, "method_not_allowed")
    assert set(answer.headers["Allow"].split(", ")) >= {"GET", "POST"}


def test_head_is_answered_as_get_without_a_body(embedded_system, project, jwk):
    for path in (jwk_path(project, jwk), jwks_path(project), "/healthz"):
        get, head = (embedded_system.api.request(method, path) for method in ("GET", "HEAD"))
        assert (head.status, head.body) == (200, b"")
        assert head.headers["Content-Length"] == get.headers["Content-Length"]


@pytest.mark.parametrize("content_type", [None, "", "text/plain", "application/x-www-form-urlencoded", "application/jsonp", "json",
                                          "text/json", "application/json; charset=iso-8859-1", "application/json x",
                                          "application/json, application/json", "application/json; charset",
                                          "multipart/form-data; boundary=a"])
def test_wrong_content_type_is_answered_415(embedded_system, project, jwk, content_type):
    answer = embedded_system.api.request("PUT", jwk_path(project, jwk), b'{"description":"after"}', headers={"Content-Type": content_type})
    refused(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON", "application/json; charset=utf-8",
                                          'application/json;charset="UTF-8"', "application/json ;  charset=utf-8",
                                          "application/json;", "application/json; ; charset=utf-8;", "application/json; version=1"])
def test_json_content_type_is_taken_in_every_spelling(embedded_system, project, content_type):
    assert embedded_system.api.create(project, "my-jwk").status == 200
    answer = embedded_system.api.request("PUT", jwk_path(project, "my-jwk"), b"{}", headers={"Content-Type": content_type})
    assert answer.status == 200, answer


def test_another_charset_is_told_to_be_wrong_and_not_the_type(embedded_system, project, jwk):
    latin1 = {"Content-Type": "application/json; charset=latin1"}
    answer = embedded_system.api.request("PUT", jwk_path(project, jwk), b"{}", headers=latin1)
    sentence = refused(answer, 415, "unsupported_media_type")
    assert sentence == "The charset of application/json must be utf-8, or be left out of Content-Type"


def head(system, path, *more, method="PUT"):
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {system.token}", "Content-Type: application/json",
             *more, "", ""]
    return "\r\n".join(lines).encode()


@pytest.mark.parametrize("prefer, applied", [("wait=1", "wait=1"), ("wait=10", "wait=10"), ("wait=11", None), (None, None)])
def test_a_wait_within_the_deploy_timeout_is_applied_and_told(embedded_system, project, prefer, applied):
    answer = embedded_system.api.create(project, "my-jwk", prefer=prefer)
    assert (answer.status, answer.headers["Preference-Applied"]) == (200, applied)


def test_a_second_content_type_is_answered_415(embedded_system, project, jwk):
    with embedded_system.api.raw() as connection:
        connection.send(head(embedded_system, jwk_path(project, jwk), "Content-Type: text/plain", "Content-Length: 2") + b"{}")
        assert refused(connection.receive(), 415, "unsupported_media_type") == "Content-Type is given more than once"


@pytest.mark.parametrize("coding, status", [("gzip", 415), ("br", 415), ("identity, gzip", 415), ("", 415), ("Identity", 200)])
def test_a_body_that_is_coded_is_answered_415(embedded_system, project, jwk, coding, status):
    answer = embedded_system.api.request("PUT", jwk_path(project, jwk), b"{}",
                                         headers={"Content-Type": "application/json", "Content-Encoding": coding})
    assert answer.status == status, answer


def test_body_over_the_limit_is_answered_413_before_it_is_sent(embedded_system, project, jwk):
    with embedded_system.api.raw() as connection:
        connection.send(head(embedded_system, jwk_path(project, jwk), "Content-Length: 1000000000"))
        refused(connection.receive(), 413, "content_too_large")
    with embedded_system.api.raw() as connection:
        connection.send(head(embedded_system, jwk_path(project, jwk), "Content-Length: 1000000000", "Expect: 100-continue"))
        refused(connection.receive(), 413, "content_too_large")


def send_chunks(system, connection, path, count):
    """A chunked body of count times 64 KB that nobody announced."""
    connection.send(head(system, path, "Transfer-Encoding: chunked"))
    for _ in range(count):
        connection.send(b"10000\r\n" + b" " * 0x10000 + b"\r\n")


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_body_where_none_is_taken_is_told_so(embedded_system, project, jwk, method):
    sentence = refused(embedded_system.api.request(method, jwk_path(project, jwk), b"{}"), 413, "content_too_large")
    assert sentence == "The request has a body, and this operation takes none"


def test_chunked_body_over_the_limit_is_answered_413(embedded_system, project, jwk):
    with embedded_system.api.raw() as connection:
        send_chunks(embedded_system, connection, jwk_path(project, jwk), BODY_LIMIT // 0x10000 + 4)
        connection.send(b"0\r\n\r\n")
        assert str(BODY_LIMIT) in refused(connection.receive(), 413, "content_too_large")


def test_endless_chunked_body_is_cut_off_and_counted(embedded_system, project, jwk):
    def cut():
        return metric(embedded_system.api.request("GET", "/metrics", token=False), 'jwk_http_connections_cut_total{at="body"}')
    before = cut()
    with embedded_system.api.raw() as connection:
        with pytest.raises(OSError):
            send_chunks(embedded_system, connection, jwk_path(project, jwk), 4096)
            connection.receive()
    assert cut() == before + 1


def test_chunked_body_is_taken(system, project):
    assert system.api.create(project, "my-jwk").status == 200
    with system.api.raw() as connection:
        connection.send(head(system, jwk_path(project, "my-jwk"), "Transfer-Encoding: chunked"))
        for piece in (b'{"descr', b'iption":', b'"in ', b'pieces"}'):
            connection.send(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        connection.send(b"0\r\n\r\n")
        answer = connection.receive()
    assert answer.status == 200 and answer.json["deploymentResult"]["success"]
    assert system.api.item(project, "my-jwk")["description"] == "in pieces"


def test_expect_100_continue_is_served(system, project):
    assert system.api.create(project, "my-jwk").status == 200
    body = b'{"description":"continued"}'
    with system.api.raw() as connection:
        connection.send(head(system, jwk_path(project, "my-jwk"), f"Content-Length: {len(body)}", "Expect: 100-continue"))
        assert connection.receive_head().startswith(b"HTTP/1.1 100 ")
        connection.send(body)
        answer = connection.receive()
    assert answer.status == 200 and answer.json["deploymentResult"]["success"]
    assert system.api.item(project, "my-jwk")["description"] == "continued"


def test_expect_100_continue_with_a_bad_token_is_refused_without_asking_for_the_body(embedded_system, project, jwk):
    with embedded_system.api.raw() as connection:
        lines = head(embedded_system, jwk_path(project, jwk), "Content-Length: 10", "Expect: 100-continue")
        connection.send(lines.replace(embedded_system.token.encode(), b"unknown"))
        refused(connection.receive(), 401, "unauthorized_client")


def test_body_cut_short_by_its_client_changes_nothing(embedded_system, project, jwk):
    with embedded_system.api.raw() as connection:
        connection.send(head(embedded_system, jwk_path(project, jwk), "Content-Length: 100") + b'{"description":"after"}')
    assert embedded_system.api.item(project, jwk)["description"] == "before"


@pytest.mark.parametrize("garbage", [b"\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64,
                                     b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\xff" * 4096],
                         ids=["nothing", "half a line", "TLS", "bad length", "bad version", "bytes"])
def test_garbage_harms_nobody_else(embedded_system, project, jwk, garbage):
    with embedded_system.api.raw() as connection:
        connection.send(garbage)
        assert embedded_system.api.update(project, jwk, {"description": "before"}).json["deploymentResult"]["success"]


def test_headers_over_the_limit_are_refused(embedded_system, project, jwk):
    with embedded_system.api.raw() as connection:
        try:
            connection.send(head(embedded_system, jwk_path(project, jwk), *[f"X-{number}: {'x' * 1000}" for number in range(1000)],
                                 "Content-Length: 2") + b"{}")
            answer = connection.receive()
        except OSError:
            return  # closed in the middle
        assert answer.status in (400, 413, 431), answer


def test_several_requests_on_one_connection_are_answered_in_order(system, project):
    assert system.api.create(project, "my-jwk").status == 200
    body = b'{"description":"%d"}'
    with system.api.raw() as connection:
        for number in range(5):
            content = body % number
            connection.send(head(system, jwk_path(project, "my-jwk"), f"Content-Length: {len(content)}") + content)
            answer = connection.receive()
            assert answer.status == 200 and answer.json["deploymentResult"]["success"]
        # A refused one in between spoils nothing.
        connection.send(head(system, jwk_path(project, "none"), "Content-Length: 2") + b"{}")
        assert connection.receive().status == 400
        connection.send(head(system, jwk_path(project, "my-jwk"), method="GET"))
        assert connection.receive().json["resultList"][0]["description"] == "4"


def test_http_1_0_client_is_answered(embedded_system, project, jwk):
    with embedded_system.api.raw() as connection:
        connection.send(head(embedded_system, jwk_path(project, jwk), method="GET").replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert connection.receive().status == 200


def test_answers_are_never_stored_by_caches(embedded_system, project, jwk):
    for answer in (embedded_system.api.get_jwk(project, jwk), embedded_system.api.get_jwk(project, "none")):
        assert answer.headers["Cache-Control"] == "no-store"


def test_service_endpoints_need_no_token(embedded_system):
    for path in ("/healthz", "/readyz", "/metrics"):
        assert embedded_system.api.request("GET", path, token=False).status == 200
        for worker in embedded_system.workers.values():
            assert http.request(worker.address, "GET", path).status == 200
