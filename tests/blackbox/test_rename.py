"""A rename reaches each environment as one atomic change."""

import threading

from harness.keys import new_key, thumbprint


class Watcher(threading.Thread):
    """Reads without pause what an environment has, and keeps each answer that differs from the one before."""

    def __init__(self, look):
        super().__init__(daemon=True)
        self.look, self.seen, self.reads, self.failure = look, [], 0, None
        self.finished = threading.Event()

    def run(self):
        try:
            while not self.finished.is_set():
                value = self.look()
                self.reads += 1
                if not self.seen or self.seen[-1] != value:
                    self.seen.append(value)
        except Exception as failure:  # handed to the test
            self.failure = failure

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.finished.set()
        self.join()
        assert self.failure is None, self.failure


def test_at_no_moment_do_both_names_or_neither_exist_in_an_environment(system, project):
    key = new_key("EC", kid="renamed")
    assert system.api.create(project, "a", key).status == 200
    worker = system.workers["staging", "edge-1"]
    with Watcher(lambda: worker.names(project)) as names, Watcher(lambda: worker.kids(project)) as kids:
        for _ in range(25):
            for old, new in (("a", "b"), ("b", "a")):
                assert system.api.update(project, old, {"name": new}).json["deploymentResult"]["success"]
    assert {tuple(each) for each in names.seen} == {("a",), ("b",)}, "an environment had both names or neither"
    assert len(names.seen) > 10, "the watcher saw too little of it to judge"
    assert kids.seen == [["renamed"]], "the key left the served set meanwhile"


def test_two_keys_can_trade_names(system, project):
    first, second = new_key("EC", kid="first"), new_key("EC", kid="second")
    assert system.api.create(project, "a", first).status == 200
    assert system.api.create(project, "b", second).status == 200
    for old, new in (("a", "c"), ("b", "a"), ("c", "b")):
        assert system.api.update(project, old, {"name": new}).json["deploymentResult"]["success"]
    for worker in system.workers.values():
        assert thumbprint(worker.jwk(project, "a")) == thumbprint(second)
        assert thumbprint(worker.jwk(project, "b")) == thumbprint(first)
        assert worker.names(project) == ["a", "b"]


def test_old_name_is_free_at_once_for_another_key(system, project):
    assert system.api.create(project, "a", new_key("EC", kid="first")).status == 200
    assert system.api.update(project, "a", {"name": "b"}).status == 200
    assert system.api.create(project, "a", new_key("EC", kid="second")).status == 200
    for worker in system.workers.values():
        assert worker.jwk(project, "a")["kid"] == "second"
        assert worker.jwk(project, "b")["kid"] == "first"


def test_of_two_renames_to_one_name_exactly_one_wins(system, project):
    names = [f"key-{number}" for number in range(8)]
    for name in names:
        assert system.api.create(project, name).status == 200
    answers = {}
    threads = [threading.Thread(target=lambda name=name: answers.update({name: system.api.update(project, name, {"name": "wanted"})}))
               for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [name for name, answer in answers.items() if answer.status == 200]
    assert len(winners) == 1
    for name in set(names) - set(winners):
        assert (answers[name].status, answers[name].json["error_description"]) == (400, "JWK (name: wanted) is already exist!")
    expected = sorted(set(names) - set(winners) | {"wanted"})
    assert system.api.names(project) == expected
    for worker in system.workers.values():
        assert worker.names(project) == expected


def test_concurrent_updates_of_one_key_all_succeed_and_every_environment_ends_like_the_api(system, project):
    assert system.api.create(project, "busy").status == 200
    answers = []
    threads = [threading.Thread(target=lambda number=number: answers.append(
        system.api.update(project, "busy", {"description": f"text {number}"}))) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(answer.status, answer.json["deploymentResult"]["success"]) for answer in answers] == [(200, True)] * 16
    events = system.topics.events_named(project, "busy")
    assert [event.value["version"] for event in events] == list(range(1, 18))
    assert events[-1].value["jwk"]["description"] == system.api.item(project, "busy")["description"]
    for worker in system.workers.values():
        assert [item["version"] for item in worker.items(project)] == [17]
