"""The queue: jobs one way, reports the other, whoever is first; and what remains when workers die."""

import asyncio
from types import SimpleNamespace

import pytest
import ray

from hybridtune.errors import FitError, InputError
from hybridtune.train.group_runner import Deaths
from hybridtune.train.incidents import Early, Loss, death_line
from hybridtune.train.job_queue import LOST_NODES, RESTARTS, JobQueue
from hybridtune.train.pace import Pace, PaceMonitor


class Job(str):
    """Stands in for a training, by its name; nobody watches it."""

    monitor = None

    @property
    def storage(self):
        return str(self)


def watched(told):
    """A training whose losses are told."""
    job = Job("0004")
    job.name, job.monitor = "0004", SimpleNamespace(lose=SimpleNamespace(remote=lambda *what: told.append(what)))
    return job


def score(step, final=0.0):
    return {"step": step, "final": final}


async def turn():
    """Lets every other task run as far as it can."""
    turned = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(turned.set_result, None)
    await turned


async def work(queue, told, steps=(1, 2, 3), group=0):
    """A group of one worker: one job after another; writes down what it was answered."""
    while (taken := await queue.take(group)) is not None:
        number, job = taken
        for step in steps:
            go_on = await queue.report(number, score(step))
            told.append((job, step, go_on))
            if not go_on:
                break
        else:
            await queue.report(number, score(steps[-1], final=1.0))


async def wanting(groups=1):
    queue = JobQueue()
    await queue.resize(groups)
    return queue


async def die(queue, reason, with_node=False):
    """The workers of a group that has taken the job die."""
    await queue.take(0)
    await queue.group_died(0, reason, with_node)


async def all_reports(queue, number):
    steps = []
    while True:
        report = await queue.next_report(number)
        steps.append(report["step"])
        if report["final"]:
            return steps


def test_jobs_are_done_one_after_another_and_every_report_arrives_in_order():
    async def play():
        queue, told = await wanting(), []
        worker = asyncio.create_task(work(queue, told))
        got = []
        for job in "ab":
            got.append(await all_reports(queue, await queue.hand_in(Job(job))))
        await queue.resize(0)
        await worker
        return got, told

    got, told = asyncio.run(play())
    assert got == [[1, 2, 3, 3]] * 2
    assert told == [(job, step, True) for job in "ab" for step in (1, 2, 3)]


def test_a_worker_waits_until_the_next_report_is_asked_for():
    async def play():
        queue, told = await wanting(), []
        worker = asyncio.create_task(work(queue, told))
        number = await queue.hand_in(Job("a"))
        assert (await queue.next_report(number))["step"] == 1
        for _ in range(100):
            await turn()
        assert told == []
        assert (await queue.next_report(number))["step"] == 2
        assert told == [("a", 1, True)]
        worker.cancel()

    asyncio.run(play())


@pytest.mark.parametrize("seen", [1, 2, 3])
@pytest.mark.parametrize("following", ["next", "hopeless"])
def test_a_job_that_is_left_or_handed_in_anew_is_left_by_its_workers_at_their_report(seen, following):
    async def play():
        queue, told = await wanting(), []
        worker = asyncio.create_task(work(queue, told))
        number = await queue.hand_in(Job("hopeless"))
        for _ in range(seen):
            await queue.next_report(number)
        if following != "hopeless":  # else the actor that consumed its reports died, and another goes on
            await queue.leave("hopeless")
        got = await all_reports(queue, await queue.hand_in(Job(following)))
        await queue.resize(0)
        await worker
        return got, told

    got, told = asyncio.run(play())
    assert got == [1, 2, 3, 3]
    assert told[:seen] == [("hopeless", step, step < seen) for step in range(1, seen + 1)]
    assert told[seen:] == [(following, step, True) for step in (1, 2, 3)]


def test_the_monitor_is_told_of_a_death_and_of_the_step_that_the_job_goes_on_from():
    async def play():
        queue, told = await wanting(), []
        number = await queue.hand_in(watched(told))
        await queue.group_died(0, "of an idle group")
        await queue.take(0)
        await queue.group_died(0, "exit code 137")
        waiting = asyncio.create_task(queue.next_report(number))
        await turn()
        await queue.take(0)
        dead = asyncio.create_task(queue.report(number, score(40)))
        await waiting
        dead.cancel()
        await queue.group_died(0, "its node is gone", with_node=True)
        return told

    assert asyncio.run(play()) == [
        ("0004", 0, "a worker died (exit code 137)"),
        ("0004", 40, "a node was lost with its workers"),
    ]


def test_a_worker_that_hung_is_told_by_what_it_said_of_itself_and_no_later_death_is():
    async def play():
        queue, told = await wanting(), []
        await queue.hand_in(watched(told))
        number, _ = await queue.take(0)
        await queue.note_hang(number - 1, "of the job before")
        await queue.note_hang(number, "rank 1 made no step")
        await queue.note_hang(number, "rank 0 made no step")
        for code in (1, 137):
            await queue.group_died(0, f"exit code {code}")
            await queue.take(0)
        return told

    assert asyncio.run(play()) == [
        ("0004", 0, "a worker died (rank 1 made no step)"),
        ("0004", 0, "a worker died (exit code 137)"),
    ]


