"""What Prometheus gets to alert on that no other test looks at."""

import re

from harness.hand_worker import HandWorker
from harness.installation import run
from harness.program import wait_until
from harness.server import metric

# Names of environments may be any text; the text format wants these characters escaped.
ODD, ODD_ESCAPED = 'a "b" \\ c', 'a \\"b\\" \\\\ c'


def page(program):
    return program.request("GET", "/metrics")


def counts(installation, environment):
    """Ready, catching up and offline."""
    answer = page(installation.api)
    return tuple(metric(answer, f'jwk_api_replicas{{environment="{environment}",state="{state}"}}') for state in
                 ("ready", "catching-up", "offline"))


def test_replicas_are_counted_for_each_environment_by_what_they_are(installation):
    for environment in ("production", ODD):
        installation.add_environment(environment)
    credentials = installation.add_environment_with_keys("staging")
    installation.start_api()
    assert counts(installation, "production") == counts(installation, ODD_ESCAPED) == (0, 0, 0)
    for replica in ("edge-1", "edge-2"):
        installation.start_worker("production", replica, "--heartbeat-interval", "100ms")
    installation.start_worker(ODD)
    HandWorker(installation, "staging", credentials=credentials).say("hello")
    wait_until(lambda: counts(installation, "production") == (2, 0, 0), "both are ready")
    wait_until(lambda: counts(installation, ODD_ESCAPED) == (1, 0, 0), "so is that of the other environment")
    wait_until(lambda: counts(installation, "staging") == (0, 1, 0), "the one that has only said hello catches up")
    installation.workers["production", "edge-2"].kill()
    wait_until(lambda: counts(installation, "production") == (1, 0, 1), "the one that died is offline")
    installation.workers["production", "edge-1"].stop()
    wait_until(lambda: counts(installation, "production") == (0, 0, 1), "the one that was stopped is not missed")
    installation.restart_worker(installation.workers["production", "edge-2"])
    wait_until(lambda: counts(installation, "production") == (1, 0, 0), "it is back")
    installation.admin("environment", "remove", "production")
    assert 'environment="production"' not in page(installation.api).body.decode()


def test_lines_of_the_audit_trail_that_wait_for_kafka_are_counted(installation):
    api = installation.start_api()

    def waiting():
        return metric(page(api), "jwk_api_audit_lines_waiting")
    wait_until(lambda: waiting() == 0, "what the start has told is in Kafka")
    installation.broker.pause()
    for number in range(3):
        installation.add_project(f"project-{number}")
    assert waiting() == 3
    installation.broker.resume()
    wait_until(lambda: waiting() == 0, "nothing waits any more")


def test_the_version_that_runs_is_a_metric_of_both(embedded_system):
    version = re.fullmatch(r"jwk-api (\S+)\n", run(["--version"]).stdout)[1]
    for name, program in (("api", embedded_system.api), ("worker", embedded_system.workers["production", "edge-1"])):
        assert metric(page(program), f'jwk_{name}_build_info{{version="{version}"}}') == 1
