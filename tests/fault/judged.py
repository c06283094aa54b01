"""A run that a test drives and the checker judges."""

import contextlib

from . import check
from .driver import Run
from .report import summary


@contextlib.contextmanager
def judged(directory, seed, broker, **options):
    """A run whose every invariant must hold in the end."""
    run = Run(directory, seed, broker, **options)
    try:
        yield run
        run.finish()
    finally:
        run.close()
    print(summary(directory))
    assert check.judge(directory) == [], f"seed {seed}"