def test_a_loss_is_told_with_the_step_of_the_last_pace():
    async def play():
        monitor = PaceMonitor()
        await monitor.lose("0001", 0, "a worker died")
        await monitor.post("0001", Pace(47, 1.0, 10.0))
        await monitor.lose("0001", 40, "a worker died")
        await monitor.note_early(Early("0002", 60, "another"))
        await monitor.note_early(Early("0001", 45, "a node is about to go"))
        await monitor.lose("0001", 40, "a worker died")
        return await monitor.incidents(0), await monitor.incidents(1)

    incidents, later = asyncio.run(play())
    losses = [one for one in incidents if isinstance(one, Loss)]
    assert losses == [Loss("0001", step, kept, "a worker died") for step, kept in ((0, 0), (47, 40), (47, 45))]
    assert later == incidents[1:]


def test_a_group_started_anew_finds_its_job_and_what_was_told_before_is_not_told_again():
    async def play():
        queue, told = await wanting(), []
        await queue.hand_in(Job("a"))
        number, job = await queue.take(0)
        dead = asyncio.create_task(queue.report(number, score(2)))
        assert (await queue.next_report(number))["step"] == 2
        dead.cancel()  # killed while it waits
        await queue.group_died(0, "killed")
        assert await queue.take(0) == (number, job)
        await queue.group_died(0, "killed")
        worker = asyncio.create_task(work(queue, told, steps=(2, 4)))
        got = await all_reports(queue, number)
        await queue.resize(0)
        await worker
        return got

    assert asyncio.run(play()) == [4, 4]


def test_workers_that_die_again_and_again_end_the_job_but_not_the_next():
    async def play():
        queue = await wanting()
        number = await queue.hand_in(Job("deadly"))
        for _ in range(RESTARTS):
            await die(queue, "exit code 137")
        waiting = asyncio.create_task(queue.next_report(number))
        await turn()
        assert not waiting.done()
        await die(queue, "exit code 137")
        problem = await waiting
        assert isinstance(problem, FitError)
        assert "died 3 times" in str(problem)
        assert "exit code 137" in str(problem)
        worker = asyncio.create_task(work(queue, []))
        assert await all_reports(queue, await queue.hand_in(Job("next"))) == [1, 2, 3, 3]
        worker.cancel()

    asyncio.run(play())


def test_a_score_between_deaths_sets_their_count_back():
    async def play():
        queue = await wanting()
        number = await queue.hand_in(Job("a"))
        for step in range(5):
            for _ in range(RESTARTS):
                await die(queue, "killed")
            report = asyncio.create_task(queue.report(number, score(step)))
            assert (await queue.next_report(number))["step"] == step
            report.cancel()

    asyncio.run(play())


def test_what_a_worker_says_on_purpose_reaches_the_owner_behind_the_reports_before():
    async def play():
        queue = await wanting()
        await queue.hand_in(Job("a"))
        number, _ = await queue.take(0)
        report = asyncio.create_task(queue.report(number, score(1)))
        assert (await queue.next_report(number))["step"] == 1
        waiting = asyncio.create_task(queue.next_report(number))
        assert await report
        await queue.fail(number, InputError("no such layer"))
        assert str(await waiting) == "no such layer"
        await queue.fail(number - 1, InputError("late"))  # of a job that is gone: nobody is told
        await queue.hand_in(Job("b"))
        await queue.fail(number, InputError("late"))
        assert (await queue.take(0))[1] == "b"

    asyncio.run(play())


def test_the_job_of_a_group_whose_workers_died_goes_to_a_group_that_is_free():
    async def play():
        queue, told = await wanting(2), []
        number = await queue.hand_in(Job("a"))
        await queue.take(0)
        free = asyncio.create_task(work(queue, told, group=1))
        await turn()
        await queue.group_died(0, "its node is gone", with_node=True)
        got = await all_reports(queue, number)
        await queue.resize(0)
        await free
        return got, told

    got, told = asyncio.run(play())
    assert got == [1, 2, 3, 3]
    assert told == [("a", step, True) for step in (1, 2, 3)]


def test_a_job_that_is_handed_in_anew_goes_to_no_other_group_while_its_own_still_trains_it():
    async def play():
        queue = await wanting(2)
        await queue.hand_in(Job("a"))
        number, _ = await queue.take(0)
        anew = await queue.hand_in(Job("a"))  # the actor that consumed its reports died
        other = asyncio.create_task(queue.take(1))
        await turn()
        assert not other.done()  # two groups would write the same checkpoints
        assert await queue.report(number, score(1)) is False
        assert await queue.take(0) == (anew, "a")
        other.cancel()

    asyncio.run(play())


