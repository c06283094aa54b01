"""More load than can be carried, of every kind."""

import os

import pytest

from . import overload
from .judged import judged
from .load import PROJECTS, Client, Secrets
from .overload import CALLER_WAITS_S, OVERLOADS, SLOW_CLIENTS

OVERLOAD_SECONDS = float(os.environ.get("JWK_OVERLOAD_SECONDS", "3"))
RESIDENT_GROWTH_MAX = 200 << 20
RATIO_MIN = 0.3  # of the throughput before, when it is over; what else the machine has to do makes it differ


@pytest.mark.parametrize("kind", OVERLOADS)
def test_overload_is_refused_at_once_and_leaves_nothing_behind(kind, tmp_path):
    """Our own speed is not judged, on whatever machine this runs: refused at once means before one that waits would be answered."""
    hook_program, _ = overload.hook(tmp_path)
    with judged(tmp_path, 6, "embedded", clients=1, faults=[], worker_options=["--hook", hook_program] if kind == "slow_worker" else [],
                api_options=["--waiting", overload.WAITING, "--connections", overload.CONNECTIONS, "--deploy-timeout", "20s"]) as run:
        client = Client(99, 6, run.cluster, run.history, Secrets(tmp_path / "secrets.txt"), 1)
        names = [f"c99-{number}" for number in range(50)]
        for name in names:
            assert client.create(PROJECTS[0], name)
        measured = overload.overload(run, kind, PROJECTS[0], names, OVERLOAD_SECONDS)
        run.history.add("overload", **measured)
        run.round([])
        assert measured["harmed"] > (SLOW_CLIENTS / 2 if kind == "slow_clients" else 0), "there was what there is the test for"
        for statuses in (measured["statuses"], measured.get("flood", {}).get("statuses", {})):
            assert set(statuses) <= {"200", "202", "503"}, "all are answered, and not otherwise"
        assert measured["statuses"].keys() & {"200", "202"}, "what is admitted is answered"
        assert measured["statuses"]["503"], "the rest is refused"
        assert measured["without_retry_after"] == 0
        assert measured["refusal_p99"] < CALLER_WAITS_S, "who is refused does not wait"
        assert measured.get("flood", {}).get("unanswered", 0) == 0
        for node, most in measured["resident_most"].items():
            assert most - measured["resident"][node] < RESIDENT_GROWTH_MAX, node
        assert measured["confirmed_before"] == measured["confirmed_after"] == measured["of"]
        assert measured["ratio"] >= RATIO_MIN
