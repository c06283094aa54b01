"""Recovery: a store put back from a backup, and a topic made again."""

import shutil

import pytest

from harness.broker import EmbeddedBroker
from harness.keys import new_key
from harness.program import wait_until


@pytest.fixture
def started(installation):
    installation.add_environment("production")
    installation.start_api()
    installation.start_worker("production")
    installation.wait_connected()
    return installation


def test_store_put_back_from_a_backup_is_refused_and_is_the_truth_again_once_adopted(started, project, broker):
    api, worker = started.api, started.workers["production", "edge-1"]
    assert api.create(project, "kept", new_key("EC", kid="kept")).status == 200
    assert api.create(project, "renamed", new_key("EC", kid="renamed")).status == 200
    assert api.stop() == 0
    backup = started.directory / "backup"
    shutil.copytree(started.data_directory, backup)

    api = started.start_api()
    assert api.create(project, "newer", new_key("EC", kid="newer")).status == 200
    for number in range(5):
        assert api.update(project, "renamed" if number == 0 else f"renamed-{number - 1}", {"name": f"renamed-{number}"}).status == 200
    assert api.stop() == 0
    shutil.rmtree(started.data_directory)
    shutil.copytree(backup, started.data_directory)

    with pytest.raises(AssertionError, match="jwk-api adopt"):
        started.start_api()
    started.programs.pop()
    adopted = started.admin("adopt", *started.broker_options)
    assert "epoch 2" in adopted.stdout
    api = started.start_api()
    wait_until(lambda: worker.names(project) == ["kept", "renamed"], "the replica follows the older store")
    assert worker.kids(project) == ["kept", "renamed"]
    answer = api.update(project, "renamed", {"name": "after"})
    assert answer.json["deploymentResult"]["success"], answer
    assert worker.names(project) == ["after", "kept"]


def test_topic_made_again_is_filled_again_for_new_replicas(started, project, broker, tmp_path):
    api = started.api
    for name in ("a", "b", "c"):
        assert api.create(project, name).status == 200
    assert api.stop() == 0
    assert started.workers["production", "edge-1"].stop() == 0
    fresh = None
    if broker.kind == "kafka":
        started.topics.delete(started.topics.events)
    else:  # the embedded broker forgets everything when it ends
        fresh = EmbeddedBroker(tmp_path, started.prefix)
        started.use_broker(fresh)
    started.start_api()
    worker = started.start_worker("production", "edge-2")
    wait_until(lambda: worker.names(project) == ["a", "b", "c"], "a replica that has never seen the old topic has every key")
    started.stop()
    if fresh:
        fresh.stop()


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
