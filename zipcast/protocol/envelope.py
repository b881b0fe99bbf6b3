"""Signs and verifies epoch messages and drafts.

The signature covers the DSSE pre-authentication encoding (DSSE protocol v1,
https://github.com/secure-systems-lab/dsse/blob/master/protocol.md). The signed bytes are sent and stored as
they are and never serialised again. Verification turns an `UnverifiedEnvelope` into a `VerifiedEpoch`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from zipcast.protocol.beacon import BeaconError, chain_of, check_signature
from zipcast.protocol.calendar import MalformedEpochIdError, parse_epoch_id
from zipcast.protocol.errors import ZipcastError
from zipcast.protocol.hotkeys import (
    Hotkey,
    MalformedHotkeyError,
    MalformedSignatureError,
    Signer,
    parse_hotkey,
    parse_signature,
    signature_is_valid,
)
from zipcast.protocol.messages.epochs import EpochBeacon, EpochDraft, EpochMessage, Proof

PAYLOAD_TYPE = "application/vnd.zipcast.epoch+json"
DRAFT_TYPE = "application/vnd.zipcast.draft+json"
HEADER_SIGNER = "Zipcast-Signer"
HEADER_SIGNATURE = "Zipcast-Signature"
HEADER_EPOCH = "Zipcast-Epoch"


class EnvelopeError(ZipcastError, ValueError):
    """The message must not be used. The error's text names the check that failed."""

    code = "unverified"
    remedy = "Check signer, network and netuid. If they are right, report the message to the operator."


class WrongSignerError(EnvelopeError):
    """The service or a message uses a signer that is not trusted."""

    code = "wrong_signer"
    remedy = "Ask the operator for the signer's address, and trust it if the operator confirms it."


class WrongNetworkError(EnvelopeError):
    """The message is of another Bittensor network."""

    code = "wrong_network"
    remedy = "Correct `network`, or the addresses of the servers."


class WrongNetuidError(EnvelopeError):
    """The message is of another subnet."""

    code = "wrong_netuid"
    remedy = "Correct `netuid`, or the addresses of the servers."


class EquivocationError(EnvelopeError):
    """The service signed two different messages for one epoch."""

    code = "equivocation"
    remedy = (
        "Report both messages to the other miners and validators: the signer is dishonest, or its key was "
        "stolen."
    )


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
        """Return the headers with which the payload is published."""
        return {
            HEADER_SIGNER: self.signer,
            HEADER_SIGNATURE: self.signature,
            HEADER_EPOCH: self.epoch_id,
        }


@dataclass(frozen=True, slots=True)
class Trust:
    """Defines which epochs a client accepts: those of `signers`, for one network and one netuid."""

    signers: frozenset[Hotkey]
    network: str
    netuid: int


@dataclass(frozen=True, slots=True)
class VerifiedEpoch:
    """A message whose signature, signer, subnet and id were checked."""

    message: EpochMessage
    envelope: UnverifiedEnvelope


def pre_authentication_encoding(payload: bytes, payload_type: str = PAYLOAD_TYPE) -> bytes:
    """Return the bytes that are signed: type and payload, each with its length in bytes (DSSE)."""
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
    check_envelope_signature(envelope, trust, PAYLOAD_TYPE)
    try:
        message = EpochMessage.model_validate_json(envelope.payload)
    except ValidationError:
        raise EnvelopeError("the signed payload is not an epoch message") from None
    if message.network != trust.network:
        raise WrongNetworkError(f"the epoch is of network {message.network[:64]!r}, not {trust.network!r}")
    if message.netuid != trust.netuid:
        raise WrongNetuidError(f"the epoch is of netuid {message.netuid}, not {trust.netuid}")
    if message.epoch_id != envelope.epoch_id:
        raise EnvelopeError("the header names another epoch than the payload")
    _check_interval(message)
    if message.beacon is not None:
        _check_beacon(message.beacon, trust)
    return VerifiedEpoch(message, envelope)


def sign_draft(draft: EpochDraft, signer: Signer) -> Proof:
    """Serialise the draft and sign these bytes, like `seal`."""
    payload = draft.to_bytes()
    signature = bytes(signer.sign(pre_authentication_encoding(payload, DRAFT_TYPE)))
    return Proof(payload=payload.decode(), signer=signer.ss58_address, signature=signature.hex())


def verify_draft(proof: Proof, trust: Trust) -> EpochDraft:
    """Verify a signed draft and return it. Raises EnvelopeError naming the first check that fails."""
    envelope = UnverifiedEnvelope(proof.payload.encode(), proof.signer, proof.signature, "")
    check_envelope_signature(envelope, trust, DRAFT_TYPE)
    try:
        draft = EpochDraft.model_validate_json(envelope.payload)
    except ValidationError:
        raise EnvelopeError("the signed text is not a draft") from None
    if (draft.network, draft.netuid) != (trust.network, trust.netuid):
        raise EnvelopeError("the draft is of another network or netuid")
    return draft


def _check_beacon(beacon: EpochBeacon, trust: Trust) -> None:
    chain = chain_of(trust.network)
    if beacon.chain != chain.name:
        raise EnvelopeError(f"the beacon's chain is not {chain.name}")
    try:
        check_signature(chain, beacon.round, beacon.signature)
    except BeaconError as error:
        raise EnvelopeError(str(error)) from None


def check_envelope_signature(envelope: UnverifiedEnvelope, trust: Trust, payload_type: str) -> None:
    """Check the signature over a payload of this type. Raises EnvelopeError."""
    try:
        signer = parse_hotkey(envelope.signer)
    except MalformedHotkeyError as error:
        raise EnvelopeError(f"the signer {error}") from None
    try:
        signature = parse_signature(envelope.signature)
    except MalformedSignatureError as error:
        raise EnvelopeError(f"the signature {error}") from None
    if signer not in trust.signers:
        raise WrongSignerError("the signer is not trusted")
    if not signature_is_valid(signer, pre_authentication_encoding(envelope.payload, payload_type), signature):
        raise EnvelopeError("the signature does not verify")


def _check_interval(message: EpochMessage) -> None:
    try:
        named = parse_epoch_id(message.epoch_id)
    except MalformedEpochIdError as error:
        raise EnvelopeError(str(error)) from None
    if named != message.epoch_start or message.epoch_end <= message.epoch_start:
        raise EnvelopeError("the epoch id does not name its start")
