"""Parses hotkeys (SS58 addresses) and verifies sr25519 signatures.

This module is stricter than the libraries on purpose. They accept other networks' prefixes, white space in
hex, and the all-zero public key, for which one constant signature is valid for every message.
"""

import re
from functools import lru_cache
from typing import Any, NewType, Protocol

from bittensor_core import CRYPTO_SR25519, Keypair, ss58_decode, ss58_encode
from bittensor_core import verify as _verify

Hotkey = NewType("Hotkey", str)
"""A parsed SS58 address with prefix 42: 47-48 characters of base58, checksum verified."""

# The SS58 address of a 32-byte key with prefix 42 always has 47 or 48 base58 characters and begins with 5.
_SS58 = re.compile(r"^5[1-9A-HJ-NP-Za-km-z]{46,47}$")
_SIGNATURE_HEX = re.compile(r"^(?:0x)?([0-9a-f]{128})$")
_ZERO_KEY = bytes(32)

__all__ = [
    "Hotkey",
    "Keypair",
    "MalformedHotkeyError",
    "MalformedSignatureError",
    "Signer",
    "parse_hotkey",
    "parse_signature",
    "public_key",
    "signature_is_valid",
]


class MalformedHotkeyError(ValueError):
    """The text is not an SS58 address with prefix 42."""


class MalformedSignatureError(ValueError):
    """The text is not 64 bytes of lower-case hex."""


class Signer(Protocol):
    """Anything that signs as a hotkey: a Keypair, or a wallet's hotkey."""

    @property
    def ss58_address(self) -> str: ...

    def sign(self, message: bytes, /) -> bytes: ...


# The cache helps because every request carries an address, and a subnet has only a few hundred hotkeys.
# Malformed addresses are not cached.
@lru_cache(maxsize=4096)
def parse_hotkey(text: str) -> Hotkey:
    """Check base58, checksum and prefix 42, refuse the zero key, and return the address.

    Raises MalformedHotkeyError."""
    if not _SS58.fullmatch(text):
        raise MalformedHotkeyError("must be an SS58 address with prefix 42 (48 characters, starting with 5)")
    try:
        key = bytes(ss58_decode(text))
    except ValueError:
        raise MalformedHotkeyError("has a wrong SS58 checksum") from None
    if key == _ZERO_KEY or ss58_encode(key, 42) != text:
        raise MalformedHotkeyError("is not the address of a usable public key with prefix 42")
    return Hotkey(text)


def is_hotkey(text: str) -> bool:
    try:
        parse_hotkey(text)
    except MalformedHotkeyError:
        return False
    return True


def public_key(hotkey: Hotkey) -> bytes:
    """Return the 32 bytes of a hotkey's public key."""
    return bytes(ss58_decode(hotkey))


def parse_signature(text: str) -> bytes:
    """Read 128 lower-case hex digits, with or without 0x, and return 64 bytes. Raises
    MalformedSignatureError."""
    match = _SIGNATURE_HEX.fullmatch(text)
    if match is None:
        raise MalformedSignatureError("must be 128 lower-case hex digits, with or without 0x")
    return bytes.fromhex(match.group(1))


def signature_is_valid(hotkey: Hotkey, message: bytes, signature: bytes) -> bool:
    """Return whether the hotkey signed the message, raw or wrapped in `<Bytes>` as browser wallets do."""
    if len(signature) != 64:
        return False
    verdict: Any = _verify(message, signature, hotkey, CRYPTO_SR25519)
    return verdict is True
