"""Watches while the load runs: what each replica serves, what each program uses, and whether one has ended by itself."""

import threading

from .history import now
from .load import PROJECTS, read_items

EVERY_S = 0.25


class Observer(threading.Thread):
    def __init__(self, cluster, history):
        super().__init__(name="observer", daemon=True)
        self.cluster, self.history = cluster, history
        self.stopping = threading.Event()
        self.seen = {}  # (replica, project) -> items

    def run(self):
        turn = 0
        while not self.stopping.wait(EVERY_S):
            turn += 1
            for node in list(self.cluster.nodes):
                self.look_after(node)
                if node is not self.cluster.api and self.may_be_asked(node):
                    self.look_at_replica(node, PROJECTS[turn % len(PROJECTS)])
                if turn % 4 == 0 and node.running:
                    self.measure(node)

    def look_after(self, node):
        """The machine's supervisor: what has ended without a fault's doing is written down and started again."""
        with node.lock:
            if node.program is None or node.expect_end:
                return
            if node.running:
                node.look_address()
                if node.undisturbed_since is None and not node.busy and node.is_ready():
                    node.undisturbed_since = now()
                return
            node.undisturbed_since = None
            status = node.program.process.returncode
            self.history.add("ended", node=node.name, status=status, log=node.program.log()[-1500:])
            node.start()

    def may_be_asked(self, node):
        """A replica that begins again without its state serves what it has read so far; until it is ready nobody is sent there."""
        if not node.address or not node.running or node.program.paused:
            return False
        if node.rebuilding:
            node.rebuilding = not node.is_ready()
            for project in PROJECTS:
                self.seen.pop((node.name, project), None)
        return not node.rebuilding

    def look_at_replica(self, node, project):
        start, pid = now(), node.program.pid
        items = read_items(node, project)
        if items is None or pid != node.program.pid:
            return
        before = self.seen.get((node.name, project), {})
        changed = {identifier: version for identifier, version in items.items() if before.get(identifier) != version}
        gone = [identifier for identifier in before if identifier not in items]
        if changed or gone:
            self.history.add("observed", replica=node.name, start=start, project=project, changed=changed, gone=gone)
        self.seen[node.name, project] = items

    def measure(self, node):
        try:
            resident, descriptors, threads = node.use()
            self.history.add("usage", node=node.name, resident=resident, descriptors=descriptors, threads=threads)
        except OSError:
            pass  # it ended meanwhile

    def stop(self):
        self.stopping.set()
        self.join()
