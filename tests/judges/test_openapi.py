"""Schemathesis judges the running API by schemas/openapi.yaml: with all its checks it finds nothing."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from harness.broker import EmbeddedBroker
from harness.installation import ROLE_ADMIN, Installation
from harness.program import REPOSITORY

HERE = pathlib.Path(__file__).resolve().parent


@pytest.fixture
def installation(tmp_path):
    """One of its own, with what the examples of the document speak of: Schemathesis changes and deletes whatever it finds."""
    broker = EmbeddedBroker(tmp_path)
    installation = Installation(broker, tmp_path)
    installation.add_environment("production")
    installation.add_environment("staging")
    installation.add_project("MyProject")
    installation.start_api()
    installation.start_workers("production", "staging")
    installation.wait_connected()
    yield installation
    installation.stop()
    broker.stop()


def test_schemathesis_finds_nothing(installation, tmp_path, count):
    token, _ = installation.new_token(roles=(ROLE_ADMIN,), user="judge")
    program = shutil.which("schemathesis", path=pathlib.Path(sys.executable).parent)
    assert program, "schemathesis is missing: make check-deps"
    done = subprocess.run(
        [program, "--config-file", HERE / "schemathesis.toml", "run", REPOSITORY / "schemas" / "openapi.yaml", "--url", f"http://{installation.api.address}",
         "--header", f"Authorization: Bearer {token}"],
        cwd=tmp_path, env=os.environ | {"SCHEMATHESIS_HOOKS": "schemathesis_hooks", "PYTHONPATH": str(HERE), "NO_COLOR": "1", "COLUMNS": "200"},
        capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stdout[-20000:] + done.stderr[-4000:]
    generated = re.search(r"(\d+) generated", done.stdout)
    assert generated and int(generated.group(1)) > 3000, done.stdout[-4000:]
    operations = re.search(r"Tested: (\d+)", done.stdout)
    count[f"requests of Schemathesis to {operations.group(1)} operations answered as the document says"] += int(generated.group(1))
