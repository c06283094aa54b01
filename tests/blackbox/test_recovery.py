"""Recovery: a store put back from a backup, and a topic made again."""

import contextlib
import json
import re
import shutil
import sqlite3
import time
import uuid

import confluent_kafka
import pytest

from harness.broker import EmbeddedBroker
from harness.installation import jwk_path
from harness.keys import new_key
from harness.program import wait_until
from harness.signing import Signer


@pytest.fixture
def started(installation):
    installation.add_environment("production")
    installation.start_api()
    installation.start_worker("production")
    installation.wait_connected()
    return installation


@pytest.fixture
def new_topic(installation, broker, tmp_path):
    """A function that gives an installation whose API has ended an empty topic of events."""
    fresh = []

    def make():
        if broker.kind == "kafka":
            installation.topics.delete(installation.topics.events)
        else:  # the embedded broker forgets everything when it ends
            fresh.append(EmbeddedBroker(tmp_path, installation.prefix))
            installation.use_broker(fresh[-1])
    yield make
    installation.stop()
    for each in fresh:
        each.stop()


def test_store_put_back_from_a_backup_is_refused_and_is_the_truth_again_once_adopted(started, project, broker):
    api, worker = started.api, started.workers["production", "edge-1"]
    assert api.create(project, "kept", new_key("EC", kid="kept")).status == 200
    assert api.create(project, "renamed", new_key("EC", kid="renamed")).status == 200
    assert api.stop() == 0
    put_back = back_up(started)

    api = started.start_api()
    assert api.create(project, "newer", new_key("EC", kid="newer")).status == 200
    for number in range(5):
        assert api.update(project, "renamed" if number == 0 else f"renamed-{number - 1}", {"name": f"renamed-{number}"}).status == 200
    assert api.stop() == 0
    put_back()

    expect_refused(started, "see that no other jwk-api runs with this installation, and run: jwk-api adopt")
    adopted = started.admin("adopt", *started.broker_options)
    assert epoch_of(adopted) > 1
    api = started.start_api()
    wait_until(lambda: worker.names(project) == ["kept", "renamed"], "the replica follows the older store")
    assert worker.kids(project) == ["kept", "renamed"]
    answer = api.update(project, "renamed", {"name": "after"})
    assert answer.json["deploymentResult"]["success"], answer
    assert worker.names(project) == ["after", "kept"]


def adopt_elsewhere(started):
    """Starts another API from a backup of the store that was adopted, while the present one goes on. (the new one, its epoch)."""
    old = started.api
    backup = started.directory / "backup.db"
    started.admin("backup", backup)
    started.data_directory = started.directory / "elsewhere"
    started.data_directory.mkdir(mode=0o700)
    shutil.move(backup, started.data_directory / "jwk-api.db")
    old.pause()  # else what it still writes to the audit trail may come between the two
    epoch = epoch_of(started.admin("adopt", *started.broker_options))
    new = started.start_api()
    old.resume()
    return new, epoch


def wait_followed(worker, project, epoch):
    wait_until(lambda: {item["epoch"] for item in worker.items(project)} == {epoch}, "the replica follows the store that was adopted")


