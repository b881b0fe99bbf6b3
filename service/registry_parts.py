"""The registry snapshot as NATS KV holds it: compressed, in parts that each fit a message.

The head names the parts and their digest. Parts lie in one of two slots, and a new snapshot goes to the slot
that the head does not name, so that who is reading the old one can finish.
"""

import zlib
from hashlib import sha256

from nats.js.kv import KeyValue
from pydantic import Field

from zipcast.protocol.messages.base import WireModel
from zipcast.protocol.messages.registry import RegistrySnapshot
from zipcast.protocol.subjects import REGISTRY_KEY

# nats.conf allows 256 KB a message. A neuron takes about 85 bytes: two keys that do not compress.
PART_BYTES = 200_000


class Head(WireModel):
    """`sha256`: of all parts together, lower-case hex."""

    slot: int = Field(ge=0, le=1)
    parts: int = Field(ge=1, le=1000)
    sha256: str


class DifferingPartsError(ValueError):
    """The parts are not those that the head names: they are being replaced."""


async def write_parts(bucket: KeyValue, snapshot: RegistrySnapshot, slot: int) -> bytes:
    """The head that makes them the newest, once it is written. Raises nats.errors.Error."""
    content = zlib.compress(snapshot.to_bytes())
    parts = [content[at : at + PART_BYTES] for at in range(0, len(content), PART_BYTES)]
    for number, part in enumerate(parts):
        await bucket.put(_key(slot, number), part)
    return Head(slot=slot, parts=len(parts), sha256=sha256(content).hexdigest()).to_bytes()


async def read_parts(bucket: KeyValue, head: Head) -> RegistrySnapshot:
    """Raises nats.errors.Error, KeyNotFoundError, DifferingPartsError, and ValidationError for garbage."""
    parts = [(await bucket.get(_key(head.slot, number))).value or b"" for number in range(head.parts)]
    content = b"".join(parts)
    if sha256(content).hexdigest() != head.sha256:
        raise DifferingPartsError("the parts of the registry are not those that its head names")
    return RegistrySnapshot.model_validate_json(zlib.decompress(content))


def _key(slot: int, number: int) -> str:
    return f"{REGISTRY_KEY}.{slot}.{number}"
