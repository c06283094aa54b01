"""The API makes missing topics with the settings that the design lives by, and uses those that exist as they are."""

from harness.broker import EmbeddedBroker, KafkaBroker
from harness.installation import Installation, jwk_path
from harness.program import REPOSITORY, wait_until
from harness.server import metric

DAY_MS = 24 * 60 * 60 * 1000


def expect_right_settings(topics):
    events, acks, workers, audit = (topics.config(topic) for topic in (topics.events, topics.acks, topics.workers, topics.audit))
    assert events["cleanup.policy"] == "compact"
    assert int(events["min.compaction.lag.ms"]) == 7 * DAY_MS
    assert acks["cleanup.policy"] == "delete"
    assert workers["cleanup.policy"] == "compact"
    assert (audit["cleanup.policy"], audit["retention.ms"]) == ("delete", "-1")
    assert topics.partition_count(topics.acks) == 1
    assert topics.partition_count(topics.workers) == 1, "the offset of a hello orders the incarnations"
    assert topics.partition_count(topics.events) == 3


def test_missing_topics_are_created_with_the_right_settings_on_a_real_broker(kafka, tmp_path):
    installation = Installation(kafka, tmp_path)
    try:
        installation.start_api("--partitions", "3")
        expect_right_settings(installation.topics)
        assert installation.api.stop() == 0
        assert "loses" not in installation.start_api().log()
    finally:
        installation.stop()


def test_a_broker_that_makes_missing_topics_by_itself_does_not_get_to_it(tmp_path):
    """As it does by default, whoever asks for one: its own settings keep a record for a week."""
    template = (REPOSITORY / "tests" / "kafka" / "server.properties").read_text()
    (tmp_path / "template").write_text(template.replace("auto.create.topics.enable=false", "auto.create.topics.enable=true"))
    (tmp_path / "kafka").mkdir()
    kafka = KafkaBroker(tmp_path / "kafka", tmp_path / "template")
    installation = Installation(kafka, tmp_path)
    try:
        installation.add_environment("production")
        worker = installation.start_worker("production", ready=False)
        wait_until(lambda: "waiting for a topic" in worker.log(), "the worker has asked for them")
        installation.start_api("--partitions", "3")
        worker.wait_ready()
        expect_right_settings(installation.topics)
        installation.topics.delete(installation.topics.events)
        project = installation.add_project("MyProject")
        location = installation.api.create(project, "a", prefer="respond-async").headers["Location"]
        installation.api.wait_deployment(location)
        expect_right_settings(installation.topics)
    finally:
        installation.stop()
        kafka.stop()


def test_topics_that_exist_are_used_as_they_are(kafka, tmp_path):
    installation = Installation(kafka, tmp_path)
    try:
        installation.topics.create(installation.topics.events, 7)
        installation.topics.create(installation.topics.audit, 1)
        installation.add_environment("production")
        installation.start_api()
        installation.start_worker("production")
        installation.wait_connected()
        project = installation.add_project("MyProject")
        for number in range(20):
            assert installation.api.create(project, f"key-{number}").json["deploymentResult"]["success"]
        assert installation.topics.partition_count(installation.topics.events) == 7
        assert len({record.partition for record in installation.topics.read(installation.topics.events)}) > 2
        advice = "delete it: jwk-api makes it again as it should be, and publishes every JWK"
        assert f'lack keys" topic={installation.topics.events} cleanup.policy=delete advice="{advice}"' in installation.api.log()
        week = 7 * DAY_MS
        assert f'loses audit lines when they are old" topic={installation.topics.audit} retention.ms={week} ' in installation.api.log()
    finally:
        installation.stop()