def test_a_change_of_an_api_whose_store_was_adopted_elsewhere_is_no_success(started, project):
    old, worker = started.api, started.workers["production", "edge-1"]
    for name in ("kept", "deleted"):
        assert old.create(project, name, new_key("EC", kid=name)).json["deploymentResult"]["success"]
    assert old.request("GET", "/readyz", token=False).json == {"status": "ok"}
    new, epoch = adopt_elsewhere(started)
    wait_followed(worker, project, epoch)
    assert new.request("GET", "/readyz", token=False).json == {"status": "ok"}

    taken_over = f"follows a store that was adopted later (epoch {epoch}, the change is of epoch 1): another jwk-api has taken over"
    rotated = old.request("POST", jwk_path(project, "kept") + "rotate",
                          json_body={"sourceType": "COPY_PASTE", "jwkStr": json.dumps(new_key("EC", kid="rotated")), "overlapSeconds": 60})
    for answer in (rotated, old.update(project, "kept", {"name": "renamed"}), old.delete(project, "deleted")):
        result = answer.json["deploymentResult"]
        assert not result["success"] and taken_over in result["environmentResults"][0]["message"], answer
    assert sorted(worker.kids(project)) == ["deleted", "kept"] and worker.names(project) == ["deleted", "kept"]
    assert 'jwk_worker_events_total{result="past-epoch"} 3' in worker.request("GET", "/metrics").body.decode()
    overtaken = "another store of this installation was adopted: this one must not serve"
    wait_until(lambda: old.request("GET", "/readyz", token=False).json == {"status": "degraded", "problems": [overtaken]}, "the old API tells of it")
    assert old.log().count(overtaken) == 1

    for name in ("kept", "deleted") * 3:
        answer = new.update(project, name, {"description": "after"})
        assert answer.json["deploymentResult"]["success"], answer
    assert new.request("GET", "/readyz", token=False).json == {"status": "ok"}

    def open_results():
        with contextlib.closing(sqlite3.connect(started.data_directory / "jwk-api.db")) as store:
            return store.execute("SELECT count(*) FROM deployment_result WHERE state <> 1").fetchone()[0]
    wait_until(lambda: open_results() == 0, "nothing that the store tells has failed or stays pending")

    def drift(api):
        environment, = api.request("GET", f"/apiops/projects/{project}/drift/").json["resultList"]
        replica, = environment["replicas"]
        return environment["inSync"], replica["positions"]
    wait_until(lambda: drift(new)[0], "the replica has told where it is")
    wait_until(lambda: drift(old)[1] == drift(new)[1], "the old API knows as much")
    assert not drift(old)[0], "what the replica has is not of its store"


def test_adopting_once_more_undoes_what_an_api_has_done_whose_store_was_not_the_one_adopted(started, project):
    old, worker = started.api, started.workers["production", "edge-1"]
    assert old.create(project, "kept", new_key("EC", kid="kept")).json["deploymentResult"]["success"]
    new, epoch = adopt_elsewhere(started)
    wait_followed(worker, project, epoch)
    assert old.create(project, "stray", prefer="respond-async").status == 202
    for number in range(5):  # it counts on, beyond what the other one has counted
        assert old.update(project, "stray", {"description": f"{number}"}, prefer="respond-async").status == 202
    assert old.update(project, "kept", {"name": "strayed"}, prefer="respond-async").status == 202
    started.topics.wait_event(lambda value: value["jwk"]["name"] == "strayed", "all is published")
    assert (old.stop(), new.stop()) == (0, 0)
    before = max(record.value["sequence"] for record in started.topics.read(started.topics.events))
    adopted = started.admin("adopt", *started.broker_options)
    assert "deletes 1 " in adopted.stdout
    started.start_api()
    wait_followed(worker, project, epoch_of(adopted))
    for each in (worker, started.start_worker("production", "edge-2")):
        wait_until(lambda each=each: each.names(project) == ["kept"], "what the other API has done is gone")
    again = [record.value["sequence"] for record in started.topics.read(started.topics.events) if record.value["epoch"] == epoch_of(adopted)]
    assert min(again) > before, "no position of before tells of it"


@pytest.mark.parametrize("tombstoned", [False, True])
def test_what_the_store_knows_as_deleted_is_deleted_again_though_an_earlier_backup_was_put_back_before(started, project, tombstoned):
    """First the wrong backup was put back, then the right one."""
    api, worker = started.api, started.workers["production", "edge-1"]
    for name in ("kept", "deleted"):
        assert api.create(project, name).status == 200
    assert api.stop() == 0
    put_back_early = back_up(started, "early")
    assert started.start_api().delete(project, "deleted").status == 200
    assert started.api.stop() == 0
    if tombstoned:
        with contextlib.closing(sqlite3.connect(started.data_directory / "jwk-api.db")) as store:
            store.execute("UPDATE jwk SET deleted_at = deleted_at - 60000 WHERE deleted_at IS NOT NULL")
            store.commit()
        started.start_api("--tombstone-delay", "1s")
        wait_until(lambda: any(record.raw is None for record in started.topics.read(started.topics.events)), "the tombstone is there")
        assert started.api.stop() == 0
    put_back_late = back_up(started, "late")
    put_back_early()
    started.admin("adopt", *started.broker_options)
    started.start_api()
    wait_until(lambda: worker.names(project) == ["deleted", "kept"], "the replica follows the early store")
    assert started.api.stop() == 0
    put_back_late()
    assert "deletes 1 " in started.admin("adopt", *started.broker_options).stdout
    started.start_api()
    wait_until(lambda: worker.names(project) == ["kept"], "the replica follows the late store")
    assert started.admin("check").returncode == 0
    assert started.start_worker("production", "edge-2").names(project) == ["kept"], "so does a new one"


