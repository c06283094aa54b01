"""Faults of the network between each pair that talks: each program and the broker, some clients and the API."""

from .faults import FAULTS, disturbing, register_for_each_program

BOTH = ("up", "down")
HELD = {"cut": BOTH, "cut to the broker": ("up",), "cut from the broker": ("down",)}
LOSING = {"loss": BOTH, "loss to the broker": ("up",), "loss from the broker": ("down",)}
WAYS = (*HELD, *LOSING, "delay", "refused", "reset")


def harm_of(proxy, way):
    """How often it was done so far."""
    kinds = ([("cut", direction) for direction in HELD.get(way, ())] + [("loss", direction) for direction in LOSING.get(way, ())]) or [way]
    return sum(proxy.harmed[kind] for kind in kinds)


def break_way(run, proxy, random, way):
    before = harm_of(proxy, way)
    if way == "reset":
        for _ in range(random.randint(1, 4)):
            proxy.reset()
            yield random.uniform(0.1, 0.8)
    else:
        if way == "refused":
            proxy.refuse()
        elif way == "delay":
            proxy.slow(random.uniform(0.02, 0.3), random.uniform(0, 0.2))
        elif way in LOSING:
            proxy.lose(random.choice((0.05, 0.2, 0.5)), random.random(), *LOSING[way])
        else:
            proxy.hold(*HELD[way])
        yield random.uniform(0.5, 6)
        if random.random() < 0.5:
            proxy.reset()
        proxy.heal()
    if harm_of(proxy, way) == before:
        run.miss(way=way)


def break_network(run, random, node, way):
    run.history.add("network", node=node.name, way=way)
    with disturbing(node):
        yield from break_way(run, node.proxy, random, way)


def break_front(run, random, way):
    """Answers to clients are lost or late, which disturbs nobody else."""
    with run.taking_front() as proxy:
        run.history.add("network", node="clients", way=way)
        yield from break_way(run, proxy, random, way)


def clients_fault(way):
    """The name of the fault of a way between clients and the API."""
    return f"clients {way.replace('the broker', 'the API')}"


def register_for_clients(way):
    def of_clients(run, random):
        yield from break_front(run, random, way)
    FAULTS[clients_fault(way)] = (of_clients, 0.2, ("embedded", "kafka"))


for each in WAYS:
    register_for_each_program(each, break_network, 0.4, each)
    register_for_clients(each)
