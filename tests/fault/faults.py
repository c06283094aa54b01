"""The faults that a schedule is made of. Each is a generator: it does its harm, yields for how many seconds that lasts, and mends it.

What is killed is started again by the fault itself, as a supervisor would. `run` is the driver's Run; every choice comes from `random`."""

import contextlib
import errno
import re
import resource
import shutil
import signal

from harness.program import Program

from .cluster import HEARTBEAT_MS, STATUS_FENCED, WorkerNode
from .history import now

FAULTS = {}  # name -> (function, weight, kinds of broker)
HOURS_MS = 3_600_000
PATIENCE_S, LOOK_S = 30, 0.02  # of a fault that waits for something, and between two looks
HOURS = (-30, -5, -1, 1, 5, 30)  # by which clocks are turned


def fault(weight=1, brokers=("embedded", "kafka")):
    def register(function):
        FAULTS[function.__name__] = (function, weight, brokers)
        return function
    return register


def register_for_each_program(name, function, weight, *how):
    """Two faults, "api …" and "worker …", of one function that takes (run, random, node, *how)."""
    def of_api(run, random):
        yield from function(run, random, run.take_api(), *how)

    def of_worker(run, random):
        yield from function(run, random, run.take_worker(random), *how)
    FAULTS[f"api {name}"] = (of_api, weight, ("embedded", "kafka"))
    FAULTS[f"worker {name}"] = (of_worker, weight, ("embedded", "kafka"))


@contextlib.contextmanager
def disturbing(node):
    """While a fault has this node, no other takes it, and nobody relies on it."""
    node.busy = True
    node.undisturbed_since = None
    try:
        yield
    finally:
        node.undisturbed_since = None
        node.busy = False


@contextlib.contextmanager
def harming(run, node):
    """The fault has met something to harm by the end of the block, or has missed."""
    before = node.shim.fields.harmed
    yield
    if node.shim.fields.harmed == before:
        run.miss(node=node.name)


# ---- death ----

def kill_for_long(run, node):
    """Until a test that has it in `disturbing` revives it."""
    with node.lock:
        node.expect_end = True
        node.kill()
        run.note_state(node)


def die_and_return(run, random, node, power_loss):
    with disturbing(node), node.lock:
        node.expect_end = True
        node.kill()
        lost = node.shim.power_loss(random) if power_loss else 0
        run.note_state(node)
    run.history.add("power_loss" if power_loss else "killed", node=node.name, lost_writes=lost)
    with disturbing(node):
        yield random.choice((0, random.uniform(0, 3)))
        run.revive(node)


@fault(weight=4)
def kill_api(run, random):
    yield from die_and_return(run, random, run.take_api(), False)


@fault(weight=4)
def kill_worker(run, random):
    yield from die_and_return(run, random, run.take_worker(random), False)


@fault(weight=4)
def power_loss_api(run, random):
    yield from die_and_return(run, random, run.take_api(), True)


@fault(weight=4)
def power_loss_worker(run, random):
    yield from die_and_return(run, random, run.take_worker(random), True)


# Where a program dies or freezes: (the n-th of this, counted from the first of that on).
POINTS = {
    "before a write": ("write", None), "before a sync": ("sync_begin", None), "after a sync": ("sync_end", None),
    "after the commit and before the produce": ("produce_begin", "sync_end"), "after the produce": ("produce_end", None),
    "between delivery and mark": ("write", "produce_end"), "on the report of a delivery": ("receive_end", "produce_end"),
}


AT_POINT = (("kill", False), ("kill", True), ("kill", True), ("stop", False))  # what is done there, and whether the power goes with it


def stop_at_point(run, random, node, point):
    then, first = POINTS[point]
    action, power_loss = random.choice(AT_POINT)
    with disturbing(node):
        with node.lock:
            node.expect_end = True
        node.shim.trigger(then, random.randint(1, 6), action, first, random.randint(1, 6))
        run.history.add("point", node=node.name, point=point, action=action)
        yield random.uniform(1, 2.5)
        fired = bool(node.shim.fields.fired)
        node.shim.clear()
        run.history.add("point_reached", node=node.name, point=point, action=action, fired=fired)
        if action == "stop":
            if fired:
                yield random.uniform(0, 8 * HEARTBEAT_MS / 1000)
            node.signal(signal.SIGCONT)
        if action == "kill" and fired:
            node.program.process.wait()
        with node.lock:
            if not node.running:
                if power_loss:
                    run.history.add("power_loss", node=node.name, lost_writes=node.shim.power_loss(random))
                run.note_state(node)
        run.revive(node)


for each in POINTS:
    register_for_each_program(each, stop_at_point, 1, each)


