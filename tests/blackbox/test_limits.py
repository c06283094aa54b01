"""Slow clients, too many connections, too many requests; the headers that every answer has, and pages of other origins.

No time is measured: the limits are short, and each test waits for what must come of them."""

import socket
import threading

import pytest

from harness.http import request
from harness.installation import ROLE_SECURITY, jwk_path, jwks_path
from harness.program import PATIENCE, wait_until
from harness.server import Server, exchange, metric

SECURITY = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
            "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'"}
CUT = 'jwk_http_connections_cut_total{at="%s"}'


@pytest.fixture(params=["api", "worker"])
def serve(request, tmp_path):
    """Starts one of the programs; both in turn."""
    servers = []

    def start(*options):
        servers.append(Server(request.param, tmp_path, *options))
        return servers[-1]
    yield start
    for server in servers:
        assert server.program.stop() == 0


class Trickle:
    """Sends a byte again and again until the other side ends the connection."""

    def __init__(self, connection, text):
        self.connection, self.text = connection, text
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        try:
            for at in range(len(self.text)):
                self.connection.sendall(self.text[at:at + 1])
                self.connection.settimeout(0.02)
                try:
                    if not self.connection.recv(1000):
                        break
                except TimeoutError:
                    pass
        except OSError:
            pass
        self.ended.set()

    def wait_ended(self):
        assert self.ended.wait(PATIENCE), "the connection was not cut"
        self.connection.close()


HEAD = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
ENDLESS = b"X-Slow: " + b"a" * 100000


# ---- slow clients ----

def test_headers_that_trickle_in_are_cut_off_and_disturb_nobody(serve):
    server = serve("--header-timeout", "500ms")
    slow = []
    for _ in range(20):
        connection = server.dial()
        connection.sendall(HEAD)
        slow.append(Trickle(connection, ENDLESS))

    def are_cut_while_another_is_served():
        assert server.get().status == 200
        return all(trickle.ended.is_set() for trickle in slow)
    wait_until(are_cut_while_another_is_served, "all are cut off")
    for trickle in slow:
        trickle.wait_ended()
    assert server.metric(CUT % "headers") >= 20


def test_a_connection_without_a_request_is_cut_off(serve):
    server = serve("--header-timeout", "300ms")
    with server.dial() as silent:
        assert silent.recv(1) == b""
    assert server.metric(CUT % "headers") >= 1


def test_a_next_request_that_trickles_in_is_cut_off_too(serve):
    server = serve("--header-timeout", "300ms", "--idle-timeout", "1s")
    connection = server.dial()
    assert exchange(connection, "/healthz").status == 200
    assert exchange(connection, "/healthz").status == 200
    connection.sendall(HEAD)
    Trickle(connection, ENDLESS).wait_ended()
    assert server.metric(CUT % "headers") >= 1


def test_a_body_that_trickles_in_is_cut_off(serve):
    server = serve("--body-timeout", "300ms", "--header-timeout", "0")
    connection = server.dial()
    connection.sendall(b"PUT /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n")
    Trickle(connection, b"a" * 100000).wait_ended()
    assert server.metric(CUT % "body") == 1


def test_an_answer_that_is_not_read_is_cut_off(serve):
    server = serve("--answer-timeout", "500ms")
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", server.port))
        # More than fits into the buffers between the two.
        connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3000)
        wait_until(lambda: server.metric(CUT % "answer") >= 1, "the answer is given up")


def test_limits_of_time_can_be_turned_off(serve):
    server = serve("--header-timeout", "0", "--body-timeout", "0", "--answer-timeout", "0")
    connection = server.dial()
    connection.sendall(HEAD)
    trickle = Trickle(connection, b"X-Slow: aaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n\r\n")
    trickle.thread.join(PATIENCE)
    assert server.metric(CUT % "headers") == 0
    connection.close()


