"""Encodes SCALE, as far as metadata and a metagraph need it. The SDK ships a decoder for what a node says,
but encodes only what clients say: the stand-in chain is the node.
"""

import struct
from collections.abc import Iterable


def compact(number: int) -> bytes:
    if number < 1 << 6:
        return bytes([number << 2])
    if number < 1 << 14:
        return struct.pack("<H", number << 2 | 1)
    if number < 1 << 30:
        return struct.pack("<I", number << 2 | 2)
    encoded = number.to_bytes(max(4, (number.bit_length() + 7) // 8), "little")
    return bytes([(len(encoded) - 4) << 2 | 3]) + encoded


def vector(items: Iterable[bytes]) -> bytes:
    listed = list(items)
    return compact(len(listed)) + b"".join(listed)


def text(value: str) -> bytes:
    return compact(len(value.encode())) + value.encode()


def option(encoded: bytes | None) -> bytes:
    return b"\x00" if encoded is None else b"\x01" + encoded


def number(value: int, size: int) -> bytes:
    return value.to_bytes(size, "little")
