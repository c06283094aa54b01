#!/usr/bin/env python3
"""Measures jwk-api and jwk-worker on a real Apache Kafka against the bare floor in the same minutes on the same machine.

Writes build/bench/MODE.json and MODE.md, and compare.svg, of which tests/bench/measured.svg in the README is a copy. Ends with 1 only
when an answer was not the expected one: what a machine's mood does to a figure is no failure.
"""

import argparse
import json
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import time

from measured import BUILD, Failure, Kafka, REPOSITORY
from modes import MODES
from harness.program import Program


def numbers(text):
    return [int(each) for each in text.split(",")]


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", nargs="*", help=f"any of {', '.join(MODES)} (compare)")
    parser.add_argument("--kafka", type=pathlib.Path, default=REPOSITORY / "build" / "kafka" / "libs",
                        help="directory of Kafka's jars (build/kafka/libs)")
    parser.add_argument("--rounds", type=int, default=3, help="alternations of floor and pair, worker and nginx (3)")
    parser.add_argument("--duration", type=float, default=5, help="seconds of each measurement (5)")
    parser.add_argument("--in-flight", type=numbers, default=[1, 64, 1000], help="compare: updates under way (1,64,1000)")
    parser.add_argument("--sizes", type=numbers, default=[1000, 100000, 1000000], help="growth: numbers of JWKs")
    parser.add_argument("--environments", type=numbers, default=[1, 10, 50], help="width: numbers of environments (1,10,50)")
    parser.add_argument("--replicas", type=numbers, default=[1, 2, 3], help="width: replicas of each (1,2,3)")
    parser.add_argument("--waiting", type=int, default=10000, help="waiting: updates that wait (10000)")
    parser.add_argument("--idle-seconds", type=float, default=60, help="idle: how long to watch (60)")
    parser.add_argument("--keep", action="store_true", help="leave the working directory with its logs")
    options = parser.parse_args()
    options.mode = options.mode or ["compare"]
    unknown = set(options.mode) - set(MODES)
    if unknown:
        parser.error(f"no such mode: {', '.join(sorted(unknown))}")
    missing = [path for path in (BUILD / "jwk-api", BUILD / "jwk-worker", BUILD / "bench" / "floor", BUILD / "bench" / "load")
               if not path.exists()]
    if missing:
        parser.error(f"{missing[0]} is missing: `make bench` builds it")
    began = time.monotonic()
    options.say = lambda what: print(f"[{time.monotonic() - began:6.1f} s] {what}", file=sys.stderr, flush=True)
    return options


def circumstances(options):
    model = next((line.partition(":")[2].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), "unknown")
    kafka = next(options.kafka.glob("kafka-clients-*.jar"), pathlib.Path("unknown")).stem
    return {"machine": {"cpu": model, "cores": os.cpu_count(), "kernel": os.uname().release, "load_average": os.getloadavg()[0]},
            "kafka": kafka.removeprefix("kafka-clients-"), "duration_s": options.duration, "rounds": options.rounds}


def run_mode(mode, options, output):
    directory = pathlib.Path(tempfile.mkdtemp(prefix=f"run-{mode}-", dir=output))
    try:
        options.say(f"{mode}: starting Kafka")
        kafka = Kafka(options.kafka, directory)
        try:
            figures, text, svg = MODES[mode](kafka, directory, options)
        finally:
            kafka.stop()
        (output / f"{mode}.json").write_text(json.dumps({"mode": mode, **circumstances(options), **figures}, indent=1) + "\n")
        (output / f"{mode}.md").write_text(text + "\n")
        if svg:
            (output / f"{mode}.svg").write_text(svg)
        print(f"\n{mode}\n\n{text}\n", flush=True)
    finally:
        for program in Program.started:
            program.kill()
        if not options.keep:
            shutil.rmtree(directory, ignore_errors=True)


def main():
    options = parse_arguments()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(2))
    output = BUILD / "bench"
    output.mkdir(parents=True, exist_ok=True)
    failed = False
    for mode in options.mode:
        try:
            run_mode(mode, options, output)
        except (Failure, AssertionError) as failure:
            failed = True
            print(f"bench: {mode}: {failure}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
