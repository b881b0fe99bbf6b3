"""Wire models of the public history of epochs that have ended."""

from typing import Annotated, Literal

from pydantic import FailFast, Field

from zipcast.protocol.calendar import parse_epoch_id
from zipcast.protocol.messages.base import EpochId, Success, WireModel, WireTime
from zipcast.protocol.messages.epochs import Proof
from zipcast.protocol.messages.pools import EpochPool


class EndedEpoch(WireModel):
    """`proof` holds the signed text as it was published; None for an epoch that was missed. `seed` is the
    one that its commitment was made for. `late_seconds`: from its start to its publication, by nats-server's
    clock; None if it was not published."""

    epoch_id: EpochId
    epoch_start: WireTime = Field(description="First instant of the epoch, UTC.")
    epoch_end: WireTime = Field(description="First instant after the epoch, UTC.")
    status: Literal["COMPLETED", "LATE", "ARCHIVED", "MISSED"] = Field(
        description="COMPLETED, LATE (published after its end: nobody could work on it), ARCHIVED (detail no "
        "longer kept) or MISSED (nobody prepared it)."
    )
    late_seconds: Annotated[float, Field(ge=0)] | None = Field(
        description="Seconds from the epoch's start to its publication; null if it was not published."
    )
    seed: str | None = Field(
        description="Seed that the commitment was made for, hex; null until it is revealed."
    )
    seed_commitment: str = Field(
        description="SHA-256 of the epoch's seed, published before anybody could know it; hex."
    )
    proof: Proof | None = Field(
        description="The signed text as it was published, for anyone to check; null if nothing was."
    )


class EndedEpochReply(EndedEpoch):
    success: Success = True


class EndedEpochsReply(WireModel):
    """Newest first; `next_before` continues: pass it as `before`."""

    success: Success = True
    epochs: Annotated[tuple[EndedEpoch, ...], FailFast()] = Field(
        description="Epochs that have ended, newest first."
    )
    next_before: EpochId | None = Field(
        description="Pass it as `before` for the next page; null on the last."
    )

    def following(self, before: str | None) -> str | None:
        """Return the `before` of the page that follows this one, which was asked for with `before`; None
        after the last. Raises ValueError where it is no earlier, so that pages never end."""
        following = self.next_before
        if following is None:
            return None
        start_at = parse_epoch_id(following)
        if not self.epochs or (before is not None and start_at >= parse_epoch_id(before)):
            raise ValueError(f"nextBefore {following} does not lead to earlier epochs")
        return following


class ExportedEpoch(EndedEpoch):
    """An ended epoch with its pool, if a validator asked for it."""

    pool: EpochPool | None = Field(
        default=None, description="The epoch's pool, where a validator asked for it."
    )


class ExportedEpochs(WireModel):
    """The file that `zipcast epoch export` writes. `zipcast epoch list --json` can be read as one without
    pools."""

    epochs: tuple[ExportedEpoch, ...] = Field(description="Epochs that have ended, newest first.")
