"""Decides which received epochs a client passes on, and keeps them until they are taken.

The signature of an old epoch stays valid for ever, so anyone could replay the epoch. Two rules therefore
apply in addition to the signature. An epoch that is older than one already seen is rejected. As long as none
was seen, an epoch is rejected if it ended more than its own length ago. An epoch that was published after its
own end counts as seen but is not passed on, because no work can be done in it. It is passed on if it arrives
again and has not ended after all. This module does not use NATS or a clock.
"""

import asyncio
import hashlib
from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from zipcast.protocol.envelope import (
    EnvelopeError,
    EquivocationError,
    Trust,
    UnverifiedEnvelope,
    VerifiedEpoch,
    verify,
)
from zipcast.protocol.messages.epochs import EpochMessage
from zipcast.protocol.sealing import SealedEpoch

Via = Literal["push", "request", "seal"]


@dataclass(frozen=True, slots=True)
class ReceivedEpoch:
    """A verified epoch. `via` is "push" if the service sent the epoch at its start, "request" if the client
    requested it, and "seal" if the client opened the sealed epoch."""

    epoch: VerifiedEpoch
    received_at: datetime
    via: Via

    @property
    def milliseconds_after_start(self) -> float:
        """Return how late the epoch arrived, by the local clock."""
        return (self.received_at - self.epoch.message.epoch_start) / timedelta(milliseconds=1)


class Arrivals:
    """Holds the newest epoch, and the epochs that were not taken yet. `more` is set when an epoch can be
    taken. The reader clears `more` before it waits."""

    def __init__(self, trust: Trust) -> None:
        self.newest: VerifiedEpoch | None = None
        self.more = asyncio.Event()
        self._trust = trust
        self._sealed: SealedEpoch | None = None
        self._untaken: deque[ReceivedEpoch] = deque()
        self._has_skipped_newest = False

    def announce(self, sealed: SealedEpoch) -> None:
        """Keep the newest sealed epoch, to compare its message with it. Raises EquivocationError if another
        message of this epoch was received."""
        self._sealed = sealed
        if self.newest is not None:
            self._compare(self.newest.envelope)

    def _compare(self, envelope: UnverifiedEnvelope) -> None:
        """Compare a verified message with the sealed epoch. Raises EquivocationError."""
        sealed = self._sealed
        if sealed is None or sealed.epoch_id != envelope.epoch_id:
            return
        if hashlib.sha256(envelope.payload).hexdigest() != sealed.payload_sha256:
            raise EquivocationError(f"epoch {envelope.epoch_id} differs from the sealed one")

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
        # An epoch has ended only if the service's time and the publication time both say so. The publication
        # time alone is not enough, because it is not signed.
        ended = published_at is not None and min(published_at, now) >= epoch.message.epoch_end
        if self.newest is None:
            _check_recent(epoch.message, now)
        elif epoch.message.epoch_id < self.newest.message.epoch_id:
            raise EnvelopeError("the epoch is older than one received before")
        elif epoch.message.epoch_id == self.newest.message.epoch_id:
            if envelope.payload != self.newest.envelope.payload:
                raise EquivocationError(f"epoch {envelope.epoch_id} differs from the one received before")
            # If this epoch was skipped as ended and has not ended now, go on: the clock may have been wrong
            # before.
            if ended or not self._has_skipped_newest:
                return self.newest
        self._compare(envelope)
        self.newest, self._has_skipped_newest = epoch, ended
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
