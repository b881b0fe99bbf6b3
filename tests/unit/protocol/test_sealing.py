"""Tests sealing and opening an epoch: wrong input is refused, and the size reveals nothing."""

import base64
import random
from dataclasses import replace
from datetime import timedelta

import pytest
from bittensor_core import encrypt_at_round

from devstack.beacon_relay import stand_in_signature
from tests.support.sealed import resealed, sealed_epoch, sealed_proof, signature_for, with_ciphertext
from tests.support.signed_epochs import SIGNER, TRUST, message
from zipcast.protocol import envelope
from zipcast.protocol.beacon import LOCAL_CHAIN
from zipcast.protocol.envelope import EnvelopeError, Trust, WrongSignerError
from zipcast.protocol.hotkeys import Keypair, parse_hotkey
from zipcast.protocol.messages.epochs import Proof
from zipcast.protocol.sealing import STEP_BYTES, open_sealed, opening_round, seal_epoch, verify_sealed

MUTATIONS = 10_000


def test_a_sealed_epoch_opens_with_its_round_to_the_signed_message():
    sealed = sealed_epoch(1)
    opened = open_sealed(sealed, signature_for(sealed), TRUST)
    assert opened.message == message(1)
    assert sealed.opens_at == sealed.start_at == message(1).epoch_start


def test_the_opening_round_is_the_first_one_from_the_start_on():
    start = message(1).epoch_start + timedelta(microseconds=1)
    number = opening_round(LOCAL_CHAIN, start)
    assert LOCAL_CHAIN.instant(number) >= start
    assert LOCAL_CHAIN.instant(number - 3) < start


def test_the_size_does_not_tell_the_number_of_zipcodes():
    whole, part = message(1), message(1).model_copy(update={"zipcodes": message(1).zipcodes[:1]})
    sizes = {len(verify_sealed(sealed_proof(one).to_bytes(), TRUST).ciphertext) for one in (whole, part)}
    assert len(sizes) == 1
    assert min(sizes) >= STEP_BYTES


def test_sealing_twice_gives_two_texts():
    assert sealed_epoch(1).ciphertext != sealed_epoch(1).ciphertext


def test_a_message_that_is_too_long_is_not_sealed():
    long = message(1).model_copy(update={"zipcodes": message(1).zipcodes * 2000})
    with pytest.raises(ValueError, match="at most"):
        seal_epoch(long, envelope.seal(long, SIGNER), SIGNER)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"network": "finney"}, "another network or netuid"),
        ({"netuid": 47}, "another network or netuid"),
        ({"chain": "quicknet"}, "chain is not local"),
        ({"round": opening_round(LOCAL_CHAIN, message(1).epoch_start) - 3}, "round is not the first one"),
        ({"round": opening_round(LOCAL_CHAIN, message(1).epoch_start) + 3}, "round is not the first one"),
        ({"epoch_id": message(2).epoch_id}, "round is not the first one"),
        ({"epoch_id": "yesterday"}, "not a sealed epoch"),
        ({"ciphertext": "%%%"}, "not a sealed epoch"),
    ],
)
def test_a_sealed_epoch_with_another_field_is_refused_by_name(changes: dict, reason: str):
    with pytest.raises(EnvelopeError, match=reason):
        verify_sealed(resealed(sealed_proof(message(1)), **changes), TRUST)


def test_only_a_trusted_signer_can_seal():
    stranger = Keypair.create_from_uri("//Stranger")
    proof = seal_epoch(message(1), envelope.seal(message(1), stranger), stranger)
    with pytest.raises(WrongSignerError):
        verify_sealed(proof.to_bytes(), TRUST)


def test_a_draft_or_a_message_is_not_taken_for_a_sealed_epoch():
    signed = envelope.seal(message(1), SIGNER)
    document = Proof(payload=signed.payload.decode(), signer=signed.signer, signature=signed.signature)
    with pytest.raises(EnvelopeError, match="signature does not verify"):
        verify_sealed(document.to_bytes(), TRUST)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda text: stand_in_signature(0), "not that of round"),
        (lambda text: text.upper(), "96 lower-case hex digits"),
        (lambda text: text + "00", "96 lower-case hex digits"),
        (lambda text: text[:-2], "96 lower-case hex digits"),
    ],
)
def test_a_false_signature_opens_nothing(change, reason: str):
    sealed = sealed_epoch(1)
    with pytest.raises(EnvelopeError, match=reason):
        open_sealed(sealed, change(signature_for(sealed)), TRUST)


