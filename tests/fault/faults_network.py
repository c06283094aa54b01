"""Faults of the network between each program and the broker: the only pairs that talk, clients apart."""

from .faults import disturbing, register_for_each_program

BOTH = ("up", "down")
HELD = {"cut": BOTH, "cut to the broker": ("up",), "cut from the broker": ("down",)}
LOSING = {"loss": BOTH, "loss to the broker": ("up",), "loss from the broker": ("down",)}
WAYS = (*HELD, *LOSING, "delay", "refused", "reset")


def break_network(run, random, node, way):
    run.history.add("network", node=node.name, way=way)
    with disturbing(node):
        proxy = node.proxy
        if way == "reset":
            for _ in range(random.randint(1, 4)):
                proxy.reset()
                yield random.uniform(0.1, 0.8)
            return
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


for each in WAYS:
    register_for_each_program(each, break_network, 0.4, each)
