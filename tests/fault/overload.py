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


async def callers(count, address, token, project, names, seconds=None, requests=None):
    """count callers, each asking again as soon as it is answered (a 503 is asked again after what it says), for some time or until
    so many requests are answered by 200; returns all answers."""
    end, answers, done = now() + (seconds or 60), [], 0

    async def call(number):
        nonlocal done
        while now() < end and (requests is None or done < requests):
            answer = await put(address, token, project, names[number % len(names)], f"overload-{number}-{len(answers)}")
            answers.append(answer)
            done += answer[0] == 200
            if answer[0] != 200:
                await asyncio.sleep(float(answer[1] or 0.2))
    await asyncio.gather(*(call(number) for number in range(count)))
    return answers


async def rate(requests, few, *where):
    """Answers of 200 per second, over so many of them."""
    begin = now()
    answers = await callers(few, *where, requests=requests)
    return sum(answer[0] == 200 for answer in answers) / (now() - begin)


async def overload(run, names, project, many=2000, few=16, seconds=4.0, requests=600):
    """Returns what was measured before, during and after."""
    api = run.cluster.api
    where = (api.address, run.cluster.token, project, names)
    before = await rate(requests, few, *where)
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
    during = await callers(many, *where, seconds=seconds)
    run.cluster.api.proxy.heal()
    stop.set()
    await asyncio.gather(watching, *slow)
    # What was accepted is carried to its end before the throughput is looked at again.
    await asyncio.get_running_loop().run_in_executor(None, run.wait_for, run.all_settled, "the backlog is settled")
    # The best of a few, as others use the machine too: a throughput that stays away is away each time.
    after = max([await rate(requests, few, *where) for _ in range(3)])
    refusals = [answer[2] for answer in during if answer[0] == 503]
    return {"before": before, "after": after, "statuses": dict(collections.Counter(answer[0] for answer in during)),
            "without_retry_after": sum(answer[0] == 503 and not answer[1] for answer in during),
            "refusal_p99": percentile(refusals, 0.99), "resident_before": base, "resident_most": most[0]}
