"""A small TCP proxy before a program that others call, so that the network between them can be cut, delayed, or made one-way."""

import asyncio
import collections
import contextlib
import random
import threading

CHUNK = 65536
# What a lost packet does to a TCP stream: nothing passes until it was sent again, at first after this long, then after twice as long each
# time (RFC 6298), until the sender gives up.
RETRANSMISSION_S = 0.2
RETRANSMISSIONS_MAX = 5


class Network:
    """The thread that runs all proxies."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="network", daemon=True)
        self.thread.start()

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    def close(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()


class Proxy:
    """One way to the port target, which may change (None: nobody is there). What is held back arrives when the fault ends, as TCP would have it.

    A proxy of byte streams can not lose packets, and what could (netem) is not in every kernel: so loss is what TCP makes of it, the stall
    of a retransmission and, after several in a row, the end of the connection."""

    def __init__(self, network, target):
        self.network, self.target = network, target
        self.delay, self.jitter = 0.0, 0.0
        self.loss = {"up": 0.0, "down": 0.0}
        self.random = random.Random()
        self.refusing = False
        self.harmed = collections.Counter()  # pieces that were held, lost or late, and connections that were refused or ended
        self.connections = set()
        self.open_gates = {}
        network.run(self._start())

    async def _start(self):
        for direction in ("up", "down"):
            self.open_gates[direction] = asyncio.Event()
            self.open_gates[direction].set()
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]

    async def _pump(self, reader, writer, direction):
        while data := await reader.read(CHUNK):
            if self.delay or self.jitter:
                self.harmed["delay"] += 1
                await asyncio.sleep(self.delay + self.random.random() * self.jitter)
            losses = 0
            while self.random.random() < self.loss[direction]:
                self.harmed["loss", direction] += 1
                await asyncio.sleep(RETRANSMISSION_S * 2 ** losses)
                losses += 1
                if losses > RETRANSMISSIONS_MAX:
                    return
            if not self.open_gates[direction].is_set():
                self.harmed["cut", direction] += 1
                await self.open_gates[direction].wait()
            writer.write(data)
            await writer.drain()

    async def _serve(self, reader, writer):
        if self.refusing or self.target is None:
            self.harmed["refused"] += 1
            writer.transport.abort()
            return
        other = None
        task = asyncio.current_task()
        self.connections.add(task)
        try:
            other_reader, other = await asyncio.open_connection("127.0.0.1", self.target)
            pumps = [asyncio.ensure_future(self._pump(reader, other, "up")),
                     asyncio.ensure_future(self._pump(other_reader, writer, "down"))]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass  # an end of the connection like any other
        finally:
            self.connections.discard(task)
            for each in (writer, other):
                if each:
                    with contextlib.suppress(Exception):
                        each.transport.abort()

    def _call(self, function):
        async def call():
            function()
        self.network.run(call())

    def _end_all(self):
        self.harmed["reset"] += len(self.connections)
        for task in list(self.connections):
            task.cancel()

    def hold(self, *directions):
        """Nothing passes in these directions ("up" is to the target)."""
        self._call(lambda: [self.open_gates[direction].clear() for direction in directions])

    def reset(self):
        """Ends every connection."""
        self._call(self._end_all)

    def refuse(self):
        """Ends every connection, and takes no new one."""
        self.refusing = True
        self.reset()

    def slow(self, seconds, jitter=0.0):
        """Each piece comes so much later, and up to jitter more."""
        self.delay, self.jitter = seconds, jitter

    def lose(self, share, seed, *directions):
        """This share of what passes in these directions is lost at first."""
        self.random.seed(seed)
        self.loss |= dict.fromkeys(directions, share)

    def heal(self):
        self.delay, self.jitter, self.refusing = 0.0, 0.0, False
        self.loss = {"up": 0.0, "down": 0.0}
        self._call(lambda: [gate.set() for gate in self.open_gates.values()])

    def close(self):
        async def close():
            self.server.close()
            for task in list(self.connections):
                task.cancel()
            await asyncio.gather(*list(self.connections), return_exceptions=True)
        self.network.run(close())