NEVER = 1_000_000  # changes ahead of every store here


def append(installation, records):
    """Puts records, each (key, headers, text), at the end of every partition."""
    topic = installation.topics.events
    producer = confluent_kafka.Producer({"bootstrap.servers": installation.broker.address})
    partitions = len(wait_until(lambda: producer.list_topics(topic, timeout=10).topics[topic].partitions, "the topic has partitions"))
    for number, (key, headers, text) in enumerate(records, 1):
        for partition in range(partitions):
            producer.produce(topic, text, key, partition, headers=headers)
        if number % 100 == 0:
            assert producer.flush(30) == 0
    assert producer.flush(30) == 0


def append_new(installation, records):
    """The same on a topic that was deleted."""
    topics = installation.topics
    if topics.events not in topics.admin().list_topics(timeout=10).topics:
        topics.create(topics.events, 4)
    append(installation, records)


def claim(record, **members):
    """The record as it would be with other members, signed by a key that nobody has trusted: (key, headers, text)."""
    unsigned = {name: text for name, text in record.headers.items() if not name.startswith("ce_signature")}
    return Signer().sign([(record.key, unsigned, json.dumps(record.value | members))])[0]


def forge_ends(installation, count):
    """Puts so many records at the end of each partition that only claim to be events of the API: far ahead, or of another installation."""
    topics = installation.topics
    topics.forged = True
    real = next(record for record in topics.read(topics.events) if record.value)
    value = real.value
    ahead = json.dumps(value | {"sequence": value["sequence"] + NEVER, "version": value["version"] + NEVER})
    unsigned = {name: text for name, text in real.headers.items() if not name.startswith("ce_signature")}
    forged = ((real.key, real.headers, ahead), (real.key, unsigned, ahead), (real.key, None, "{"),
              (real.key, unsigned | {"ce_source": "urn:jwk-api:another"}, ahead), claim(real, sequence=value["sequence"] + NEVER))
    append(installation, [forged[number % len(forged)] for number in range(count)])


def back_up(installation, name="backup"):
    """Copies the store of an API that has ended; returns what puts it back."""
    backup = installation.directory / name
    shutil.copytree(installation.data_directory, backup)

    def put_back():
        shutil.rmtree(installation.data_directory)
        shutil.copytree(backup, installation.data_directory)
    return put_back


def epoch_of(adopted):
    return int(re.search(r"in epoch (\d+)", adopted.stdout).group(1))


def expect_refused(installation, reason):
    with pytest.raises(AssertionError, match=reason):
        installation.start_api()
    installation.programs.pop()


def test_a_start_on_an_empty_data_directory_says_first_that_it_may_be_lost_or_not_mounted(started, project):
    assert started.api.create(project, "before").status == 200
    assert started.api.stop() == 0
    shutil.rmtree(started.data_directory)
    expect_refused(started, "data directory was lost or is not mounted, put that or a backup of it back.*--topic-prefix")


@pytest.mark.parametrize("count", [1, 5, 350])
def test_what_others_write_to_the_end_of_the_topic_does_not_keep_the_api_from_its_start(started, project, count):
    assert started.api.create(project, "before").status == 200
    assert started.api.stop() == 0
    forge_ends(started, count)
    started.start_api()
    answer = started.api.create(project, "after")
    assert answer.json["deploymentResult"]["success"], answer


