"""Defines the verified epoch that the SDK gives to a miner or validator, with short names for its main
fields."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from zipcast.client.received_epochs import ReceivedEpoch, Via
from zipcast.errors import ServiceError
from zipcast.protocol.envelope import VerifiedEpoch
from zipcast.protocol.errors import ErrorCode
from zipcast.protocol.messages.epochs import AssignedZipcode, EpochMessage


@dataclass(frozen=True, slots=True)
class Epoch:
    """A verified epoch. `message` has every signed field. `received_at` is the local time of its arrival, and
    `via` is "push" if the service sent the epoch at its start, "request" if the client requested it, and
    "seal" if the client opened the sealed epoch."""

    verified: VerifiedEpoch
    received_at: datetime
    via: Via

    @classmethod
    def of(cls, received: ReceivedEpoch) -> "Epoch":
        """Return a received epoch in the form that the SDK gives to its users."""
        return cls(received.epoch, received.received_at, received.via)

    @property
    def message(self) -> EpochMessage:
        """Return the signed message."""
        return self.verified.message

    @property
    def payload(self) -> bytes:
        """Return the bytes that were signed."""
        return self.verified.envelope.payload

    @property
    def id(self) -> str:
        """Return the epoch's id, which is its start in UTC: YYYY-MM-DDTHH-MM-SS."""
        return self.message.epoch_id

    @property
    def previous_id(self) -> str | None:
        """Return the id of the epoch that ended when this one started, or None for the first epoch."""
        return self.message.previous_epoch_id

    @property
    def zipcodes(self) -> tuple[AssignedZipcode, ...]:
        """Return the zipcodes to collect."""
        return self.message.zipcodes

    @property
    def nonce(self) -> str:
        """Return the nonce, which a status report repeats."""
        return self.message.nonce

    @property
    def start_at(self) -> datetime:
        """Return the first instant of the epoch, in UTC."""
        return self.message.epoch_start

    @property
    def end_at(self) -> datetime:
        """Return the first instant after the epoch, in UTC."""
        return self.message.epoch_end

    @property
    def deadline_at(self) -> datetime:
        """Return the time until which uploads count, in UTC."""
        return self.message.submission_deadline

    @property
    def milliseconds_after_start(self) -> float:
        """Return how late the epoch arrived, by the local clock."""
        return (self.received_at - self.start_at) / timedelta(milliseconds=1)


def id_of(epoch: Epoch | EpochMessage | str) -> str:
    """Return the id of an epoch or of its message. An id is returned as it is."""
    if isinstance(epoch, Epoch):
        return epoch.id
    return epoch.epoch_id if isinstance(epoch, EpochMessage) else epoch


def nonce_of(epoch: Epoch | EpochMessage | str, newest: VerifiedEpoch | None) -> str:
    """Return the nonce of an epoch. If `epoch` is an id, it must be the id of `newest`, the newest epoch that
    was received. Raises ServiceError(EPOCH_NOT_FOUND)."""
    if not isinstance(epoch, str):
        return epoch.nonce
    if newest is None or newest.message.epoch_id != epoch:
        raise ServiceError(
            ErrorCode.EPOCH_NOT_FOUND, f"Epoch {epoch} was not received: pass the epoch instead of its id."
        )
    return newest.message.nonce