def test_groups_train_jobs_side_by_side_and_those_too_many_end_when_they_are_free():
    async def play():
        queue, told = await wanting(2), []
        both = [asyncio.create_task(work(queue, told, group=group)) for group in (0, 1)]
        numbers = [await queue.hand_in(Job(job)) for job in "ab"]
        first = [await queue.next_report(number) for number in numbers]
        assert [report["step"] for report in first] == [1, 1]
        await queue.resize(1)
        got = [await all_reports(queue, number) for number in numbers]
        await both[1]
        assert await queue.wanted(1) is False
        assert not both[0].done()
        again = asyncio.create_task(queue.wanted(0))
        await turn()
        assert not again.done()  # no job waits
        await queue.resize(0)
        await both[0]
        assert await again is False
        return got

    assert asyncio.run(play()) == [[2, 3, 3], [2, 3, 3]]


def test_a_group_that_ray_gave_up_ends_its_job_or_one_that_waits_and_starts_anew_for_the_next():
    async def play():
        queue = await wanting()
        number = await queue.hand_in(Job("a"))
        await queue.take(0)
        waits = await queue.hand_in(Job("b"))
        await queue.group_gone(0, RuntimeError("its controller died"))
        assert str(await queue.next_report(number)) == "its controller died"
        assert await queue.wanted(0)
        await queue.group_gone(0, RuntimeError("no resources"))
        assert str(await queue.next_report(waits)) == "no resources"
        anew = asyncio.create_task(queue.wanted(0))
        await turn()
        assert not anew.done()
        await queue.hand_in(Job("c"))
        assert await anew

    asyncio.run(play())


def test_a_job_that_the_queue_has_lost_with_its_process_is_told_so():
    async def play():
        return await (await wanting()).next_report(7)

    assert "what ran the worker groups died" in str(asyncio.run(play()))


def test_lost_nodes_are_no_fault_of_the_job_but_not_for_ever():
    async def play():
        queue = await wanting()
        waiting = asyncio.create_task(queue.next_report(await queue.hand_in(Job("a"))))
        for _ in range(LOST_NODES):
            await die(queue, "its node is gone", with_node=True)
        for _ in range(RESTARTS):
            await die(queue, "killed")
        await turn()
        assert not waiting.done()
        await die(queue, "its node is gone", with_node=True)
        return await waiting

    problem = asyncio.run(play())
    assert isinstance(problem, FitError)
    assert f"lost their nodes {LOST_NODES + 1} times without a score between: its node is gone" in str(problem)


def test_a_score_sets_the_count_of_lost_nodes_back():
    async def play():
        queue = await wanting()
        number = await queue.hand_in(Job("a"))
        for step in range(2):
            for _ in range(LOST_NODES):
                await die(queue, "gone", with_node=True)
            report = asyncio.create_task(queue.report(number, score(step)))
            assert (await queue.next_report(number))["step"] == step
            report.cancel()

    asyncio.run(play())


class Said:
    """Stands in for the handle of the actor: its workers are on one node."""

    def __init__(self):
        self.said = []
        self.group_died = SimpleNamespace(remote=lambda *told: self.said.append(told))
        self.nodes = SimpleNamespace(remote=lambda group: ["one"] if group == 3 else [])


@pytest.mark.parametrize(("alive", "with_node"), [({"one": True, "two": False}, False), ({"one": False}, True)])
def test_only_deaths_that_nobody_meant_are_counted(monkeypatch, alive, with_node):
    monkeypatch.setattr(ray, "get", lambda answer: answer)
    monkeypatch.setattr(ray, "nodes", lambda: [{"NodeID": node, "Alive": is_up} for node, is_up in alive.items()])
    queue = Said()
    Deaths(queue, 3).after_exception(None, {0: RuntimeError("connection lost"), 1: FitError("too large")})
    assert queue.said == []
    Deaths(queue, 3).after_exception(None, {1: RuntimeError("Traceback:\n  ...\nworker was killed")})
    assert queue.said == [(3, "worker was killed", with_node)]


GONE = """The actor died unexpectedly before finishing this task.
Worker exit type: SYSTEM_ERROR Worker unexpectedly exits with a connection error code 2. End of file.
"""


def test_what_ray_says_of_a_death_is_a_line_of_ours():
    killed = ray.exceptions.RayActorError(error_msg=GONE)
    assert death_line(killed) == "its process was killed: by hand, or by the system, whose memory was used up"
    nearly = "Ray ended it, since the memory of its machine was nearly used up"
    told = "Task was killed due to the node running low on memory."
    assert death_line(ray.exceptions.OutOfMemoryError(told)) == nearly
    assert death_line(ray.exceptions.RayActorError(error_msg=f"first\n{told}")) == nearly
    silent = ray.exceptions.ActorUnavailableError("RpcError: recvmsg:Connection reset by peer", b"\0" * 16)
    assert death_line(silent) == "its process does not answer: it was killed, or its machine is gone"
    assert death_line(RuntimeError("first\nlast")) == "last"
    assert death_line(RuntimeError()) == "RuntimeError"
    assert len(death_line(RuntimeError("x" * 9999))) == 500
