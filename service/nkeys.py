"""Encodes NATS nkeys (ed25519 and x25519 keys as text), signs with them, and encrypts with them.

The text form is base32 of prefix, key and CRC-16/XMODEM, as in NATS ADR-14. Encrypted boxes ("xkv1", 24-byte
nonce, NaCl box) have the layout of nats-server's `nkeys/xkeys.go`. The package `nkeys` has no curve keys,
which an encrypted auth callout needs.
"""

import base64
import binascii
from enum import IntEnum
from functools import lru_cache

from nacl.exceptions import BadSignatureError, CryptoError
from nacl.public import Box, PrivateKey, PublicKey
from nacl.signing import SigningKey, VerifyKey

_SEED = 18 << 3
_BOX_VERSION = b"xkv1"
_MAX_PEERS = 64


class NkeyError(ValueError):
    """An nkey is malformed or of another kind, a signature is false, or a box cannot be decrypted.

    The message never contains the key, which may be a seed.
    """


class Kind(IntEnum):
    """The kind of a key: its first five bits, which determine its first letter (A, U, N, X)."""

    ACCOUNT = 0
    USER = 20 << 3
    SERVER = 13 << 3
    CURVE = 23 << 3


def _checksum(raw: bytes) -> bytes:
    return binascii.crc_hqx(raw, 0).to_bytes(2, "little")


def _to_text(raw: bytes) -> str:
    return base64.b32encode(raw + _checksum(raw)).rstrip(b"=").decode("ascii")


def _from_text(text: str) -> bytes:
    try:
        raw = base64.b32decode(text.encode("ascii") + b"=" * (-len(text) % 8))
    except (UnicodeEncodeError, binascii.Error):
        raise NkeyError("an nkey must be upper-case base32") from None
    if len(raw) < 3 or _checksum(raw[:-2]) != raw[-2:]:
        raise NkeyError("the nkey's checksum is wrong")
    return raw[:-2]


def encode_public(kind: Kind, key: bytes) -> str:
    return _to_text(bytes([kind]) + key)


def decode_public(kind: Kind, text: str) -> bytes:
    """Return the 32 bytes of a public key. Raises NkeyError if the text is not a public key of this kind."""
    raw = _from_text(text)
    if raw[0] != kind or len(raw) != 33:
        raise NkeyError(f"not a public {kind.name.lower()} nkey")
    return raw[1:]


def encode_seed(kind: Kind, key: bytes) -> str:
    return _to_text(bytes([_SEED | kind >> 5, (kind & 31) << 3]) + key)


def decode_seed(kind: Kind, text: str) -> bytes:
    """Return the 32 bytes of a seed. Raises NkeyError if the text is not a seed of this kind."""
    raw = _from_text(text)
    if len(raw) != 34 or raw[:2] != bytes([_SEED | kind >> 5, (kind & 31) << 3]):
        raise NkeyError(f"not a seed of a {kind.name.lower()} nkey")
    return raw[2:]


class SigningNkey:
    """An account or user key that signs."""

    def __init__(self, seed: str, kind: Kind) -> None:
        self._key = SigningKey(decode_seed(kind, seed))
        self.public = encode_public(kind, bytes(self._key.verify_key))

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message).signature


def verify(kind: Kind, public: str, message: bytes, signature: bytes) -> None:
    """Verify a signature. Raises NkeyError unless `public` signed `message`."""
    try:
        VerifyKey(decode_public(kind, public)).verify(message, signature)
    except (BadSignatureError, ValueError):
        raise NkeyError("the signature does not verify") from None


class CurveNkey:
    """An xkey, which encrypts and decrypts messages between nats-server and the callout. The shared keys of a
    few peers are cached, because computing one takes ten times as long as encrypting a box."""

    def __init__(self, seed: str) -> None:
        self._key = PrivateKey(decode_seed(Kind.CURVE, seed))
        self.public = encode_public(Kind.CURVE, bytes(self._key.public_key))
        self._box = lru_cache(maxsize=_MAX_PEERS)(self._make_box)

    def open(self, sealed: bytes, sender: str) -> bytes:
        """Decrypt a box. Raises NkeyError if it is not from `sender` or not for this key."""
        if sealed[:4] != _BOX_VERSION or len(sealed) < 28:
            raise NkeyError("not an xkv1 box")
        try:
            return self._box(sender).decrypt(sealed[28:], sealed[4:28])
        except CryptoError:
            raise NkeyError("the box does not open") from None

    def seal(self, message: bytes, receiver: str, nonce: bytes) -> bytes:
        """Encrypt a message. `nonce` must be 24 random bytes that are never used twice."""
        return _BOX_VERSION + nonce + self._box(receiver).encrypt(message, nonce).ciphertext

    def _make_box(self, peer: str) -> Box:
        return Box(self._key, PublicKey(decode_public(Kind.CURVE, peer)))