def put_back_behind(started, project, records):
    """A store that is put back from a backup while the topic has gone further and then ends with these records, in each partition."""
    put_back = back_up(started)
    api = started.start_api()
    for number in range(8):
        assert api.create(project, f"newer-{number}").status == 200
    assert api.stop() == 0
    put_back()
    append(started, records)


def test_what_others_write_to_the_end_of_the_topic_does_not_hide_that_the_store_was_put_back(started, project):
    assert started.api.create(project, "before").status == 200
    assert started.api.stop() == 0
    put_back_behind(started, project, [])
    forge_ends(started, 3)
    expect_refused(started, "is ahead of this store")


MORE_THAN_A_CHUNK = 250  # records that are read of a partition at first


def test_copies_of_old_events_do_not_hide_that_the_store_was_put_back(started, project):
    assert started.api.create(project, "copied").status == 200
    old = started.topics.wait_event(lambda value: value["jwk"]["name"] == "copied", "its event")
    assert started.api.update(project, "copied", {"description": "x"}).status == 200
    assert started.api.stop() == 0
    put_back_behind(started, project, [(old.key, old.headers, old.raw)] * MORE_THAN_A_CHUNK)
    expect_refused(started, "is ahead of this store")


def make_tombstone(installation, project):
    """Has the API, which then has ended, publish one; returns it as it is appended."""
    api, topics = installation.api, installation.topics
    assert api.create(project, "gone", prefer="respond-async").status == 202
    assert api.delete(project, "gone", prefer="respond-async").status == 202
    assert api.stop() == 0
    with contextlib.closing(sqlite3.connect(installation.data_directory / "jwk-api.db")) as store, store:
        store.execute("UPDATE jwk SET deleted_at = deleted_at - 60000 WHERE deleted_at IS NOT NULL")
    api = installation.start_api("--tombstone-delay", "1s")
    record = wait_until(lambda: next((record for record in topics.read(topics.events) if record.raw is None), None), "the tombstone is there")
    assert api.stop() == 0
    return record.key, record.headers, None


def test_tombstones_do_not_hide_that_the_store_was_put_back(started, project):
    tombstone = make_tombstone(started, project)
    put_back_behind(started, project, [tombstone] * MORE_THAN_A_CHUNK)
    expect_refused(started, "is ahead of this store")


def test_a_tombstone_of_ours_tells_that_the_topic_is_not_another_installations(installation, project, new_topic):
    installation.add_environment("production")
    installation.start_api()
    key, headers, _ = tombstone = make_tombstone(installation, project)
    new_topic()
    append_new(installation, [tombstone, (key, headers | {"ce_source": "urn:jwk-api:another"}, None)])
    assert "in its name, are on the topic" in installation.start_api().log()


def test_store_of_before_the_key_of_all_events_is_refused_and_is_the_truth_again_once_adopted(installation, project, new_topic):
    installation.add_environment("production")
    assert installation.start_api().create(project, "kept", prefer="respond-async").status == 202
    assert installation.api.stop() == 0
    put_back = back_up(installation)
    # All that was published again under the other key is what compaction leaves some time after.
    installation.admin("signing-key", "activate", "--", installation.admin("signing-key", "add").stdout.strip())
    new_topic()
    assert installation.start_api().create(project, "newer", prefer="respond-async").status == 202
    installation.topics.wait_event(lambda value: value["jwk"]["name"] == "newer", "the event of the newer key")
    assert installation.api.stop() == 0
    keys = installation.directory / "keys"
    keys.write_text(json.dumps(installation.signing_keys("--all")))
    put_back()
    expect_refused(installation, "under a key that the store does not have.*jwk-api adopt")
    epoch = epoch_of(installation.admin("adopt", *installation.broker_options, "--api-keys", keys))
    installation.start_api()
    for name, operation in {"kept": "redeploy", "newer": "delete"}.items():
        installation.topics.wait_event(lambda value, name=name, operation=operation:
                                       (value["epoch"], value["jwk"]["name"], value["operation"]) == (epoch, name, operation), f"{operation} of {name}")


