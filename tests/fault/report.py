"""The numbers of a run."""

import collections
import pathlib

from .history import read_lines


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def slope_per_hour(points):
    """By least squares, of (seconds, value) pairs."""
    middle_at, middle = (sum(each[i] for each in points) / len(points) for i in (0, 1))
    square = sum((at - middle_at) ** 2 for at, _ in points)
    return 3600 * sum((at - middle_at) * (value - middle) for at, value in points) / square if square else 0.0


def usage_lines(lines):
    """What each program used: the middle value of the first and of the last quarter of the run, and the slope over all of it. A program
    that faults end begins anew, so what grows with the run grows from start to start."""
    by_node = collections.defaultdict(list)
    for line in lines:
        by_node[line["node"]].append(line)
    for node, found in sorted(by_node.items()):
        if len(found) < 8:
            continue  # it was not there for long
        quarter = len(found) // 4
        told = []
        for what, name, scale in (("memory (MB)", "resident", 1 << 20), ("descriptors", "descriptors", 1), ("threads", "threads", 1)):
            values = [line[name] / scale for line in found]
            slope = slope_per_hour([(line["at"], value) for line, value in zip(found, values)])
            told.append(f"{what} {percentile(values[:quarter], 0.5):.1f} -> {percentile(values[-quarter:], 0.5):.1f} ({slope:+.1f} an hour)")
        yield f"use of {node}: {', '.join(told)}; {len(found)} samples"


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
    told = [f"rounds: {len(of_kind['quiet'])}, requests: {len(of_kind['request'])} ({dict(sorted(statuses.items()))}), "
            f"probes: {len(of_kind['probe'])}, observations: {len(of_kind['observed'])}",
            f"faults: {dict(sorted(faults.items()))}",
            f"points reached: {dict(sorted(points.items()))}",
            f"commands killed: {dict(sorted(commands.items()))}, records forged: {len(of_kind['forged'])}",
            f"writes lost to power: {sum(line['lost_writes'] for line in of_kind['power_loss'])} in {len(of_kind['power_loss'])} losses",
            f"recovery (all replicas equal the API again): p50 {percentile(recoveries, 0.5):.2f} s, p99 {percentile(recoveries, 0.99):.2f} s, "
            f"worst {max(recoveries, default=0):.2f} s",
            f"every result settled: p50 {percentile(settled, 0.5):.2f} s, worst {max(settled, default=0):.2f} s",
            f"memory at most: {({name: f'{size >> 20} MB' for name, size in sorted(resident.items())})}",
            *usage_lines(of_kind["usage"])]
    return "\n".join(told)
