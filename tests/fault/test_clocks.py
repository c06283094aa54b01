"""The invariants when clocks are wrong for hours, and when acks come hours late."""

import contextlib
import json
import random
from datetime import datetime, timedelta

from harness import http
from harness.audit import check_chain
from harness.installation import jwk_path, jwks_path
from harness.keys import new_key
from harness.program import wait_until

from .faults import HOURS, HOURS_MS, disturbing, kill_for_long
from .history import read_lines
from .judged import judged
from .load import PROJECTS


def test_what_was_recorded_while_a_clock_was_a_day_ahead_is_delivered_when_it_is_right_again(tmp_path):
    """On Kafka, which refuses records of the future."""
    ahead = next(seed for seed in range(1000) if random.Random(seed).choice(HOURS) == max(HOURS))
    with judged(tmp_path, 16, "kafka", faults=[]) as run:
        run.round([(0.5, "turn_clock_of_api", ahead)])
        run.round([(0.5, "turn_all_clocks", ahead)])
        turned = [line["hours"] for line in read_lines(tmp_path / "history.jsonl") if line["kind"] == "clock" and line["node"] == "api"]
        assert turned == [max(HOURS)] * 2


def test_what_a_worker_took_for_ended_while_its_clock_was_ahead_is_served_again(tmp_path):
    """A replaced key that other verifiers still need: in the set that is served, and in the file that is exported."""
    export = tmp_path / "export"
    with judged(tmp_path, 18, "embedded", clients=0, faults=[], workers=[("production", "edge-1"), ("staging", "edge-1")],
                worker_options=["--export-dir", export]) as run:
        node = run.cluster.workers["staging-edge-1"]

        def change(path, **body):
            answer = http.request(run.cluster.api.address, "POST", path, json.dumps({"sourceType": "COPY_PASTE"} | body).encode(),
                                  {"Authorization": f"Bearer {run.cluster.token}", "Content-Type": "application/json"})
            assert answer.json["deploymentResult"]["success"], answer

        def new(kid):
            return json.dumps(new_key("EC", kid=kid))

        def served():
            file = json.loads((export / f"{PROJECTS[0]}.json").read_text())
            return run.served(node)[PROJECTS[0]]["keys"], file["keys"]

        def turn(hours, name):
            for worker in run.cluster.workers.values():  # they share the directory
                worker.shim.fields.clock_offset_ms = hours * 3600 * 1000
            change(jwks_path(PROJECTS[1]), name=name, jwkStr=new(name))  # elsewhere: what is exported is looked at
        change(jwks_path(PROJECTS[0]), name="a", jwkStr=new("old"))
        change(jwk_path(PROJECTS[0], "a") + "rotate", jwkStr=new("new"), overlapSeconds=600)
        for hours, name, kids in ((5, "b", {"new"}), (0, "c", {"new", "old"})):
            turn(hours, name)
            wait_until(lambda kids=kids: all({key["kid"] for key in keys} == kids for keys in served()), f"{kids} are served")


