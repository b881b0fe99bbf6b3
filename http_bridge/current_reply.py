"""The body of `GET …/current`, built once per epoch (contract-http)."""

import hashlib
from dataclasses import dataclass

from zipcast.envelope import UnverifiedEnvelope, VerifiedEpoch
from zipcast.messages import EpochMessage, Proof

# The contract's fields of the epoch message, in its order; the rest travels inside `proof`.
_FIELDS = {
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


@dataclass(frozen=True, slots=True)
class CurrentReply:
    """Bytes ready to send, and their ETag."""

    epoch_id: str
    body: bytes
    etag: str

    @classmethod
    def of(cls, epoch: VerifiedEpoch) -> "CurrentReply":
        body = f"{{{assignment_fields(epoch.envelope)}}}".encode()
        return cls(epoch.envelope.epoch_id, body, f'"{hashlib.sha256(body).hexdigest()[:32]}"')


def assignment_fields(envelope: UnverifiedEnvelope) -> str:
    """The members of the body's JSON object, for an envelope that was verified or is from our record."""
    message = EpochMessage.model_validate_json(envelope.payload)
    fields = message.model_dump_json(by_alias=True, include=_FIELDS)
    proof = Proof(
        payload=envelope.payload.decode(), signer=envelope.signer, signature=envelope.signature
    ).model_dump_json(by_alias=True)
    return f'"success":true,{fields[1:-1]},"proof":{proof}'
