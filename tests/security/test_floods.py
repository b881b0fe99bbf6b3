"""Tests that a miner which sends 20,000 messages a second is blocked, and that others do not fail.

How long the others wait meanwhile is measured by `bench.floods`.
"""

import asyncio
import base64
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from devstack.stack import Stack
from tests.support.floods import (
    FALSE_PROOFS,
    FLOODS,
    KEPT_OUT_SECONDS,
    PROXY,
    Honest,
    attacked_stack,
    honest_miners,
    watch_flood,
)
from tests.support.operator_view import log_lines
from tests.support.people import keypair
from tests.support.raw_nats import raw_nats

pytestmark = pytest.mark.long


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def attacked(tmp_path_factory) -> AsyncIterator[Stack]:
    async with attacked_stack(tmp_path_factory.mktemp("floods")) as stack:
        yield stack


@pytest_asyncio.fixture(loop_scope="session")
async def honest(attacked: Stack) -> AsyncIterator[Honest]:
    async with honest_miners(attacked.ready) as miners:
        yield miners


@pytest.mark.parametrize("kind", FLOODS)
async def test_a_flood_is_nobody_elses_trouble(attacked: Stack, honest: Honest, kind: str):
    lost = losses(attacked)
    seen = await watch_flood(attacked.ready, honest, kind, rounds=1)
    assert (seen.quiet + seen.at_once + seen.later).failures == []
    assert losses(attacked) == lost
    for outcome in seen.outcomes.values():
        assert outcome.kicked
        assert outcome.refused
        back = [at for at in outcome.let_in if at > outcome.kicked[0]]
        # It was seen before it noticed that its connection was closed.
        assert back[0] - outcome.kicked[0] > KEPT_OUT_SECONDS - 3


async def test_false_proofs_through_a_trusted_proxy_keep_no_honest_hotkey_out(attacked: Stack):
    """All clients of the proxy share its address."""
    ready, stop = attacked.ready, asyncio.Event()
    victim = keypair(ready, "miner-8").ss58_address
    offered = {"auth_token": victim, "sig": base64.b64encode(bytes(range(64))).decode()}

    async def forge() -> None:
        async with raw_nats(ready, PROXY) as raw:
            assert b"PONG" not in await raw.connect_as(**offered)

    async def go_on_forging() -> None:
        while not stop.is_set():
            await asyncio.gather(forge(), asyncio.sleep(0.25))

    await asyncio.gather(*(forge() for _ in range(2 * FALSE_PROOFS)))
    forging = asyncio.create_task(go_on_forging())
    let_in = 0
    for number in range(15):
        async with raw_nats(ready, PROXY) as raw:
            signer = keypair(ready, f"miner-{number % 8 + 1}")
            let_in += b"PONG" in await raw.connect_as(**raw.proof(ready, signer))
    stop.set()
    await forging
    assert let_in == 15


def losses(stack: Stack) -> int:
    """Return how often the responder lost its connection, or was started."""
    actions = [line["action"] for line in log_lines(stack, "responder")]
    return sum(action in {"nats_disconnected", "nats_reader_ended", "starting"} for action in actions)
