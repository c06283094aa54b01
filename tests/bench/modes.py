"""What is measured: one function for each mode. Each returns its figures and the text that is printed."""

import pathlib
import re
import statistics
import subprocess
import time

from measured import BUILD, Failure, MeasuredProgram, Pair, counter, cpu_of, free_ports, request, run_floor, run_load, run_tool, seed
from harness.program import wait_until
from report import Bars, medians, milliseconds, plot, table

SPREAD = 10000  # JWKs that updates are spread over where the mode does not say another number


def words(figures, name):
    return f"{figures[name]:.0f}" if name in figures else ""


def prepared_pair(kafka, directory, environments=("production", "staging"), replicas=1, projects=100, keys=SPREAD // 100,
                  private=False, **options):
    pair = Pair(kafka, directory, environments, replicas, **options)
    try:
        pair.add_projects([f"p{number}" for number in range(projects)])
        pair.start()
        seed(pair, projects, keys, 0, projects * keys, private=private)
        pair.wait_connected("p0")
    except BaseException:
        pair.stop()
        raise
    return pair


# ---- compare ----

def compare_rows(point, figures, workers):
    """Floor, the floor whose consumers commit, pair and its ratio to the first at one number in flight."""
    rows = []
    for kind in ("floor", "committing floor", "pair"):
        each = figures[kind]
        cpu, memory = each["cpu_us"], each["memory_mb"]
        rows.append([f"{kind}, {point} in flight", milliseconds(each["p50_us"]), milliseconds(each["p99_us"]),
                     milliseconds(each["p99_9_us"]), f"{each['rate']:.0f}", words(cpu, "api" if kind == "pair" else "floor"),
                     *(words(cpu, name) for name in workers), words(cpu, "broker"), words(cpu, "generator"),
                     words(memory, "api"), *(words(memory, name) for name in workers), words(memory, "broker")])
    floor, pair = figures["floor"], figures["pair"]
    ratios = [f"{pair[name] / floor[name]:.2f} ×" for name in ("p50_us", "p99_us", "p99_9_us")]
    programs = sum(pair["cpu_us"][name] for name in ("api", *workers)) / floor["cpu_us"]["floor"]
    broker = pair["cpu_us"]["broker"] / floor["cpu_us"]["broker"]
    rows.append([f"ratio, {point} in flight", *ratios, f"{100 * pair['rate'] / floor['rate']:.0f} %",
                 f"all three {programs:.1f} ×", *[""] * len(workers), f"{broker:.1f} ×", *[""] * (3 + len(workers))])
    return rows


