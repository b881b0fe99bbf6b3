"""Tests that nobody uses up another hotkey's quota, and that a hotkey can refuse legacy commitments."""

import asyncio
import time
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from access.rate_limits import MAX_COPIES_PER_MINUTE, MAX_REPETITIONS
from devstack.options import StackOptions
from tests.support.folder_access import PATH, asked
from tests.support.long_epochs import amid_an_epoch
from tests.support.operator_view import until
from tests.support.people import ask, keypair, legacy, raw_connection
from zipcast.client.local_stack import Ready
from zipcast.protocol import signed_texts
from zipcast.protocol.verbs import Verb

pytestmark = pytest.mark.long  # stacks with the limits of production

CURRENT = "/api/v1/zipcode-assignments/current"
PER_MINUTE = 10
# With epochs of half a day, the windows of limits are as long as in production.
LIMITS = {"LIMIT_CURRENT_PER_MINUTE": str(PER_MINUTE), "DAILY_LIMIT_PER_MINER": "3"}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def strict(tmp_path_factory) -> AsyncIterator[Ready]:
    """Run a stack with the limits of production, except those per address."""
    options = StackOptions(
        epoch_seconds=43_200, state=tmp_path_factory.mktemp("strict") / "state", settings=LIMITS
    )
    async with amid_an_epoch(options) as stack:
        yield stack.ready


@pytest_asyncio.fixture(loop_scope="session")
async def door(strict: Ready) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=strict.http) as http:
        yield http


FORGERIES = {
    "a wrong signature": {"signature": "ab" * 64},
    "another's signature": {},
    "no signature": {"signature": ""},
    "a stale time": {"timestamp": "1700000000"},
}


@pytest.mark.parametrize("how", FORGERIES)
async def test_forged_requests_do_not_count_against_whom_they_name(
    strict: Ready, door: httpx.AsyncClient, how: str
):
    victim, other = keypair(strict, "miner-1"), keypair(strict, "miner-2")
    forged = legacy(other, signed_texts.CURRENT_COMMITMENT) | {"hotkey": victim.ss58_address} | FORGERIES[how]
    for _ in range(2 * PER_MINUTE):
        assert (await door.get(CURRENT, params=forged)).status_code == 401
    folder = asked(strict, "miner-2") | {"hotkey": victim.ss58_address} | FORGERIES[how]
    for _ in range(5):
        assert (await door.post(PATH, json=folder)).status_code in {401, 403}
    query = legacy(victim, signed_texts.CURRENT_COMMITMENT)
    assert (await door.get(CURRENT, params=query)).status_code == 200


async def test_a_replay_of_a_minting_request_is_charged_once(strict: Ready, door: httpx.AsyncClient):
    body = asked(strict, "miner-3")
    for _ in range(8):
        assert (await door.post(PATH, json=body)).status_code == 200
    for ago in (20, 40):
        assert (await door.post(PATH, json=asked(strict, "miner-3", seconds_ago=ago))).status_code == 200
    refused = await door.post(PATH, json=asked(strict, "miner-3", seconds_ago=60))
    assert refused.status_code == 429
    # The attacker uses up only its own quota, and access that was granted before stays valid.
    assert (await door.post(PATH, json=asked(strict, "miner-4"))).status_code == 200
    assert (await door.post(PATH, json=body)).status_code == 200


async def test_copies_of_an_overheard_text_are_refused_before_they_are_forwarded(
    strict: Ready, door: httpx.AsyncClient
):
    heard = asked(strict, "miner-8")
    answers = await asyncio.gather(*(door.post(PATH, json=heard) for _ in range(60)))
    granted = [answer for answer in answers if answer.status_code == 200]
    refused = [answer.json()["message"] for answer in answers if answer not in granted]
    assert len(granted) == 1 + MAX_REPETITIONS
    by_bridge = [message for message in refused if "(copies)" in message]
    assert len(by_bridge) == 60 - 1 - MAX_COPIES_PER_MINUTE
    assert (await door.post(PATH, json=asked(strict, "miner-8", seconds_ago=20))).status_code == 200


async def test_a_stranger_who_repeats_a_request_for_current_uses_up_nothing(
    strict: Ready, door: httpx.AsyncClient
):
    victim = keypair(strict, "miner-6")
    overheard = legacy(victim, signed_texts.CURRENT_COMMITMENT, seconds_ago=30)
    repeated = [(await door.get(CURRENT, params=overheard)).status_code for _ in range(3 * PER_MINUTE)]
    # The first request is the victim's own. Its repetitions have a separate limit.
    assert repeated == [200] * (1 + PER_MINUTE) + [429] * (2 * PER_MINUTE - 1)
    for ago in range(PER_MINUTE - 1):
        query = legacy(victim, signed_texts.CURRENT_COMMITMENT, seconds_ago=ago)
        assert (await door.get(CURRENT, params=query)).status_code == 200


async def test_who_asks_too_much_is_told_when_to_come_back(strict: Ready, door: httpx.AsyncClient):
    now = int(time.time())
    queries = [
        legacy(keypair(strict, "miner-5"), signed_texts.CURRENT_COMMITMENT, timestamp=now - ago)
        for ago in range(PER_MINUTE + 3)
    ]
    answers = [await door.get(CURRENT, params=query) for query in queries]
    assert [answer.status_code for answer in answers] == [200] * PER_MINUTE + [429] * 3
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 60
    assert answers[-1].json()["retryAfter"] == int(answers[-1].headers["retry-after"])


async def test_a_hotkey_that_opted_out_is_not_reached_by_a_legacy_commitment(
    strict: Ready, door: httpx.AsyncClient
):
    signer = keypair(strict, "miner-7")
    assert (await door.post(PATH, json=asked(strict, "miner-7"))).status_code == 200
    connection = await raw_connection(strict, signer)
    assert (
        b'"success":true'
        in (await ask(strict, connection, signer, Verb.AUTH_LEGACY, b'{"accepted":false}')).data
    )

    async def refused() -> bool:
        answer = await door.get(CURRENT, params=legacy(signer, signed_texts.CURRENT_COMMITMENT))
        return answer.json().get("error") == "legacy_refused"

    await until(refused)
    replays = [asked(strict, "miner-7", seconds_ago=ago) for ago in (1, 2)]
    answers = await asyncio.gather(*(door.post(PATH, json=body) for body in replays))
    assert {answer.json()["error"] for answer in answers} == {"legacy_refused"}
    # A legacy commitment cannot undo the choice.
    back = legacy(signer, signed_texts.CURRENT_COMMITMENT) | {"accepted": True}
    answer = await door.post("/api/v1/auth/legacy", json=back)
    assert answer.json()["error"] == "malformed_auth"
    await connection.close()
