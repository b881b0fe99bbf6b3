"""Decides which received epochs a client passes on, and keeps them until they are taken.

The signature of an old epoch stays valid for ever, so anyone could replay the epoch. Two rules therefore
apply in addition to the signature. An epoch that is older than one already seen is rejected. As long as none
was seen, an epoch is rejected if it ended more than its own length ago. An epoch that was published after its
own end counts as seen but is not passed on, because no work can be done in it. This module does not use NATS
or a clock.
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
    """A verified epoch. `via` tells whether it was pushed at its start or requested by the client."""

    epoch: VerifiedEpoch
    received_at: datetime
    via: Via

    @property
    def milliseconds_after_start(self) -> float:
        return (self.received_at - self.epoch.message.epoch_start) / timedelta(milliseconds=1)


class Arrivals:
    """The newest epoch, and those not taken yet. `more` is set when an epoch can be taken; the reader clears
    it before it waits."""

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
        """Verify an epoch and return it. It can then be taken if it is newer than every earlier one. `now` is
        the service's time, `received_at` the time on our own clock, and `published_at` the server's time of
        publishing the epoch, if known. Raises EnvelopeError."""
        epoch = verify(envelope, self._trust)
        if self.newest is None:
            _check_recent(epoch.message, now)
        elif epoch.message.epoch_id < self.newest.message.epoch_id:
            raise EnvelopeError("the epoch is older than one received before")
        if self.newest is None or epoch.message.epoch_id > self.newest.message.epoch_id:
            self.newest = epoch
            # The server's time is not signed, so it alone must not mark an epoch as ended.
            ended = published_at is not None and min(published_at, now) >= epoch.message.epoch_end
            if not ended:
                self._untaken.append(ReceivedEpoch(epoch, received_at, via))
                self.more.set()
        return epoch

    def take(self) -> ReceivedEpoch | None:
        """Return the next epoch that was not taken yet, or None if there is none."""
        return self._untaken.popleft() if self._untaken else None


def _check_recent(message: EpochMessage, now: datetime) -> None:
    if now - message.epoch_end > message.epoch_end - message.epoch_start:
        raise EnvelopeError("the epoch ended more than one epoch ago")
