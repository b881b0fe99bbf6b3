"""Tests verifying an epoch from its bytes, and every reason why that must fail."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contract.documents import epoch_message
from tests.support.fakes import MINER, MINER_HOTKEY, SIGNER, SIGNER_HOTKEY, START_AT, ZERO_KEY
from zipcast.protocol.envelope import (
    EnvelopeError,
    Trust,
    UnverifiedEnvelope,
    WrongNetuidError,
    WrongNetworkError,
    pre_authentication_encoding,
    seal,
    verify,
)
from zipcast.protocol.messages.epochs import EpochMessage

MESSAGE = epoch_message()
SEALED = seal(MESSAGE, SIGNER)
TRUST = Trust(frozenset({SIGNER_HOTKEY}), MESSAGE.network, MESSAGE.netuid)


def sealed_with(**changes: Any) -> UnverifiedEnvelope:
    return seal(MESSAGE.model_copy(update=changes), SIGNER)


def sealed_bytes(payload: bytes) -> UnverifiedEnvelope:
    signature = SIGNER.sign(pre_authentication_encoding(payload)).hex()
    return UnverifiedEnvelope(payload, SIGNER_HOTKEY, signature, MESSAGE.epoch_id)


def test_the_encoding_is_that_of_the_dsse_specification() -> None:
    encoded = pre_authentication_encoding(b"hello world", "http://example.com/HelloWorld")
    assert encoded == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


def test_lengths_count_bytes_so_that_no_two_pairs_encode_alike() -> None:
    assert pre_authentication_encoding("é".encode(), "ü") == "DSSEv1 2 ü 2 é".encode()
    assert pre_authentication_encoding(b"1 x", "a") != pre_authentication_encoding(b"x", "a 1")


def test_a_sealed_epoch_verifies_as_the_message_it_was() -> None:
    verified = verify(SEALED, TRUST)
    assert verified.message == MESSAGE
    assert verified.envelope is SEALED


def test_an_envelope_travels_in_headers_and_back() -> None:
    assert UnverifiedEnvelope.from_headers(SEALED.headers(), SEALED.payload) == SEALED


@pytest.mark.parametrize("name", sorted(SEALED.headers()))
def test_a_missing_header_is_named(name: str) -> None:
    headers = SEALED.headers()
    del headers[name]
    with pytest.raises(EnvelopeError, match=f"header {name} is missing"):
        UnverifiedEnvelope.from_headers(headers, SEALED.payload)


def test_a_message_without_headers_is_refused() -> None:
    with pytest.raises(EnvelopeError, match="is missing"):
        UnverifiedEnvelope.from_headers(None, SEALED.payload)


@settings(max_examples=60)
@given(st.integers(0, len(SEALED.payload) - 1), st.integers(1, 255))
def test_any_byte_of_the_payload_that_changes_is_refused(place: int, flip: int) -> None:
    payload = bytearray(SEALED.payload)
    payload[place] ^= flip
    with pytest.raises(EnvelopeError, match="the signature does not verify"):
        verify(replace(SEALED, payload=bytes(payload)), TRUST)


@settings(max_examples=60)
@given(st.integers(0, 63), st.integers(1, 255))
def test_any_byte_of_the_signature_that_changes_is_refused(place: int, flip: int) -> None:
    signature = bytearray.fromhex(SEALED.signature)
    signature[place] ^= flip
    with pytest.raises(EnvelopeError, match="the signature does not verify"):
        verify(replace(SEALED, signature=signature.hex()), TRUST)


@pytest.mark.parametrize("payload", [SEALED.payload + b" ", SEALED.payload[:-1], b""])
def test_a_longer_or_shorter_payload_is_refused(payload: bytes) -> None:
    with pytest.raises(EnvelopeError, match="the signature does not verify"):
        verify(replace(SEALED, payload=payload), TRUST)


def test_a_signer_that_is_not_pinned_is_refused_however_well_he_signs() -> None:
    with pytest.raises(EnvelopeError, match="the signer is not trusted"):
        verify(seal(MESSAGE, MINER), TRUST)
    with pytest.raises(EnvelopeError, match="the signature does not verify"):
        verify(replace(seal(MESSAGE, MINER), signer=SIGNER_HOTKEY), TRUST)


def test_each_of_several_pinned_signers_is_believed() -> None:
    both = replace(TRUST, signers=frozenset({SIGNER_HOTKEY, MINER_HOTKEY}))
    assert verify(seal(MESSAGE, MINER), both).message == verify(SEALED, both).message


@pytest.mark.parametrize("signer", ["", ZERO_KEY, SIGNER_HOTKEY + " "])
def test_a_malformed_signer_is_refused(signer: str) -> None:
    with pytest.raises(EnvelopeError, match="the signer"):
        verify(replace(SEALED, signer=signer), TRUST)


@pytest.mark.parametrize("signature", ["", SEALED.signature.upper(), SEALED.signature[:-2]])
def test_a_malformed_signature_is_refused(signature: str) -> None:
    with pytest.raises(EnvelopeError, match="the signature"):
        verify(replace(SEALED, signature=signature), TRUST)


@pytest.mark.parametrize(
    ("changes", "kind"), [({"network": "finney"}, WrongNetworkError), ({"netuid": 1}, WrongNetuidError)]
)
def test_the_epoch_of_another_subnet_is_refused(changes: dict[str, Any], kind: type[EnvelopeError]) -> None:
    with pytest.raises(kind):
        verify(sealed_with(**changes), TRUST)


def test_a_header_that_names_another_epoch_than_the_payload_is_refused() -> None:
    with pytest.raises(EnvelopeError, match="another epoch than the payload"):
        verify(replace(SEALED, epoch_id="2026-11-22T08-00-00"), TRUST)


@pytest.mark.parametrize(
    "changes",
    [
        {"epoch_id": "2026-11-22T08-00-00"},
        {"epoch_start": START_AT + timedelta(seconds=1)},
        {"epoch_end": START_AT},
        {"epoch_end": START_AT - timedelta(hours=4)},
    ],
)
def test_an_id_that_does_not_name_its_interval_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(EnvelopeError, match="does not name its start"):
        verify(sealed_with(**changes), TRUST)


def test_a_malformed_id_is_refused_though_it_is_signed() -> None:
    with pytest.raises(EnvelopeError, match="YYYY-MM-DDTHH-MM-SS"):
        verify(sealed_with(epoch_id="2026-11-22T04:00:00"), TRUST)


@pytest.mark.parametrize("payload", [b"", b"{}", b"[]", b"\xff", b"null", b'{"version":1}'])
def test_signed_bytes_that_are_no_epoch_message_are_refused(payload: bytes) -> None:
    with pytest.raises(EnvelopeError, match="not an epoch message"):
        verify(sealed_bytes(payload), TRUST)


def test_a_field_that_this_version_does_not_know_is_let_through_and_stays_signed() -> None:
    payload = MESSAGE.to_bytes()[:-1] + b',"laterField":{"x":1}}'
    verified = verify(sealed_bytes(payload), TRUST)
    assert verified.message == MESSAGE
    assert verified.envelope.payload == payload


def test_a_message_reads_back_as_it_was_written() -> None:
    assert EpochMessage.model_validate_json(MESSAGE.to_bytes()) == MESSAGE
