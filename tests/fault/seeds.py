"""The seeds that the tests run: the same ones each time, and a fresh one."""

import os
import random

FIXED = (("embedded", 3), ("embedded", 7), ("kafka", 11))
# Chosen once for all processes that share the tests: they inherit it.
FRESH = ("embedded", int(os.environ.setdefault("JWK_FAULT_SEED", str(random.SystemRandom().randrange(1, 2 ** 31)))))