def compare(kafka, directory, options):
    """The pair against the bare floor in alternation."""
    points = options.in_flight
    rounds = {point: {"floor": [], "committing floor": [], "pair": []} for point in points}
    with prepared_pair(kafka, directory) as pair:
        workers = list(pair.workers)
        # The broker's JVM compiles its hot paths first; both sides profit alike.
        for point in points[:2]:
            run_floor(kafka, directory, point, 2, options.duration)
        run_load(pair, connections=64, projects=100, keys=SPREAD // 100, duration=options.duration)
        for number in range(options.rounds):
            for point in points:
                options.say(f"round {number + 1} of {options.rounds}, {point} in flight")
                rounds[point]["floor"].append(run_floor(kafka, directory, point, 2, options.duration))
                rounds[point]["committing floor"].append(run_floor(kafka, directory, point, 2, options.duration, commit=True))
                rounds[point]["pair"].append(run_load(pair, connections=point, projects=100, keys=SPREAD // 100,
                                                      duration=options.duration))
        figures = {point: {kind: medians(each) for kind, each in kinds.items()} for point, kinds in rounds.items()}
        middle = points[len(points) // 2]
        rate = max(figures[middle]["pair"]["rate"] / 2, 1)
        options.say(f"open loop at {rate:.0f} updates/s")
        constant = run_load(pair, connections=max(points), projects=100, keys=SPREAD // 100, duration=options.duration,
                            rate=rate)
    short_names = [name.removesuffix("/replica-1") for name in workers]
    headings = ["", "p50 ms", "p99 ms", "p99.9 ms", "updates/s", "CPU µs: API or floor",
                *(f"CPU µs: {name}" for name in short_names), "CPU µs: broker", "CPU µs: generator", "MB: API",
                *(f"MB: {name}" for name in short_names), "MB: broker"]
    text = table(headings, [row for point in points for row in compare_rows(point, figures[point], workers)])
    text += (f"\n\nAt a constant rate of {rate:.0f} updates/s, latency from the moment each was due: "
             f"p50 {milliseconds(constant['p50_us'])} ms, p99 {milliseconds(constant['p99_us'])} ms, "
             f"p99.9 {milliseconds(constant['p99_9_us'])} ms, {constant['unsent']} never sent.")
    return {"rounds": rounds, "median": figures, "open_loop": constant}, text, compare_plot(points, figures)


def compare_plot(points, figures):
    names = [f"{point} in flight" for point in points]

    def series(name, scale):
        return {kind: [figures[point][kind][name] / scale for point in points] for kind in ("floor", "pair")}

    def short(value):
        return f"{value:.1f}" if value < 100 else f"{value:.0f}"
    panels = [Bars("p50 latency, ms", names, series("p50_us", 1000), short),
              Bars("p99 latency, ms", names, series("p99_us", 1000), short),
              Bars("deployed updates per second", names, series("rate", 1), lambda value: f"{value:,.0f}")]
    legend = {"floor": "bare floor: SQLite and librdkafka only", "pair": "jwk-api and two jwk-worker"}
    return plot(panels, legend, "logarithmic heights")


# ---- trust ----

def trust_measures(pair, point, duration):
    """Updates of descriptions, which leave the key alone, and creations of private keys, which are sealed."""
    projects, keys = 100, SPREAD // 100
    pair.created = getattr(pair, "created", projects * keys)
    updated = run_load(pair, connections=point, projects=projects, keys=keys, duration=duration)
    count = min(200 * point, 4000)
    created = seed(pair, projects, 1000, pair.created, count, connections=point, private=True)
    pair.created += count
    return {"update": updated, "create": created}


def trust(kafka, directory, options):
    """What signatures and sealed private halves cost: environments with keys against environments without, in alternation."""
    points, whats = options.in_flight, ("update", "create")
    rounds = {point: {"with keys": [], "without": []} for point in points}
    with prepared_pair(kafka, directory, private=True) as keyed, \
            prepared_pair(kafka, directory, private=True, with_keys=False) as plain:
        for number in range(options.rounds):
            for point in points:
                options.say(f"round {number + 1} of {options.rounds}, {point} in flight")
                for kind, pair in (("with keys", keyed), ("without", plain)):
                    rounds[point][kind].append(trust_measures(pair, point, options.duration))
    figures = {point: {kind: {what: medians([each[what] for each in measured]) for what in whats}
                       for kind, measured in kinds.items()} for point, kinds in rounds.items()}
    workers = ("production/replica-1", "staging/replica-1")
    rows = []
    for point in points:
        for what in whats:
            for kind in ("with keys", "without"):
                each = figures[point][kind][what]
                rows.append([f"{what}, {kind}, {point} in flight", milliseconds(each["p50_us"]), milliseconds(each["p99_us"]),
                             f"{each['rate']:.0f}", words(each["cpu_us"], "api"), *(words(each["cpu_us"], name) for name in workers)])
            keyed, plain = (figures[point][kind][what] for kind in ("with keys", "without"))
            rows.append([f"ratio, {what}, {point} in flight", f"{keyed['p50_us'] / plain['p50_us']:.2f} ×",
                         f"{keyed['p99_us'] / plain['p99_us']:.2f} ×", f"{100 * keyed['rate'] / plain['rate']:.0f} %",
                         *(f"{keyed['cpu_us'][name] / plain['cpu_us'][name]:.2f} ×" for name in ("api", *workers))])
    text = table(["", "p50 ms", "p99 ms", "per second", "CPU µs: API", "CPU µs: production", "CPU µs: staging"], rows)
    return {"rounds": rounds, "median": figures}, text, None


# ---- growth ----

def timed_calls(count, call):
    """The median of count calls, in microseconds."""
    durations = []
    for number in range(count):
        began = time.monotonic()
        call(number)
        durations.append((time.monotonic() - began) * 1e6)
    return statistics.median(durations)


def expect(status, answer, what):
    if status != 200:
        raise Failure(f"{what}: {status} {answer}")


def measure_updates(pair, projects, keys, kafka, directory, options):
    """One at a time and 64 in flight, with the floor in alternation."""
    rounds = {point: {"floor": [], "pair": []} for point in (1, 64)}
    for _ in range(options.rounds):
        for point, kinds in rounds.items():
            kinds["floor"].append(run_floor(kafka, directory, point, 2, options.duration))
            kinds["pair"].append(run_load(pair, connections=point, projects=projects, keys=keys, duration=options.duration))
    return {kind: {point: medians(rounds[point][kind]) for point in rounds} for kind in ("floor", "pair")}


def measure_bootstrap(pair, size):
    """How fast a new replica reads everything from the broker."""
    began = time.monotonic()
    fresh = pair.start_worker("production", f"fresh-{size}")
    wait_until(lambda: pair.is_ready(fresh), "the new replica is ready", 600)
    duration = time.monotonic() - began
    events = counter(fresh, "jwk_worker_events_total")  # those that a later one of the same JWK supersedes are read, too
    del pair.workers[f"production/fresh-{size}"]
    fresh.stop()
    return {"bootstrap_s": duration, "bootstrap_keys_per_s": size / duration, "bootstrap_events_per_s": events / duration}


def measure_size(pair, size, kafka, directory, options):
    """All figures at one size; the pair runs when called and when it returns."""
    projects, keys = min(size, SPREAD), max(1, size // SPREAD)
    figures = {"size": size} | measure_bootstrap(pair, size) | measure_updates(pair, projects, keys, kafka, directory, options)

    def rename(number):
        source, target = ("k1", "renamed") if number % 2 == 0 else ("renamed", "k1")
        status, answer = pair.call("PUT", f"/apiops/projects/hundred0/jwks/{source}/", {"name": target})
        expect(status, answer, "rename")

    def list_page(_):
        status, answer = pair.call("GET", "/apiops/projects/hundred0/jwks/?limit=50")
        expect(status, "", "list")

    worker = next(iter(pair.workers.values()))

    def key_set(_):
        status, _, body = request(worker.address, "GET", "/projects/hundred0/.well-known/jwks.json")
        expect(status, body, "key set")
    figures |= {"rename_us": timed_calls(20, rename), "list_us": timed_calls(50, list_page),
                "key_set_us": timed_calls(200, key_set)}
    figures["memory_mb"] = {name: program.memory_mb()[0] for name, program in pair.programs().items()}
    # Everything starts again on what it has.
    pair.stop()
    figures["api_start_s"] = pair.start_api()
    began = time.monotonic()
    environment, replica = pair.identities[0]
    first = pair.start_worker(environment, replica)
    wait_until(lambda: pair.is_ready(first), "a worker with its state is ready", 300)
    figures["worker_start_s"] = time.monotonic() - began
    for environment, replica in pair.identities[1:]:
        started = pair.start_worker(environment, replica)
        wait_until(lambda started=started: pair.is_ready(started), f"{environment} is ready", 300)
    pair.wait_connected("hundred0")
    figures["memory_after_start_mb"] = {name: program.memory_mb()[0] for name, program in pair.programs().items()}
    return figures


def growth(kafka, directory, options):
    """The same figures at each number of JWKs, in one store that grows."""
    points = []
    with Pair(kafka, directory) as pair:
        pair.add_projects(["hundred0", *(f"p{number}" for number in range(SPREAD))])
        pair.start()
        seed(pair, 1, 100, 0, 100, prefix="hundred")
        pair.wait_connected("hundred0")
        # The broker's JVM compiles its hot paths first, so that the first size is not the slowest for that.
        for _ in range(3):
            run_load(pair, connections=64, projects=1, keys=100, duration=options.duration, path="/apiops/projects/hundred%p/jwks/k%k/")
        filled = 0
        for size in options.sizes:
            options.say(f"filling up to {size} JWKs")
            filling = seed(pair, SPREAD, -(-max(options.sizes) // SPREAD), filled, size - filled)
            filled = size
            options.say(f"measuring at {size} JWKs")
            points.append(measure_size(pair, size, kafka, directory, options) | {"creates_per_s": filling["rate"]})
    headings = ["JWKs", "update p50 ms", "of the floor's", "p99 ms", "updates/s at 64", "of the floor's", "creates/s at 1,000",
                "rename ms", "list page ms", "key set ms", "API start s", "worker start s", "bootstrap keys/s", "events/s", "MB after start: API",
                "MB after start: worker"]
    rows = []
    for each in points:
        worker = next(name for name in each["memory_after_start_mb"] if name not in ("api", "broker"))
        alone, many, floor = each["pair"][1], each["pair"][64], each["floor"]
        rows.append([each["size"], milliseconds(alone["p50_us"]), f"{alone['p50_us'] / floor[1]['p50_us']:.2f} ×",
                     milliseconds(alone["p99_us"]), f"{many['rate']:.0f}", f"{100 * many['rate'] / floor[64]['rate']:.0f} %",
                     f"{each['creates_per_s']:.0f}", milliseconds(each["rename_us"]), milliseconds(each["list_us"]),
                     milliseconds(each["key_set_us"]), f"{each['api_start_s']:.2f}", f"{each['worker_start_s']:.2f}",
                     f"{each['bootstrap_keys_per_s']:.0f}", f"{each['bootstrap_events_per_s']:.0f}",
                     f"{each['memory_after_start_mb']['api']:.0f}",
                     f"{each['memory_after_start_mb'][worker]:.0f}"])
    text = table(headings, rows)
    first, last = points[0], points[-1]
    if last["size"] > first["size"]:
        worker = next(name for name in last["memory_after_start_mb"] if name not in ("api", "broker"))
        slopes = {name: (last["memory_after_start_mb"][name] - first["memory_after_start_mb"][name]) * 1024 * 1024
                  / (last["size"] - first["size"]) for name in ("api", worker)}
        ratios = [each["pair"][1]["p50_us"] / each["floor"][1]["p50_us"] for each in (first, last)]
        text += (f"\n\nUpdate p50 at {last['size']} JWKs: {last['pair'][1]['p50_us'] / first['pair'][1]['p50_us']:.2f} × that at "
                 f"{first['size']}, and as a multiple of the floor's {ratios[1] / ratios[0]:.2f} ×. "
                 f"Memory per key: API {slopes['api']:.0f} bytes, worker {slopes[worker]:.0f} bytes.")
    return {"points": points}, text, None


# ---- width ----

def measure_width(pair, in_flight, options):
    """A load with what the API counted meanwhile, and how long after each change was recorded its slowest ack was taken."""
    names = {"acks": 'jwk_api_acks_total{status="applied"}', "timed_out": "jwk_api_deployment_timeouts_total"}
    before, since = {name: counter(pair.api, metric) for name, metric in names.items()}, int(time.time() * 1000)
    # Under so many workers the slowest ack may be late: what is checked is that every update is recorded.
    result = run_load(pair, connections=in_flight, projects=10, keys=100, duration=options.duration, check=("--expect-status", 200))
    result |= {name: counter(pair.api, metric) - before[name] for name, metric in names.items()}
    result["acks_per_s"] = result["rate"] * result["acks"] / result["answered"]
    slowest = pair.slowest_acks(since)
    for share in (50, 99):
        result[f"slowest_ack_p{share}_ms"] = slowest[(len(slowest) - 1) * share // 100] if slowest else None
    return result


def width(kafka, directory, options):
    """Environments times replicas: the floor with as many consumers beside each, the acks that were gathered, and the slowest one."""
    points = []
    for environments in options.environments:
        for replicas in options.replicas:
            workers = environments * replicas
            options.say(f"{environments} environments, {replicas} replicas each")
            names = [f"environment-{number}" for number in range(environments)]
            with prepared_pair(kafka, directory, names, replicas, projects=10, keys=100) as pair:
                point = {"environments": environments, "replicas": replicas}
                for in_flight in (1, 64):
                    point[in_flight] = measure_width(pair, in_flight, options)
                    point[f"floor {in_flight}"] = run_floor(kafka, directory, in_flight, workers, options.duration)
            points.append(point)
    rows = []
    for point in points:
        workers = point["environments"] * point["replicas"]
        for in_flight in (1, 64):
            pair, floor = point[in_flight], point[f"floor {in_flight}"]
            rows.append([f"{point['environments']} × {point['replicas']}", in_flight, milliseconds(pair["p50_us"]),
                         f"{pair['p50_us'] / floor['p50_us']:.1f} ×", milliseconds(pair["p99_us"]),
                         f"{pair['p99_us'] / floor['p99_us']:.1f} ×", f"{pair['slowest_ack_p50_ms']} / {pair['slowest_ack_p99_ms']}",
                         f"{pair['rate']:.0f}", f"{pair['acks_per_s']:.0f}", f"{100 * pair['rate'] / floor['rate']:.0f} %",
                         f"{100 * pair['acks'] / pair['answered'] / workers:.1f} %", pair["timed_out"],
                         f"{pair['memory_mb']['api']:.0f}"])
    text = table(["environments × replicas", "in flight", "p50 ms", "of the floor's", "p99 ms", "of the floor's",
                  "slowest ack in, p50 / p99 ms", "updates/s", "acks/s", "of the floor's", "acks gathered", "timed out", "MB: API"], rows)
    return {"points": points}, text, None


# ---- waiting ----

def waiting(kafka, directory, options):
    """Many updates wait for a worker that is stopped: the memory of the API."""
    count = options.waiting
    # The stopped worker has to count as alive for as long as the measurement takes.
    with prepared_pair(kafka, directory, api_options=("--deploy-timeout", "60s"),
                       worker_options=("--heartbeat-interval", "30s")) as pair:
        before, _ = pair.api.memory_mb()
        stopped = next(reversed(pair.workers.values()))
        stopped.pause()
        load = MeasuredProgram("load", [BUILD / "bench" / "load", "--json", "--announce", "--url", pair.api.address,
                                        "--path", "/apiops/projects/p%p/jwks/k%k/", "--projects", 100, "--keys", SPREAD // 100,
                                        "--body", '{"description":"waits %n"}', "--connections", count, "--requests", count,
                                        "--timeout", 120, "--expect-deployed"], pair.directory, {"LOAD_TOKEN": pair.token})
        try:
            wait_until(lambda: "are under way" in load.log() or not load.running, "all updates are sent", 60)
            if not load.running:
                raise Failure(f"load ended: {load.log()}")
            # All have been recorded when the worker that runs has acked all of them: its CPU then rests.
            running = next(iter(pair.workers.values()))
            rested = []

            def rests():
                rested.append((running.cpu_seconds(), pair.api.cpu_seconds()))
                return len(rested) > 50 and all(last - earlier < 0.02 for last, earlier in zip(rested[-1], rested[-50]))
            wait_until(rests, "the other worker has applied all", 60)
            memory, highest = pair.api.memory_mb()
            stopped.resume()
            load.process.wait(120)
            if load.process.returncode:
                raise Failure(f"load ended with {load.process.returncode}: {load.log()}")
        finally:
            load.kill()
    text = (f"{count} updates waiting at once: the API takes {memory:.0f} MB ({before:.0f} MB before; at most "
            f"{highest:.0f} MB); all were answered with success when the worker went on.")
    return {"waiting": count, "api_mb": memory, "api_mb_before": before, "api_mb_highest": highest}, text, None


# ---- serving ----

SERVING_THREADS = 2  # of a worker by default; nginx gets as many processes

NGINX = """worker_processes {processes};
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/nginx-error.log;
events {{ worker_connections 1024; use epoll; }}
http {{
    access_log off;
    sendfile on;
    open_file_cache max=16;
    tcp_nopush on;
    keepalive_requests 1000000000;
    client_body_temp_path {directory}/nginx-body;
    proxy_temp_path {directory}/nginx-proxy;
    fastcgi_temp_path {directory}/nginx-fastcgi;
    uwsgi_temp_path {directory}/nginx-uwsgi;
    scgi_temp_path {directory}/nginx-scgi;
    types {{ application/jwk-set+json json; }}
    server {{ listen 127.0.0.1:{port}; root {directory}/www; add_header Cache-Control "public, max-age=60"; }}
}}
"""


def run_wrk(url, duration):
    done = subprocess.run(["wrk", "-t1", "-c64", f"-d{max(1, round(duration))}s", "--latency", url], capture_output=True, text=True,
                          check=False)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    if done.returncode or not rate or "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise Failure(f"wrk {url}: {done.stdout}{done.stderr}")
    late = re.search(r"99%\s+([\d.]+)(us|ms|s)", done.stdout)
    return {"rate": float(rate.group(1)), "p99_us": float(late.group(1)) * {"us": 1, "ms": 1000, "s": 1e6}[late.group(2)]}


def split_url(url):
    address, _, path = url.removeprefix("http://").partition("/")
    return address, f"/{path}"


def get_conditionally(url, etag):
    address, path = split_url(url)
    status, headers, body = request(address, "GET", path, headers={"If-None-Match": etag} if etag else {})
    return status, headers, body


def run_conditionally(url, etag, duration):
    """wrk waits for the body whose length a 304 may tell (RFC 9110, 8.6), so both are asked by our own generator."""
    address, path = split_url(url)
    return run_tool("load", ["--url", address, "--path", path, "--header", f"If-None-Match: {etag}", "--connections", 64,
                             "--duration", duration, "--warm-up", 0.5, "--expect-status", 304])


def serving(kafka, directory, options):
    """The key set of a project with 100 keys, against nginx with the same bytes in a file."""
    with Pair(kafka, directory, ("production",)) as pair:
        pair.add_projects(["hundred0"])
        pair.start()
        seed(pair, 1, 100, 0, 100, prefix="hundred")
        pair.wait_connected("hundred0")
        worker = next(iter(pair.workers.values()))
        urls = {"worker": f"http://{worker.address}/projects/hundred0/.well-known/jwks.json"}
        status, _, body = get_conditionally(urls["worker"], None)
        if status != 200 or body.count(b'"kty"') != 100:
            raise Failure(f"the key set: {status} {body[:300]}")
        port, = free_ports(1)
        (pair.directory / "www").mkdir()
        (pair.directory / "www" / "jwks.json").write_bytes(body)
        # nginx started by root serves as another user, who has to reach the file.
        for path in (pair.directory, pair.directory / "www"):
            path.chmod(0o755)
        (pair.directory / "nginx.conf").write_text(("user root;\n" if pathlib.Path("/proc/self").owner() == "root" else "")
                                                   + NGINX.format(directory=pair.directory, port=port, processes=SERVING_THREADS))
        nginx = MeasuredProgram("nginx", ["nginx", "-c", pair.directory / "nginx.conf",
                                          "-e", pair.directory / "nginx-error.log"], pair.directory)
        try:
            urls["nginx"] = f"http://127.0.0.1:{port}/jwks.json"

            def nginx_serves():
                if not nginx.running:
                    raise Failure(f"nginx ended: {nginx.log()}")
                try:
                    return get_conditionally(urls["nginx"], None)[2] == body
                except OSError:
                    return False
            wait_until(nginx_serves, "nginx serves the same bytes")
            etags = {name: get_conditionally(url, None)[1]["ETag"] for name, url in urls.items()}
            for name, url in urls.items():
                status, _, _ = get_conditionally(url, etags[name])
                if status != 304:
                    raise Failure(f"{name} answers {status} to If-None-Match")
            rounds = {(name, kind): [] for kind in ("200", "304") for name in urls}
            for number in range(options.rounds):
                options.say(f"round {number + 1} of {options.rounds}")
                for kind in ("200", "304"):
                    for name, url in urls.items():
                        rounds[name, kind].append(run_wrk(url, options.duration) if kind == "200"
                                                  else run_conditionally(url, etags[name], options.duration))
        finally:
            nginx.stop()
    figures = {f"{name} {kind}": {key: statistics.median(run[key] for run in runs) for key in ("rate", "p99_us")}
               for (name, kind), runs in rounds.items()}
    rows = [[kind, f"{figures[f'worker {kind}']['rate']:.0f}", f"{figures[f'nginx {kind}']['rate']:.0f}",
             f"{figures[f'worker {kind}']['rate'] / figures[f'nginx {kind}']['rate']:.2f} ×",
             milliseconds(figures[f"worker {kind}"]["p99_us"]), milliseconds(figures[f"nginx {kind}"]["p99_us"])]
            for kind in ("200", "304")]
    text = f"A key set of 100 keys, {len(body)} bytes, 64 connections:\n\n" + table(
        ["answer", "worker requests/s", "nginx requests/s", "ratio", "worker p99 ms", "nginx p99 ms"], rows)
    return {"bytes": len(body), "median": figures}, text, None


# ---- idle ----

SETTLING_S = 10


def idle(kafka, directory, options):
    """CPU over a minute in which nothing happens, and memory after the start on an empty store."""
    with Pair(kafka, directory).start() as pair:
        programs = {name: program for name, program in pair.programs().items() if name != "broker"}
        memory = {name: program.memory_mb() for name, program in programs.items()}
        time.sleep(SETTLING_S)  # what the start still has to do is not idleness
        options.say(f"watching for {options.idle_seconds:g} s")
        before, began = cpu_of(programs), time.monotonic()
        time.sleep(options.idle_seconds)  # the time itself is what is measured
        seconds = time.monotonic() - began
        after = cpu_of(programs)
        rows = [[name, f"{memory[name][0]:.1f}", f"{program.memory_mb()[0]:.1f}", f"{(after[name] - before[name]) * 1000:.0f}",
                 f"{100 * (after[name] - before[name]) / seconds:.2f}"] for name, program in programs.items()]
        figures = {name: {"start_mb": memory[name][0], "later_mb": program.memory_mb()[0], "cpu_s": after[name] - before[name],
                          "seconds": seconds} for name, program in programs.items()}
    return figures, table(["process", "MB after start", "MB later", f"CPU ms in {seconds:.0f} s", "CPU %"], rows), None


MODES = {"compare": compare, "trust": trust, "growth": growth, "width": width, "waiting": waiting, "serving": serving, "idle": idle}
