"""Tests, without servers, that a process opens a sealed epoch if the message itself does not arrive."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from service.current_epoch import CurrentEpoch
from service.sealed_epochs import GRACE_SECONDS, SealedEpochs
from tests.support.fakes import FakeClock
from tests.support.sealed import sealed_epoch, signature_for
from tests.support.signed_epochs import SIGNER, TRUST, message
from zipcast.protocol import envelope
from zipcast.protocol.errors import ErrorCode, ServiceError

FIRST = sealed_epoch(1)
LATER = timedelta(seconds=GRACE_SECONDS)
NOTHING: Any = None


@dataclass
class OneRelay:
    """Gives `answer` for every round, and counts the requests."""

    answer: str | None
    asked: list[int] = field(default_factory=list)

    async def signature(self, round_number: int) -> bytes | None:
        self.asked.append(round_number)
        return None if self.answer is None else bytes.fromhex(self.answer)


def holding(relay: OneRelay, after_start: timedelta) -> SealedEpochs:
    clock = FakeClock(FIRST.start_at + after_start)
    current = CurrentEpoch(TRUST, clock, NOTHING)
    held = SealedEpochs(current, relay, clock, NOTHING)  # type: ignore[arg-type]
    held.receive(FIRST.proof.to_bytes())
    return held


async def test_an_epoch_that_did_not_arrive_is_opened_and_then_runs():
    held = holding(OneRelay(signature_for(FIRST)), LATER)
    await held.open_if_due()
    assert held.current.running().message == message(1)
    await held.open_if_due()
    assert held.relays.asked == [FIRST.round_number]  # type: ignore[attr-defined]


@pytest.mark.parametrize("after_start", [-LATER, timedelta(0), LATER - timedelta(milliseconds=1)])
async def test_nothing_is_opened_while_the_message_may_still_arrive(after_start: timedelta):
    held = holding(OneRelay(signature_for(FIRST)), after_start)
    await held.open_if_due()
    assert held.relays.asked == []  # type: ignore[attr-defined]


async def test_an_epoch_that_arrived_is_not_opened():
    held = holding(OneRelay(signature_for(FIRST)), LATER)
    held.current.offer(envelope.seal(message(1), SIGNER))  # type: ignore[arg-type]
    await held.open_if_due()
    assert held.relays.asked == []  # type: ignore[attr-defined]


async def test_without_a_relay_it_is_tried_again():
    held = holding(OneRelay(None), LATER)
    for _ in range(2):
        await held.open_if_due()
    assert held.relays.asked == [FIRST.round_number] * 2  # type: ignore[attr-defined]
    assert held.current.running_or_none() is None


async def test_a_false_signature_is_refused_once():
    held = holding(OneRelay("00" * 48), LATER)
    for _ in range(2):
        await held.open_if_due()
    assert held.relays.asked == [FIRST.round_number]  # type: ignore[attr-defined]
    assert held.current.running_or_none() is None


def test_the_newest_sealed_epoch_is_replied_and_a_forged_one_is_not_kept():
    held = holding(OneRelay(None), -LATER)
    held.receive(sealed_epoch(2).proof.to_bytes())
    held.receive(FIRST.proof.to_bytes())
    held.receive(sealed_epoch(3).proof.model_copy(update={"signature": "00" * 64}).to_bytes())
    assert held.reply().epoch_id == message(2).epoch_id


def test_before_the_first_there_is_none():
    clock = FakeClock(FIRST.start_at)
    held = SealedEpochs(CurrentEpoch(TRUST, clock, NOTHING), NOTHING, clock, NOTHING)
    with pytest.raises(ServiceError) as refusal:
        held.reply()
    assert refusal.value.code is ErrorCode.NO_SEALED_EPOCH
