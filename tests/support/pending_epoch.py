"""Recognises secrets of a prepared epoch, which nobody may see before its start, in the data that others can
see.

This module decides what is a leak; `places` decides where to look.
"""

import base64
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile

import psycopg

from tests.support.unopened import unopened

# If this many of the epoch's zipcodes are close to each other, or fewer without another zipcode between them,
# this is not a coincidence. A single number may be a port or a count. In the table of all zipcodes, about one
# in 100 is the epoch's.
CLOSE_BYTES, TELLING_ZIPCODES, TELLING_ALONE = 1500, 8, 4
_NUMBER = re.compile(rb"(?<![0-9.])[0-9]{5}(?![0-9])")


@dataclass(frozen=True, slots=True)
class Pending:
    """A prepared epoch. `secrets` has its secrets by name, as hashes in hex or as the bytes themselves.
    `others` are the zipcodes that it does not name."""

    epoch_id: str
    start_at: datetime
    zipcodes: frozenset[bytes]
    others: frozenset[bytes]
    secrets: Mapping[str, bytes]


async def pending_epoch(record: psycopg.AsyncConnection, seconds_left: float) -> Pending | None:
    """Return the prepared epoch if at least this much time is left until its start."""
    found = await unopened(record, seconds_left)
    if found is None:
        return None
    query = "select inputs from epoch_inputs where epoch_id = %s"
    row = await (await record.execute(query, [found.epoch_id])).fetchone()
    if row is None:
        return None
    (inputs,) = row
    named = {
        "nonce": found.nonce,
        "seed": found.seed,
        "candidate pool hash": found.message["candidatePoolHash"],
        "signature": found.signature,
    }
    secrets = {name: str(value).encode() for name, value in named.items()}
    # The hashes of the inputs and of the seed are public, because the previous epoch commits to them. The
    # sealed epoch states the hash of the message, which nobody can guess because of its nonce.
    secrets["inputs"] = bytes(inputs)
    zipcodes = frozenset(zipcode.encode() for zipcode in found.zipcodes)
    rows = await (await record.execute("select zipcode from zipcodes")).fetchall()
    others = frozenset(zipcode.encode() for (zipcode,) in rows) - zipcodes
    return Pending(found.epoch_id, found.start_at, zipcodes, others, secrets)


def leaks(places: Mapping[str, bytes], pending: Pending) -> Iterator[str]:
    """Return each place that reveals something about the epoch, and what it reveals."""
    forms = {f"{name} {how}": form for name, value in pending.secrets.items() for how, form in _forms(value)}
    for place, shown in places.items():
        for what, form in forms.items():
            if form in shown:
                yield f"{place}: {what}"
        if _tells_zipcodes(shown, pending):
            yield f"{place}: zipcodes"


def _tells_zipcodes(shown: bytes, pending: Pending) -> bool:
    named = pending.zipcodes | pending.others
    numbers = [(one.start(), one.group()) for one in _NUMBER.finditer(shown) if one.group() in named]
    positions = [position for position, _ in numbers]
    for number, (position, first) in enumerate(numbers):
        if first not in pending.zipcodes:
            continue
        close = [zipcode for _, zipcode in numbers[number : bisect_right(positions, position + CLOSE_BYTES)]]
        alone = set(takewhile(pending.zipcodes.__contains__, close))
        if len(alone) >= TELLING_ALONE or len(pending.zipcodes.intersection(close)) >= TELLING_ZIPCODES:
            return True
    return False


def _forms(value: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the forms in which the value may appear: as it is, within a longer base64 text, and, if it is a
    hash, as bytes, in capitals and in base64."""
    yield "as it is", value
    for skipped in range(3):
        # The encoding depends on where the value begins. Leave out characters that neighbouring bytes affect.
        yield f"in a base64 text, {skipped}", base64.b64encode(bytes(skipped) + value)[4:-4]
    if re.fullmatch(rb"[0-9a-f]{64,128}", value):
        raw = bytes.fromhex(value.decode())
        yield "in bytes", raw
        yield "in capitals", value.upper()
        yield "in base64", base64.b64encode(raw).rstrip(b"=")
        yield "in base64url", base64.urlsafe_b64encode(raw).rstrip(b"=")
