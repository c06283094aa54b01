"""Everything that the API publishes is signed, and its keys can follow one another while it serves. Judged by other code than its own."""

import copy
import re
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.program import wait_until
from harness.signatures import verify


def published(installation):
    return installation.topics.read(installation.topics.events)


def kid_of(installation, state):
    lines = [line.split("\t") for line in installation.admin("signing-key", "list").stdout.splitlines()]
    kid, = (fields[0] for fields in lines if fields[1] == state)
    return kid


def verdicts(installation, keys):
    return [verify(record, keys) for record in published(installation)]


@pytest.fixture
def serving(installation, project):
    installation.add_environment("production")
    installation.start_api()
    return installation


def test_every_event_is_signed_and_what_was_committed_together_shares_one_signature(serving, project):
    with ThreadPoolExecutor(32) as pool:
        answers = pool.map(lambda number: serving.api.create(project, f"key-{number}", prefer="respond-async"), range(200))
        assert {answer.status for answer in answers} == {202}
    assert serving.api.update(project, "key-0", {"name": "x"}, prefer="respond-async").status == 202
    assert serving.api.delete(project, "key-1", prefer="respond-async").status == 202
    wait_until(lambda: len(published(serving)) >= 202, "all are published")
    found = verdicts(serving, serving.signing_keys())
    assert {kid for kid, _ in found} == {kid_of(serving, "active")}
    assert max(count for _, count in found) > 1


def test_what_was_changed_afterwards_does_not_fit_its_signature(serving, project):
    """The judge itself: without this the tests above would prove nothing."""
    assert serving.api.create(project, "a", prefer="respond-async").status == 202
    record = serving.topics.wait_event(lambda value: value["jwk"]["name"] == "a", "the event")
    keys = serving.signing_keys()
    verify(record, keys)
    changed = []
    for name in ("ce_id", "ce_source", "ce_type", "ce_subject", "ce_time", "ce_dataschema", "traceparent"):
        changed.append(copy.copy(record))
        changed[-1].headers = record.headers | {name: record.headers[name] + "x"}
        changed.append(copy.copy(record))
        changed[-1].headers = {other: value for other, value in record.headers.items() if other != name}
    for member, value in {"key": record.key + "x", "raw": record.raw + b" "}.items():
        changed.append(copy.copy(record))
        setattr(changed[-1], member, value)
    for other in changed:
        with pytest.raises(Exception, match="Verification failed|InvalidJWSSignature|signature"):
            verify(other, keys)


def test_a_backlog_and_a_tombstone_are_signed_too(installation, project):
    installation.add_environment("production")
    installation.start_api()
    for number in range(30):
        assert installation.api.create(project, f"key-{number}", prefer="respond-async").status == 202
    wait_until(lambda: len(published(installation)) == 30, "they are published")
    assert installation.api.delete(project, "key-0", prefer="respond-async").status == 202
    wait_until(lambda: len(published(installation)) == 31, "the delete is published")
    assert installation.api.stop() == 0
    # Added while nothing serves: all of it comes out of the outbox at the next start.
    installation.add_environment("staging")
    with sqlite3.connect(installation.data_directory / "jwk-api.db") as store:
        store.execute("UPDATE jwk SET deleted_at = deleted_at - 60000 WHERE deleted_at IS NOT NULL")
    installation.start_api("--tombstone-delay", "1s")
    wait_until(lambda: any(record.raw is None for record in published(installation)), "the tombstone is there")
    wait_until(lambda: len(published(installation)) == 31 + 29 + 1, "everything is deployed again")
    found = verdicts(installation, installation.signing_keys())
    assert max(count for _, count in found) >= 10, "a chunk of the outbox shares one signature"


def test_another_key_signs_from_its_activation_on_and_everything_is_published_again(serving, project):
    for number in range(20):
        assert serving.api.create(project, f"key-{number}", prefer="respond-async").status == 202
    first = kid_of(serving, "active")
    second = serving.admin("signing-key", "add").stdout.strip()
    assert [key["kid"] for key in serving.signing_keys()["keys"]] == [first, second]
    assert serving.api.update(project, "key-0", {"description": "x"}, prefer="respond-async").status == 202
    wait_until(lambda: len(published(serving)) == 21, "the update is published")
    assert {kid for kid, _ in verdicts(serving, serving.signing_keys())} == {first}, "it waits to be activated"
    said = serving.admin("signing-key", "activate", "--accept-old-for", "1h", "--", second)
    assert "jwk-api signing-key export\nonce more" in said.stderr, "its output tells the end of the old key now"
    wait_until(lambda: len(published(serving)) == 41, "everything is published again")
    keys = serving.signing_keys()
    assert [kid for kid, _ in verdicts(serving, keys)].count(second) == 20
    last = {record.key: record for record in published(serving)}
    assert {verify(record, keys)[0] for record in last.values()} == {second}, "what a new replica needs has the new signature"
    old, new = keys["keys"]
    assert (old["kid"], new["kid"]) == (first, second)
    assert "exp" not in new
    assert "d" not in old and "d" not in new
    until = re.search(rf"{first}\tretired\t.*accepted until (\S+)", serving.admin("signing-key", "list").stdout)
    assert until and old["exp"] > 1_600_000_000


def test_a_key_that_is_activated_while_nothing_serves_signs_from_the_next_start_on(serving, project):
    assert serving.api.create(project, "a", prefer="respond-async").status == 202
    wait_until(lambda: len(published(serving)) == 1, "it is published")
    assert serving.api.stop() == 0
    second = serving.admin("signing-key", "add").stdout.strip()
    serving.admin("signing-key", "activate", "--", second)
    serving.start_api()
    wait_until(lambda: len(published(serving)) == 2, "it is published again")
    assert verdicts(serving, serving.signing_keys())[1][0] == second


def test_a_key_that_is_no_longer_accepted_is_exported_for_auditors_alone(installation, project):
    first = installation.signing_keys()["keys"][0]["kid"]
    second = installation.admin("signing-key", "add").stdout.strip()
    installation.admin("signing-key", "activate", "--accept-old-for", "0", "--", second)
    assert [key["kid"] for key in installation.signing_keys()["keys"]] == [second]
    assert [key["kid"] for key in installation.signing_keys("--all")["keys"]] == [first, second]


def test_only_a_key_that_waits_can_be_activated(installation, project):
    first = installation.signing_keys()["keys"][0]["kid"]
    second = installation.admin("signing-key", "add").stdout.strip()
    installation.admin("signing-key", "activate", "--", second)
    before = installation.admin("signing-key", "list").stdout
    for kid, reason in {"none": "is not found", second: "is active already", first: "was replaced"}.items():
        done = installation.admin("signing-key", "activate", "--", kid, check=False)
        assert done.returncode == 1 and reason in done.stderr
    assert installation.admin("signing-key", "list").stdout == before
    for _ in range(4):
        installation.admin("signing-key", "add")
    assert installation.admin("signing-key", "add", check=False).returncode == 1
