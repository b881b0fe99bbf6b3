"""Reads and writes the registry snapshot in NATS KV. The snapshot is compressed and split into parts, each of
which fits into a message.

The head names the parts and their digest. There are two slots for parts. A new snapshot is written to the
slot that the head does not name, so that processes that are reading the old snapshot can finish.
"""

import zlib
from hashlib import sha256

from nats.js.kv import KeyValue
from pydantic import Field

from zipcast.protocol.messages.base import WireModel
from zipcast.protocol.messages.registry import RegistrySnapshot
from zipcast.protocol.subjects import REGISTRY_KEY

# The largest size of a part of the registry. nats.conf allows 256 KB per message. A neuron takes about 85
# bytes, because its two keys cannot be compressed.
PART_BYTES = 200_000


class Head(WireModel):
    """Describes the parts of the newest snapshot. `sha256` is the hash of all parts together, in lower-case
    hex."""

    slot: int = Field(ge=0, le=1)
    parts: int = Field(ge=1, le=1000)
    sha256: str


class DifferingPartsError(ValueError):
    """The parts do not match the head, because they are being replaced."""


async def write_parts(bucket: KeyValue, snapshot: RegistrySnapshot, slot: int) -> bytes:
    """Write the parts and return their head. The caller then writes the head, which makes the snapshot the
    newest one. Raises nats.errors.Error."""
    content = zlib.compress(snapshot.to_bytes())
    parts = [content[at : at + PART_BYTES] for at in range(0, len(content), PART_BYTES)]
    for number, part in enumerate(parts):
        await bucket.put(_key(slot, number), part)
    return Head(slot=slot, parts=len(parts), sha256=sha256(content).hexdigest()).to_bytes()


async def read_parts(bucket: KeyValue, head: Head) -> RegistrySnapshot:
    """Read the snapshot that the head names. Raises nats.errors.Error, KeyNotFoundError, DifferingPartsError,
    and ValidationError for invalid bytes."""
    parts = [(await bucket.get(_key(head.slot, number))).value or b"" for number in range(head.parts)]
    content = b"".join(parts)
    if sha256(content).hexdigest() != head.sha256:
        raise DifferingPartsError("the parts of the registry do not match its head")
    return RegistrySnapshot.model_validate_json(zlib.decompress(content))


def _key(slot: int, number: int) -> str:
    return f"{REGISTRY_KEY}.{slot}.{number}"