def test_one_event_of_an_unknown_key_behind_the_end_is_told_and_does_not_keep_the_api_from_its_start(started, project):
    assert started.api.create(project, "before").status == 200
    assert started.api.stop() == 0
    real = started.topics.wait_event(lambda value: value["jwk"]["name"] == "before", "its event")
    append(started, [claim(real, sequence=real.value["sequence"] + NEVER)])
    assert "the end of the topic is in doubt" in started.start_api().log()
    ready = started.api.request("GET", "/readyz", token=False)
    assert (ready.status, ready.json["status"]) == (200, "degraded")
    assert ready.json["problems"] == ["events under a key that the store does not have go further than the store: the log of the start says what to do"]


ABSURD = 1 << 52  # more than any store gets to


def test_events_that_can_not_be_of_this_store_use_up_no_numbers(installation, project, new_topic):
    installation.add_environment("production")
    assert installation.start_api().create(project, "before", prefer="respond-async").status == 202
    real = installation.topics.wait_event(lambda value: value["jwk"]["name"] == "before", "its event")
    assert installation.api.stop() == 0
    new_topic()
    real.key = str(uuid.uuid4())  # of a JWK that the store does not know
    jwk = real.value["jwk"] | {"id": real.key}
    append_new(installation, [claim(real, jwk=jwk, **{member: ABSURD}) for member in ("epoch", "sequence", "version")])
    assert "in this store's name that can not be its own" in installation.start_api().log()
    assert installation.api.stop() == 0
    adopted = installation.admin("adopt", *installation.broker_options)
    assert epoch_of(adopted) < 1 << 40 and "deletes 0" in adopted.stdout
    with contextlib.closing(sqlite3.connect(installation.data_directory / "jwk-api.db")) as store:
        assert store.execute("SELECT sequence < 1000 FROM store").fetchone() == (1,)
        assert store.execute("SELECT max(version) <= 2 FROM jwk").fetchone() == (1,)  # it was published again


@pytest.mark.parametrize("forged", [{}, {"id": str(uuid.uuid4()), "type": "none"}], ids=["of a JWK that is there", "of an unknown type"])
def test_a_forged_event_neither_has_a_jwk_deleted_nor_keeps_the_store_from_being_adopted(started, project, forged):
    """Under the key of a JWK that the store does not know."""
    assert started.api.create(project, "kept").json["deploymentResult"]["success"]
    real = started.topics.wait_event(lambda value: value["jwk"]["name"] == "kept", "its event")
    assert started.api.stop() == 0
    real.key = forged.get("id", str(uuid.uuid4()))
    started.topics.forged = True
    append(started, [claim(real, jwk=real.value["jwk"] | forged)])
    adopted = started.admin("adopt", *started.broker_options)
    assert "deletes 0" in adopted.stdout
    assert started.start_api().names(project) == ["kept"]
    worker = started.workers["production", "edge-1"]
    wait_followed(worker, project, epoch_of(adopted))
    assert worker.names(project) == ["kept"]


@pytest.mark.parametrize("kind", ["delete", "tombstone"])
def test_a_forged_end_of_a_jwk_does_not_keep_it_from_being_deleted_by_adopting(started, project, kind):
    assert started.api.create(project, "kept").status == 200
    assert started.api.stop() == 0
    put_back = back_up(started)
    assert started.start_api().create(project, "later", prefer="respond-async").status == 202
    real = started.topics.wait_event(lambda value: value["jwk"]["name"] == "later", "its event")
    worker = started.workers["production", "edge-1"]
    wait_until(lambda: worker.names(project) == ["kept", "later"], "the replica has both")
    assert started.api.stop() == 0
    put_back()
    real.headers["ce_type"] = real.headers["ce_type"].replace("created", "deleted")
    key, headers, text = claim(real, operation="delete", sequence=real.value["sequence"] + 1, version=2)
    started.topics.forged = True
    append(started, [(key, headers, text if kind == "delete" else None)])
    assert "deletes 1 " in started.admin("adopt", *started.broker_options).stdout
    started.start_api()
    wait_until(lambda: worker.names(project) == ["kept"], "the replica follows the store")


