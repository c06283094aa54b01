"""What grows is told, and what only differs from moment to moment is not."""

import random

import pytest

from . import soak
from .growth import RESIDENT_SLOPE_MAX, growths, judge, slope
from .history import now

MEGABYTE = 1 << 20


def samples(seconds=1800, every=10, node="api", **functions):
    """Quiet moments of one program: the functions give what it uses after so many seconds."""
    chance = random.Random(1)
    use = {"resident": lambda at: 40 * MEGABYTE, "descriptors": lambda at: 40, "threads": lambda at: 12, "pid": lambda at: 7} | functions
    begin = now()
    return [{"node": node, "at": begin + at, **{name: function(at) for name, function in use.items()}}
            | {"resident": use["resident"](at) + chance.randint(-MEGABYTE // 2, MEGABYTE // 2),
               "descriptors": use["descriptors"](at) + chance.choice((-1, 0, 0, 1))}
            for at in range(0, seconds, every)]


def found_in(lines, since=0.0):
    return list(judge(growths(lines, since), ["api"]))


def test_a_slope_is_that_of_the_line():
    assert slope([(at, 5 + 0.25 * at) for at in range(100)]) == pytest.approx(0.25)
    assert slope([(3.0, 8)]) == 0


def test_what_stays_level_is_not_told():
    assert found_in(samples()) == []


def filled(at):
    """Fills up after a while, and again after each time that it goes."""
    return (31 if at >= 900 and at % 240 >= 20 else 24) * MEGABYTE


def test_what_fills_up_and_goes_again_is_not_told():
    assert found_in(samples(resident=filled)) == []


@pytest.mark.parametrize(("name", "function", "word"), [
    ("descriptors", lambda at: 40 + at // 300, "descriptors"),
    ("threads", lambda at: 12 + at // 600, "threads"),
    ("resident", lambda at: 40 * MEGABYTE + int(1.2 * RESIDENT_SLOPE_MAX * at / 3600), "memory"),
    ("resident", lambda at: filled(at) + 2 * RESIDENT_SLOPE_MAX * at // 3600, "memory"),
    ("pid", lambda at: 7 + at // 1000, "started 2 times"),
])
def test_what_grows_is_told(name, function, word):
    told = found_in(samples(**{name: function}))
    assert len(told) == 1 and word in told[0] and "api" in told[0]


def test_memory_is_not_judged_by_a_short_time():
    assert found_in(samples(300, resident=lambda at: 40 * MEGABYTE + at * 10000)) == []


def test_what_was_before_the_second_half_is_not_judged():
    lines = samples(descriptors=lambda at: 10 + at // 10 if at < 900 else 100)
    assert found_in(lines) != []
    assert found_in(lines, lines[len(lines) // 2]["at"]) == []


def test_a_program_that_was_not_looked_at_is_told():
    assert len(found_in(samples(30))) == 1


def test_every_fault_that_is_left_out_is_one():
    assert soak.unknown_names() == set()
