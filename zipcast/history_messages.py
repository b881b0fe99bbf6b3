"""Wire models of the public history: what anybody may see of an epoch that has ended."""

from typing import Annotated, Literal

from pydantic import FailFast, Field

from zipcast.calendar import parse_epoch_id
from zipcast.messages import EpochId, Proof, WireModel, WireTime
from zipcast.pool_messages import EpochPool


class EndedEpoch(WireModel):
    """`proof` holds the signed text as it was published; None for an epoch that was missed. `seed` is the
    one that its commitment was made for. `late_seconds`: from its start to its publication, by nats-server's
    clock; None if it was not published."""

    epoch_id: EpochId
    epoch_start: WireTime
    epoch_end: WireTime
    status: Literal["COMPLETED", "LATE", "ARCHIVED", "MISSED"]
    late_seconds: Annotated[float, Field(ge=0)] | None
    seed: str | None
    seed_commitment: str
    proof: Proof | None


class EndedEpochReply(EndedEpoch):
    success: Literal[True] = True


class EndedEpochsReply(WireModel):
    """Newest first; `next_before` continues: pass it as `before`."""

    success: Literal[True] = True
    epochs: Annotated[tuple[EndedEpoch, ...], FailFast()]
    next_before: EpochId | None

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
    """With the pool, where a validator asked for it."""

    pool: EpochPool | None = None


class ExportedEpochs(WireModel):
    """What `zipcast epoch export` writes. `zipcast epoch list --json` can be read as one without pools."""

    epochs: tuple[ExportedEpoch, ...]
