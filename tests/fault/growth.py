"""Whether what a program uses grows while it runs: memory, descriptors and threads, looked at in quiet moments."""

import collections

# What may be added over the whole measured time, by the line fitted to it: what one moment differs from another by. A descriptor that is
# left open each minute is thirty in the second half of an hour.
DESCRIPTORS_MAX, THREADS_MAX = 2.0, 1.0
# Bytes an hour. The allocator's fragmentation and the state that rightly grows (what was deleted is remembered for its tombstone) stay
# below; a kilobyte lost with each change is above at three changes a second.
RESIDENT_SLOPE_MAX = 8 << 20
# Seconds. In less the memory of a program that was just started still finds its level, and no slope says anything.
RESIDENT_TIME_MIN = 900
# Seconds, of which the least memory counts. SQLite lets go of the pages that it holds when another process (a command) writes, and fills up
# again: an API that leaks nothing used 24 and 31 MB by turns. What is lost is missing at the low points, too.
RESIDENT_WINDOW = 300
SAMPLES_MIN = 5


def slope(points):
    """By least squares, of (seconds, value) pairs: the value's growth each second."""
    middle_at, middle = (sum(each[i] for each in points) / len(points) for i in (0, 1))
    square = sum((at - middle_at) ** 2 for at, _ in points)
    return sum((at - middle_at) * (value - middle) for at, value in points) / square if square else 0.0


def lows(points, window):
    """The lowest of the (seconds, value) pairs in each window that is over."""
    windows = collections.defaultdict(list)
    for at, value in points:
        windows[int((at - points[0][0]) // window)].append((at, value))
    over = [windows[number] for number in sorted(windows) if (number + 1) * window <= points[-1][0] - points[0][0]]
    return [min(each, key=lambda point: point[1]) for each in over or windows.values()]


class Growth:
    """Of one program, from its quiet moments since some time (seconds): per hour, and over the time that was measured."""

    def __init__(self, samples):
        self.samples = samples
        self.seconds = samples[-1]["at"] - samples[0]["at"]
        points = {name: [(sample["at"], sample[name]) for sample in samples] for name in ("resident", "descriptors", "threads")}
        points["resident"] = lows(points["resident"], RESIDENT_WINDOW)
        self.slopes = {name: slope(each) for name, each in points.items()}

    @property
    def starts(self):
        return len({sample["pid"] for sample in self.samples})

    def told(self, node):
        first, last = self.samples[0], self.samples[-1]
        hourly = {name: 3600 * each for name, each in self.slopes.items()}
        return (f"{node}: memory {first['resident'] / (1 << 20):.1f} -> {last['resident'] / (1 << 20):.1f} MB "
                f"({hourly['resident'] / (1 << 20):+.2f} MB an hour), descriptors {first['descriptors']} -> {last['descriptors']} "
                f"({hourly['descriptors']:+.2f} an hour), threads {first['threads']} -> {last['threads']} ({hourly['threads']:+.2f} an hour); "
                f"{len(self.samples)} quiet moments in {self.seconds:.0f} s")

    def violations(self, node):
        if self.starts > 1:
            yield f"growth: {node} was started {self.starts} times while it was measured"
            return
        for name, most in (("descriptors", DESCRIPTORS_MAX), ("threads", THREADS_MAX)):
            added = self.slopes[name] * self.seconds
            if added > most:
                yield f"growth: {node} has {added:.1f} more {name} after {self.seconds:.0f} s; {most:g} may be chance"
        hourly = 3600 * self.slopes["resident"]
        if self.seconds >= RESIDENT_TIME_MIN and hourly > RESIDENT_SLOPE_MAX:
            yield (f"growth: the memory of {node} grows by {hourly / (1 << 20):.1f} MB an hour; "
                   f"{RESIDENT_SLOPE_MAX >> 20} are allowed")


def growths(lines, since):
    """Of each program, by name, from the lines of kind "quiet_use" of a history."""
    by_node = collections.defaultdict(list)
    for line in lines:
        if line["at"] >= since:
            by_node[line["node"]].append(line)
    return {node: Growth(samples) for node, samples in sorted(by_node.items()) if len(samples) >= SAMPLES_MIN}


def judge(found, nodes):
    """All that grows, as sentences; nodes: whom there must be samples of."""
    for node in sorted(set(nodes) - set(found)):
        yield f"growth: {node} was not looked at in {SAMPLES_MIN} quiet moments: the time is too short"
    for node, growth in found.items():
        yield from growth.violations(node)
