"""What happened in a run, written as JSON lines as it happens: requests with their answers, faults, observations of replicas."""

import json
import threading
import time

# Every time in a history is of this clock, which all processes of the machine share and no fault turns.
now = time.monotonic


class History:
    def __init__(self, path):
        self.file = open(path, "a", encoding="utf-8")
        self.lock = threading.Lock()

    def add(self, kind, **members):
        line = json.dumps({"kind": kind, "at": now(), **members}, separators=(",", ":"))
        with self.lock:
            self.file.write(line + "\n")

    def flush(self):
        with self.lock:
            self.file.flush()

    def close(self):
        with self.lock:
            self.file.close()


def read_lines(path):
    """The objects of a file of JSON lines."""
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def read_last_lines(path, size):
    """Those of the last so many bytes."""
    with open(path, "rb") as file:
        file.seek(0, 2)
        begin = max(0, file.tell() - size)
        file.seek(begin)
        lines = file.read().decode(errors="replace").splitlines()
    return [json.loads(line) for line in (lines[1:] if begin else lines)]
