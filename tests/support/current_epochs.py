"""Provides two epochs, and a view of the running one."""

from datetime import timedelta

from service.current_epoch import CurrentEpoch
from tests.contract.documents import epoch_message
from tests.support.fakes import SIGNER, SIGNER_HOTKEY, START_AT, FakeClock
from zipcast.protocol.envelope import Trust, UnverifiedEnvelope, seal

MESSAGE = epoch_message()
FOUR_HOURS = timedelta(hours=4)
FOLLOWING = MESSAGE.model_copy(
    update={
        "epoch_id": "2026-11-22T08-00-00",
        "epoch_start": START_AT + FOUR_HOURS,
        "epoch_end": START_AT + 2 * FOUR_HOURS,
    }
)
FIRST, SECOND = seal(MESSAGE, SIGNER), seal(FOLLOWING, SIGNER)


def current(clock: FakeClock, *offered: UnverifiedEnvelope) -> CurrentEpoch:
    held = CurrentEpoch(Trust(frozenset({SIGNER_HOTKEY}), "test", 46), clock, database=None)
    for envelope in offered:
        held.offer(envelope)
    return held
