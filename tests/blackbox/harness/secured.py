"""An Apache Kafka that asks for TLS, a password and permissions, with its certificates, users and ACLs."""

import ctypes
import datetime
import ipaddress
import pathlib
import secrets

import confluent_kafka
from confluent_kafka.admin import (AclBinding, AclBindingFilter, AclOperation, AclPermissionType, AdminClient, ResourcePatternType,
                                   ResourceType)
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from .broker import KafkaBroker
from .program import PATIENCE

# SCRAM of librdkafka before 2.6.1 is refused by Kafka since 4.0. The tests' own client brings a newer one along.
SCRAM_WORKS = ctypes.CDLL("librdkafka.so.1").rd_kafka_version() >= 0x020601ff
NEWER_LIBRARY, = (pathlib.Path(confluent_kafka.__file__).parents[1] / "confluent_kafka.libs").glob("librdkafka-*.so.1")

USERS = ("api", "worker-production", "worker-staging", "auditor")


def pem_key(key):
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def certificate(name, key, issuer=None, issuer_key=None):
    """A certificate for a day: of an authority without an issuer, else of a server at 127.0.0.1."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = (x509.CertificateBuilder().subject_name(subject).issuer_name(issuer.subject if issuer else subject)
               .public_key(key.public_key()).serial_number(x509.random_serial_number())
               .not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(days=1))
               .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True))
    if issuer:
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
    return builder.sign(issuer_key or key, hashes.SHA256())


class SecuredBroker(KafkaBroker):
    """SASL_SSL with SCRAM-SHA-512; who is not a super user may do what an ACL allows and nothing else."""

    def __init__(self, directory):
        directory = pathlib.Path(directory)
        self.passwords = {user: secrets.token_urlsafe(18) for user in ("broker", "admin", *USERS)}
        self.ca_file = directory / "ca.pem"
        self.other_ca_file = directory / "other-ca.pem"
        self._write_certificates(directory)
        users = [word for user, password in self.passwords.items()
                 for word in ("--add-scram", f"SCRAM-SHA-512=[name={user},password={password}]")]
        plain = " ".join(f'user_{user}="{password}"' for user, password in self.passwords.items())
        super().__init__(directory, "secured.properties", {"BROKER_PASSWORD": self.passwords["broker"], "PLAIN_USERS": plain}, users,
                         self.properties("admin"))
        self.directory = directory
        self.prefix = "jwk"
        self.admin = AdminClient({"bootstrap.servers": self.address, "log_level": 0, **self.client})

    def _write_certificates(self, directory):
        keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(3)]
        authority, other = certificate("Test authority", keys[0]), certificate("Other authority", keys[1])
        server = certificate("broker", keys[2], authority, keys[0])
        self.ca_file.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
        self.other_ca_file.write_bytes(other.public_bytes(serialization.Encoding.PEM))
        (directory / "server.pem").write_bytes(pem_key(keys[2]) + server.public_bytes(serialization.Encoding.PEM))

    def properties(self, user, **others):
        """Of librdkafka, for a user."""
        return {"security.protocol": "SASL_SSL", "ssl.ca.location": str(self.ca_file), "sasl.mechanism": "SCRAM-SHA-512",
                "sasl.username": user, "sasl.password": self.passwords[user], **others}

    def config_file(self, user, name=None, mode=0o600, **others):
        """--kafka-config of a program for a user; others are properties with _ for ."""
        path = self.directory / f"{name or user}.properties"
        others.setdefault("sasl_mechanism", "SCRAM-SHA-512" if SCRAM_WORKS else "PLAIN")
        given = {key.replace("_", "."): value for key, value in others.items()}
        path.write_text("# of the tests\n" + "".join(f"{key} = {value}\n" for key, value in self.properties(user, **given).items()))
        path.chmod(mode)
        return path

    def write_admin_properties(self, path):
        """The same for Kafka's own tools, as administrator."""
        path.write_text("security.protocol=SASL_SSL\nssl.truststore.type=PEM\n"
                        f"ssl.truststore.location={self.ca_file}\nsasl.mechanism=SCRAM-SHA-512\n"
                        "sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required "
                        f'username="admin" password="{self.passwords["admin"]}";\n')

    def _binding(self, kind, user, operation, topic):
        return kind(ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, f"User:{user}", "*", AclOperation[operation.upper()],
                    AclPermissionType.ALLOW)

    def grant(self, user, operation, topic):
        for answer in self.admin.create_acls([self._binding(AclBinding, user, operation, topic)]).values():
            answer.result(PATIENCE)

    def withdraw(self, user, operation, topic):
        for answer in self.admin.delete_acls([self._binding(AclBindingFilter, user, operation, topic)]).values():
            assert len(answer.result(PATIENCE)) == 1, f"{user} has no {operation} on {topic}"
