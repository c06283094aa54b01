"""One installation that all judges look at, the judges, and what they are to judge."""

import collections
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "blackbox"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import panel  # noqa: E402
from catalogue import Catalogue  # noqa: E402
from harness import sources  # noqa: E402
from harness.broker import EmbeddedBroker  # noqa: E402
from harness.installation import Installation  # noqa: E402
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
def ours():
    """The product's seals and signatures, as they answer requests."""
    asked = panel.ours()
    yield asked
    asked.close()


@pytest.fixture(scope="session")
def web(tmp_path_factory):
    """The https server of the tests; `authorities` is the file by which its certificate is judged."""
    context, authorities = sources.tls_context(tmp_path_factory.mktemp("web"))
    server = sources.SourceServer(context)
    server.authorities = authorities
    yield server
    server.close()


@pytest.fixture(scope="session")
def system(web, tmp_path_factory):
    """API and one worker; the API may fetch from this machine, and takes the certificate of the tests' web server for an authority's."""
    directory = tmp_path_factory.mktemp("judges")
    broker = EmbeddedBroker(directory)
    installation = Installation(broker, directory)
    installation.add_environment("production")
    installation.start_api("--source-allow-private", "127.0.0.0/8", "--source-ca-file", web.authorities)
    installation.start_worker("production")
    installation.wait_connected()
    yield installation
    installation.stop()
    broker.stop()


@pytest.fixture(scope="session")
def catalogue(system, judges, web):
    made = Catalogue(system, judges, web)
    made.fill()
    return made


@pytest.fixture(scope="session")
def count():
    """Counts what the summary shows."""
    return COUNTS
