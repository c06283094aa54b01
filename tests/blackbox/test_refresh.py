"""JWKs from URLs are fetched again: a change deploys itself, a failing source changes nothing, an update ends it."""

import contextlib
import re
import sqlite3
import threading

import pytest

from harness import sources
from harness.keys import new_key, public_half
from harness.program import wait_until
from harness.sources import SourceServer, Sources


# The bounds are so near that a test sees several fetches, and so far apart that it sees which of them holds.
BOUNDS = ("--source-refresh-min", "200ms", "--source-refresh-max", "1h", "--source-refresh-default", "300ms")


@pytest.fixture(scope="module")
def system(embedded_broker, tmp_path_factory):
    installation = sources.start_system(embedded_broker, tmp_path_factory.mktemp("system"), *BOUNDS)
    yield installation
    installation.stop()


@pytest.fixture
def server():
    server = SourceServer()
    yield server
    server.close()


@pytest.fixture
def source(system, project):
    yield Sources(system.api, project)
    # Their server ends with the test: what would fail from now on is none of the next test's business.
    for name in system.api.names(project):
        assert system.api.delete(project, name).status == 200


def key(kid):
    return public_half(new_key("EC", kid=kid))


def create(source, url, timeout=5000, name="my-jwk", **members):
    answer = source.create(name, "URL", url=url, urlOptionReadTimeout=timeout, **members)
    assert answer.status == 200 and answer.json["deploymentResult"]["success"], answer


def wait_fetched(server, url, times):
    """Until it was fetched so many times more."""
    target = server.count(url) + times
    wait_until(lambda: server.count(url) >= target, f"{url} is fetched {times} times more")


def metric(system, name, labels=""):
    text = system.api.request("GET", "/metrics", token=False).body.decode()
    return int(re.search(re.escape(name + labels) + r" (\d+)", text).group(1))


def pause(system, project, name):
    """Seconds between the last check and the next, as they are told."""
    item = system.api.item(project, name)
    checked, following = (sources.datetime.datetime.fromisoformat(item[member].replace("Z", "+00:00"))
                          for member in ("sourceCheckedTime", "sourceNextCheckTime"))
    return (following - checked).total_seconds()


def served(system, project, name="my-jwk"):
    return system.workers["production", "edge-1"].jwk(project, name)


def test_changed_key_deploys_itself_by_the_actor_source_refresh(system, project, source, server):
    old, new = key("old"), key("new")
    url = server.put(old)
    create(source, url)
    jwk = system.api.item(project, "my-jwk")
    assert served(system, project) == old
    server.put(new, url.removeprefix(server.url("")))
    wait_until(lambda: served(system, project) == new, "the new key is served")
    events = [record.value for record in system.topics.events_named(project, "my-jwk")]
    assert [(event["operation"], event["version"], event["actor"]) for event in events] == [("create", 1, "alice"), ("update", 2, "source-refresh")]
    item = system.api.item(project, "my-jwk")
    assert item["kid"] == "new" and item["sourceUrl"] == url and item["sourceStatus"] == "OK"
    assert item["sourceCheckedTime"] > jwk["sourceCheckedTime"]


def test_type_of_the_key_may_change(system, project, source, server):
    url = server.put(key("old"))
    create(source, url)
    server.put(public_half(new_key("OKP", kid="new")), url.removeprefix(server.url("")))
    wait_until(lambda: served(system, project)["kid"] == "new", "the new key is served")
    item = system.api.item(project, "my-jwk")
    assert item["type"] == "OKP" and item["okp"]["crv"] == "Ed25519"


def test_a_key_of_a_set_is_followed_by_its_kid(system, project, source, server):
    other = key("other")
    url = server.put({"keys": [other, key("k")]})
    create(source, url, kid="k")
    changed = key("k")
    server.put({"keys": [other, changed]}, url.removeprefix(server.url("")))
    wait_until(lambda: served(system, project) == changed, "the key of that kid is served")


def conditional(document, tag):
    """Answers with the document, and that it has not changed to who has it."""
    def answer(handler):
        if handler.headers.get("If-None-Match") == tag:
            handler.send_response(304)
            handler.send_header("ETag", tag)
            handler.end_headers()
        else:
            handler.answer(sources.json.dumps(document), ETag=tag)
    return answer


