"""Sealed epochs for tests, signed by the tests' signer."""

from dataclasses import replace

from devstack.beacon_relay import stand_in_signature
from tests.support.signed_epochs import SIGNER, TRUST, message
from zipcast.protocol import envelope
from zipcast.protocol.envelope import pre_authentication_encoding
from zipcast.protocol.messages.epochs import EpochMessage, EpochSeal, Proof
from zipcast.protocol.sealing import SEAL_TYPE, SealedEpoch, seal_epoch, verify_sealed


def sealed_proof(of: EpochMessage) -> Proof:
    return seal_epoch(of, envelope.seal(of, SIGNER), SIGNER)  # type: ignore[arg-type]


def sealed_epoch(number: int) -> SealedEpoch:
    """Return one epoch of the tests' chain of epochs, sealed and verified."""
    return verify_sealed(sealed_proof(message(number)).to_bytes(), TRUST)


def signature_for(sealed: SealedEpoch) -> str:
    """Return the signature that opens the sealed epoch."""
    return stand_in_signature(sealed.round_number)


def resealed(proof: Proof, **changes: object) -> bytes:
    """Change fields of the signed part, and sign it again, as only a dishonest signer could."""
    changed = EpochSeal.model_validate_json(proof.payload).model_copy(update=changes)
    payload = changed.to_bytes()
    signature = bytes(SIGNER.sign(pre_authentication_encoding(payload, SEAL_TYPE)))
    return Proof(payload=payload.decode(), signer=proof.signer, signature=signature.hex()).to_bytes()


def with_ciphertext(sealed: SealedEpoch, ciphertext: bytes) -> SealedEpoch:
    return replace(sealed, ciphertext=ciphertext)
