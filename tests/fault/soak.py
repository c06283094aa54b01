"""python -m fault.soak: one installation, under load and faults for as long as told, and whether anything grows in it.

In the first third of the time there are all faults. Then all programs are started once more, and from there on there are only faults that
no program ends by; what they use is judged over the second half."""

import argparse
import pathlib
import random
import shutil
import sys
import tempfile

from . import check
from .driver import Run
from .faults import FAULTS, disturbing
from .faults_network import WAYS
from .growth import RESIDENT_SLOPE_MAX, RESIDENT_TIME_MIN, growths, judge
from .history import now, read_lines
from .report import summary

# By these a program ends, or may end, or the installation becomes a larger one: of those that a program has of its own all but what happens
# to its network.
NOT_WHILE_MEASURED = {
    "kill_api", "kill_worker", "kill_everything", "power_loss_api", "power_loss_worker", "copied_identity", "zombie",
    "lost_state", "new_replica", "add_partitions",
    *(name for name in FAULTS if name.startswith(("api ", "worker ")) and name.partition(" ")[2] not in WAYS)}
PAUSE_S = 0.2  # between the calls of a client: an hour's records are to be read by the checker at once
TOLD_EVERY_S = 60.0


def start_all_again(run):
    """Orderly, and without the journal of what is not synced: it is only for losses of power, and grows."""
    for node in run.cluster.nodes:
        with disturbing(node):
            with node.lock:
                node.expect_end = True
                node.program.stop()
                node.shim.stop_journal()
            run.revive(node)
    for node in run.cluster.nodes:
        run.wait_for(node.is_ready, f"{node.name} is ready again")


def rounds(run, until):
    """Rounds until then, each ended by a look at what the programs use; tells every minute how far it is."""
    tell_at = now() + TOLD_EVERY_S
    while now() < until:
        run.round()
        run.note_use()
        if now() >= tell_at:
            tell_at = now() + TOLD_EVERY_S
            print(f"round {run.rounds}, {until - now():.0f} s of this part left, the last recovery took {run.recoveries[-1]:.2f} s, "
                  f"API {run.cluster.api.resident() >> 20} MB", flush=True)


def soak(run, seconds):
    begin = now()
    print("with all faults", flush=True)
    rounds(run, begin + seconds / 3)
    start_all_again(run)
    run.names = [name for name in run.names if name not in NOT_WHILE_MEASURED]
    print("with those that no program ends by", flush=True)
    rounds(run, begin + seconds)
    run.finish()


def main():
    parser = argparse.ArgumentParser(prog="python -m fault.soak", description=__doc__)
    parser.add_argument("--seed", type=int, help="default: a fresh one, which is printed")
    parser.add_argument("--seconds", type=float, default=3600, help="how long to go on (default 3600)")
    parser.add_argument("--broker", choices=("embedded", "kafka"), default="kafka")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--directory", help="where the run is kept; default: a temporary one, kept only when something was found")
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(2 ** 31)
    place = pathlib.Path(arguments.directory or tempfile.mkdtemp(prefix="soak-")) / f"seed-{seed}"
    print(f"seed {seed} on {arguments.broker}, in {place}", flush=True)
    run = Run(place, seed, arguments.broker, arguments.clients, PAUSE_S)
    nodes, since, violations = [], now() + arguments.seconds / 2, []
    try:
        soak(run, arguments.seconds)
        nodes = [node.name for node in run.cluster.nodes]
    except AssertionError as problem:
        violations.append(str(problem))
    finally:
        run.close()
    violations += check.judge(place)
    print(summary(place))
    found = growths((line for line in read_lines(place / "history.jsonl") if line["kind"] == "quiet_use"), since)
    print(f"growth over the second half, by least squares (memory by its low points, judged from {RESIDENT_TIME_MIN} s on: at most "
          f"{RESIDENT_SLOPE_MAX >> 20} MB an hour):")
    for node, growth in found.items():
        print(f"  {growth.told(node)}")
    violations += judge(found, nodes)
    print("\n".join(violations) or "every invariant holds, and nothing grows")
    if not violations and not arguments.directory:
        shutil.rmtree(place.parent)
    return 1 if violations else 0


def unknown_names():
    """Names above that no fault has."""
    return NOT_WHILE_MEASURED - set(FAULTS)


if __name__ == "__main__":
    sys.exit(main())
