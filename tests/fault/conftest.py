"""The fresh seed, chosen once for all processes that share the tests."""

import os
import random

os.environ.setdefault("JWK_FAULT_SEED", str(random.SystemRandom().randrange(1, 2 ** 31)))
