"""The fault machine: a seeded load on the real programs, seeded faults under it, and a checker that judges what came of it.

`python -m fault --help` (with tests/ as PYTHONPATH) runs it; `python -m fault.check DIRECTORY` judges a run again."""

import pathlib
import sys

# What drives the programs is shared with the black-box tests.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "blackbox"))
