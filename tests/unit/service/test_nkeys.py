"""Tests nkeys and xkeys against the `nkeys` package, as far as it has these kinds."""

import nkeys as reference
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.nkeys import (
    CurveNkey,
    Kind,
    NkeyError,
    SigningNkey,
    decode_public,
    decode_seed,
    encode_public,
    encode_seed,
    verify,
)

SECRET = bytes(range(32))
NONCE = bytes(24)
SEED = encode_seed(Kind.USER, SECRET)
LETTERS = {Kind.ACCOUNT: "A", Kind.USER: "U", Kind.SERVER: "N", Kind.CURVE: "X"}
PREFIXES = {Kind.ACCOUNT: reference.PREFIX_BYTE_ACCOUNT, Kind.USER: reference.PREFIX_BYTE_USER}

keys = st.binary(min_size=32, max_size=32)


@settings(max_examples=50)
@given(st.sampled_from(Kind), keys)
def test_keys_and_seeds_round_trip_and_show_their_kind(kind: Kind, key: bytes) -> None:
    public, seed = encode_public(kind, key), encode_seed(kind, key)
    assert decode_public(kind, public) == key
    assert decode_seed(kind, seed) == key
    assert public[0] == LETTERS[kind]
    assert seed[:2] == "S" + LETTERS[kind]


@settings(max_examples=20)
@given(st.sampled_from(sorted(PREFIXES)), keys)
def test_seeds_are_those_of_the_nkeys_package(kind: Kind, key: bytes) -> None:
    seed = encode_seed(kind, key)
    assert reference.encode_seed(key, PREFIXES[kind]) == seed.encode()
    theirs = reference.from_seed(bytearray(seed.encode()))
    assert SigningNkey(seed, kind).public == theirs.public_key.decode()


@settings(max_examples=20)
@given(keys, st.binary(max_size=64))
def test_signatures_are_those_of_the_nkeys_package(key: bytes, message: bytes) -> None:
    seed = encode_seed(Kind.ACCOUNT, key)
    ours, theirs = SigningNkey(seed, Kind.ACCOUNT), reference.from_seed(bytearray(seed.encode()))
    assert ours.sign(message) == theirs.sign(message)
    assert verify(Kind.ACCOUNT, ours.public, message, theirs.sign(message)) is None


def test_a_signature_of_another_key_message_or_length_is_refused() -> None:
    ours, other = SigningNkey(SEED, Kind.USER), SigningNkey(encode_seed(Kind.USER, bytes(32)), Kind.USER)
    signature = ours.sign(b"message")
    for public, message, given_signature in (
        (other.public, b"message", signature),
        (ours.public, b"massage", signature),
        (ours.public, b"message", signature[:-1]),
        (ours.public, b"message", b""),
        ("", b"message", signature),
    ):
        with pytest.raises(NkeyError):
            verify(Kind.USER, public, message, given_signature)


@given(st.integers(0, len(SEED) - 1), st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"))
def test_a_seed_with_another_character_is_refused_without_being_shown(place: int, put: str) -> None:
    changed = SEED[:place] + put + SEED[place + 1 :]
    if place == len(SEED) - 1:  # the last bits have no meaning
        return
    if changed == SEED:
        assert decode_seed(Kind.USER, changed) == SECRET
        return
    with pytest.raises(NkeyError) as refused:
        decode_seed(Kind.USER, changed)
    assert changed[4:20] not in str(refused.value)


@pytest.mark.parametrize("text", ["", "U", "UAAA", SEED.lower(), SEED + "\n", " " + SEED, SEED[:-2], "SU8é"])
def test_what_is_no_nkey_is_refused(text: str) -> None:
    with pytest.raises(NkeyError):
        decode_seed(Kind.USER, text)


def test_a_key_of_another_kind_is_refused() -> None:
    with pytest.raises(NkeyError, match="not a seed of a account nkey"):
        SigningNkey(SEED, Kind.ACCOUNT)
    with pytest.raises(NkeyError, match="not a public user nkey"):
        decode_public(Kind.USER, encode_public(Kind.ACCOUNT, SECRET))
    with pytest.raises(NkeyError, match="not a public user nkey"):
        decode_public(Kind.USER, SEED)


def test_a_box_opens_for_its_receiver_and_from_its_sender_alone() -> None:
    one, two, three = (CurveNkey(encode_seed(Kind.CURVE, bytes([n]) * 32)) for n in (1, 2, 3))
    sealed = one.seal(b"hello", two.public, NONCE)
    assert sealed.startswith(b"xkv1" + NONCE)
    assert two.open(sealed, one.public) == b"hello"
    for receiver, sender in ((three, one), (two, three), (two, two)):
        with pytest.raises(NkeyError, match="does not open"):
            receiver.open(sealed, sender.public)


@given(st.integers(0, 4 + 24 + 16 + 5 - 1), st.integers(1, 255))
def test_a_box_with_any_byte_changed_stays_shut(place: int, flip: int) -> None:
    one, two = (CurveNkey(encode_seed(Kind.CURVE, bytes([n]) * 32)) for n in (1, 2))
    sealed = bytearray(one.seal(b"hello", two.public, NONCE))
    sealed[place] ^= flip
    with pytest.raises(NkeyError):
        two.open(bytes(sealed), one.public)


@pytest.mark.parametrize(
    "sealed", [b"", b"xkv1", b"xkv1" + bytes(23), b"xkv1" + bytes(24), b"xkv2" + bytes(9)]
)
def test_what_is_no_box_is_refused(sealed: bytes) -> None:
    one, two = (CurveNkey(encode_seed(Kind.CURVE, bytes([n]) * 32)) for n in (1, 2))
    with pytest.raises(NkeyError):
        two.open(sealed, one.public)


def test_a_sender_that_is_no_usable_curve_key_is_refused() -> None:
    one, two = (CurveNkey(encode_seed(Kind.CURVE, bytes([n]) * 32)) for n in (1, 2))
    sealed = one.seal(b"hello", two.public, NONCE)
    for sender in ("", "X", SigningNkey(SEED, Kind.USER).public, encode_public(Kind.CURVE, bytes(32))):
        with pytest.raises(NkeyError):
            two.open(sealed, sender)