def test_a_call_that_waits_for_its_deployment_is_not_cut_off(installation):
    installation.add_environment("production")
    project = installation.add_project("MyProject")
    api = installation.start_api("--header-timeout", "200ms", "--body-timeout", "200ms", "--answer-timeout", "200ms", "--idle-timeout", "1s")
    worker = installation.start_worker("production")
    installation.wait_connected()
    assert api.create(project, "signing").status == 200
    worker.pause()
    answer = api.update(project, "signing", {"description": "waits"}, prefer="wait=2")
    worker.resume()
    assert answer.status == 200
    assert answer.json["deploymentResult"]["environmentResults"][0]["message"].startswith("Timed out after 2 s waiting")


# ---- too many ----

def test_one_address_gets_so_many_connections_and_no_more(serve):
    server = serve("--connections-per-address", "3")
    held = [server.dial() for _ in range(3)]
    for connection in held:
        assert exchange(connection, "/healthz").status == 200
    for _ in range(5):
        with server.dial() as refused:
            try:
                refused.sendall(HEAD + b"\r\n")
                assert refused.recv(1) == b""
            except ConnectionError:
                pass
    assert metric(exchange(held[0], "/metrics"), "jwk_http_connections_refused_total") == 5
    assert metric(exchange(held[0], "/metrics"), "jwk_http_connections") == 3
    held.pop().close()

    def takes_another():
        try:
            return server.get().status == 200
        except (ConnectionError, OSError):
            return False
    wait_until(takes_another, "a place that was given up can be taken")
    for connection in held:
        connection.close()


def check_429(answer):
    assert answer.status == 429, answer
    assert answer.json["error"] == "too_many_requests" and answer.json["error_description"]
    assert int(answer.headers["Retry-After"]) >= 1
    assert answer.headers["Content-Type"] == "application/json"


def test_an_address_over_its_rate_is_told_when_to_try_again(serve):
    server = serve("--rate-limit-address", "1/h:3")
    with server.dial() as connection:
        for _ in range(3):
            assert exchange(connection, "/healthz").status == 200
        answer = exchange(connection, "/healthz")
        check_429(answer)
        assert 3000 < int(answer.headers["Retry-After"]) <= 3600
        check_429(exchange(connection, "/metrics"))


def test_a_rate_comes_back_with_time(serve):
    server = serve("--rate-limit-address", "2/s:2")
    limited = wait_until(lambda: next((answer for answer in (server.get() for _ in range(5)) if answer.status == 429), None), "it is limited")
    assert limited.headers["Retry-After"] == "1"
    wait_until(lambda: server.get().status == 200, "the bucket fills again")


def test_requests_that_a_worker_can_not_answer_do_not_fill_its_log(tmp_path):
    server = Server("worker", tmp_path)
    (tmp_path / "state" / "state.db").unlink()
    with server.dial() as connection:
        for _ in range(40):
            assert exchange(connection, "/projects/MyProject/.well-known/jwks.json").status == 500
    assert 1 <= server.program.log().count('event="request failed"') < 40
    assert server.program.stop() == 0


def test_a_token_over_its_rate_is_refused_and_another_is_not(installation):
    project = installation.add_project("MyProject")
    api = installation.start_api("--rate-limit-token", "1/h:5")
    other, _ = installation.new_token(user="bob")
    for _ in range(5):
        assert api.list_jwks(project).status == 200
    check_429(api.list_jwks(project))
    check_429(api.request("PUT", jwk_path(project, "absent"), json_body={"description": "x"}))
    assert api.list_jwks(project, token=other).status == 200
    assert metric(api.request("GET", "/metrics", token=False), 'jwk_api_requests_limited_total{by="token"}') == 2


def test_no_limit_of_requests_is_set_by_default(installation):
    project = installation.add_project("MyProject")
    api = installation.start_api()
    assert all(api.list_jwks(project).status == 200 for _ in range(500))


