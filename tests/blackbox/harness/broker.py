"""The two brokers: the embedded development broker, and a real Apache Kafka."""

import pathlib
import socket
import subprocess
import uuid

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from .program import BUILD, PATIENCE, REPOSITORY, Program, wait_until

KAFKA_LIBRARIES = REPOSITORY / "build" / "kafka" / "libs"  # not under BUILD: one copy serves every sanitizer's build


# More than the default, so that nothing leans on one order of all events.
SEVERAL_PARTITIONS = ("--partitions", "4")


class EmbeddedBroker(Program):
    kind = "embedded"

    def __init__(self, directory, prefix="jwk", options=(), partitions=SEVERAL_PARTITIONS):
        directory = pathlib.Path(directory)
        address_file = directory / "broker.address"
        address_file.unlink(missing_ok=True)
        self.prefix = prefix
        super().__init__("broker", [BUILD / "jwk-api", "broker", "--address-file", address_file, *partitions, *options], directory)
        self.address = self.wait_address(address_file)


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


# Kafka's reflections and metrics need nothing that would be worth more than this heap in tests.
JAVA = ["java", "-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-cp", f"{KAFKA_LIBRARIES}/*"]


class KafkaBroker(Program):
    """One node in KRaft mode, its storage formatted in a directory of its own."""

    kind = "kafka"

    def __init__(self, directory, template="server.properties", values=(), format_options=(), client=None):
        """values: of more @NAMES@ in the template; format_options: of the storage; client: properties of whoever asks whether it is up."""
        directory = pathlib.Path(directory)
        assert list(KAFKA_LIBRARIES.glob("kafka_*.jar")), f"no Apache Kafka in {KAFKA_LIBRARIES}: `make check` puts it there"
        port, controller_port = free_ports(2)
        properties = (REPOSITORY / "tests" / "kafka" / template).read_text()
        for name, value in {"PORT": port, "CONTROLLER_PORT": controller_port, "DIRECTORY": directory, **dict(values)}.items():
            properties = properties.replace(f"@{name}@", str(value))
        settings = directory / "server.properties"
        settings.write_text(properties)
        done = subprocess.run([*JAVA, "kafka.tools.StorageTool", "format", "--cluster-id", uuid.uuid4().hex[:22], "--config", settings,
                               *format_options], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        super().__init__("kafka", [*JAVA, "kafka.Kafka", settings], directory)
        self.address = f"127.0.0.1:{port}"
        self.client = client or {}
        self.prefix = None  # each installation has its own
        wait_until(self._answers, "Kafka answers", PATIENCE + 60)

    def _answers(self):
        assert self.running, f"Kafka ended:\n{self.log()}"
        try:
            return AdminClient({"bootstrap.servers": self.address, "log_level": 0, **self.client}).list_topics(timeout=2).brokers
        except KafkaException:
            return None
