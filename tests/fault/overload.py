"""More than can be carried: a broker that stands still, ten times as many callers as may wait, and clients that dribble."""

import asyncio
import collections
import json

from harness.http import split_address
from harness.installation import jwk_path

from .history import now
from .report import percentile

SLOW_CLIENTS = 100


async def put(address, token, project, name, description):
    """One PUT on a connection of its own; returns (status, Retry-After, seconds)."""
    begin = now()
    try:
        reader, writer = await asyncio.open_connection(*split_address(address))
        body = json.dumps({"description": description}).encode()
        writer.write(f"PUT {jwk_path(project, name)} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n"
                     f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)).decode()
        await asyncio.wait_for(reader.read(), 30)
        writer.close()
    except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError) as problem:
        return type(problem).__name__, None, now() - begin
    headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
    return int(head.split()[1]), headers.get("retry-after"), now() - begin


async def dribble(address, stop):
    """A client that sends a byte now and then, and never ends its request."""
    try:
        _, writer = await asyncio.open_connection(*split_address(address))
        for byte in b"PUT /apiops/projects/x/jwks/y/ HTTP/1.1\r\nX-Slow: " + b"a" * 1000:
            if stop.is_set():
                break
            writer.write(bytes([byte]))
            await asyncio.sleep(0.2)
        writer.close()
    except OSError:
        pass  # it was shown the door


async def callers(count, seconds, address, token, project, names):
    """count callers, each asking again as soon as it is answered (a 503 is asked again after what it says); returns all answers."""
    end, answers = now() + seconds, []

    async def call(number):
        while now() < end:
            answer = await put(address, token, project, names[number % len(names)], f"overload-{number}-{len(answers)}")
            answers.append(answer)
            if answer[0] != 200:
                await asyncio.sleep(float(answer[1] or 0.2))
    await asyncio.gather(*(call(number) for number in range(count)))
    return answers


async def overload(run, names, project, many=2000, few=16, seconds=4.0):
    """Returns what was measured before, during and after."""
    api, token = run.cluster.api, run.cluster.token
    before = await callers(few, 2.0, api.address, token, project, names)
    base = api.resident()
    stop = asyncio.Event()
    slow = [asyncio.ensure_future(dribble(api.address, stop)) for _ in range(SLOW_CLIENTS)]
    most = [base]

    async def watch():
        while not stop.is_set():
            most[0] = max(most[0], api.resident())
            await asyncio.sleep(0.1)
    watching = asyncio.ensure_future(watch())
    run.cluster.api.proxy.slow(1.0)
    during = await callers(many, seconds, api.address, token, project, names)
    run.cluster.api.proxy.heal()
    stop.set()
    await asyncio.gather(watching, *slow)
    # What was accepted is carried to its end before the throughput is looked at again.
    await asyncio.get_running_loop().run_in_executor(None, run.wait_for, run.all_settled, "the backlog is settled")
    after = await callers(few, 2.0, api.address, token, project, names)
    refusals = [answer[2] for answer in during if answer[0] == 503]
    return {"before": sum(answer[0] == 200 for answer in before) / 2.0, "after": sum(answer[0] == 200 for answer in after) / 2.0,
            "statuses": dict(collections.Counter(answer[0] for answer in during)),
            "without_retry_after": sum(answer[0] == 503 and not answer[1] for answer in during),
            "refusal_p99": percentile(refusals, 0.99), "resident_before": base, "resident_most": most[0]}
