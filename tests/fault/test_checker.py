"""The checker finds what is wrong: each violation is planted into a copy of a sound run, and must be told with its invariant."""

import ast
import inspect
import json
import shutil

import pytest

from . import check, plants, plants_topics
from .driver import Run
from .history import read_lines
from .plants import add_line, lines_of, quiet_with_retiring

PLAN = [(0.3, "kill_worker", 1), (0.6, "power_loss_api", 2), (2.0, "freeze_worker", 3), (2.5, "copied_identity", 4)]


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    directory = tmp_path_factory.mktemp("sound")
    run = Run(directory, 42, "embedded", pause_s=0.04)
    try:
        run.round([])
        run.round(PLAN)
        run.finish()
    finally:
        run.close()
    return directory


@pytest.fixture
def copy(sound, tmp_path):
    place = tmp_path / "run"
    place.mkdir()
    files = [sound / name for name in ("history.jsonl", "topics.jsonl", "secrets.txt", "master-key")]
    for path in (*files, *sound.glob("*.credentials*")):
        shutil.copy(path, place)
    for name in ("logs", "final"):
        shutil.copytree(sound / name, place / name)
    return place


def test_a_sound_run_has_no_violation(sound):
    assert check.judge(sound) == []
    lines = read_lines(sound / "history.jsonl")
    assert len([line for line in lines if line["kind"] == "request" and line["status"] == 200]) > 50
    assert [line for line in lines if line["kind"] == "state"], "a killed worker's state was looked at"


def test_a_replaced_key_may_be_served_or_not_where_its_time_ends(copy):
    with lines_of(copy / "history.jsonl") as lines:
        quiet, retiring = quiet_with_retiring(lines)
        retiring[2] = quiet["wall"][0] * 1000
        quiet["replicas"]["staging-edge-1"][retiring[0]]["keys"].remove(json.loads(retiring[1]))
    assert check.judge(copy) == []


def test_of_many_violations_of_one_sort_only_some_are_told(copy):
    for number in range(check.AT_MOST + 3):
        add_line(copy, "ended", node=f"api-{number}", status=1, log="")
    found = check.judge(copy)
    assert len(found) == check.AT_MOST + 1 and found[-1] == "… and 3 more of programs_end_as_they_should"


PLANTS = {name.removeprefix("plant_"): function for module in (plants, plants_topics)
          for name, function in sorted(vars(module).items()) if name.startswith("plant_")}
found_for = {}  # plant -> the place in the judges that has told it


@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_violation_is_found(plant, copy):
    invariant, words = PLANTS[plant](copy)

    def is_it(sentence):
        return sentence.startswith(invariant) and words in sentence
    told = list(check.find(copy))
    places = {place for sentence, place in told if is_it(sentence)}
    assert len(places) == 1, [sentence for sentence, _ in told]  # words of two sentences would prove neither
    found_for[plant], = places


def test_each_sentence_of_the_judges_is_planted():
    """By the tests before this one: each place that tells something has told what some plant has named."""
    if found_for.keys() != PLANTS.keys():
        pytest.skip("not every violation was planted")
    places = {}
    for judge in check.JUDGES:
        lines, first = inspect.getsourcelines(judge)
        for node in ast.walk(ast.parse("".join(lines))):
            if isinstance(node, (ast.Yield, ast.YieldFrom)):
                places[judge.__name__, first + node.lineno - 1] = lines[node.lineno - 1].strip()
    assert {place: line for place, line in places.items() if place not in found_for.values()} == {}
