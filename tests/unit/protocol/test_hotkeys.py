"""Tests hotkeys and their signatures, of which we accept fewer spellings than the libraries do."""

import pytest
from bittensor_core import ss58_encode, verify
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.fakes import MINER, MINER_HOTKEY, STRANGER, ZERO_KEY, ed25519_keypair
from zipcast.protocol.hotkeys import (
    MalformedHotkeyError,
    MalformedSignatureError,
    parse_hotkey,
    parse_signature,
    public_key,
    signature_is_valid,
)

KEY = bytes(MINER.public_key)
HEX = "0123456789abcdef" * 8
MESSAGE = b"zipcode:assignment:current:1795320000"


@settings(max_examples=50)
@given(st.binary(min_size=32, max_size=32).filter(any))
def test_every_key_but_zero_has_one_address_which_parses_back_to_it(key: bytes) -> None:
    address = ss58_encode(key, 42)
    assert parse_hotkey(address) == address
    assert public_key(parse_hotkey(address)) == key


@pytest.mark.parametrize("prefix", [0, 2, 252])
def test_addresses_of_other_networks_are_refused(prefix: int) -> None:
    with pytest.raises(MalformedHotkeyError, match="prefix 42"):
        parse_hotkey(ss58_encode(KEY, prefix))


def test_the_zero_key_is_refused_since_a_constant_signature_verifies_for_it() -> None:
    assert ss58_encode(bytes(32), 42) == ZERO_KEY
    with pytest.raises(MalformedHotkeyError, match="usable public key"):
        parse_hotkey(ZERO_KEY)


@given(st.integers(1, 47), st.sampled_from("123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"))
def test_an_address_with_another_character_is_refused(place: int, put: str) -> None:
    changed = MINER_HOTKEY[:place] + put + MINER_HOTKEY[place + 1 :]
    if changed == MINER_HOTKEY:
        assert parse_hotkey(changed) == MINER_HOTKEY
    else:
        with pytest.raises(MalformedHotkeyError, match="checksum"):
            parse_hotkey(changed)


@pytest.mark.parametrize(
    "text",
    [
        "",
        MINER_HOTKEY + "\n",
        " " + MINER_HOTKEY,
        MINER_HOTKEY + " ",
        MINER_HOTKEY[:20] + "\t" + MINER_HOTKEY[20:],
        MINER_HOTKEY.lower(),
        MINER_HOTKEY[:-1],
        MINER_HOTKEY + "1",
        "1" + MINER_HOTKEY,
        "５" + MINER_HOTKEY[1:],  # FULLWIDTH DIGIT FIVE
        MINER_HOTKEY.replace("5", "٥"),  # ARABIC-INDIC DIGIT FIVE
        MINER_HOTKEY[:10] + "*" + MINER_HOTKEY[11:],
        MINER_HOTKEY[:10] + "." + MINER_HOTKEY[11:],
        "0x" + KEY.hex(),
    ],
)
def test_white_space_unicode_digits_and_other_spellings_are_refused(text: str) -> None:
    with pytest.raises(MalformedHotkeyError):
        parse_hotkey(text)


def test_a_signature_is_128_hex_digits_with_or_without_0x() -> None:
    assert parse_signature(HEX) == bytes.fromhex(HEX)
    assert parse_signature("0x" + HEX) == bytes.fromhex(HEX)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0x",
        HEX[:-1],
        HEX[:-2],
        HEX + "00",
        HEX.upper(),
        "0X" + HEX,
        "0x0x" + HEX,
        HEX + "\n",
        " " + HEX,
        HEX[:64] + " " + HEX[64:],  # bytes.fromhex skips white space
        "１" + HEX[1:],  # FULLWIDTH DIGIT ONE
        "g" + HEX[1:],
    ],
)
def test_other_spellings_of_hex_are_refused(text: str) -> None:
    with pytest.raises(MalformedSignatureError, match="128 lower-case hex digits"):
        parse_signature(text)


def test_a_signature_over_the_message_or_its_bytes_form_is_accepted() -> None:
    assert signature_is_valid(MINER_HOTKEY, MESSAGE, MINER.sign(MESSAGE))
    assert signature_is_valid(MINER_HOTKEY, MESSAGE, MINER.sign(b"<Bytes>" + MESSAGE + b"</Bytes>"))


def test_the_bytes_form_is_wrapped_once_and_whole() -> None:
    for wrapped in (
        b"<Bytes><Bytes>" + MESSAGE + b"</Bytes></Bytes>",
        b"<Bytes>" + MESSAGE,
        b"<bytes>" + MESSAGE + b"</bytes>",
    ):
        assert not signature_is_valid(MINER_HOTKEY, MESSAGE, MINER.sign(wrapped))


def test_another_keys_signature_and_one_over_another_message_are_refused() -> None:
    assert not signature_is_valid(MINER_HOTKEY, MESSAGE, STRANGER.sign(MESSAGE))
    assert not signature_is_valid(MINER_HOTKEY, MESSAGE, MINER.sign(MESSAGE + b"0"))


@given(st.integers(0, 511))
def test_a_signature_with_any_bit_flipped_is_refused(bit: int) -> None:
    signature = bytearray(MINER.sign(MESSAGE))
    signature[bit // 8] ^= 1 << bit % 8
    assert not signature_is_valid(MINER_HOTKEY, MESSAGE, bytes(signature))


@pytest.mark.parametrize("length", [0, 1, 63, 65, 128])
def test_a_signature_of_another_length_is_refused(length: int) -> None:
    assert not signature_is_valid(MINER_HOTKEY, MESSAGE, bytes(length))


def test_an_ed25519_signature_is_refused_although_its_key_has_an_address_too() -> None:
    pair = ed25519_keypair("Alice")
    signature = pair.sign(MESSAGE)
    assert verify(MESSAGE, signature, pair.ss58_address, pair.crypto_type)
    assert not signature_is_valid(parse_hotkey(pair.ss58_address), MESSAGE, signature)
