"""Who is asked for a checkpoint between two scores, by a run that ends and by a node that is about to go."""

import asyncio
from types import SimpleNamespace

import pytest
import ray

from hybridtune.train import asked
from hybridtune.train.asked import Asked
from hybridtune.train.incidents import Early


@pytest.fixture
def going(monkeypatch):
    """The nodes that are about to go."""
    nodes = set()
    monkeypatch.setattr(asked, "draining_nodes", lambda: nodes)
    monkeypatch.setattr(asked, "_SECONDS_BETWEEN_LOOKS", 0.01)
    return nodes


def run(scene):
    return asyncio.run(asyncio.wait_for(scene(Asked()), 30))


def test_all_that_take_steps_are_asked_and_waited_for(going):
    async def scene(one):
        calls = [asyncio.create_task(one.wait(key, fit, ["n"])) for key, fit in (("k1", "0001"), ("k2", "0002"))]
        await asyncio.sleep(0)
        asking = asyncio.create_task(one.ask("the run ends", 20))
        assert await asyncio.gather(*calls) == ["the run ends"] * 2
        await one.write(Early("0001", 7, "the run ends"))
        assert not asking.done()
        await one.write(Early("0002", 9, "the run ends"))
        await asking
        return one.written

    assert [(early.fit, early.step) for early in run(scene)] == [("0001", 7), ("0002", 9)]


def test_nobody_is_waited_for_who_takes_no_steps_and_nobody_for_ever(going):
    async def scene(one):
        await one.ask("the run ends", 20)
        call = asyncio.create_task(one.wait("k1", "0001", ["n"]))
        await asyncio.sleep(0)
        await one.ask("the run ends", 0.01)  # it writes none
        return await call

    assert run(scene) == "the run ends"


def test_a_training_that_comes_to_a_score_is_answered_whichever_call_arrives_first(going):
    async def scene(one):
        call = asyncio.create_task(one.wait("k1", "0001", ["n"]))
        await asyncio.sleep(0)
        one.rest("k1")
        one.rest("k2")
        return [await call, await one.wait("k2", "0001", ["n"])]

    assert run(scene) == ["", ""]


def test_a_training_is_asked_once_for_a_node_of_its_own_that_is_about_to_go(going):
    async def scene(one):
        own, other = (asyncio.create_task(one.wait(key, key, nodes)) for key, nodes in (("a", ["n1"]), ("b", ["n2"])))
        await asyncio.sleep(0)
        going.add("n1")
        why = await own
        again = asyncio.create_task(one.wait("a2", "a", ["n1"]))
        third = asyncio.create_task(one.wait("c", "c", ["n1"]))
        await third  # whoever looks has looked again
        found = why, again.done(), other.done()
        for key in ("a2", "b"):
            one.rest(key)
        await asyncio.gather(again, other)
        return found

    assert run(scene) == ("a node of its workers is about to go", False, False)


@pytest.mark.parametrize("error", [ray.exceptions.GetTimeoutError("late"), ray.exceptions.RayActorError()])
def test_a_monitor_that_does_not_answer_changes_not_how_a_run_ends(monkeypatch, error):
    def get(ref, timeout):
        raise error

    monkeypatch.setattr(asked.ray, "get", get)
    monitor = SimpleNamespace(ask_checkpoints=SimpleNamespace(remote=lambda why, seconds: None))
    assert not asked.ask_for_checkpoints(monitor, "the run ends")
