"""On a Kafka with TLS, passwords and ACLs: the README's permissions suffice, each is needed, and what is refused is told and survived."""

import os
import pathlib
import re
import subprocess
import uuid

import confluent_kafka
import pytest

from harness.broker import JAVA, EmbeddedBroker
from harness.installation import Installation, Worker, new_master_key
from harness.program import BUILD, PATIENCE, REPOSITORY, Program, wait_until
from harness.secured import NEWER_LIBRARY, SCRAM_WORKS, SecuredBroker
from harness.topics import Topics

EVENTS, ACKS, WORKERS, AUDIT = "jwk.events", "jwk.acks", "jwk.workers", "jwk.audit"


def run_permissions_of_readme(broker, directory):
    """Runs the commands of the README as they stand there, on this broker."""
    blocks = re.findall(r"```sh\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)
    commands, = (block for block in blocks if "kafka-acls.sh" in block)
    tool = directory / "bin" / "kafka-acls.sh"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\nexec " + " ".join(f"'{word}'" for word in JAVA) + ' org.apache.kafka.tools.AclCommand "$@"\n')
    tool.chmod(0o755)
    broker.write_admin_properties(directory / "admin.properties")
    done = subprocess.run(["sh", "-eu", "-c", commands.replace("kafka-1:9093", broker.address)], cwd=directory, capture_output=True,
                          text=True, env=os.environ | {"PATH": f"{tool.parent}:{os.environ['PATH']}"}, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def secured(tmp_path_factory):
    directory = tmp_path_factory.mktemp("secured")
    broker = SecuredBroker(directory)
    run_permissions_of_readme(broker, directory)
    yield broker
    broker.stop()


class SecuredInstallation(Installation):
    def __init__(self, broker, directory):
        super().__init__(broker, directory)
        self.topics = Topics(broker.address, self.prefix, broker.client)

    def start_worker(self, environment, *arguments, **options):
        config = self.broker.config_file(f"worker-{environment}")
        return super().start_worker(environment, "edge-1", "--kafka-config", config, "--heartbeat-interval", "200ms", *arguments, **options)

    def start_api(self, *options):
        return super().start_api("--kafka-config", self.broker.config_file("api"), "--partitions", "1", *options)


@pytest.fixture(scope="module")
def system(secured, tmp_path_factory):
    """The whole system, each program with no more than the README's permissions."""
    installation = SecuredInstallation(secured, tmp_path_factory.mktemp("system"))
    for environment in ("production", "staging"):
        installation.add_environment(environment)
    installation.start_api()
    for environment in ("production", "staging"):
        installation.start_worker(environment)
    installation.wait_connected()
    yield installation
    installation.stop()


def names_everywhere(system, project):
    return [worker.names(project) for worker in system.workers.values()]


def program_of(system, user):
    return system.api if user == "api" else system.workers[user.removeprefix("worker-"), "edge-1"]


def readiness(program):
    answer = program.request("GET", "/readyz")
    return answer.status, answer.json


def metric(program, name):
    return float(re.search(rf"^{name}(?:{{.*?}})? ([0-9.]+)$", program.request("GET", "/metrics").body.decode(), re.MULTILINE)[1])


# ---- what suffices ----

def test_an_update_works_with_the_permissions_of_the_readme(system, project):
    assert system.api.create(project, "my-jwk").json["deploymentResult"]["success"]
    answer = system.api.update(project, "my-jwk", {"name": "updated-jwk"})
    assert (answer.status, answer.json["deploymentResult"]["success"]) == (200, True), answer
    assert names_everywhere(system, project) == [["updated-jwk"]] * 2
    for program in system.programs:
        assert readiness(program) == (200, {"status": "ok"})
        assert metric(program, "jwk_kafka_connected") == 1 and metric(program, "jwk_kafka_refused_operations") == 0
        assert "permission missing" not in program.log()


def test_no_password_is_in_a_log_or_on_a_command_line(secured, system):
    for program in system.programs:
        words = (program.log() + open(f"/proc/{program.pid}/cmdline").read())
        assert not [user for user, password in secured.passwords.items() if password in words]


def test_the_group_of_a_replica_shows_its_position(secured, system, project):
    assert system.api.create(project, "shown").json["deploymentResult"]["success"]
    end = max(record.offset for record in system.topics.read(EVENTS)) + 1
    for environment in ("production", "staging"):
        group = f"jwk-worker.{environment}.edge-1"
        wait_until(lambda g=group: system.topics.group_offset(g, EVENTS, 0) == end, f"{group} is at the end")


def test_scram_works_with_a_librdkafka_that_can_do_it(secured, system, project, tmp_path, monkeypatch):
    """Another replica, with the library that the tests' own client brings along."""
    (tmp_path / "librdkafka.so.1").symlink_to(NEWER_LIBRARY)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    config = secured.config_file("worker-production", "scram", sasl_mechanism="SCRAM-SHA-512")
    worker = Worker(system, "production", "edge-2", ["--kafka-config", config], tmp_path / "state")
    try:
        worker.wait_ready()
        assert NEWER_LIBRARY.name in pathlib.Path(f"/proc/{worker.pid}/maps").read_text()
        assert system.api.create(project, "by-scram").json["deploymentResult"]["success"]
        assert worker.names(project) == ["by-scram"]
    finally:
        worker.stop()


# ---- what each may not do ----

def write(broker, user, topic):
    """The error of a look at the topic or of a record's delivery, or None."""
    outcome = []
    producer = confluent_kafka.Producer({"bootstrap.servers": broker.address, "log_level": 0, "message.timeout.ms": int(PATIENCE * 1000),
                                         **broker.properties(user)})
    looked = producer.list_topics(topic, timeout=PATIENCE).topics[topic].error
    if looked:  # a client would wait for the topic to appear
        return looked
    producer.produce(topic, b"x", on_delivery=lambda error, message: outcome.append(error))
    assert producer.flush(PATIENCE) == 0
    return outcome[0]


def read(broker, user, topic):
    """The error of a look at the topic or of the first fetch, or None when its end or a record comes."""
    consumer = confluent_kafka.Consumer({"bootstrap.servers": broker.address, "log_level": 0, "group.id": "probe",
                                         "enable.partition.eof": True, "enable.auto.commit": False,
                                         "auto.offset.reset": "earliest", **broker.properties(user)})
    try:
        looked = consumer.list_topics(topic, timeout=PATIENCE).topics[topic].error
        if looked:
            return looked
        consumer.assign([confluent_kafka.TopicPartition(topic, 0, 0)])
        while True:
            message = consumer.poll(PATIENCE)
            assert message is not None, f"nothing came for {user} from {topic}"
            error = message.error()
            if error is None or error.code() == confluent_kafka.KafkaError._PARTITION_EOF:
                return None
            if error.code() != confluent_kafka.KafkaError.GROUP_AUTHORIZATION_FAILED:
                return error
    finally:
        consumer.close()


MAY_READ = {"api": {EVENTS, ACKS, WORKERS, AUDIT}, "worker-production": {EVENTS, WORKERS}, "worker-staging": {EVENTS, WORKERS},
            "auditor": {EVENTS, ACKS, AUDIT}}
MAY_WRITE = {"api": {EVENTS, AUDIT}, "worker-production": {ACKS, WORKERS}, "worker-staging": {ACKS, WORKERS}, "auditor": set()}


@pytest.mark.parametrize("user", MAY_READ)
def test_each_user_is_refused_what_is_not_its_part(secured, system, user):
    refused = confluent_kafka.KafkaError.TOPIC_AUTHORIZATION_FAILED
    for topic in (EVENTS, ACKS, WORKERS, AUDIT):
        error = read(secured, user, topic)
        assert (error is None) == (topic in MAY_READ[user]), f"{user} reads {topic}: {error}"
        assert error is None or error.code() == refused, error
        if topic not in MAY_WRITE[user]:
            error = write(secured, user, topic)
            assert error is not None and error.code() == refused, f"{user} writes {topic}: {error}"


# ---- one permission less ----

ONE_LESS = [
    ("api", "Write", EVENTS), ("api", "Write", AUDIT), ("api", "Read", ACKS), ("api", "Read", WORKERS),
    ("worker-production", "Read", EVENTS), ("worker-production", "Write", ACKS), ("worker-production", "Write", WORKERS),
    ("worker-production", "Read", WORKERS),
]


def sentence(user, operation, topic):
    return (f"Kafka refuses user {user} to {operation} topic {topic}: grant it with kafka-acls.sh --add --allow-principal User:{user} "
            f"--operation {operation} --topic {topic}")


def wait_well(system):
    for program in [system.api, *system.workers.values()]:
        wait_until(lambda p=program: readiness(p) == (200, {"status": "ok"}), f"{program.name} is well again")
        assert metric(program, "jwk_kafka_refused_operations") == 0


def wait_told(program, expected):
    """Until log, readiness and metrics tell of a refusal."""
    for each in expected:
        wait_until(lambda: each in program.log(), f"{program.name} logs {each!r}")

    def told():
        status, body = readiness(program)
        return status == 200 and body["status"] == "degraded" and set(expected) <= set(body.get("problems", []))
    wait_until(told, f"{program.name} says so at /readyz")
    assert metric(program, "jwk_kafka_refused_operations") >= len(expected)


@pytest.mark.parametrize("withdrawn", [[each] for each in ONE_LESS] + [
    [("api", "Write", EVENTS), ("api", "Write", AUDIT)],
    [("worker-production", "Write", ACKS), ("worker-production", "Write", WORKERS)],
], ids=lambda withdrawn: "+".join("-".join(each) for each in withdrawn))
def test_a_permission_that_is_withdrawn_is_told_and_costs_nothing_but_time(secured, system, project, withdrawn):
    assert system.api.create(project, "before").json["deploymentResult"]["success"]
    program = program_of(system, withdrawn[0][0])
    for each in withdrawn:
        secured.withdraw(*each)
    try:
        locations = [system.api.create(project, f"meanwhile-{number}", prefer="respond-async").headers["Location"] for number in range(3)]
        wait_told(program, [sentence(*each) for each in withdrawn])
        assert system.api.update(project, "before", {"name": "renamed"}, prefer="respond-async").status == 202, "changes are recorded"
        for worker in system.workers.values():
            assert worker.kids(project), "keys are served"
    finally:
        for each in withdrawn:
            secured.grant(*each)
    for location in locations:
        system.api.wait_deployment(location)
    wait_well(system)
    assert system.api.update(project, "renamed", {"name": "after"}).json["deploymentResult"]["success"]
    assert names_everywhere(system, project) == [sorted(system.api.names(project))] * 2
    assert sorted(system.api.names(project)) == ["after", "meanwhile-0", "meanwhile-1", "meanwhile-2"]
    assert program.log().count(sentence(*withdrawn[0])) < 20, "a refusal that lasts is not told at every attempt"


@pytest.mark.parametrize("user, topic", [("worker-production", EVENTS), ("worker-production", WORKERS), ("api", ACKS)])
def test_a_permission_to_read_that_comes_back_is_noticed_though_nothing_new_comes(secured, system, user, topic):
    program = program_of(system, user)
    secured.withdraw(user, "Read", topic)
    try:
        wait_told(program, [sentence(user, "Read", topic)])
    finally:
        secured.grant(user, "Read", topic)
    wait_well(system)


def test_a_worker_that_may_write_nothing_when_it_starts_serves_and_goes_on_once_it_may(secured, system, project):
    """It can not announce itself, hence has nothing to acknowledge: it tells of the topic that it is refused first."""
    assert system.api.create(project, "before").json["deploymentResult"]["success"]
    worker = system.workers["production", "edge-1"]
    worker.stop()
    refused = [("worker-production", "Write", ACKS), ("worker-production", "Write", WORKERS)]
    for each in refused:
        secured.withdraw(*each)
        secured.grant(each[0], "Describe", each[2])  # which Write includes
    try:
        worker = system.start_worker("production", ready=False)
        wait_until(lambda: sentence(*refused[1]) in worker.log(), "the worker logs that it may not announce itself")
        status, body = readiness(worker)
        assert (status, body["status"]) == (503, "catching up") and body["problems"]
        assert worker.kids(project) == ["before"], "what it has is served"
    finally:
        for each in refused:
            secured.grant(*each)
            secured.withdraw(each[0], "Describe", each[2])
    worker.wait_ready()
    wait_well(system)
    wait_until(lambda: system.api.update(project, "before", {"description": "x"}).json["deploymentResult"]["success"],
               "it acknowledges again")


def test_an_api_that_may_write_nothing_when_it_starts_records_and_publishes_once_it_may(secured, system, project):
    system.api.stop()
    refused = [("api", "Write", EVENTS), ("api", "Write", AUDIT)]
    for each in refused:
        secured.withdraw(*each)
        secured.grant(each[0], "Describe", each[2])  # which Write includes
    try:
        system.start_api()
        location = system.api.create(project, "meanwhile", prefer="respond-async").headers["Location"]
        wait_told(system.api, [sentence(*each) for each in refused])
    finally:
        for each in refused:
            secured.grant(*each)
            secured.withdraw(each[0], "Describe", each[2])
    assert system.api.wait_deployment(location)
    wait_well(system)
    assert names_everywhere(system, project) == [["meanwhile"]] * 2


# ---- at the start ----

def start_alone(directory, words):
    """A program that is expected to end by itself; returns its status and its log."""
    program = Program(words[0], [BUILD / words[0], *words[1:]], directory)
    return program.wait_exit(), program.log()


def start_words(directory, program, brokers, config):
    if program == "jwk-api":
        return [program, "serve", "--data-dir", directory / "data", "--listen", "127.0.0.1:0", "--brokers", brokers,
                "--kafka-config", config, "--master-key-file", new_master_key(directory)]
    return [program, "--environment", "production", "--replica", "edge-9", "--state-dir", directory / "state", "--listen", "127.0.0.1:0",
            "--unsigned", "--brokers", brokers, "--kafka-config", config]


PROGRAMS = pytest.mark.parametrize("program, user", [("jwk-api", "api"), ("jwk-worker", "worker-production")])


@PROGRAMS
def test_a_wrong_password_ends_the_start_with_a_sentence(secured, tmp_path, program, user):
    config = secured.config_file(user, "wrong", sasl_password="hunter2-hunter2")
    status, log = start_alone(tmp_path, start_words(tmp_path, program, secured.address, config))
    assert status == 1, log
    assert f"Kafka does not accept the credentials of user {user}" in log
    assert "hunter2" not in log


@PROGRAMS
@pytest.mark.skipif(SCRAM_WORKS, reason="this librdkafka can do SCRAM with this Kafka")
def test_scram_that_this_librdkafka_cannot_do_is_told(secured, tmp_path, program, user):
    config = secured.config_file(user, "scram", sasl_mechanism="SCRAM-SHA-512")
    status, log = start_alone(tmp_path, start_words(tmp_path, program, secured.address, config))
    assert status == 1, log
    assert "SCRAM of this librdkafka (before 2.6.1) does not work with Kafka 4.0 and later" in log


@PROGRAMS
def test_a_broker_of_an_untrusted_authority_ends_the_start_with_a_sentence(secured, tmp_path, program, user):
    config = secured.config_file(user, "untrusted", ssl_ca_location=secured.other_ca_file)
    status, log = start_alone(tmp_path, start_words(tmp_path, program, secured.address, config))
    assert status == 1, log
    assert "TLS with Kafka fails" in log and "certificate verify failed" in log


def expect_retry(directory, words, sentences):
    """What may be a broker that just ends its connections is tried again, and told."""
    program = Program(words[0], [BUILD / words[0], *words[1:]], directory)
    wait_until(lambda: all(each in program.log() for each in sentences) or not program.running, f"{program.name} logs {sentences}")
    assert program.running, program.log()
    assert program.stop() == 0, program.log()


@PROGRAMS
def test_tls_to_a_plaintext_port_is_told_and_tried_again(secured, tmp_path, program, user):
    broker = EmbeddedBroker(tmp_path)
    try:
        expect_retry(tmp_path, start_words(tmp_path, program, broker.address, secured.config_file(user)),
                     ['waiting for a Kafka broker" brokers=', "TLS with Kafka fails", "connecting to a PLAINTEXT broker listener?"])
    finally:
        broker.stop()


@PROGRAMS
def test_plaintext_to_a_tls_port_is_told_and_tried_again(secured, tmp_path, program, user):
    config = secured.config_file(user, "plain", security_protocol="SASL_PLAINTEXT")
    expect_retry(tmp_path, start_words(tmp_path, program, secured.address, config),
                 ['waiting for a Kafka broker" brokers=', "security.protocol configuration (connecting to a SSL listener?)"])


@PROGRAMS
def test_properties_that_others_may_read_are_refused(secured, tmp_path, program, user):
    config = secured.config_file(user, "open", mode=0o640)
    status, log = start_alone(tmp_path, start_words(tmp_path, program, secured.address, config))
    assert status == 2, log
    assert f"The Kafka properties file {config} is open to other users (mode 0640): run chmod 600 {config}" in log


@pytest.mark.parametrize("operation, topic", [("Read", EVENTS), ("Create", None)])
def test_the_api_does_not_start_without_what_its_start_needs(secured, system, tmp_path, operation, topic):
    """The end of the events topic must be known, and topics must be there."""
    words = start_words(tmp_path, "jwk-api", secured.address, secured.config_file("api"))
    if topic is None:
        prefix = f"other-{uuid.uuid4().hex[:6]}"
        topic = f"{prefix}.events"
        # Without any permission a user is not even told whether the topic is there.
        for each in ("events", "acks", "workers", "audit"):
            secured.grant("api", "Describe", f"{prefix}.{each}")
        status, log = start_alone(tmp_path, [*words, "--topic-prefix", prefix])
    else:
        secured.withdraw("api", operation, topic)
        try:
            status, log = start_alone(tmp_path, words)
        finally:
            secured.grant("api", operation, topic)
            wait_well(system)
    assert status == 1, log
    assert f'reason="{sentence("api", operation, topic)}"' in log


def test_a_worker_does_not_start_where_it_may_not_even_look(secured, tmp_path):
    config = secured.config_file("auditor")
    status, log = start_alone(tmp_path, start_words(tmp_path, "jwk-worker", secured.address, config))
    assert status == 1, log
    assert "Kafka refuses user auditor to Describe topic jwk.workers: grant it with kafka-acls.sh" in log


def test_the_api_does_not_start_where_it_may_not_read_the_end_of_the_audit_trail(secured, system):
    system.api.stop()
    secured.withdraw("api", "Read", AUDIT)
    try:
        words = ["jwk-api", "serve", "--data-dir", system.data_directory, "--listen", "127.0.0.1:0", *system.broker_options,
                 *system.master_key_options, "--kafka-config", secured.config_file("api")]
        status, log = start_alone(system.directory, words)
    finally:
        secured.grant("api", "Read", AUDIT)
    assert status == 1, log
    assert f'reason="{sentence("api", "Read", AUDIT)}"' in log
    system.start_api()
    wait_well(system)
