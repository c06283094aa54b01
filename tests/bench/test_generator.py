"""The load generator counts a request's time from when it was due, so that a server that stands still is not asked less for it."""

import http.server
import json
import os
import pathlib
import subprocess
import threading
import time

import pytest

LOAD = pathlib.Path(os.environ.get("JWK_BUILD", "build")).resolve() / "bench" / "load"
STALL_S = 1.0


@pytest.fixture
def stalling():
    """The address of a server that stands still once, for a second, after its hundredth answer."""
    count, lock, goes_on = [0], threading.Lock(), [0.0]

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            with lock:
                count[0] += 1
                if count[0] == 100:
                    goes_on[0] = time.monotonic() + STALL_S
            time.sleep(max(0.0, goes_on[0] - time.monotonic()))  # what is served stands still
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_):
            pass
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def load(address, *arguments):
    done = subprocess.run([LOAD, "--json", "--url", address, "--path", "/", "--connections", "4", "--duration", "3", *arguments],
                          capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_what_was_due_while_the_server_stood_still_is_late(stalling):
    result = load(stalling, "--rate", "200")
    assert result["answered"] + result["unsent"] > 500
    assert result["p90_us"] > 100_000, result  # a third of the requests was due in that second


def test_a_closed_loop_asks_less_meanwhile(stalling):
    result = load(stalling)
    assert result["max_us"] > STALL_S * 900_000 and result["p90_us"] < result["max_us"] / 2, result