def test_an_address_that_guesses_is_refused_without_a_look_and_known_tokens_go_on(installation):
    project = installation.add_project("MyProject")
    api = installation.start_api("--rate-limit-failures", "1/h:3")
    fresh, _ = installation.new_token(user="bob")
    assert api.list_jwks(project).status == 200
    for number in range(3):
        assert api.list_jwks(project, token=f"jwk_wrong{number}").status == 401
    check_429(api.list_jwks(project, token="jwk_wrong"))
    # Neither right nor wrong is told any more, except to a token that has worked before.
    check_429(api.list_jwks(project, token=fresh))
    assert api.list_jwks(project).status == 200
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    check_429(api.request("POST", "/apiops/auth/token", b"grant_type=client_credentials&client_id=a&client_secret=b", headers=form, token=False))
    # Who shows nothing guesses nothing.
    assert api.list_jwks(project, token=False).status == 401
    assert api.request("GET", "/healthz", token=False).status == 200
    metrics = api.request("GET", "/metrics", token=False)
    assert metric(metrics, 'jwk_api_requests_limited_total{by="failures"}') == 3
    assert metric(metrics, "jwk_api_authentications_failed_total") == 3


def test_client_secrets_are_not_guessed_for_long_either(installation):
    api = installation.start_api("--rate-limit-failures", "1/h:2")
    form = {"Content-Type": "application/x-www-form-urlencoded"}

    def guess():
        return api.request("POST", "/apiops/auth/token", b"grant_type=client_credentials&client_id=a&client_secret=b", headers=form, token=False)
    assert [guess().status, guess().status] == [401, 401]
    check_429(guess())
    check_429(api.list_jwks("MyProject", token="jwk_wrong"))


# ---- headers ----

def check_security(answer):
    for name, value in SECURITY.items():
        assert answer.headers.get_all(name) == [value], answer
    assert answer.headers["Cache-Control"], answer
    assert "Strict-Transport-Security" not in answer.headers
    assert not [name for name in answer.headers if name.lower().startswith("access-control-")], answer


def test_every_answer_of_the_api_has_the_security_headers(embedded_system, project):
    api = embedded_system.api
    foreign = {"Origin": "https://elsewhere.example"}
    assert api.create(project, "signing").status == 200
    answers = [api.list_jwks(project, headers=foreign), api.get_jwk(project, "signing"), api.list_jwks(project, token="jwk_wrong"),
               api.list_jwks("absent"), api.get_jwk(project, "absent"), api.request("GET", "/nowhere"), api.request("PATCH", jwks_path(project)),
               api.update(project, "signing", {"description": "x"}), api.request("PUT", jwk_path(project, "signing"), b"{"),
               api.request("GET", "/healthz", token=False, headers=foreign), api.request("GET", "/metrics", token=False)]
    tag = api.get_jwk(project, "signing").headers["ETag"]
    answers.append(api.get_jwk(project, "signing", headers={"If-None-Match": tag}))
    assert [answer.status for answer in answers] == [200, 200, 401, 404, 400, 404, 405, 200, 400, 200, 200, 304]
    for answer in answers:
        check_security(answer)
        assert answer.headers.get_all("Cache-Control") == ["no-store"], answer


def test_every_answer_of_a_worker_has_the_security_headers(embedded_system, project):
    assert embedded_system.api.create(project, "signing").status == 200
    worker = embedded_system.workers["production", "edge-1"]
    wait_until(lambda: worker.kids(project), "the key is served")
    keys = f"/projects/{project}/.well-known/jwks.json"
    answers = [worker.request("GET", keys, {"Origin": "https://elsewhere.example"}), worker.request("GET", keys),
               worker.request("GET", f"/projects/{project}/jwks/"), worker.request("GET", "/nowhere"), worker.request("POST", keys)]
    answers.append(worker.request("GET", keys, {"If-None-Match": answers[0].headers["ETag"]}))
    assert [answer.status for answer in answers] == [200, 200, 200, 404, 405, 304]
    for answer in answers:
        check_security(answer)
    assert answers[0].headers["Cache-Control"].startswith("public, max-age=")


# ---- pages of other origins ----

CONSOLE, PORTAL = "https://console.example.com", "https://portal.example.com:8443"


