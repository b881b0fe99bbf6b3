"""Wire models of the public history of epochs that have ended."""

from typing import Annotated, Literal

from pydantic import FailFast, Field

from zipcast.protocol.calendar import parse_epoch_id
from zipcast.protocol.messages.base import EpochId, Success, WireModel, WireTime
from zipcast.protocol.messages.epochs import BeaconKind, Proof
from zipcast.protocol.messages.pools import EpochPool


class EndedEpoch(WireModel):
    """An epoch that has ended. `proof` has the signed text as it was published; it is None for a missed
    epoch. `seed` is the seed to which the service committed. `late_seconds` is the time from the epoch's
    start to its publication, by nats-server's clock; it is None if the epoch was not published."""

    epoch_id: EpochId
    epoch_start: WireTime = Field(description="First instant of the epoch, UTC.")
    epoch_end: WireTime = Field(description="First instant after the epoch, UTC.")
    status: Literal["COMPLETED", "LATE", "ARCHIVED", "MISSED"] = Field(
        description="COMPLETED, LATE (published only after its end), ARCHIVED (details deleted) or MISSED "
        "(never prepared)."
    )
    late_seconds: Annotated[float, Field(ge=0)] | None = Field(
        description="Seconds from the epoch's start to its publication; null if it was not published."
    )
    seed: str | None = Field(description="Seed of the epoch, hex; null until it is revealed.")
    seed_commitment: str = Field(description="SHA-256 of the epoch's seed, published one epoch ahead; hex.")
    beacon: BeaconKind | None = Field(
        description="Beacon round of the epoch's draw: `round`, the earlier `fallback`, or `none`, with "
        "which the operator could choose the draw; null if the epoch was missed."
    )
    proof: Proof | None = Field(
        description="The signed text as it was published; null if the epoch was missed."
    )


class EndedEpochReply(EndedEpoch):
    success: Success = True


class EndedEpochsReply(WireModel):
    """One page of ended epochs, newest first. Pass `next_before` as `before` to get the next page."""

    success: Success = True
    epochs: Annotated[tuple[EndedEpoch, ...], FailFast()] = Field(
        description="Epochs that have ended, newest first."
    )
    next_before: EpochId | None = Field(
        description="Pass it as `before` for the next page; null on the last."
    )

    def following(self, before: str | None) -> str | None:
        """Return the `before` of the next page, or None if this page is the last. `before` is that of this
        page.

        Raises ValueError unless the next page is earlier, so that a loop over pages ends."""
        following = self.next_before
        if following is None:
            return None
        start_at = parse_epoch_id(following)
        if not self.epochs or (before is not None and start_at >= parse_epoch_id(before)):
            raise ValueError(f"nextBefore {following} does not lead to earlier epochs")
        return following


class ExportedEpoch(EndedEpoch):
    """An ended epoch, with its pool if a validator exported it."""

    pool: EpochPool | None = Field(default=None, description="The epoch's pool, if a validator exported it.")


class ExportedEpochs(WireModel):
    """The file that `zipcast epoch export` writes. The output of `zipcast epoch list --json` can be read as
    such a file without pools."""

    epochs: tuple[ExportedEpoch, ...] = Field(description="Epochs that have ended, newest first.")
