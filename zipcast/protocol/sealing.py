"""Seals an epoch before its start, and opens it with its round of the beacon.

A sealed epoch is the signed message, encrypted to the first round at or after the start. Everyone may receive
it early, because it cannot be opened before the round is published. With a sealed epoch, a client learns the
epoch even if the service is down at the start. The format is in docs/protocol.md, "Sealed epochs". This
module is pure, except that encryption is random: sealing the same epoch twice gives two different texts.
"""

import base64
import binascii
import hashlib
from dataclasses import dataclass
from datetime import datetime

from bittensor_core import decrypt_with_signature, encrypt_at_round
from pydantic import ValidationError

from zipcast.protocol.beacon import BeaconError, Chain, Purpose, chain_of, check_signature
from zipcast.protocol.calendar import MalformedEpochIdError, parse_epoch_id
from zipcast.protocol.envelope import (
    EnvelopeError,
    Trust,
    UnverifiedEnvelope,
    VerifiedEpoch,
    check_envelope_signature,
    pre_authentication_encoding,
    verify,
)
from zipcast.protocol.hotkeys import Signer
from zipcast.protocol.messages.epochs import EpochMessage, EpochSeal, Proof

SEAL_TYPE = "application/vnd.zipcast.sealed+json"
STEP_BYTES = 16_384
"""A sealed text is padded to a multiple of this size, because its length would otherwise show how many
zipcodes the epoch has."""
# The largest size of a padded text. In base64, it becomes a third longer, and nats.conf allows 256 KB per
# message.
MAX_PADDED_BYTES = 11 * STEP_BYTES


@dataclass(frozen=True, slots=True)
class SealedEpoch:
    """A sealed epoch whose signature, signer, subnet, id and round were checked. `opens_at` is the instant of
    its round."""

    epoch_id: str
    start_at: datetime
    round_number: int
    opens_at: datetime
    payload_sha256: str
    ciphertext: bytes
    proof: Proof


def opening_round(chain: Chain, start_at: datetime) -> int:
    """Return the round with which an epoch can be opened: the first at or after its start."""
    return chain.first_from(start_at, Purpose.OPENING)


def seal_epoch(message: EpochMessage, envelope: UnverifiedEnvelope, signer: Signer) -> Proof:
    """Encrypt a signed message and sign the result. Raises ValueError if the message is too long."""
    chain = chain_of(message.network)
    opening = opening_round(chain, message.epoch_start)
    ciphertext, _ = encrypt_at_round(_padded(envelope), chain.drand_round(opening))
    sealed = EpochSeal(
        network=message.network,
        netuid=message.netuid,
        epoch_id=message.epoch_id,
        chain=chain.name,
        round=opening,
        payload_sha256=hashlib.sha256(envelope.payload).hexdigest(),
        ciphertext=base64.b64encode(bytes(ciphertext)).decode(),
    )
    payload = sealed.to_bytes()
    signature = bytes(signer.sign(pre_authentication_encoding(payload, SEAL_TYPE)))
    return Proof(payload=payload.decode(), signer=signer.ss58_address, signature=signature.hex())


def verify_sealed(document: bytes, trust: Trust) -> SealedEpoch:
    """Verify a sealed epoch as it was received. Raises EnvelopeError naming the first check that fails."""
    try:
        proof = Proof.model_validate_json(document)
    except ValidationError:
        raise EnvelopeError("the document is not a sealed epoch") from None
    envelope = UnverifiedEnvelope(proof.payload.encode(), proof.signer, proof.signature, "")
    check_envelope_signature(envelope, trust, SEAL_TYPE)
    try:
        sealed = EpochSeal.model_validate_json(envelope.payload)
        start_at = parse_epoch_id(sealed.epoch_id)
        ciphertext = base64.b64decode(sealed.ciphertext, validate=True)
    except (ValidationError, MalformedEpochIdError, binascii.Error):
        raise EnvelopeError("the signed text is not a sealed epoch") from None
    if (sealed.network, sealed.netuid) != (trust.network, trust.netuid):
        raise EnvelopeError("the sealed epoch is of another network or netuid")
    chain = chain_of(trust.network)
    if sealed.chain != chain.name:
        raise EnvelopeError(f"the sealed epoch's chain is not {chain.name}")
    if sealed.round != opening_round(chain, start_at):
        raise EnvelopeError("the sealed epoch's round is not the first one at or after the start")
    return SealedEpoch(
        sealed.epoch_id,
        start_at,
        sealed.round,
        chain.instant(sealed.round),
        sealed.payload_sha256,
        ciphertext,
        proof,
    )


def open_sealed(sealed: SealedEpoch, signature: str, trust: Trust) -> VerifiedEpoch:
    """Open a sealed epoch with the signature of its round, and verify its message. Raises EnvelopeError
    naming the first check that fails."""
    try:
        check_signature(chain_of(trust.network), sealed.round_number, signature)
        text = bytes(decrypt_with_signature(sealed.ciphertext, signature))
    except BeaconError as error:
        raise EnvelopeError(str(error)) from None
    except ValueError:
        raise EnvelopeError("the sealed epoch cannot be decrypted") from None
    signer, _, rest = text.partition(b"\n")
    stated, _, payload = rest.partition(b"\n")
    try:
        envelope = UnverifiedEnvelope(
            payload.rstrip(b" "), signer.decode("ascii"), stated.decode("ascii"), sealed.epoch_id
        )
    except UnicodeDecodeError:
        raise EnvelopeError("the sealed text is not an envelope") from None
    if envelope.signer != sealed.proof.signer:
        raise EnvelopeError("the sealed message has another signer")
    opened = verify(envelope, trust)
    if hashlib.sha256(envelope.payload).hexdigest() != sealed.payload_sha256:
        raise EnvelopeError("the sealed message is not the one that was announced")
    return opened


def _padded(envelope: UnverifiedEnvelope) -> bytes:
    """Return signer, signature and payload, one per line, with spaces at the end."""
    text = f"{envelope.signer}\n{envelope.signature}\n".encode() + envelope.payload
    length = -(-len(text) // STEP_BYTES) * STEP_BYTES
    if length > MAX_PADDED_BYTES:
        raise ValueError(f"a sealed message must have at most {MAX_PADDED_BYTES} bytes")
    return text.ljust(length)