def test_unchanged_key_is_asked_for_conditionally_and_deploys_nothing(system, project, source, server):
    url = server.put(conditional(key("k"), '"v1"'))
    path = url.removeprefix(server.url(""))

    def asked():
        return [headers.get("If-None-Match") for where, headers in server.requests if where == path]
    create(source, url)
    wait_fetched(server, url, 3)
    assert asked()[0] is None and set(asked()[1:]) == {'"v1"'}
    assert len(system.topics.events_named(project, "my-jwk")) == 1
    assert system.api.item(project, "my-jwk")["sourceStatus"] == "OK"
    server.put(conditional(key("k"), '"v2"'), path)
    wait_until(lambda: asked()[-1] == '"v2"', "it is asked for what has changed since")
    wait_until(lambda: len(system.topics.events_named(project, "my-jwk")) == 2, "the change is deployed")


FAILURES = {
    "status": (lambda handler: handler.answer("{}", 503), "URL answered with status 503!"),
    "hang": (lambda handler: handler.server.owner.closing.wait(30), "could not be fetched within"),
    "HTML": ("<html>", "an HTML page"),
    "gone": (lambda handler: handler.answer("{}", 404), "URL answered with status 404!"),
    "too large a key": (public_half(new_key("EC", kid="k")) | {"note": "x" * 910_000}, "is too large"),
    "another kid": ({"keys": [public_half(new_key("EC", kid="a")), public_half(new_key("EC", kid="b"))]}, '"a", "b"'),
}


@pytest.mark.parametrize("failure, part", FAILURES.values(), ids=FAILURES.keys())
def test_failing_source_is_told_and_never_removes_the_key(system, project, source, server, failure, part):
    server.server.owner = server
    document = key("k")
    url = server.put({"keys": [document]})
    path = url.removeprefix(server.url(""))
    create(source, url, 500, kid="k", urlOptionConnectTimeout=500)
    server.put(failure, path)
    item = wait_until(lambda: (lambda item: item if item["sourceStatus"] == "FAILING" else None)(system.api.item(project, "my-jwk")),
                      "the failure is shown")
    assert part in item["sourceError"]
    assert served(system, project) == document and item["kid"] == "k"
    wait_until(lambda: metric(system, "jwk_api_sources_failing") >= 1, "the metric tells it")
    assert metric(system, "jwk_api_source_refreshes_total", '{result="failed"}') >= 1
    server.put({"keys": [document]}, path)
    item = wait_until(lambda: (lambda item: item if item["sourceStatus"] == "OK" else None)(system.api.item(project, "my-jwk")), "it recovers")
    assert item["sourceError"] is None
    assert len(system.topics.events_named(project, "my-jwk")) == 1
    assert system.api.delete(project, "my-jwk").status == 200
    wait_until(lambda: metric(system, "jwk_api_sources_failing") == 0, "none fails any more")


def test_what_can_not_be_recorded_is_not_fetched_again_at_once(system, project, source, server):
    url, other = server.put(key("k")), server.put(key("other"))
    create(source, url)
    create(source, other, name="other")
    with contextlib.closing(sqlite3.connect(system.data_directory / "jwk-api.db", timeout=30)) as store:
        store.execute("CREATE TRIGGER refused BEFORE UPDATE ON jwk_url WHEN old.jwk_id = (SELECT id FROM jwk WHERE name = 'my-jwk' AND"
                      " deleted_at IS NULL) BEGIN SELECT RAISE (ABORT, 'refused'); END")
        store.commit()
        count = server.count(url)
        wait_fetched(server, url, 1)
        wait_fetched(server, other, 4)
        assert server.count(url) <= count + 100, "it rests in between"
        store.execute("DROP TRIGGER refused")
        store.commit()
    wait_fetched(server, url, 2)


def test_update_ends_the_refresh(system, project, source, server):
    document = key("k")
    url, other = server.put(document), server.put(key("other"))
    create(source, url)
    create(source, other, name="other")
    wait_fetched(server, url, 1)
    assert system.api.update(project, "my-jwk", {"description": "mine"}).status == 200
    server.put(key("new"), url.removeprefix(server.url("")))
    wait_fetched(server, other, 1)  # one that was under way is over by then
    count = server.count(url)
    wait_fetched(server, other, 4)
    assert server.count(url) <= count + 1
    assert served(system, project) == document
    assert "sourceStatus" not in system.api.item(project, "my-jwk")


