"""Tests that everything can be stopped in the middle of an epoch, and started again with the same state."""

import httpx
import pytest

from devstack.options import StackOptions
from devstack.stack import Stack
from tests.support.long_epochs import amid_an_epoch
from tests.support.people import client

pytestmark = pytest.mark.long


async def stream_messages(stack: Stack) -> int:
    async with httpx.AsyncClient() as http:
        answer = await http.get(
            f"{stack.ready.monitoring}/jsz", params={"streams": "true", "accounts": "true"}
        )
    account = next(one for one in answer.json()["account_details"] if one["name"] == "STREAMS")
    return next(s["state"]["messages"] for s in account["stream_detail"] if s["name"] == "EPOCHS")


async def test_a_restart_in_the_middle_of_an_epoch_publishes_what_is_due_exactly_once(tmp_path):
    options = StackOptions(epoch_seconds=14_400, state=tmp_path / "state")
    async with amid_an_epoch(options) as stack:
        signer = stack.ready.signer
        async with client(stack.ready, "miner-1") as connected:
            published = await connected.current()
        count = await stream_messages(stack)
    async with Stack.running(options) as stack:
        assert stack.ready.signer == signer
        async with client(stack.ready, "miner-1") as connected:
            assert (await connected.current()).envelope == published.envelope
        assert await stream_messages(stack) == count
