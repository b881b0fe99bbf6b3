"""Stopping everything in the middle of an epoch and starting again on the same state."""

import httpx
import pytest

from devstack.options import StackOptions
from devstack.stack import Stack
from tests.faults.observer import Observer
from tests.integration.people import client
from tests.integration.processes import wait_until

pytestmark = pytest.mark.timeout(90)


async def stream_messages(stack: Stack) -> int:
    async with httpx.AsyncClient() as http:
        answer = await http.get(
            f"{stack.ready.monitoring}/jsz", params={"streams": "true", "accounts": "true"}
        )
    (account,) = answer.json()["account_details"]
    return next(s["state"]["messages"] for s in account["stream_detail"] if s["name"] == "EPOCHS")


async def test_a_restart_in_the_middle_of_an_epoch_publishes_what_is_due_exactly_once(tmp_path):
    options = StackOptions(epoch_seconds=12, state=tmp_path / "state")
    async with Stack.running(options) as stack:
        signer = stack.ready.signer
        observer = Observer(stack.ready)
        await observer.watch("miner-1")
        # Wait for a start, so that the restart below surely lies within one epoch.
        await wait_until(lambda: observer.heard, 30)
        published, _ = observer.heard[0]
        count = await stream_messages(stack)
        await observer.close()
    async with Stack.running(options) as stack:
        assert stack.ready.signer == signer
        async with client(stack.ready, "miner-1") as connected:
            assert (await connected.current()).envelope == published.envelope
        assert await stream_messages(stack) == count
        observer = Observer(stack.ready)
        await observer.watch("miner-1")
        await wait_until(lambda: observer.heard, 30)
        following, _ = observer.heard[0]
        assert following.message.epoch_start == published.message.epoch_end
        assert following.message.previous_epoch_id == published.message.epoch_id
        assert following.message.seed_commitment == published.message.next_seed_commitment
        await observer.close()