def encrypted(text: bytes) -> bytes:
    opening = opening_round(LOCAL_CHAIN, message(1).epoch_start)
    return bytes(encrypt_at_round(text, LOCAL_CHAIN.drand_round(opening))[0])


def test_what_is_inside_is_checked_against_the_outside():
    sealed, other = sealed_epoch(1), sealed_epoch(2)
    signature = signature_for(sealed)
    assert signature == signature_for(other)
    with pytest.raises(EnvelopeError, match="header names another epoch"):
        open_sealed(with_ciphertext(sealed, other.ciphertext), signature, TRUST)
    with pytest.raises(EnvelopeError, match="another signer"):
        open_sealed(with_ciphertext(sealed, encrypted(b"someone\n00\n{}")), signature, TRUST)
    with pytest.raises(EnvelopeError, match="not an envelope"):
        open_sealed(with_ciphertext(sealed, encrypted(b"\xff\n00\n{}")), signature, TRUST)


def test_a_sealed_message_that_was_not_announced_is_refused():
    sealed = replace(sealed_epoch(1), payload_sha256="00" * 32)
    with pytest.raises(EnvelopeError, match="announced"):
        open_sealed(sealed, signature_for(sealed), TRUST)


def test_a_sealed_message_of_another_trusted_signer_is_refused():
    second = Keypair.create_from_uri("//Second")
    both = Trust(TRUST.signers | {parse_hotkey(second.ss58_address)}, TRUST.network, TRUST.netuid)
    proof = seal_epoch(message(1), envelope.seal(message(1), second), SIGNER)
    sealed = verify_sealed(proof.to_bytes(), both)
    with pytest.raises(EnvelopeError, match="another signer"):
        open_sealed(sealed, signature_for(sealed), both)


def mutated(text: bytes, chance: random.Random) -> bytes:
    """Change, cut, lengthen or replace a text, so that it differs."""
    changed = bytearray(text)
    match chance.randrange(4):
        case 0:
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        case 1:
            del changed[chance.randrange(len(changed)) :]
        case 2:
            changed += chance.randbytes(chance.randrange(1, 50))
        case _:
            at = chance.randrange(len(changed))
            changed[at : at + 8] = chance.randbytes(9)
    return bytes(changed)


def test_no_mutated_sealed_epoch_is_accepted():
    chance = random.Random(16)  # noqa: S311
    document = sealed_proof(message(1)).to_bytes()
    accepted = 0
    for _ in range(MUTATIONS):
        try:
            sealed = verify_sealed(mutated(document, chance), TRUST)
        except EnvelopeError:
            continue
        # Another spelling of the same JSON still has the signed bytes.
        accepted += sealed != verify_sealed(document, TRUST)
    assert accepted == 0


def test_no_mutated_ciphertext_opens_to_another_epoch():
    """This holds even if the outer signature is valid, which only the service's own key could make."""
    chance = random.Random(17)  # noqa: S311
    sealed = sealed_epoch(1)
    signature, opened = signature_for(sealed), 0
    for _ in range(MUTATIONS // 10):
        changed = replace(sealed, ciphertext=mutated(sealed.ciphertext, chance))
        try:
            found = open_sealed(changed, signature, TRUST)
        except EnvelopeError:
            continue
        opened += found.message != message(1)
    assert opened == 0


def test_the_ciphertext_in_the_signed_text_is_plain_base64():
    proof = sealed_proof(message(1))
    spaced = resealed(proof, ciphertext=base64.encodebytes(sealed_epoch(1).ciphertext).decode())
    with pytest.raises(EnvelopeError, match="not a sealed epoch"):
        verify_sealed(spaced, TRUST)