def preflight(address, path, origin, method):
    return request(address, "OPTIONS", path, None, {"Host": "localhost", "Origin": origin, "Access-Control-Request-Method": method,
                                                    "Access-Control-Request-Headers": "authorization,content-type"})


def test_pages_of_configured_origins_may_call_the_api(installation):
    project = installation.add_project("MyProject")
    api = installation.start_api("--cors-origin", CONSOLE, "--cors-origin", PORTAL)
    for origin in (CONSOLE, PORTAL):
        answer = preflight(api.address, jwks_path(project), origin, "PUT")
        assert answer.status == 204 and answer.body == b""
        assert answer.headers["Access-Control-Allow-Origin"] == origin
        assert "PUT" in answer.headers["Access-Control-Allow-Methods"].split(", ")
        allowed = answer.headers["Access-Control-Allow-Headers"].split(", ")
        assert {"Authorization", "Content-Type", "If-Match", "Idempotency-Key", "Prefer"} <= set(allowed)
        assert "Origin" in answer.headers["Vary"]
        answer = api.list_jwks(project, headers={"Origin": origin})
        assert answer.status == 200 and answer.headers.get_all("Access-Control-Allow-Origin") == [origin]
        assert "Location" in answer.headers["Access-Control-Expose-Headers"]
        # A page must be able to read why it was refused.
        assert api.list_jwks(project, token="jwk_wrong", headers={"Origin": origin}).headers["Access-Control-Allow-Origin"] == origin
    for origin in ("https://evil.example", "https://console.example.com.evil.example", "http://console.example.com", "null", CONSOLE + ":443"):
        answer = preflight(api.address, jwks_path(project), origin, "PUT")
        assert answer.status == 405 and "Access-Control-Allow-Origin" not in answer.headers
        answer = api.list_jwks(project, headers={"Origin": origin})
        assert answer.status == 200 and "Access-Control-Allow-Origin" not in answer.headers and answer.headers["Vary"] == "Origin"
    assert api.list_jwks(project).headers["Vary"] == "Origin"
    assert "Access-Control-Allow-Credentials" not in answer.headers


def test_deferred_answers_name_the_origin_too(installation):
    installation.add_environment("production")
    project = installation.add_project("MyProject")
    api = installation.start_api("--cors-origin", CONSOLE)
    installation.start_worker("production")
    installation.wait_connected()
    answer = api.create(project, "signing", headers={"Origin": CONSOLE})
    assert answer.status == 200 and answer.headers["Access-Control-Allow-Origin"] == CONSOLE


@pytest.mark.parametrize("origins", [("*",), (CONSOLE, PORTAL)])
def test_pages_of_configured_origins_may_read_key_sets(installation, origins):
    installation.add_environment("production")
    project = installation.add_project("MyProject")
    api = installation.start_api()
    worker = installation.start_worker("production", "edge-1", *(word for origin in origins for word in ("--cors-origin", origin)))
    installation.wait_connected()
    assert api.create(project, "signing").status == 200
    keys = f"/projects/{project}/.well-known/jwks.json"
    plain = worker.request("GET", keys)
    for origin in (CONSOLE, PORTAL):
        answer = worker.request("GET", keys, {"Origin": origin})
        assert answer.status == 200 and answer.body == plain.body
        assert answer.headers.get_all("Access-Control-Allow-Origin") == [origin if len(origins) > 1 else "*"]
        assert {name: answer.headers[name] for name in ("ETag", "Content-Type", "Cache-Control")} == {
            name: plain.headers[name] for name in ("ETag", "Content-Type", "Cache-Control")}
        answer = worker.request("GET", keys, {"Origin": origin, "If-None-Match": plain.headers["ETag"]})
        assert answer.status == 304 and answer.headers["Access-Control-Allow-Origin"]
    assert preflight(worker.address, keys, CONSOLE, "GET").status == 204
    other = worker.request("GET", keys, {"Origin": "https://evil.example"})
    assert ("Access-Control-Allow-Origin" in other.headers) == (origins == ("*",))
