"""Tests when a client opens a sealed epoch, without servers."""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from tests.support.fakes import FakeClock
from tests.support.sealed import sealed_epoch, sealed_proof, signature_for
from tests.support.signed_epochs import SIGNER, TRUST, message
from zipcast.client.received_epochs import Arrivals
from zipcast.client.sealed_epochs import GRACE_SECONDS, MAX_SPREAD_SECONDS, SealedEpochs
from zipcast.protocol.envelope import EnvelopeError, EquivocationError, UnverifiedEnvelope, seal

START_AT = message(1).epoch_start
LATEST = timedelta(seconds=GRACE_SECONDS + MAX_SPREAD_SECONDS)


@dataclass
class CountedRelays:
    """Has each round from its time on, and keeps the requests and their times."""

    clock: FakeClock
    answers: list[str | None]
    asked_at: list[timedelta] = field(default_factory=list)

    async def signature(self, round_number: int) -> bytes | None:
        self.asked_at.append(self.clock.now() - START_AT)
        answer = self.answers.pop(0)
        return None if answer is None else bytes.fromhex(answer)


class Opening:
    """One client's sealed epochs. `pushed` are the ids of epochs whose message arrived."""

    def __init__(self, *answers: str | None) -> None:
        self.clock = FakeClock(START_AT - timedelta(seconds=60))
        self.relays = CountedRelays(self.clock, list(answers))
        self.offset = timedelta(0)
        self.pushed: set[str] = set()
        self.offered: list[UnverifiedEnvelope] = []
        self.epochs = SealedEpochs(
            TRUST,
            self.relays,  # type: ignore[arg-type]
            self.clock,
            lambda: self.clock.now() + self.offset,
            lambda epoch_id: epoch_id in self.pushed,
            self.offered.append,
        )

    async def run(self) -> None:
        """Run until there is nothing more to open."""
        running = asyncio.create_task(self.epochs.run())
        for _ in range(50):
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


SIGNATURE = signature_for(sealed_epoch(1))


async def test_an_epoch_that_does_not_arrive_is_opened_after_its_start():
    opening = Opening(SIGNATURE)
    opening.epochs.receive(sealed_proof(message(1)).to_bytes())
    await opening.run()
    assert [one.epoch_id for one in opening.offered] == [message(1).epoch_id]
    (asked_at,) = opening.relays.asked_at
    assert timedelta(seconds=GRACE_SECONDS) <= asked_at <= LATEST


async def test_an_epoch_that_arrived_is_not_opened():
    opening = Opening()
    opening.epochs.receive(sealed_proof(message(1)).to_bytes())
    opening.pushed.add(message(1).epoch_id)
    await opening.run()
    assert (opening.offered, opening.relays.asked_at) == ([], [])


async def test_a_clock_that_is_set_while_an_epoch_is_waited_for_delays_no_later_one():
    opening = Opening(SIGNATURE)
    opening.offset = timedelta(minutes=-10)
    opening.epochs.receive(sealed_proof(message(1)).to_bytes())
    running = asyncio.create_task(opening.run())
    await asyncio.sleep(0)
    opening.offset = timedelta(0)
    await running
    (asked_at,) = opening.relays.asked_at
    assert asked_at <= LATEST


async def test_relays_are_asked_again_until_one_has_the_round():
    opening = Opening(None, None, SIGNATURE)
    opening.epochs.receive(sealed_proof(message(1)).to_bytes())
    await opening.run()
    assert len(opening.relays.asked_at) == 3
    assert len(opening.offered) == 1


async def test_a_signature_that_opens_nothing_is_refused_and_the_next_epoch_is_opened():
    opening = Opening("00" * 48, SIGNATURE)
    for number in (1, 2):
        opening.epochs.receive(sealed_proof(message(number)).to_bytes())
    await opening.run()
    assert [one.epoch_id for one in opening.offered] == [message(2).epoch_id]


def test_two_sealed_texts_of_one_epoch_are_an_equivocation():
    opening = Opening()
    document = sealed_proof(message(1)).to_bytes()
    opening.epochs.receive(document)
    opening.epochs.receive(document)
    with pytest.raises(EquivocationError):
        opening.epochs.receive(sealed_proof(message(1)).to_bytes())


def test_a_sealed_epoch_that_does_not_verify_is_refused():
    opening = Opening()
    with pytest.raises(EnvelopeError):
        opening.epochs.receive(b"{}")
    assert opening.epochs.newest is None


@pytest.mark.parametrize("message_first", [True, False])
def test_a_message_that_differs_from_the_sealed_one_is_an_equivocation(message_first: bool):
    other = message(1).model_copy(update={"nonce": "0" * 64})
    arrivals = Arrivals(TRUST)
    sealed, envelope = sealed_epoch(1), seal(other, SIGNER)  # type: ignore[arg-type]

    def announce() -> None:
        arrivals.announce(sealed)

    def arrive() -> None:
        arrivals.accept(envelope, "push", now=START_AT, received_at=START_AT)

    first, second = (arrive, announce) if message_first else (announce, arrive)
    first()
    with pytest.raises(EquivocationError):
        second()


def test_the_sealed_message_is_accepted():
    arrivals = Arrivals(TRUST)
    arrivals.announce(sealed_epoch(1))
    envelope = seal(message(1), SIGNER)  # type: ignore[arg-type]
    accepted = arrivals.accept(envelope, "push", now=START_AT, received_at=START_AT)
    arrivals.announce(sealed_epoch(1))
    assert accepted.message == message(1)
