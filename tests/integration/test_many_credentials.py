"""Tests two hundred requests for credentials at once: each gets a reply, and nothing is left open."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from devstack.options import StackOptions
from tests.support.long_epochs import amid_an_epoch
from tests.support.people import client
from tests.support.processes import GENEROUS, wait_until

pytestmark = pytest.mark.long

AT_ONCE = 200
ROUNDS = 3


def open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


async def test_two_hundred_at_once_are_all_answered_and_leave_nothing_open(tmp_path: Path):
    # The epochs are long, so that no deadline falls into the test.
    options = StackOptions(epoch_seconds=3600, state=tmp_path / "state", settings=GENEROUS)
    names = [f"miner-{n}" for n in range(1, 9)] + ["validator-1", "validator-2"]
    async with amid_an_epoch(options) as stack, AsyncExitStack() as connected:
        pid = stack.ready.pids["responder"]
        askers = [await connected.enter_async_context(client(stack.ready, name)) for name in names]
        epoch_id = (await askers[0].current()).message.epoch_id
        settled: list[int] = []
        for _ in range(ROUNDS):
            answers = await asyncio.gather(*(one_of(askers, n, epoch_id) for n in range(AT_ONCE)))
            assert all(answers)
            settled.append(open_files(pid))
        # Pools keep their connections, but not more and more of them.
        await wait_until(lambda: open_files(pid) <= settled[0] + 2)


async def one_of(askers, number: int, epoch_id: str) -> bool:
    asker = askers[number % len(askers)]
    if number % len(askers) < 8:
        return (await asker.miner_upload(epoch_id)).fields["policy"] != ""
    return (await asker.validator_upload(epoch_id)).s3_credentials is not None
