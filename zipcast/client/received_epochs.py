"""Keeps the epochs that a client has seen: the newest verified one, and those not handed out yet.

Owns the rules beyond the signature: never an epoch older than one already seen, and, while none
was seen, none that ended more than its own length ago. Old epochs stay validly signed for ever, so
without these rules anybody could replay one. One that was published only after its own end is kept as
seen and not handed out: there is nothing left to do in it. Knows nothing of NATS; instants are arguments.
"""

import asyncio
from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from zipcast.protocol.envelope import EnvelopeError, Trust, UnverifiedEnvelope, VerifiedEpoch, verify
from zipcast.protocol.messages.epochs import EpochMessage

Via = Literal["push", "request"]


@dataclass(frozen=True, slots=True)
class ReceivedEpoch:
    """A verified epoch. `via`: pushed at its start, or asked for because it was not known."""

    epoch: VerifiedEpoch
    received_at: datetime
    via: Via

    @property
    def milliseconds_after_start(self) -> float:
        return (self.received_at - self.epoch.message.epoch_start) / timedelta(milliseconds=1)


class Arrivals:
    """`more` is set when an epoch can be taken; the reader clears it before it waits."""

    def __init__(self, trust: Trust) -> None:
        self.newest: VerifiedEpoch | None = None
        self.more = asyncio.Event()
        self._trust = trust
        self._untaken: deque[ReceivedEpoch] = deque()

    def accept(
        self,
        envelope: UnverifiedEnvelope,
        via: Via,
        *,
        now: datetime,
        received_at: datetime,
        published_at: datetime | None = None,
    ) -> VerifiedEpoch:
        """Verify an epoch and return it; it can be taken if it is newer than every one before. `now` is the
        service's time, `received_at` that of our own clock, `published_at` the server's time of passing the
        epoch on, if it states one. Raises EnvelopeError."""
        epoch = verify(envelope, self._trust)
        if self.newest is None:
            _check_recent(epoch.message, now)
        elif epoch.message.epoch_id < self.newest.message.epoch_id:
            raise EnvelopeError("the epoch is older than one received before")
        if self.newest is None or epoch.message.epoch_id > self.newest.message.epoch_id:
            self.newest = epoch
            # The server's word is not signed: alone it must not make an epoch pass for one that has ended.
            ended = published_at is not None and min(published_at, now) >= epoch.message.epoch_end
            if not ended:
                self._untaken.append(ReceivedEpoch(epoch, received_at, via))
                self.more.set()
        return epoch

    def take(self) -> ReceivedEpoch | None:
        """Return the next epoch that was not taken yet, or None."""
        return self._untaken.popleft() if self._untaken else None


def _check_recent(message: EpochMessage, now: datetime) -> None:
    if now - message.epoch_end > message.epoch_end - message.epoch_start:
        raise EnvelopeError("the epoch ended more than one epoch ago")
