"""Keeps the newest sealed epoch, and opens it if the message itself does not arrive at the epoch's start.

The sealed epoch is read from the stream `SEALED` every half second. Reading needs fewer rights than a
subscription, and finds sealed epochs that were sent while the connection was lost.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from service import logs
from service.current_epoch import CurrentEpoch
from service.polling import Outage, poll
from zipcast.client.relays import Relays
from zipcast.clock import Clock
from zipcast.protocol.envelope import EnvelopeError
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.messages.epochs import SealedEpochReply
from zipcast.protocol.sealing import SealedEpoch, open_sealed, verify_sealed
from zipcast.protocol.subjects import SEALED_STREAM, sealed_ingest

log = logs.logger()

POLL_SECONDS = 0.5
RETRY_SECONDS = 1.0
GRACE_SECONDS = 0.5
"""The time in seconds after an epoch's start in which its message may arrive over NATS or from the database.
After that, the sealed epoch is opened."""


def _do_nothing(sealed: SealedEpoch) -> None: ...


@dataclass(slots=True)
class SealedEpochs:
    """The newest sealed epoch. `relays` are asked for its round."""

    current: CurrentEpoch
    relays: Relays
    clock: Clock
    jetstream: JetStreamContext
    newest: SealedEpoch | None = field(default=None)
    on_news: Callable[[SealedEpoch], None] = field(default=_do_nothing)
    """Called with each newer sealed epoch."""
    _sequence: int | None = field(default=None)
    """The stream's number of the message that was read last."""
    _refused: str = field(default="")
    """The id of the newest epoch whose sealed text contains no valid message."""

    def reply(self) -> SealedEpochReply:
        """Return the newest sealed epoch. Raises ServiceError(NO_SEALED_EPOCH)."""
        if self.newest is None:
            raise ServiceError(ErrorCode.NO_SEALED_EPOCH, "No epoch is sealed now.")
        return SealedEpochReply(epoch_id=self.newest.epoch_id, sealed=self.newest.proof)

    async def run(self) -> None:
        """Read the stream until cancelled. While NATS is unavailable, keep what was read before."""
        outage = Outage(log, "sealed_epochs_unread", (NatsError, OSError))
        await poll(self.read, self.clock, POLL_SECONDS, outage)

    async def read(self) -> None:
        """Read the newest sealed epoch once. Raises nats.errors.Error."""
        try:
            # With this subject, nats-server returns the newest message of any epoch. `seq` makes nats-py send
            # the subject in the body, which is necessary because of its wildcard; the number itself is
            # ignored.
            raw = await self.jetstream.get_msg(SEALED_STREAM, seq=1, subject=sealed_ingest("*"), direct=True)
        except NotFoundError:
            return
        if raw.seq != self._sequence:
            self._sequence = raw.seq
            self.receive(raw.data or b"")

    def receive(self, document: bytes) -> None:
        """Keep a sealed epoch if it verifies and is newer than the one kept so far."""
        try:
            sealed = verify_sealed(document, self.current.trust)
        except EnvelopeError as error:
            log.error("sealed_epoch_refused", reason=str(error))
            return
        if self.newest is None or sealed.epoch_id > self.newest.epoch_id:
            self.newest = sealed
            self.on_news(sealed)
            log.info("sealed_epoch_held", epoch_id=sealed.epoch_id)

    async def run_opening(self) -> None:
        """Open sealed epochs that are due, until cancelled."""
        await poll(self.open_if_due, self.clock, POLL_SECONDS / 2)

    async def open_if_due(self) -> None:
        """Open the newest sealed epoch if the epoch has started but its message has not arrived."""
        sealed = self.newest
        if sealed is None or self.current.has_reached(sealed.epoch_id) or sealed.epoch_id == self._refused:
            return
        if (self.clock.now() - sealed.opens_at).total_seconds() < GRACE_SECONDS:
            return
        signature = await self.relays.signature(sealed.round_number)
        if signature is None:
            log.warning("sealed_epoch_not_opened", epoch_id=sealed.epoch_id)
            await self.clock.sleep(RETRY_SECONDS)
            return
        try:
            opened = open_sealed(sealed, signature.hex(), self.current.trust)
        except EnvelopeError as error:
            log.error("sealed_epoch_refused", epoch_id=sealed.epoch_id, reason=str(error))
            self._refused = sealed.epoch_id
            return
        log.warning("epoch_opened_from_seal", epoch_id=sealed.epoch_id)
        self.current.offer(opened.envelope)
