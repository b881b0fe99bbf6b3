"""Tests ending the tasks of a process."""

import asyncio

import pytest

from service import lifecycle
from service.lifecycle import Lifecycle, end


async def test_a_task_that_loses_a_cancellation_is_cancelled_again() -> None:
    """`asyncio.wait_for` of Python 3.11 loses a cancellation at an unlucky moment."""
    lost = asyncio.Event()

    async def unlucky() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            lost.set()
        await asyncio.Event().wait()

    tasks = [asyncio.create_task(unlucky()), asyncio.create_task(asyncio.sleep(3600))]
    await asyncio.sleep(0)
    async with asyncio.timeout(60):
        await end(tasks)
    assert lost.is_set()
    assert all(task.cancelled() for task in tasks)


async def test_work_that_the_process_can_do_without_is_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "BEGIN_AGAIN_SECONDS", 0)
    life, begun = Lifecycle(None), asyncio.Semaphore(0)

    async def hostile_row() -> None:
        begun.release()
        raise ZeroDivisionError

    life.spawn_beside(hostile_row, "signals")
    for _ in range(3):
        await begun.acquire()
    assert life.failure is None
    assert life.process_status.failing == {"signals": "ZeroDivisionError"}
    await life.end_tasks()


async def test_what_has_ended_by_itself_is_left_as_it_is() -> None:
    done = asyncio.create_task(asyncio.sleep(0, "result"))
    await done
    await end([done])
    assert done.result() == "result"
    await end([])
