"""Wire models of an epoch in HTTP replies: fields of the epoch message, and the signed message as proof."""

from typing import Any, Literal

from pydantic import Field, create_model

from zipcast.protocol.messages.base import Sha256Hex, Success, WireModel, ZipcodeText
from zipcast.protocol.messages.epochs import EpochMessage, Proof

ASSIGNMENT_FIELDS = {
    "epoch_id",
    "epoch_start",
    "epoch_end",
    "nonce",
    "target_listings",
    "tolerance_percent",
    "submission_deadline",
    "zipcodes",
    "assignments",
    "metadata",
}
"""Fields of the epoch message that the reply repeats (docs/http-contract.md). The others are inside
`proof`."""


class _Assignment(WireModel):
    success: Success = True


_FIELDS: dict[str, Any] = {
    name: (field.annotation, field)
    for name, field in EpochMessage.model_fields.items()
    if name in ASSIGNMENT_FIELDS
} | {"proof": (Proof, Field(description="The signed text as it was published, for anyone to check."))}
CurrentAssignmentReply = create_model(
    "CurrentAssignmentReply", __base__=_Assignment, __doc__="The running epoch.", **_FIELDS
)


class EpochAssignmentReply(CurrentAssignmentReply):
    """An epoch whose seed is not revealed yet."""

    status: Literal["ACTIVE", "COMPLETED", "ARCHIVED"] = Field(
        description="ACTIVE while it runs, COMPLETED after its end, ARCHIVED when its details are deleted."
    )


class RevealedEpochReply(EpochAssignmentReply):
    """An epoch whose seed is revealed. In addition to the fields of other epochs, the reply has the seed and
    the honeypots."""

    honeypots: tuple[ZipcodeText, ...] = Field(description="Zipcodes that were published with false counts.")
    seed: Sha256Hex = Field(
        description="Secret seed of the epoch, hex; its SHA-256 was published before the epoch."
    )