def test_update_while_a_fetch_is_under_way_wins(system, project, source, server):
    document = key("k")
    url, other = server.put(document), server.put(key("other"))
    create(source, url)
    create(source, other, name="other")
    asked, go = threading.Event(), threading.Event()

    def answer_later(handler):
        asked.set()
        go.wait(30)
        handler.answer(sources.json.dumps(key("new")))

    server.put(answer_later, url.removeprefix(server.url("")))
    assert asked.wait(30)
    assert system.api.update(project, "my-jwk", {"description": "mine"}).status == 200
    before = metric(system, "jwk_api_source_refreshes_total", '{result="unchanged"}')
    go.set()
    wait_fetched(server, other, 2)
    wait_until(lambda: metric(system, "jwk_api_source_refreshes_total", '{result="unchanged"}') > before, "its outcome is known")
    assert served(system, project) == document
    assert [record.value["version"] for record in system.topics.events_named(project, "my-jwk")] == [1, 2]


def test_delete_ends_the_refresh(system, project, source, server):
    url, other = server.put(key("k")), server.put(key("other"))
    create(source, url)
    create(source, other, name="other")
    assert system.api.delete(project, "my-jwk").status == 200
    wait_fetched(server, other, 1)
    count = server.count(url)
    wait_fetched(server, other, 4)
    assert server.count(url) <= count + 1


def test_cache_control_is_honoured_within_the_bounds(system, project, source, server):
    """One that may be kept for long is not fetched while others are, several times; one that may not be kept is, but within the least."""
    server.fields = {"Cache-Control": "max-age=600"}
    kept = server.put(key("kept"))
    create(source, kept, name="kept")
    server.fields = {"Cache-Control": "no-store"}
    fresh = server.put(key("fresh"))
    create(source, fresh, name="fresh")
    wait_fetched(server, fresh, 4)
    assert server.count(kept) == 1
    assert 540 <= pause(system, project, "kept") <= 661, "ten minutes, with a jitter of a tenth"
    assert 0.17 <= pause(system, project, "fresh") <= 0.3, "the least pause"


def test_a_source_that_goes_on_failing_is_asked_more_and_more_rarely(system, project, source, server):
    url = server.put(key("k"))
    create(source, url)
    server.put(FAILURES["gone"][0], url.removeprefix(server.url("")))
    wait_until(lambda: pause(system, project, "my-jwk") > 0.6, "its pause is several times the least one")


def test_schedule_survives_a_restart(installation, server):
    installation.add_environment("production")
    installation.start_api("--source-allow-private", "127.0.0.1", "--source-allow-http", *BOUNDS)
    installation.start_worker("production")
    installation.wait_connected()
    project = installation.add_project("MyProject")
    url = server.put(key("old"))
    create(Sources(installation.api, project), url)
    installation.api.kill()
    new = key("new")
    server.put(new, url.removeprefix(server.url("")))
    installation.start_api("--source-allow-private", "127.0.0.1", "--source-allow-http", *BOUNDS)
    wait_until(lambda: installation.workers["production", "edge-1"].jwk(project, "my-jwk") == new, "it is fetched again")


def test_servers_of_one_project_that_hang_hold_up_no_other_project(system, project, source, server):
    other, hanging, go = Sources(system.api, system.add_project(f"{project}-other")), set(), threading.Event()

    def hang(handler):
        hanging.add(handler.path)
        go.wait(60)  # as long as the fetches wait

    urls = [server.put(key(f"other-{number}")) for number in range(10)]
    for number, url in enumerate(urls):
        create(other, url, 60000, f"jwk-{number}")
    for url in urls:
        server.put(hang, url.removeprefix(server.url("")))
    try:
        wait_until(lambda: len(hanging) >= 4, "the other project has all the fetches that it may have")
        old, new = key("old"), key("new")
        url = server.put(old)
        create(source, url)
        server.put(new, url.removeprefix(server.url("")))
        wait_until(lambda: served(system, project) == new, "the new key is served")
        assert len(hanging) == 4
    finally:
        go.set()
        for number in range(len(urls)):
            assert system.api.delete(other.project, f"jwk-{number}").status == 200


def test_stop_does_not_wait_for_a_source_that_hangs(installation, server):
    installation.add_environment("production")
    installation.start_api("--source-allow-private", "127.0.0.1", "--source-allow-http", *BOUNDS)
    project = installation.add_project("MyProject")
    url = server.put(key("k"))
    answer = Sources(installation.api, project).create("my-jwk", "URL", url=url, urlOptionReadTimeout=60000, urlOptionConnectTimeout=60000)
    assert answer.status == 200
    server.put(lambda handler: server.closing.wait(120), url.removeprefix(server.url("")))
    wait_fetched(server, url, 1)
    installation.api.stop()  # fails when it takes longer than the tests' patience, which is shorter than the read timeout
