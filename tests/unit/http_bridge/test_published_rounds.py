"""Tests how often the bridge requests a round from the relays, whatever strangers send it."""

import asyncio
from datetime import timedelta

import pytest

from http_bridge.published_rounds import PAUSE_SECONDS, PublishedRounds
from service.current_epoch import CurrentEpoch
from service.sealed_epochs import SealedEpochs
from tests.support.fakes import FakeClock
from tests.support.sealed import sealed_epoch, signature_for
from tests.support.signed_epochs import TRUST
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.sealing import SealedEpoch

FIRST, SECOND = sealed_epoch(1), sealed_epoch(2)


class Relays:
    """Has the rounds of `known`, and notes each round that is requested."""

    def __init__(self, *known: SealedEpoch) -> None:
        self.known = {one.round_number: signature_for(one) for one in known}
        self.asked: list[int] = []

    async def signature(self, round_number: int) -> bytes | None:
        self.asked.append(round_number)
        await asyncio.sleep(0)
        found = self.known.get(round_number)
        return None if found is None else bytes.fromhex(found)


def published(relays: Relays, *, after_start: timedelta = timedelta(0)) -> PublishedRounds:
    clock = FakeClock(FIRST.start_at + after_start)
    current = CurrentEpoch(TRUST, clock, None)  # type: ignore[arg-type]
    sealed = SealedEpochs(current, relays, clock, None)  # type: ignore[arg-type]
    sealed.receive(FIRST.proof.to_bytes())
    return PublishedRounds(sealed)


async def ask(rounds: PublishedRounds, of: SealedEpoch) -> str:
    try:
        return (await rounds.reply(str(of.round_number))).signature
    except ServiceError as error:
        return error.code


async def test_a_round_is_fetched_once_for_all():
    relays = Relays(FIRST)
    rounds = published(relays)
    replies = await asyncio.gather(*(ask(rounds, FIRST) for _ in range(50)))
    assert set(replies) == {signature_for(FIRST)}
    assert relays.asked == [FIRST.round_number]


async def test_a_flood_for_a_round_that_no_relay_has_is_one_question_per_pause():
    relays = Relays()
    rounds = published(relays)
    replies = await asyncio.gather(*(ask(rounds, FIRST) for _ in range(50)))
    assert (set(replies), len(relays.asked)) == ({ErrorCode.ROUND_NOT_PUBLISHED}, 1)
    await rounds.sealed.clock.sleep(PAUSE_SECONDS)
    relays.known[FIRST.round_number] = signature_for(FIRST)
    assert await ask(rounds, FIRST) == signature_for(FIRST)


async def test_who_waited_for_an_earlier_round_does_not_replace_a_later_one():
    relays = Relays(FIRST, SECOND)
    rounds = published(relays)
    async with rounds._fetching:
        waiting = asyncio.create_task(ask(rounds, FIRST))
        await asyncio.sleep(0)
        await rounds._fetch(SECOND.round_number)
    assert await waiting == ErrorCode.ROUND_NOT_PUBLISHED
    assert relays.asked == [SECOND.round_number]


@pytest.mark.parametrize("stated", ["1", "x" * 5000, f"0{FIRST.round_number}", str(SECOND.round_number)])
async def test_no_other_round_is_asked_for(stated: str):
    relays = Relays(FIRST, SECOND)
    with pytest.raises(ServiceError):
        await published(relays).reply(stated)
    assert relays.asked == []
