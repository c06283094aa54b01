"""The numbers of a run."""

import collections
import pathlib

from .history import read_lines


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def overload_line(line):
    return (f"overload by {line['name']} for {line['seconds']:g} s: answers {dict(sorted(line['statuses'].items()))}, refused within p50 "
            f"{line['refusal_p50']:.3f} s, p99 {line['refusal_p99']:.3f} s; over after {line['recovery']:.2f} s; updates confirmed a second: "
            f"{line['rate_before']:.0f} before, {line['rate_after']:.0f} after, ratio {line['ratio']:.2f}"
            f" ({line['confirmed_before']} and {line['confirmed_after']} of {line['of']} confirmed); memory at most "
            f"{({name: f'{size >> 20} MB' for name, size in sorted(line['resident_most'].items())})}"
            + (f"; flood {line['flood']}" if "flood" in line else ""))


def summary(directory):
    lines = read_lines(pathlib.Path(directory) / "history.jsonl")
    of_kind = collections.defaultdict(list)
    for line in lines:
        of_kind[line["kind"]].append(line)
    statuses = collections.Counter(str(line["status"] or "no answer") for line in of_kind["request"])
    faults = collections.Counter(line["name"] for line in of_kind["fault"])
    points = collections.Counter(line["point"] for line in of_kind["point_reached"] if line["fired"])
    settled = [line["settled"] for line in of_kind["quiet"]]
    recoveries = [line["recovery"] for line in of_kind["quiet"]]
    resident = collections.defaultdict(int)
    for line in of_kind["usage"]:
        resident[line["node"]] = max(resident[line["node"]], line["resident"])
    commands = collections.Counter(" ".join(line["words"]) for line in of_kind["command"] if line["killed"])
    operations = collections.Counter(line["operation"] for line in of_kind["request"])
    keys = collections.Counter(line["key"] for line in of_kind["request"] if line["key"])
    told = [f"rounds: {len(of_kind['quiet'])}, operations checked: {len(of_kind['request'])} ({dict(sorted(operations.items()))}), "
            f"answers: {dict(sorted(statuses.items()))}, probes: {len(of_kind['probe'])}, observations: {len(of_kind['observed'])}",
            f"under an Idempotency-Key: {len(keys)}, repeated: {sum(count > 1 for count in keys.values())}, answered again from memory: "
            f"{sum(line['replayed'] for line in of_kind['request'])}",
            f"faults: {sum(faults.values())} ({dict(sorted(faults.items()))})",
            f"points reached: {dict(sorted(points.items()))}",
            f"commands killed: {dict(sorted(commands.items()))}, records forged: {len(of_kind['forged'])}",
            f"writes lost to power: {sum(line['lost_writes'] for line in of_kind['power_loss'])} in {len(of_kind['power_loss'])} losses",
            f"recovery (all replicas equal the API again): p50 {percentile(recoveries, 0.5):.2f} s, p99 {percentile(recoveries, 0.99):.2f} s, "
            f"worst {max(recoveries, default=0):.2f} s",
            f"every result settled: p50 {percentile(settled, 0.5):.2f} s, worst {max(settled, default=0):.2f} s",
            f"memory at most: {({name: f'{size >> 20} MB' for name, size in sorted(resident.items())})}",
            *map(overload_line, of_kind["overload"])]
    return "\n".join(told)
