"""What is secret of a prepared epoch until its start, and how one would recognise it in what one is shown.

Owns the judgement; where is looked is `places`'.
"""

import base64
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

import psycopg

from tests.integration.unopened import unopened

# So many zipcodes of it close to each other are no coincidence; a single one may be a port or a count, and
# the table of all zipcodes holds them apart.
TELLING_ZIPCODES, CLOSE_BYTES = 3, 1500
_NUMBER = re.compile(rb"(?<![0-9.])[0-9]{5}(?![0-9])")


@dataclass(frozen=True, slots=True)
class Pending:
    """`secrets` by what they are: hashes in hex, or the bytes themselves."""

    epoch_id: str
    start_at: datetime
    zipcodes: frozenset[bytes]
    secrets: Mapping[str, bytes]


async def pending_epoch(record: psycopg.AsyncConnection, seconds_left: float) -> Pending | None:
    """The prepared epoch, if it has so much time until its start."""
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
        "message hash": found.message_sha256,
        "signature": found.signature,
    }
    secrets = {name: str(value).encode() for name, value in named.items()}
    # The hash of the inputs is public: the epoch before commits to it. So is that of the seed.
    secrets["inputs"] = bytes(inputs)
    zipcodes = frozenset(zipcode.encode() for zipcode in found.zipcodes)
    return Pending(found.epoch_id, found.start_at, zipcodes, secrets)


def leaks(places: Mapping[str, bytes], pending: Pending) -> Iterator[str]:
    """Where something of the epoch stands, and what."""
    forms = {f"{name} {how}": form for name, value in pending.secrets.items() for how, form in _forms(value)}
    for place, shown in places.items():
        for what, form in forms.items():
            if form in shown:
                yield f"{place}: {what}"
        if _tells_zipcodes(shown, pending.zipcodes):
            yield f"{place}: zipcodes"


def _tells_zipcodes(shown: bytes, zipcodes: frozenset[bytes]) -> bool:
    found = [(match.start(), match.group()) for match in _NUMBER.finditer(shown) if match.group() in zipcodes]
    for number, (position, _) in enumerate(found):
        close = {zipcode for at, zipcode in found[number:] if at - position <= CLOSE_BYTES}
        if len(close) >= TELLING_ZIPCODES:
            return True
    return False


def _forms(value: bytes) -> Iterator[tuple[str, bytes]]:
    """As it is, also within a longer text in base64, and a hash as its bytes, in capitals, and in base64."""
    yield "as it is", value
    for skipped in range(3):
        # Where it begins in the text decides how it looks; what its neighbours have a part in is left out.
        yield f"in a base64 text, {skipped}", base64.b64encode(bytes(skipped) + value)[4:-4]
    if re.fullmatch(rb"[0-9a-f]{64,128}", value):
        raw = bytes.fromhex(value.decode())
        yield "in bytes", raw
        yield "in capitals", value.upper()
        yield "in base64", base64.b64encode(raw).rstrip(b"=")
        yield "in base64url", base64.urlsafe_b64encode(raw).rstrip(b"=")