def test_a_backup_that_is_adopted_once_more_is_the_truth_though_the_topic_was_lost(started, project, new_topic):
    """Nothing but the replica's state knows of the first adoption and of what was changed after it."""
    assert started.api.create(project, "early").status == 200
    assert started.api.stop() == 0
    put_back = back_up(started)
    started.admin("adopt", *started.broker_options)
    adopted = int(time.time())
    api = started.start_api()
    started.wait_connected()
    for number in range(5):
        assert api.update(project, "early", {"description": f"{number}"}).status == 200
    assert api.update(project, "early", {"name": "late"}).json["deploymentResult"]["success"]
    assert api.stop() == 0
    worker = started.workers["production", "edge-1"]
    assert worker.stop() == 0
    new_topic()
    put_back()
    wait_until(lambda: int(time.time()) > adopted, "it is another second")  # which is what epochs are told apart by
    started.admin("adopt", *started.broker_options)
    started.start_api()
    worker = started.restart_worker(worker)
    wait_until(lambda: worker.names(project) == ["early"], "the replica follows the store")


def test_a_backup_is_adopted_though_every_topic_was_lost(started, project, new_topic, broker):
    """As with the cluster: nothing but the replica's state is ahead of the backup."""
    assert started.api.create(project, "early").status == 200
    assert started.api.stop() == 0
    put_back = back_up(started)
    api, worker = started.start_api(), started.workers["production", "edge-1"]
    started.wait_connected()
    for name in ("later", "latest"):
        assert api.update(project, "early" if name == "later" else "later", {"name": name}).json["deploymentResult"]["success"]
    assert (api.stop(), worker.stop()) == (0, 0)
    new_topic()
    if broker.kind == "kafka":
        for topic in (started.topics.acks, started.topics.workers, started.topics.audit):
            started.topics.delete(topic)
    put_back()
    epoch = epoch_of(started.admin("adopt", *started.broker_options))
    started.start_api()
    worker = started.restart_worker(worker)
    wait_followed(worker, project, epoch)
    assert worker.names(project) == ["early"]
    started.admin("check")


def test_topic_made_again_is_filled_again_for_new_replicas(started, project, new_topic):
    api = started.api
    for name in ("a", "b", "c"):
        assert api.create(project, name).status == 200
    assert api.stop() == 0
    assert started.workers["production", "edge-1"].stop() == 0
    new_topic()
    started.start_api()
    worker = started.start_worker("production", "edge-2")
    wait_until(lambda: worker.names(project) == ["a", "b", "c"], "a replica that has never seen the old topic has every key")


def test_what_was_deleted_everywhere_before_the_topic_was_made_again_is_owed_to_nobody(started, project, new_topic):
    assert started.api.create(project, "gone").status == 200
    assert started.api.delete(project, "gone").json["deploymentResult"]["success"]
    assert started.api.stop() == 0
    assert started.workers["production", "edge-1"].stop() == 0
    new_topic()
    started.start_api()
    started.start_worker("production", "edge-2")

    def in_sync():
        environment, = started.api.request("GET", f"/apiops/projects/{project}/drift/").json["resultList"]
        return environment["inSync"]
    wait_until(in_sync, "no replica lacks it")


def test_topic_made_again_is_filled_again_though_something_is_on_it(started, project, new_topic):
    for name in ("a", "b"):
        assert started.api.create(project, name).status == 200
    real = started.topics.wait_event(lambda value: value["jwk"]["name"] == "a", "its event")
    assert started.api.stop() == 0
    assert started.workers["production", "edge-1"].stop() == 0
    new_topic()
    append_new(started, [claim(real, sequence=1)])
    started.start_api()
    worker = started.start_worker("production", "edge-2")
    wait_until(lambda: worker.names(project) == ["a", "b"], "a replica that has never seen the old topic has every key")


def test_topic_deleted_while_serving_is_made_again_and_filled(started, project, broker):
    if broker.kind != "kafka":
        pytest.skip("the embedded broker cannot delete a topic")
    for name in ("a", "b"):
        assert started.api.create(project, name).status == 200
    started.topics.delete(started.topics.events)
    # The change is recorded; its event is what shows the API that the topic is gone.
    assert started.api.create(project, "c", prefer="respond-async").status == 202
    worker = started.start_worker("production", "edge-2", ready=False)
    wait_until(lambda: worker.names(project) == ["a", "b", "c"], "a new replica gets what was published before the loss", 120)
    wait_until(lambda: started.topics.config(started.topics.events)["cleanup.policy"] == "compact", "it has the right settings")


