"""python -m fault: runs a seed, judges it, and tells what was done and found."""

import argparse
import pathlib
import random
import shutil
import sys
import tempfile

from . import check
from .driver import Run
from .faults import FAULTS
from .report import summary


def main():
    parser = argparse.ArgumentParser(prog="python -m fault", description=__doc__)
    parser.add_argument("--seed", type=int, help="what to replay; default: a fresh one, which is printed")
    parser.add_argument("--seconds", type=float, default=60, help="how long to go on (default 60)")
    parser.add_argument("--broker", choices=("embedded", "kafka"), default="embedded")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--faults", help=f"only these, separated by commas: {', '.join(FAULTS)}")
    parser.add_argument("--directory", help="where the run is kept; default: a temporary one, kept only when something was found")
    parser.add_argument("--runs-of", type=float, metavar="SECONDS", default=600,
                        help="a longer time is made of runs of at most this length, each with a seed of its own (default 600)")
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(2 ** 31)
    left, failed = arguments.seconds, False
    while left > 0:
        place = pathlib.Path(arguments.directory or tempfile.mkdtemp(prefix="fault-")) / f"seed-{seed}"
        print(f"seed {seed} on {arguments.broker}, in {place}", flush=True)
        run = Run(place, seed, arguments.broker, arguments.clients, faults=arguments.faults.split(",") if arguments.faults else None)
        try:
            run.go(min(left, arguments.runs_of))
        except AssertionError as problem:
            print(problem)
            failed = True
            run.close()
        violations = check.judge(place)
        print(summary(place))
        for violation in violations:
            print(violation)
        failed = failed or bool(violations)
        if failed:
            break
        if not arguments.directory:
            shutil.rmtree(place.parent)
        left -= arguments.runs_of
        seed += 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
