"""More than can be carried, of each kind: what is admitted is answered, the rest is refused at once, memory stays bounded, and when it is
over the same updates are confirmed as before it. How fast is measured, too: in the same run, before and after."""

import asyncio
import collections
import contextlib
import json
import os
import subprocess

from harness.http import split_address
from harness.installation import jwk_path
from harness.program import BUILD

from .faults import disturbing
from .history import now
from .report import percentile

WAITING, CONNECTIONS, CALLERS, SLOW_CLIENTS, FLOOD = 200, 4000, 1000, 1000, 1000
# What is measured: so many updates, this many at a time; and so many before, which are not.
MEASURED, IN_FLIGHT, WARM_UP = 1000, 16, 300
CALLER_WAITS_S = 4  # for a caller's deployment: far more than a refusal takes, also where the callers themselves are slow
ANSWER_S = 60.0  # what is not answered by then never will be
HOOK = """#!/bin/sh
[ ! -e "{flag}" ] || {{ echo >>"{flag}-runs"; exec sleep 0.2; }}
"""


async def put(address, token, project, name, description):
    """One PUT on a connection of its own; returns (status, Retry-After, seconds since it was sent).

    Not since it was to be sent: a thousand callers who connect at once wait for one another in this process."""
    begin = now()
    try:
        reader, writer = await asyncio.open_connection(*split_address(address))
        body = json.dumps({"description": description}).encode()
        writer.write(f"PUT {jwk_path(project, name)} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n"
                     f"Prefer: wait={CALLER_WAITS_S}\r\nContent-Type: application/json\r\n"
                     f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()
        begin = now()
        head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), ANSWER_S)).decode()
        await asyncio.wait_for(reader.read(), ANSWER_S)
        writer.close()
    except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError) as problem:
        return type(problem).__name__, None, now() - begin
    headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
    return int(head.split()[1]), headers.get("retry-after"), now() - begin


async def callers(run, project, names, seconds):
    """Each asks again as soon as it is answered, and after a 503 when that says, for some time; returns all answers."""
    end, answers = now() + seconds, []

    async def call(number):
        while now() < end:
            answer = await put(run.cluster.api.address, run.cluster.token, project, names[number % len(names)],
                               f"overload-{number}-{len(answers)}")
            answers.append(answer)
            if answer[0] not in (200, 202):
                await asyncio.sleep(float(answer[1] or 0.2))
    await asyncio.gather(*(call(number) for number in range(CALLERS)))
    return answers


def flood(run, project, names, *arguments):
    """The arguments that let the load generator of the benchmarks update these JWKs."""
    path = jwk_path(project, names[0]).replace(names[0], names[0].rpartition("-")[0] + "-%k")
    return [BUILD / "bench" / "load", "--json", "--url", run.cluster.api.address, "--path", path, "--keys", str(len(names)), "--token",
            run.cluster.token, "--body", '{"description":"flood-%n"}', *map(str, arguments)]


def confirmed(run, project, names, requests):
    """Makes so many updates, IN_FLIGHT at a time; returns (how many of them every environment has confirmed, a second)."""
    done = subprocess.run(flood(run, project, names, "--connections", IN_FLIGHT, "--requests", requests, "--expect-deployed"),
                          capture_output=True, text=True, check=False)
    told = json.loads(done.stdout)
    return told["answered"] - told["unexpected"], told["rate"]


# ---- kinds: each tells in `harmed` how much of it there was ----

