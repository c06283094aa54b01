"""Starts and ends programs, keeps their logs, and waits for what they do, never for time to pass."""

import itertools
import os
import pathlib
import signal
import subprocess
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]
BUILD = (REPOSITORY / os.environ.get("JWK_BUILD", "build")).resolve()
# Seconds after which what has not happened counts as never happening. Sanitizers and valgrind need more than the plain build.
PATIENCE = float(os.environ.get("JWK_TEST_PATIENCE", "30"))


def wait_until(condition, what, patience=PATIENCE):
    """Returns condition()'s first true value; fails when there is none within the bound."""
    deadline = time.monotonic() + patience
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {patience:g} s in vain: {what}")
        time.sleep(0.01)  # between two looks at the condition


class Program:
    """One process, its log in a file of its own."""

    started = []  # those whose end was not reported yet, for the report of a failing test
    numbers = itertools.count(1)

    def __init__(self, name, arguments, directory, environment=None):
        self.name = name
        self.log_path = pathlib.Path(directory) / f"{name}-{next(Program.numbers)}.log"
        # Settings of whoever runs the tests must not leak in.
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("JWK_API_", "JWK_WORKER_"))}
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen([str(argument) for argument in arguments], stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=subprocess.STDOUT, env=clean | (environment or {}))
        self.paused = False
        self.end_expected = False  # the test ends it, or waits for its end
        self.reported = 0  # bytes of the log that an earlier report has shown
        Program.started.append(self)

    @property
    def pid(self):
        return self.process.pid

    @property
    def running(self):
        return self.process.poll() is None

    def log(self):
        return self.log_path.read_text(errors="replace")

    def wait_address(self, path):
        """What the program writes into its --address-file once it listens."""
        def look():
            if not self.running:
                raise AssertionError(f"{self.name} ended with status {self.process.returncode} before it listened:\n{self.log()}")
            return pathlib.Path(path).read_text().strip() if pathlib.Path(path).exists() else None
        return wait_until(look, f"{self.name} listens")

    def wait_exit(self, patience=PATIENCE):
        self.end_expected = True
        try:
            return self.process.wait(patience)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} does not end:\n{self.log()[-4000:]}") from None

    def pause(self):
        """SIGSTOP, returning only when the kernel has stopped every thread."""
        self.process.send_signal(signal.SIGSTOP)
        self.paused = True

        def stopped():
            states = [pathlib.Path(task, "stat").read_text().rpartition(")")[2].split()[0]
                      for task in pathlib.Path(f"/proc/{self.pid}/task").iterdir()]
            return all(state == "T" for state in states)
        wait_until(stopped, f"{self.name} is stopped")

    def resume(self):
        self.process.send_signal(signal.SIGCONT)
        self.paused = False

    def terminate(self):
        self.end_expected = True
        self.process.send_signal(signal.SIGTERM)

    def kill(self):
        """kill -9."""
        self.end_expected = True
        if self.running:
            self.process.kill()
        self.process.wait()

    def stop(self):
        """Ends it in an orderly way, and returns its exit status. That it has ended before without the test's doing, or does not
        end now, is a failure."""
        if not self.running:
            assert self.end_expected, f"{self.name} has ended by itself with status {self.process.returncode}:\n{self.log()[-4000:]}"
            return self.process.returncode
        if self.paused:
            self.resume()
        self.terminate()
        try:
            return self.wait_exit()
        finally:
            self.kill()

    @classmethod
    def all_news(cls):
        """Each program that has logged something since the last call, with that."""
        result = []
        for program in list(cls.started):
            ended = not program.running
            result.append((program, program.news()))
            if ended:
                cls.started.remove(program)
        return [(program, text) for program, text in result if text]

    def news(self):
        with open(self.log_path, "rb") as log:
            log.seek(self.reported)
            text = log.read()
        self.reported += len(text)
        return text.decode(errors="replace")
