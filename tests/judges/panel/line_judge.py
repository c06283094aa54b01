"""Judges in other languages: one process each, which answers each line with a line. Starting one (a JVM) is paid once."""

import json
import subprocess
import threading

from harness.program import BUILD as OUR_BUILD
from harness.program import REPOSITORY

HERE = REPOSITORY / "tests" / "judges"
BUILD = REPOSITORY / "build"  # one copy of the libraries serves every sanitizer's build


class LineJudge:
    def __init__(self, name, arguments):
        self.name = name
        self.process = subprocess.Popen([str(argument) for argument in arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, encoding="utf-8")

    def answer_all(self, requests):
        """Answers in the order of the requests. They are written by a thread of their own: neither side ever waits for the other to read."""
        lines = [json.dumps(request) + "\n" for request in requests]

        def write():
            self.process.stdin.writelines(lines)
            self.process.stdin.flush()
        writer = threading.Thread(target=write)
        writer.start()
        answers = []
        for _ in lines:
            line = self.process.stdout.readline()
            assert line, f"the judge {self.name} has ended with status {self.process.wait()}"
            answers.append(json.loads(line))
        writer.join()
        return answers

    def answer(self, request):
        return self.answer_all([request])[0]

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


class JoseJudge(LineJudge):
    """jose, on Node."""

    def __init__(self):
        assert (BUILD / "node" / "node_modules" / "jose").is_dir(), "jose is missing: make check-deps"
        super().__init__("jose", ["node", HERE / "node" / "judge.mjs", BUILD / "node"])


class NimbusJudge(LineJudge):
    """Nimbus JOSE+JWT, on a JVM."""

    def __init__(self):
        libraries = BUILD / "judges" / "java"
        assert list(libraries.glob("nimbus-jose-jwt-*.jar")), "Nimbus JOSE+JWT is missing: make check-deps"
        # It lives for a minute: a compiler that thinks for long would not pay.
        super().__init__("nimbus", ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{libraries}/*",
                                    HERE / "java" / "Judge.java"])


class OurCryptography(LineJudge):
    """No judge but what is judged: the product's own seals and signatures, ours.c."""

    def __init__(self):
        program = OUR_BUILD / "judges" / "ours"
        assert program.exists(), f"{program} is missing: make judges builds it"
        super().__init__("ours", [program])