@contextlib.asynccontextmanager
async def more_calls(run, measured, project, names):
    """Callers who do not even wait as they are told, as fast as they are answered."""
    process = await asyncio.create_subprocess_exec(*flood(run, project, names, "--connections", FLOOD, "--duration", 3600),
                                                   stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        output, _ = await process.communicate()
        told = json.loads(output)
        measured["harmed"] = told["answered"]
        measured["flood"] = {"statuses": told["statuses"], "unanswered": told["transport_errors"], "rate": told["rate"]}


@contextlib.asynccontextmanager
async def slow_broker(run, measured, *_):
    run.cluster.api.proxy.slow(1.0)
    yield
    measured["harmed"] = run.cluster.api.proxy.harmed["delay"]
    run.cluster.api.proxy.heal()


@contextlib.asynccontextmanager
async def stopped_broker(run, measured, *_):
    run.cluster.broker.program.pause()
    measured["harmed"] = 1
    yield
    run.cluster.broker.program.resume()


def hook(run_directory):
    """A program for workers to run on each change, slow while its flag is there; returns (program, flag)."""
    program, flag = run_directory / "hook", run_directory / "hook-is-slow"
    program.write_text(HOOK.format(flag=flag))
    program.chmod(0o700)
    return program, flag


@contextlib.asynccontextmanager
async def slow_worker(run, measured, *_):
    flag = run.directory / "hook-is-slow"
    flag.touch()
    yield
    measured["harmed"] = len(flag.with_name(f"{flag.name}-runs").read_text().splitlines())
    flag.unlink()


@contextlib.asynccontextmanager
async def stopped_worker(run, measured, *_):
    node = run.cluster.workers["production-edge-1"]
    with disturbing(node):
        node.program.pause()
        measured["harmed"] = 1
        yield
        node.program.resume()


async def dribble(address, stop):
    """A client that sends a byte now and then, and never ends its request."""
    with contextlib.suppress(OSError):  # it was shown the door
        _, writer = await asyncio.open_connection(*split_address(address))
        for byte in b"PUT /apiops/projects/x/jwks/y/ HTTP/1.1\r\nX-Slow: " + b"a" * 1_000_000:
            if stop.is_set():
                break
            writer.write(bytes([byte]))
            await asyncio.sleep(0.5)
        writer.close()


@contextlib.asynccontextmanager
async def slow_clients(run, measured, *_):
    stop = asyncio.Event()
    slow = [asyncio.ensure_future(dribble(run.cluster.api.address, stop)) for _ in range(SLOW_CLIENTS)]
    yield
    measured["harmed"] = sum(not each.done() for each in slow)
    stop.set()
    await asyncio.gather(*slow)


OVERLOADS = {each.__name__: each for each in (more_calls, slow_broker, stopped_broker, slow_worker, stopped_worker, slow_clients)}


# ---- the measurement ----

async def resident_most(run, stop):
    """The most memory that each program has used until then."""
    most = collections.Counter()
    while not stop.is_set():
        most |= {node.name: node.resident() for node in run.cluster.nodes}
        await asyncio.sleep(0.1)
    return most


async def during(run, kind, measured, project, names, seconds):
    stop = asyncio.Event()
    watching = asyncio.ensure_future(resident_most(run, stop))
    async with OVERLOADS[kind](run, measured, project, names):
        answers = await callers(run, project, names, seconds)
    measured["ended"] = now()  # all the answers came before
    stop.set()
    return answers, await watching


def is_over(run):
    return all(node.is_ready() for node in run.cluster.nodes) and run.all_equal() and run.all_settled()


def overload(run, kind, project, names, seconds):
    """Returns what was measured before, during and after; `resident` is of each program, in bytes."""
    confirmed(run, project, names, WARM_UP)
    measured = {"name": kind, "seconds": seconds, "of": MEASURED, "resident": {node.name: node.resident() for node in run.cluster.nodes}}
    measured["confirmed_before"], measured["rate_before"] = confirmed(run, project, names, MEASURED)
    answers, most = asyncio.run(during(run, kind, measured, project, names, seconds))
    # What was accepted is carried to its end before the throughput is looked at again.
    run.wait_for(lambda: is_over(run), "the backlog is settled")
    measured["recovery"] = now() - measured.pop("ended")
    measured["confirmed_after"], measured["rate_after"] = confirmed(run, project, names, MEASURED)
    measured["ratio"] = measured["rate_after"] / measured["rate_before"]
    refusals = [answer[2] for answer in answers if answer[0] == 503]
    return measured | {"statuses": dict(collections.Counter(str(answer[0]) for answer in answers)),
                       "without_retry_after": sum(answer[0] == 503 and not answer[1] for answer in answers),
                       "refusal_p50": percentile(refusals, 0.5), "refusal_p99": percentile(refusals, 0.99), "resident_most": dict(most),
                       "machine_load": os.getloadavg()[0]}
