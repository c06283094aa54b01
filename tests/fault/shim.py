"""The test's side of shim.c: builds it, sets its fields while the program runs, and plays power losses from its journal."""

import ctypes
import mmap
import os
import pathlib
import shutil
import struct
import subprocess

SOURCE = pathlib.Path(__file__).with_name("shim.c")
OPERATIONS = ("write", "sync_begin", "sync_end", "produce_begin", "produce_end", "receive_end")
ACTIONS = {"nothing": 0, "kill": 1, "stop": 2, "fail writes": 3, "fail syncs": 4}
ALLOCATIONS = ("the program", "SQLite", "OpenSSL")  # whose may fail
NOTE = struct.Struct("=IIqq")  # struct note


class Fields(ctypes.Structure):
    """struct control."""
    _fields_ = [("counts", ctypes.c_int64 * len(OPERATIONS))] + [(name, ctypes.c_int64) for name in (
        "first", "first_left", "then", "left", "action", "fired", "write_error", "write_short", "sync_error", "clock_offset_ms",
        "connect_port", "allocation_left", "allocation_of", "allocation_continues", "harmed")]


def build(directory):
    """Compiles the shim; returns its path."""
    library = pathlib.Path(directory) / "shim.so"
    if not library.exists() or library.stat().st_mtime < SOURCE.stat().st_mtime:
        library.parent.mkdir(parents=True, exist_ok=True)
        fresh = library.with_suffix(f".{os.getpid()}")
        subprocess.run(["cc", "-std=gnu17", "-O2", "-Wall", "-Wextra", "-Wno-nonnull", "-fPIC", "-shared", "-o", fresh, SOURCE, "-ldl"],
                       check=True)
        fresh.replace(library)
    return library


class Control:
    """The fields of one process, by which it is harmed while it runs."""

    def __init__(self, path):
        self.control_path = pathlib.Path(path)
        self.control_path.write_bytes(bytes(mmap.PAGESIZE))
        with open(self.control_path, "r+b") as file:
            self.memory = mmap.mmap(file.fileno(), mmap.PAGESIZE)
        self.fields = Fields.from_buffer(self.memory)

    def trigger(self, then, count=1, action="kill", first=None, first_count=1):
        """The count-th `then` acts, counted from the first_count-th `first` on where one is given."""
        self.fields.action = ACTIONS["nothing"]
        self.fields.fired = 0
        self.fields.first, self.fields.first_left = (OPERATIONS.index(first), first_count) if first else (0, 0)
        self.fields.then, self.fields.left = OPERATIONS.index(then), count
        self.fields.action = ACTIONS[action]

    def fail_allocation(self, number, of="the program", continues=False):
        """The number-th allocation from now on fails, of those that one of ALLOCATIONS asks for. continues: and all behind it."""
        self.fields.allocation_of, self.fields.allocation_continues = ALLOCATIONS.index(of), continues
        self.fields.allocation_left = number

    @property
    def allocation_failed(self):
        return self.fields.allocation_left <= 0

    def clear(self):
        """Ends every fault but the way through the proxy."""
        for name, _ in Fields._fields_:
            if name not in ("counts", "connect_port", "fired", "harmed"):
                setattr(self.fields, name, 0)


class Shim(Control):
    """One program's shim. The watched directory is where the program keeps what must be durable; it survives the program's restarts, and
    so does the journal: what an earlier process did not sync is not durable either."""

    def __init__(self, library, directory, watched):
        self.library, self.watched = library, pathlib.Path(watched)
        directory = pathlib.Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        self.watched.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.journal, self.base = directory / "journal", directory / "base"
        self.keeps_journal = True
        super().__init__(directory / "control")
        self.rebase()

    @property
    def environment(self):
        return {"LD_PRELOAD": str(self.library), "FAULT_CONTROL": str(self.control_path), "FAULT_JOURNAL": str(self.journal) if self.keeps_journal else "",
                "FAULT_DIRECTORY": str(self.watched.resolve())}

    def rebase(self):
        """Takes what is in the directory as durable. The program does not run."""
        shutil.rmtree(self.base, ignore_errors=True)
        self.base.mkdir(mode=0o700)
        for path in self.watched.iterdir():
            if path.is_file() and not path.name.endswith("-shm"):
                shutil.copy2(path, self.base / path.name)
        self.journal.write_bytes(b"")

    def stop_journal(self):
        """From the program's next start on nothing is kept for a loss of power, and there can be none. The program does not run."""
        self.keeps_journal = False
        self.rebase()

    def notes(self):
        """Yields (where in the journal, kind, name, offset, length, data)."""
        content = self.journal.read_bytes()
        position = 0
        while position + NOTE.size <= len(content):
            kind, name_length, offset, length = NOTE.unpack_from(content, position)
            start = position
            position += NOTE.size
            name = content[position:position + name_length].decode()
            position += name_length
            data = None
            if chr(kind) == "W":
                data = content[position:position + length]
                position += length
            yield start, chr(kind), name, offset, length, data

    def power_loss(self, random, kept_share=None):
        """Leaves in the directory what a disk would have after the power went: what was synced, and of the rest what chance kept (or this
        share of it), the last sector written perhaps in part. The program does not run. Returns how many writes were lost."""
        assert self.keeps_journal, "a loss of power without a journal"
        durable = {path.name: bytearray(path.read_bytes()) for path in self.base.iterdir()}
        open_writes = {}

        def apply(name, note):
            image = durable.setdefault(name, bytearray())
            _, kind, offset, data = note
            if kind == "T":
                if len(image) > offset:
                    del image[offset:]
                image.extend(bytes(offset - len(image)))
                return
            if len(image) < offset:
                image.extend(bytes(offset - len(image)))
            image[offset:offset + len(data)] = data

        for start, kind, name, offset, _, data in self.notes():
            if kind in "WT":
                open_writes.setdefault(name, []).append((start, kind, offset, data))
            elif kind == "U":
                durable.pop(name, None)
                open_writes.pop(name, None)
            else:
                waiting = open_writes.get(name, [])
                for each in waiting:
                    if kind == "S" and each[0] < offset:
                        apply(name, each)
                open_writes[name] = [each for each in waiting if each[0] >= offset]
        if kept_share is None:
            kept_share = random.choice((0.0, 0.0, 0.5, 0.9))
        lost = 0
        for name, waiting in open_writes.items():
            for start, kind, offset, data in waiting:
                if random.random() >= kept_share:
                    lost += 1
                    continue
                if kind == "W" and random.random() < 0.2:
                    data = data[:random.randrange(0, len(data) + 1, 512)] if len(data) > 512 else data
                apply(name, (start, kind, offset, data))
        for path in self.watched.iterdir():
            # A lock file and the like were never written; they stay.
            if path.name.endswith("-shm") or (path.name not in durable and path.stat().st_size > 0):
                path.unlink()
        for name, image in durable.items():
            path = self.watched / name
            path.write_bytes(image)
            path.chmod(0o600)
        self.rebase()
        return lost
