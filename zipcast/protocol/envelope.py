"""Signs and verifies epoch messages.

The signature covers the DSSE pre-authentication encoding (DSSE protocol v1,
https://github.com/secure-systems-lab/dsse/blob/master/protocol.md). The signed bytes are sent and stored as
they are and never serialised again. Verification turns an `UnverifiedEnvelope` into a `VerifiedEpoch`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from zipcast.protocol.calendar import MalformedEpochIdError, parse_epoch_id
from zipcast.protocol.hotkeys import (
    Hotkey,
    MalformedHotkeyError,
    MalformedSignatureError,
    Signer,
    parse_hotkey,
    parse_signature,
    signature_is_valid,
)
from zipcast.protocol.messages.epochs import EpochMessage

PAYLOAD_TYPE = "application/vnd.zipcast.epoch+json"
HEADER_SIGNER = "Zipcast-Signer"
HEADER_SIGNATURE = "Zipcast-Signature"
HEADER_EPOCH = "Zipcast-Epoch"


class EnvelopeError(ValueError):
    """The message must not be used. The error's text names the check that failed."""


@dataclass(frozen=True, slots=True)
class UnverifiedEnvelope:
    """A received payload, and the signer and signature that its headers claim."""

    payload: bytes
    signer: str
    signature: str
    epoch_id: str

    @classmethod
    def from_headers(cls, headers: Mapping[str, str] | None, payload: bytes) -> "UnverifiedEnvelope":
        """Read the envelope from headers and payload. Raises EnvelopeError if a header is missing."""
        given = headers or {}
        try:
            return cls(payload, given[HEADER_SIGNER], given[HEADER_SIGNATURE], given[HEADER_EPOCH])
        except KeyError as error:
            raise EnvelopeError(f"header {error.args[0]} is missing") from None

    def headers(self) -> dict[str, str]:
        return {
            HEADER_SIGNER: self.signer,
            HEADER_SIGNATURE: self.signature,
            HEADER_EPOCH: self.epoch_id,
        }


@dataclass(frozen=True, slots=True)
class Trust:
    """The epochs that a client accepts: those of the listed signers for one network and one netuid."""

    signers: frozenset[Hotkey]
    network: str
    netuid: int


@dataclass(frozen=True, slots=True)
class VerifiedEpoch:
    """A message whose signature, signer, subnet and id were checked."""

    message: EpochMessage
    envelope: UnverifiedEnvelope


def pre_authentication_encoding(payload: bytes, payload_type: str = PAYLOAD_TYPE) -> bytes:
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def seal(message: EpochMessage, signer: Signer) -> UnverifiedEnvelope:
    """Serialise the message and sign the bytes. sr25519 signatures are random: signing the same message twice
    gives two valid signatures, so the first one is stored and sent."""
    payload = message.to_bytes()
    signature = bytes(signer.sign(pre_authentication_encoding(payload)))
    return UnverifiedEnvelope(payload, signer.ss58_address, signature.hex(), message.epoch_id)


def verify(envelope: UnverifiedEnvelope, trust: Trust) -> VerifiedEpoch:
    """Verify the envelope and return the epoch. Raises EnvelopeError naming the first check that fails."""
    _check_signature(envelope, trust)
    try:
        message = EpochMessage.model_validate_json(envelope.payload)
    except ValidationError:
        raise EnvelopeError("the signed payload is not an epoch message") from None
    if (message.network, message.netuid) != (trust.network, trust.netuid):
        raise EnvelopeError("the epoch is of another network or netuid")
    if message.epoch_id != envelope.epoch_id:
        raise EnvelopeError("the header names another epoch than the payload")
    _check_interval(message)
    return VerifiedEpoch(message, envelope)


def _check_signature(envelope: UnverifiedEnvelope, trust: Trust) -> None:
    try:
        signer = parse_hotkey(envelope.signer)
        signature = parse_signature(envelope.signature)
    except (MalformedHotkeyError, MalformedSignatureError) as error:
        raise EnvelopeError(f"signer or signature {error}") from None
    if signer not in trust.signers:
        raise EnvelopeError("the signer is not one of those pinned")
    if not signature_is_valid(signer, pre_authentication_encoding(envelope.payload), signature):
        raise EnvelopeError("the signature does not verify")


def _check_interval(message: EpochMessage) -> None:
    try:
        named = parse_epoch_id(message.epoch_id)
    except MalformedEpochIdError as error:
        raise EnvelopeError(str(error)) from None
    if named != message.epoch_start or message.epoch_end <= message.epoch_start:
        raise EnvelopeError("the epoch id does not name its start")
