"""Fixtures: brokers, installations on them, and a project of its own for each test."""

import itertools
import os
import sys

import pytest

from harness.broker import EmbeddedBroker, KafkaBroker
from harness.installation import Installation
from harness.program import BUILD, REPOSITORY, Program

sys.path.append(str(REPOSITORY / "tests"))
from fault import shim  # noqa: E402

BROKERS = os.environ.get("JWK_TEST_BROKERS", "embedded,kafka").split(",")


def pytest_sessionstart():
    for program in ("jwk-api", "jwk-worker"):
        if not (BUILD / program).exists():
            pytest.exit(f"{BUILD / program} is missing: run make first", returncode=2)


def pytest_sessionfinish():
    """Leaves nothing behind, also where a fixture failed half-way."""
    for program in Program.started:
        program.kill()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Shows with a failure what the programs said meanwhile."""
    report = (yield).get_result()
    for program, news in Program.all_news():
        if report.failed:
            report.sections.append((f"log of {program.name} (pid {program.pid})", news[-8000:]))


@pytest.fixture(scope="session")
def kafka(tmp_path_factory):
    broker = KafkaBroker(tmp_path_factory.mktemp("kafka"))
    yield broker
    broker.stop()


@pytest.fixture(scope="module")
def embedded_broker(tmp_path_factory):
    broker = EmbeddedBroker(tmp_path_factory.mktemp("broker"))
    yield broker
    broker.stop()


@pytest.fixture(scope="module", params=BROKERS)
def broker(request):
    """Both brokers in turn."""
    return request.getfixturevalue("kafka" if request.param == "kafka" else "embedded_broker")


def two_environments(broker, directory):
    installation = Installation(broker, directory)
    installation.add_environment("production")
    installation.add_environment("staging")
    installation.start_api()
    installation.start_workers("production", "staging")
    installation.wait_connected()
    return installation


@pytest.fixture(scope="module")
def system(broker, tmp_path_factory):
    """API, production and staging with one replica each, on both brokers in turn; shared by the tests of a module."""
    installation = two_environments(broker, tmp_path_factory.mktemp("system"))
    yield installation
    installation.stop()


@pytest.fixture(scope="module")
def embedded_system(tmp_path_factory):
    """The same for tests to which the broker makes no difference, on an embedded broker of its own: that has one set of topics."""
    directory = tmp_path_factory.mktemp("system")
    broker = EmbeddedBroker(directory)
    installation = two_environments(broker, directory)
    yield installation
    installation.stop()
    broker.stop()


@pytest.fixture
def installation(request, tmp_path_factory):
    """An installation for one test, which starts of it what it needs. On the module's `broker` when the test asks for that, else on an
    embedded broker of its own, which it may stop and pause."""
    directory = tmp_path_factory.mktemp("installation")
    own = None
    where = request.getfixturevalue("broker") if "broker" in request.fixturenames else None
    if where is None or where.kind == "embedded":
        where = own = EmbeddedBroker(directory)
    made = Installation(where, directory)
    yield made
    if own and own.paused:
        own.resume()
    made.stop()
    if own and own.running:
        own.stop()


@pytest.fixture
def shifted_clock(tmp_path):
    """A function that gives the environment variables of a program whose wall clock is off by so many hours."""
    if "-" in BUILD.name:
        pytest.skip("what shifts the clock and a sanitizer exclude each other")
    shims = []  # their memory is what the programs look at

    def shift(hours):
        shims.append(shim.Shim(shim.build(BUILD / "fault"), tmp_path / f"shim-{len(shims)}", tmp_path / f"watched-{len(shims)}"))
        shims[-1].fields.clock_offset_ms = int(hours * 3_600_000)
        return shims[-1].environment
    return shift


_numbers = itertools.count(1)


@pytest.fixture
def project(request):
    """A new project of whichever installation the test uses."""
    for name in ("system", "embedded_system", "installation"):
        if name in request.fixturenames:
            return request.getfixturevalue(name).add_project(f"MyProject-{next(_numbers)}")
    raise LookupError("the test uses no installation")