def test_a_topic_of_events_with_too_many_partitions_is_refused_by_both_with_what_to_do(kafka, tmp_path):
    """A worker's heartbeat tells its position in each, so their number is bounded."""
    installation = Installation(kafka, tmp_path)
    topics = installation.topics
    try:
        topics.create(topics.events, 1025)
        for topic in (topics.acks, topics.workers):
            topics.create(topic, 1)
        installation.add_environment("production")
        advice = (f"topic {topics.events} has 1025 partitions, and may have 1024: delete it, and start jwk-api, which makes it again and "
                  "publishes every JWK")
        serving = installation.admin("serve", *installation.broker_options, "--listen", "127.0.0.1:0", check=False)
        status, said = installation.try_worker("production", *installation.trust_options("production"))
        assert serving.returncode == 2 and status == 1
        assert advice in serving.stderr and advice in said
        topics.delete(topics.events)
        installation.start_api("--partitions", "2")
        installation.start_worker("production")
        installation.wait_connected()
        assert topics.partition_count(topics.events) == 2
    finally:
        installation.stop()


def test_topics_of_acks_and_workers_may_have_several_partitions(kafka, tmp_path):
    """Made by hand, or added to later: the place of a hello in its topic orders those who say to be one replica."""
    installation = Installation(kafka, tmp_path)
    try:
        for topic in (installation.topics.acks, installation.topics.workers):
            installation.topics.create(topic, 3)
        installation.add_environment("production")
        installation.start_api()
        replicas = ("edge-1", "edge-2", "edge-3", "edge-4")
        project = installation.add_project("MyProject")
        for start in ("first", "second"):
            for replica in replicas:
                installation.start_worker("production", replica)
            installation.wait_connected()
            message = installation.api.create(project, start).json["deploymentResult"]["environmentResults"][0]["message"]
            assert message == "Deployed successfully", message
            for replica in replicas:
                worker = installation.workers["production", replica]
                assert start in worker.names(project) and worker.log().count("event=announced") == 1, worker.log()
                worker.stop()
    finally:
        installation.stop()


def test_a_topic_of_the_audit_trail_with_several_partitions_is_told_with_what_to_do(kafka, tmp_path):
    installation = Installation(kafka, tmp_path)
    topics = installation.topics
    try:
        topics.create(topics.audit, 3)
        installation.add_environment("production")
        told = (f'nobody can verify the audit trail" topic={topics.audit} partitions=3 advice="keep a dump of its partition 0 and delete it: '
                'jwk-api makes it again with one"')
        assert told in installation.start_api().log()
        assert installation.api.stop() == 0
        topics.delete(topics.audit)
        assert "nobody can verify" not in installation.start_api().log()
        assert topics.partition_count(topics.audit) == 1
    finally:
        installation.stop()


def test_a_topic_made_again_with_fewer_partitions_is_followed_by_workers_that_run(kafka, tmp_path):
    installation = Installation(kafka, tmp_path)
    try:
        installation.add_environment("production")
        keys = installation.directory / "api-keys.json"
        keys.write_text(installation.admin("signing-key", "export").stdout)
        installation.start_api("--partitions", "3")
        worker = installation.start_worker("production", "edge-1", "--api-keys", keys, "--heartbeat-interval", "200ms")
        installation.wait_connected()
        project = installation.add_project("MyProject")
        for number in range(12):
            assert installation.api.create(project, f"key-{number}").json["deploymentResult"]["success"]
        installation.topics.add_partitions(installation.topics.events, 5)
        wait_until(lambda: worker.log().count("reading an added partition") == 2, "the worker reads the added partitions", 40)
        assert installation.api.stop() == 0
        installation.topics.delete(installation.topics.events)
        installation.start_api("--partitions", "1")
        assert installation.topics.partition_count(installation.topics.events) == 3, "what the store spreads its JWKs over"
        wait_until(lambda: "topic was made again with fewer partitions" in worker.log(), "the worker follows", 40)
        installation.wait_connected()
        assert len(worker.names(project)) == 12
        # It can read all of it again, as when other keys are believed than those that refused an event.
        kid = installation.admin("signing-key", "add").stdout.strip()
        installation.admin("signing-key", "activate", "--", kid)
        answer = installation.api.update(project, "key-0", {"description": "x"}, prefer="respond-async")
        wait_until(lambda: f"The signing key {kid} is not trusted" in worker.log(), "the event of the other key is refused")
        keys.write_text(installation.admin("signing-key", "export").stdout)
        installation.api.wait_deployment(answer.headers["Location"])
        assert len(worker.names(project)) == 12
    finally:
        installation.stop()


