"""One installation that all judges look at, the judges, and what they are to judge."""

import collections
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "blackbox"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import panel  # noqa: E402
from catalogue import Catalogue  # noqa: E402
from harness.broker import EmbeddedBroker  # noqa: E402
from harness.installation import ROLE_ADMIN, Installation  # noqa: E402
from harness.program import BUILD, Program  # noqa: E402

COUNTS = collections.Counter()


def pytest_sessionstart():
    for program in ("jwk-api", "jwk-worker"):
        if not (BUILD / program).exists():
            pytest.exit(f"{BUILD / program} is missing: run make first", returncode=2)


def pytest_sessionfinish():
    """Leaves nothing behind, also where a fixture failed half-way."""
    for program in Program.started:
        program.kill()


def pytest_terminal_summary(terminalreporter):
    for what, count in COUNTS.items():
        terminalreporter.write_line(f"judges: {count} {what}")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Shows with a failure what the programs said meanwhile."""
    report = (yield).get_result()
    for program, news in Program.all_news():
        if report.failed:
            report.sections.append((f"log of {program.name} (pid {program.pid})", news[-8000:]))


@pytest.fixture(scope="session")
def judges():
    seated = panel.seat()
    yield seated
    for judge in seated.values():
        judge.close()


@pytest.fixture(scope="session")
def system(tmp_path_factory):
    """API and one worker; the API may fetch from this machine, and takes the certificate of the tests' web server for an authority's."""
    directory = tmp_path_factory.mktemp("judges")
    broker = EmbeddedBroker(directory)
    installation = Installation(broker, directory)
    installation.source_directory = directory
    installation.add_environment("production")
    yield installation
    installation.stop()
    broker.stop()


@pytest.fixture(scope="session")
def catalogue(system, judges, tmp_path_factory):
    made = Catalogue(system, judges, tmp_path_factory.mktemp("web"))
    system.start_api("--source-allow-private", "127.0.0.0/8", "--source-ca-file", made.authorities)
    system.start_worker("production")
    system.wait_connected()
    made.fill()
    yield made
    made.close()


@pytest.fixture(scope="session")
def count():
    """Counts what the summary shows."""
    return COUNTS


@pytest.fixture(scope="session")
def admin_token(system):
    return system.new_token(roles=(ROLE_ADMIN,), user="judge")[0]
