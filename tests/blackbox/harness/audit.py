"""The audit trail as an auditor has it: read, judged independently of the program, dumped, and handed to `jwk-api audit`."""

import base64
import hashlib
import json
import subprocess

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from .program import BUILD, wait_until


def unpadded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decoded(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def digest(line):
    return unpadded(hashlib.sha256(line.encode()).digest())


def check_chain(values, keys=None):
    """The entries of these values of records, each once, after judging chain and signatures."""
    entries, hashes = [], [""]
    for value in values:
        for line in value.splitlines():
            entry = json.loads(line)
            if "jws" in entry:
                header, payload, signature = entry["jws"].split(".")
                signed = json.loads(decoded(payload))
                assert signed["hash"] == hashes[signed["sequence"]], f"the signature over {signed} is over another line"
                if keys:
                    key = keys[json.loads(decoded(header))["kid"]]
                    Ed25519PublicKey.from_public_bytes(decoded(key["x"])).verify(decoded(signature), f"{header}.{payload}".encode())
            elif entry["sequence"] < len(hashes):
                assert hashes[entry["sequence"]] == digest(line), f"line {entry['sequence']} is there again, and differs"
            else:
                assert entry["sequence"] == len(hashes), f"line {entry['sequence']} follows {len(hashes) - 1}"
                assert entry["previous"] == hashes[-1], f"line {entry['sequence']} does not follow the one before"
                entries.append(entry)
                hashes.append(digest(line))
    return entries


class Trail:
    def __init__(self, installation):
        self.installation = installation
        self.key_file = installation.directory / "api-keys.json"

    def values(self):
        return [record.raw.decode() for record in self.installation.topics.read(self.installation.topics.audit)]

    def keys(self):
        """Written where the programs find them, too."""
        text = self.installation.admin("signing-key", "export", "--all").stdout
        self.key_file.write_text(text)
        return {key["kid"]: key for key in json.loads(text)["keys"]}

    def entries(self):
        return check_chain(self.values(), self.keys())

    def wait_entry(self, condition, what):
        """The first entry that is so."""
        return wait_until(lambda: next((entry for entry in self.entries() if condition(entry)), None), f"the trail has {what}")

    def dump(self):
        """As kcat makes it."""
        return "".join(value + "\n" for value in self.values())

    def command(self, *words, broker=True):
        self.keys()
        where = self.installation.broker_options if broker else []
        return [str(word) for word in (BUILD / "jwk-api", "audit", *words, *where, "--api-keys", self.key_file)]

    def verify(self, *options, dump=None):
        """Runs `audit verify`, on the topic or on a dump."""
        words = self.command("verify", *options, *([] if dump is None else ["-"]), broker=dump is None or "--events" in options)
        return subprocess.run(words, input=dump or "", capture_output=True, text=True, timeout=60, check=False)

    def is_whole(self, *options, dump=None):
        done = self.verify(*options, dump=dump)
        assert done.returncode == 0, done.stderr
        assert "The trail is whole" in done.stderr
        return done