def test_a_topic_that_somebody_makes_again_with_fewer_partitions_is_told_and_used_once_it_has_them(kafka, tmp_path):
    installation = Installation(kafka, tmp_path)
    topics = installation.topics
    try:
        installation.add_environment("production")
        installation.start_api("--partitions", "3")
        installation.start_worker("production")
        installation.wait_connected()
        project = installation.add_project("MyProject")
        topics.delete(topics.events)
        topics.create(topics.events, 1)
        locations = [installation.api.create(project, f"key-{number}", prefer="respond-async").headers["Location"] for number in range(12)]
        advice = f'"topic {topics.events} has 1 partitions and the store needs 3: add partitions to the topic"'
        wait_until(lambda: advice in installation.api.log(), "what to do is told")
        topics.add_partitions(topics.events, 3)
        for location in locations:
            installation.api.wait_deployment(location)
        assert installation.api.log().count(advice) == 1
    finally:
        installation.stop()


def test_a_topic_that_was_deleted_is_made_again_though_somebody_always_waits(kafka, tmp_path):
    """Under load it is so, and without acks more than ever."""
    installation = Installation(kafka, tmp_path, deploy_timeout="5m")
    topics = installation.topics
    try:
        installation.add_environment("production")
        installation.start_api("--grace", "5m")
        worker = installation.start_worker("production")
        installation.wait_connected()
        project = installation.add_project("MyProject")
        assert installation.api.create(project, "a").status == 200

        def waiting():
            return metric(installation.api.request("GET", "/metrics"), "jwk_api_deployments_waiting")
        worker.pause()
        with installation.api.raw() as connection:
            body = b'{"description": "x"}'
            connection.send(f"PUT {jwk_path(project, 'a')} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {installation.token}\r\n"
                            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            wait_until(lambda: waiting() == 1, "the change waits for the worker")
            topics.delete(topics.acks)
            wait_until(lambda: topics.exists(topics.acks), "it is made again", 60)
            assert waiting() == 1
        worker.resume()
        installation.wait_connected()
    finally:
        installation.stop()


def test_two_installations_share_one_broker_by_their_prefixes(kafka, tmp_path):
    for directory in (tmp_path / "1", tmp_path / "2"):
        directory.mkdir()
    first, second = Installation(kafka, tmp_path / "1"), Installation(kafka, tmp_path / "2")
    try:
        for installation in (first, second):
            installation.add_environment("production")
            installation.add_project("MyProject")
            installation.start_api()
            installation.start_worker("production")
            installation.wait_connected()
        assert first.api.create("MyProject", "first").json["deploymentResult"]["success"]
        assert second.api.create("MyProject", "second").json["deploymentResult"]["success"]
        assert first.workers["production", "edge-1"].names("MyProject") == ["first"]
        assert second.workers["production", "edge-1"].names("MyProject") == ["second"]
    finally:
        second.stop()
        first.stop()


def test_embedded_broker_has_its_topics_from_the_start_and_ends_on_sigterm(tmp_path):
    broker = EmbeddedBroker(tmp_path, partitions=())
    topics = Installation(broker, tmp_path).topics
    try:
        assert [topics.partition_count(topic) for topic in (topics.events, topics.acks, topics.workers)] == [1, 1, 1]
    finally:
        assert broker.stop() == 0


def test_a_replica_shows_its_position_to_the_tools_of_kafka(kafka, tmp_path):
    installation = Installation(kafka, tmp_path)
    try:
        installation.add_environment("production")
        installation.start_api("--partitions", "1")
        installation.start_worker("production", "edge-1", "--heartbeat-interval", "200ms")
        installation.wait_connected()
        project = installation.add_project("MyProject")
        assert installation.api.create(project, "a").json["deploymentResult"]["success"]
        end = max(record.offset for record in installation.topics.read(installation.topics.events)) + 1
        wait_until(lambda: installation.topics.group_offset("jwk-worker.production.edge-1", installation.topics.events, 0) == end,
                   "the group of the replica is at the end of the topic")
    finally:
        installation.stop()