@fault(weight=2)
def kill_everything(run, random):
    nodes = [run.take_api(), *run.take_all_workers()]
    with contextlib.ExitStack() as stack:
        for node in nodes:
            stack.enter_context(disturbing(node))
            with node.lock:
                node.expect_end = True
                node.kill()
        for node in nodes:
            with node.lock:
                lost = node.shim.power_loss(random)
                run.note_state(node)
            run.history.add("power_loss", node=node.name, lost_writes=lost)
        yield random.uniform(0, 1)
        random.shuffle(nodes)
        for node in nodes:
            run.revive(node)


# ---- standing still ----

def freeze(node, random, run):
    with disturbing(node):
        node.program.pause()
        run.history.add("stopped", node=node.name)
        yield random.uniform(2 * HEARTBEAT_MS / 1000, 14 * HEARTBEAT_MS / 1000)
        node.program.resume()


@fault(weight=2)
def freeze_api(run, random):
    yield from freeze(run.take_api(), random, run)


@fault(weight=3)
def freeze_worker(run, random):
    yield from freeze(run.take_worker(random), random, run)


@fault(weight=2)
def freeze_broker(run, random):
    run.take_broker()
    run.cluster.broker.program.pause()
    yield random.uniform(1, 6)
    run.cluster.broker.program.resume()
    run.release_broker()


def end_broker(run, random, clean):
    run.take_broker()
    broker = run.cluster.broker.program
    run.history.add("broker_ended", clean=clean)
    if clean:
        broker.terminate()
        broker.wait_exit(60)
    else:
        broker.kill()
    yield random.uniform(0, 3)
    run.cluster.start_broker()
    run.release_broker()


@fault(weight=1, brokers=("kafka",))
def restart_broker(run, random):
    yield from end_broker(run, random, clean=True)


@fault(weight=1, brokers=("kafka",))
def kill_broker(run, random):
    yield from end_broker(run, random, clean=False)


# ---- disk ----

DISK_ERRORS = {"full": errno.ENOSPC, "read-only": errno.EROFS, "failing": errno.EIO}
DISKS = (*DISK_ERRORS, "sync fails", "short writes", "short then full")


def break_disk(run, random, node, how):
    run.history.add("disk", node=node.name, how=how)
    fields = node.shim.fields
    with disturbing(node):
        with node.lock:
            node.expect_end = True  # a program may end when its disk fails; it may not lose anything
        with harming(run, node):
            if how == "sync fails":
                fields.sync_error = errno.EIO
            elif how == "short writes":
                fields.write_short = 1
            elif how == "short then full":
                fields.write_short = 1
                yield random.uniform(0.1, 0.5)
                fields.write_error = errno.ENOSPC
            else:
                fields.write_error = DISK_ERRORS[how]
            yield random.uniform(0.3, 4)
        node.shim.clear()
        if random.random() < 0.3:
            with node.lock:
                node.kill()
                run.history.add("power_loss", node=node.name, lost_writes=node.shim.power_loss(random))
                run.note_state(node)
        run.revive(node)


def start_on_broken_disk(run, random, node, how):
    """It is killed, and started before its disk is mended: it may end again and again, as a supervisor would see it, and must not need more
    than another start in the end."""
    with disturbing(node), harming(run, node):
        kill_for_long(run, node)
        node.shim.fields.write_error = DISK_ERRORS[how]
        run.history.add("disk", node=node.name, how=f"{how} at the start")
        with node.lock:
            node.start()
        yield random.uniform(0.5, 2)
        node.shim.clear()
        if not node.running:
            run.history.add("refused_start", node=node.name, status=node.program.process.returncode, log=node.program.log()[-600:])
        run.revive(node)


for each in DISKS:
    register_for_each_program(f"disk {each}", break_disk, 0.5, each)
for each in ("full", "read-only"):
    register_for_each_program(f"started on a {each} disk", start_on_broken_disk, 0.5, each)


# ---- resources, clock ----

# Of so many allocations one fails: SQLite keeps most of what it has.
ALLOCATIONS_MOST = {"the program": 400, "SQLite": 60}


def exhaust_memory(run, random, node, of):
    with disturbing(node):
        with node.lock:
            node.expect_end = True
        node.shim.fail_allocation(random.randint(1, ALLOCATIONS_MOST[of]), of, continues=random.random() < 0.5)
        yield random.uniform(1, 2)
        fired = node.shim.allocation_failed
        node.shim.clear()
        if fired:
            status = node.program.process.wait(10)
            run.history.add("out_of_memory", node=node.name, status=status, log=node.program.log()[-300:])
            with node.lock:
                run.note_state(node)
        else:
            run.miss(node=node.name)
        run.revive(node)