def test_a_worker_whose_topic_was_deleted_ends_all_the_same(started, project, broker):
    """librdkafka does not come back from ending a consumer of a topic that is gone."""
    if broker.kind != "kafka":
        pytest.skip("the embedded broker cannot delete a topic")
    assert started.api.create(project, "a").status == 200
    assert started.api.stop() == 0
    started.topics.delete(started.topics.events)
    worker = started.workers["production", "edge-1"]
    wait_until(lambda: "Unknown" in worker.log() or "partition count" in worker.log() or "gone" in worker.log(), "it has noticed")
    assert worker.stop() == 0


def test_workers_that_announce_themselves_anew_stay_waited_for(started, project, broker):
    """Else a deployment would be told as successful in the moment in which a replica that serves is not counted."""
    if broker.kind != "kafka":
        pytest.skip("the embedded broker cannot delete a topic")
    assert started.api.create(project, "a").status == 200
    started.topics.delete(started.topics.workers)

    def hellos():
        topics = started.topics
        records = topics.read(topics.workers) if topics.exists(topics.workers) else []
        return [record.value for record in records if record.headers["ce_type"] == "jwk.worker.hello.v1"]
    said = wait_until(hellos, "the topic is made again, and the replicas announce themselves", 120)
    assert all(each["ready"] for each in said)


MANY = 12000  # takes seconds to publish: 200 a transaction, and callers' changes in between


def fill(store, count):
    """As many JWKs without private halves, like the one that there is, all of them to be published again."""
    store.execute("PRAGMA foreign_keys = OFF")
    numbers = f"WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) "
    # Each id differs from that of the first JWK in its last digits; that of a deployment is its sequence.
    store.execute("INSERT INTO jwk (id, uid, project_id, name, type, kid, source_type, version, partition, created_at, updated_at,"
                  f" deployment) {numbers} SELECT jwk.id + i, printf('%s%08x', substr(jwk.uid, 1, 28), i), project_id, 'jwk-' || i, type,"
                  " kid, source_type, 1, i % partitions, jwk.created_at, updated_at, sequence + i FROM n, jwk, store"
                  " WHERE name = 'first'")
    store.execute("INSERT INTO jwk_material (jwk_id, public_key) SELECT id, public_key FROM jwk, jwk_material WHERE name <> 'first'")
    store.execute("INSERT INTO deployment (id, uid, project_id, jwk_id, operation, epoch, version, jwk_name, actor, event_hash,"
                  " created_at, previous_in_project) SELECT deployment, uid, project_id, id, 0, 1, 1, name, 'alice', '', created_at,"
                  " deployment - 1 FROM jwk WHERE name <> 'first'")
    store.execute("UPDATE project SET deployment = (SELECT max(id) FROM deployment)")
    store.execute("UPDATE store SET sequence = (SELECT max(id) FROM deployment), republish_after = 0")


def test_publishing_again_ends_with_the_program_and_goes_on_with_the_next(installation, project):
    installation.add_environment("production")
    api = installation.start_api()
    assert api.create(project, "first", prefer="respond-async").status == 202
    assert api.stop() == 0

    @contextlib.contextmanager
    def store():
        with contextlib.closing(sqlite3.connect(installation.data_directory / "jwk-api.db")) as connection, connection:
            yield connection

    def read(sql):
        with store() as connection:
            return connection.execute(sql).fetchone()[0]
    with store() as connection:
        fill(connection, MANY)
    api = installation.start_api()
    assert api.stop() == 0
    left = read("SELECT republish_after FROM store")
    assert left is not None and left < MANY, "the end of the program waits until all is published"
    api = installation.start_api()
    wait_until(lambda: read("SELECT republish_after IS NULL FROM store"), "everything is published again")
    assert api.stop() == 0
    assert read("SELECT count(*) FROM jwk WHERE version = 2") == MANY + 1, "each once"
    assert installation.admin("check").returncode == 0