def test_what_is_acked_hours_late_is_recorded_and_told_while_the_clock_of_the_api_goes_forth_and_back(tmp_path):
    """One worker stands still and another one's way to the broker is cut while deployments are given up. They go on when it is
    tomorrow by the clock of the API, and once more when another process of it takes it for yesterday."""
    with judged(tmp_path, 20, "embedded", clients=0, faults=[], worker_options=["--heartbeat-interval", "3s"]) as run, \
            contextlib.ExitStack() as held:
        api, still, cut = run.cluster.api, run.cluster.workers["production-edge-1"], run.cluster.workers["staging-edge-1"]
        for node in (api, still, cut):
            held.enter_context(disturbing(node))

        def ask(method, path, body=None):
            headers = {"Authorization": f"Bearer {run.cluster.token}", "Content-Type": "application/json", "Prefer": "wait=1"}
            answer = http.request(api.address, method, path, json.dumps(body).encode() if body else None, headers)
            assert answer.status == 200, answer
            return answer

        def stored(location):
            deployment, = ask("GET", location).json["resultList"]
            return deployment

        def messages(told):
            return {each["environmentName"]: each["message"] for each in told["deploymentResult"]["environmentResults"]}

        def stop():
            still.program.pause()
            cut.proxy.hold("up")

        def go_on():
            still.program.resume()
            cut.proxy.heal()

        def give_up(description):
            """Returns what names the deployment."""
            answer = ask("PUT", jwk_path(PROJECTS[0], "late"), {"description": description})
            sentence = "Timed out after 1 s waiting for replica edge-1; the deployment goes on"
            assert answer.json["success"] and not answer.json["deploymentResult"]["success"]
            assert messages(answer.json) == dict.fromkeys(run.environments, sentence)
            return answer.headers["Location"]

        def expect_given_up(*locations):
            for deployment in map(stored, locations):
                assert deployment["state"] == "IN_PROGRESS" and not deployment["deploymentResult"]["success"]
                assert all(message.startswith("Timed out after 1 s") for message in messages(deployment).values())
                assert all(each["time"] is None for each in deployment["deploymentResult"]["environmentResults"])

        def expect_succeeded(hours, *locations):
            """hours: for how long the API takes them to have been on their way to each environment."""
            for location in locations:
                wait_until(lambda location=location: stored(location)["state"] == "SUCCEEDED", "it has succeeded")
                deployment = stored(location)
                assert deployment["deploymentResult"]["success"]
                for each in deployment["deploymentResult"]["environmentResults"]:
                    assert each["message"].startswith("Deployed successfully")
                    took = datetime.fromisoformat(each["time"]) - datetime.fromisoformat(deployment["startTime"])
                    assert round(took / timedelta(hours=1)) == hours[each["environmentName"]]

        def heard():
            """Whether a heartbeat of each replica has told of what it has acked."""
            environments = ask("GET", f"/apiops/projects/{PROJECTS[0]}/drift/").json["resultList"]
            return all(environment["inSync"] for environment in environments)

        def turn(hours):
            api.shim.fields.clock_offset_ms = hours * HOURS_MS

        body = {"name": "late", "sourceType": "COPY_PASTE", "jwkStr": json.dumps(new_key())}
        created = ask("POST", jwks_path(PROJECTS[0]), body)
        assert messages(created.json) == dict.fromkeys(run.environments, "Deployed successfully")
        stop()
        today = [give_up(f"today {number}") for number in range(2)]
        turn(30)
        expect_given_up(*today)
        go_on()
        expect_succeeded({"production": 30, "staging": 30}, *today)

        wait_until(heard, "heartbeats of tomorrow are read")
        stop()
        tomorrow = [give_up("tomorrow")]
        # The one that stands still is offline then, since a moment ago whatever that clock says, and the other one has it.
        sentence = "Deployed successfully to 1 of 2 replicas; edge-1 has been offline since "
        wait_until(lambda: messages(stored(tomorrow[0]))["production"].startswith(sentence), "it is not waited for")
        answer = ask("PUT", jwk_path(PROJECTS[0], "late"), {"description": "offline"})
        assert messages(answer.json)["production"].startswith(sentence), answer
        tomorrow.append(answer.headers["Location"])
        assert messages(stored(tomorrow[1])) == messages(answer.json), "what was answered is stored before the API is killed"
        turn(-5)
        kill_for_long(run, api)
        run.revive(api)
        api.wait_ready()
        yesterday = [give_up("yesterday")]
        expect_given_up(*yesterday)
        go_on()
        expect_succeeded({"production": 0, "staging": 0}, *yesterday)
        expect_succeeded({"production": 0, "staging": -35}, *tomorrow)
        history = ask("GET", jwk_path(PROJECTS[0], "late") + "deployments/").json["resultList"]
        assert [each["version"] for each in history] == list(range(6, 0, -1)), "in the order of commits, not of clocks"

        run.round([(0.1, "late_acks", 1), (0.2, "late_acks", 2)])  # and what was acked long ago, again and changed
        for location in (*today, *tomorrow, *yesterday):
            assert stored(location)["state"] == "SUCCEEDED"
        wait_until(lambda: run.api_rows("SELECT count(*) FROM audit_outbox") == [(0,)], "the audit trail is on its topic")
        run.auditor.catch_up()
        told = {}
        trail = [line["value"] for line in read_lines(run.topics_path) if line["topic"] == "audit" and line["value"]]
        for entry in check_chain(trail):
            if entry["type"] == "outcome":
                outcomes = told.setdefault((entry["deploymentId"], entry["environment"]), [])
                outcomes.append((entry["settled"], entry["success"]))
        for location in (*today, *yesterday):
            for environment in run.environments:
                outcomes = told[location.rstrip("/").rpartition("/")[2], environment]
                assert outcomes == [(False, False), (True, True)], "given up, then a success, once"
        run.cluster.export_api_keys()
        verified = run.cluster.command("audit", "verify", *run.cluster.broker_options, "--api-keys", run.cluster.api_keys_file)
        assert verified.returncode == 0 and "The trail is whole" in verified.stderr, verified.stderr