def exhaust_descriptors(run, random, node):
    with disturbing(node):
        with node.lock:
            node.expect_end = True
        before = resource.prlimit(node.program.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(node.program.pid, resource.RLIMIT_NOFILE, (random.choice((3, 20, 30)), before[1]))
        run.history.add("descriptors", node=node.name)
        with harming(run, node):
            node.proxy.reset()  # now it needs new ones
            yield random.uniform(0.5, 4)
        if node.running:
            resource.prlimit(node.program.pid, resource.RLIMIT_NOFILE, before)
        run.revive(node)


for each in ALLOCATIONS_MOST:
    register_for_each_program("out of memory" if each == "the program" else f"out of memory in {each}", exhaust_memory, 1, each)
register_for_each_program("out of descriptors", exhaust_descriptors, 1)


def turn_clocks(run, random, nodes):
    """Each by hours of its own, forth or back, and back again after a while."""
    with contextlib.ExitStack() as stack:
        for node in nodes:
            stack.enter_context(disturbing(node))
            stack.enter_context(harming(run, node))
            hours = random.choice(HOURS)
            run.history.add("clock", node=node.name, hours=hours)
            node.shim.fields.clock_offset_ms = hours * HOURS_MS
        yield random.uniform(0.5, 3)
        for node in nodes:
            node.shim.fields.clock_offset_ms = 0


@fault(weight=1)
def turn_clock_of_api(run, random):
    yield from turn_clocks(run, random, [run.take_api()])


@fault(weight=1)
def turn_clock_of_worker(run, random):
    yield from turn_clocks(run, random, [run.take_worker(random)])


@fault(weight=1)
def turn_all_clocks(run, random):
    yield from turn_clocks(run, random, [run.take_api(), *run.take_all_workers()])


# ---- identity ----

@fault(weight=1)
def second_api(run, random):
    """Refused by the lock, and the first goes on."""
    api = run.take_api()
    with disturbing(api):
        second = Program("second-api", api.arguments(run.directory / "second-api.address"), run.cluster.logs, run.second_environment)
        run.cluster.extra.append(second)
        status = second.wait_exit(10)
        run.history.add("second_api", status=status, first_running=api.running)
        yield 0


def until(condition, what):
    """What a fault waits for while the others go on."""
    deadline = now() + PATIENCE_S
    while not condition():
        assert now() < deadline, f"{PATIENCE_S} s in vain: {what}"
        yield LOOK_S


def copy_identity(run, node, random, asleep):
    """A copy of a state directory is started elsewhere: the earlier process ends with a status of its own. asleep: it sleeps until the copy
    has taken its place."""
    with disturbing(node):
        # Of two that both still wait for the broker, which is the earlier one is open.
        yield from until(node.is_ready, "the worker that is copied has said hello")
        with node.lock:
            node.expect_end = True
        run.copies += 1
        place = run.cluster.directory / "copies" / str(run.copies)
        with node.lock:  # a snapshot of a machine is of one moment
            node.program.pause()
            shutil.copytree(node.directory, place, ignore=shutil.ignore_patterns("*-shm"))
            if not asleep:
                node.program.resume()
        copy = WorkerNode(run.cluster, node.environment, node.replica, place, f"{node.name}-copy-{run.copies}")
        copy.start()
        run.cluster.extra.append(copy.program)
        if asleep:
            yield from until(copy.is_ready, "the copy of a worker is ready")
            run.history.add("woken", node=node.name)
            node.program.resume()
        yield from until(lambda: not node.running or not copy.running, "one of two equal workers ends")
        status = node.program.process.poll()
        # Its own, not that of a forged hello that it has refused.
        found = re.findall(r"event=announced .*worker=([0-9a-f-]{36})", copy.program.log())
        run.history.add("fenced", node=node.name, status=status, copy_status=copy.program.process.poll(), expected=STATUS_FENCED,
                        copy_worker=found[-1] if found else None)
        yield random.uniform(0, 1)
        copy.kill()
        copy.proxy.close()
        with node.lock:
            run.note_state(node)
        run.revive(node)


@fault(weight=1)
def copied_identity(run, random):
    yield from copy_identity(run, run.take_worker(random), random, asleep=False)


@fault(weight=1)
def zombie(run, random):
    """A worker that wakes after another has taken its place."""
    yield from copy_identity(run, run.take_worker(random), random, asleep=True)


@fault(weight=2)
def new_replica(run, random):
    if len(run.cluster.workers) < run.most_workers:
        environment = random.choice(("production", "staging"))
        run.cluster.add_worker(environment, f"edge-{len(run.cluster.workers) + 1}")
    else:
        run.miss(replicas=run.most_workers)
    yield 0


@fault(weight=2)
def lost_state(run, random):
    """A replica's disk is gone; it is rebuilt from the topic. The embedded broker may have forgotten too much for that in long runs."""
    node = run.take_worker(random)
    with disturbing(node), node.lock:
        node.expect_end = node.rebuilding = True
        node.kill()
        shutil.rmtree(node.directory)
        node.directory.mkdir(mode=0o700)
        node.shim.rebase()
    run.history.add("state_lost", node=node.name)
    with disturbing(node):
        yield random.uniform(0, 1)
        run.revive(node)
