"""Derives seeds, commitments and nonce, by which anyone can check that an epoch was not manipulated.

The rules are in docs/protocol.md, "Seed, commitments, nonce". Every hash is SHA-256 in lower-case hex. This
module does not decide where the secret is kept or when a seed is revealed; signatures are in envelope.py.
"""

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from zipcast.protocol.beacon import BeaconRound
from zipcast.selection.model import Candidate

MIN_SECRET_BYTES = 32
_EPOCH = datetime.fromtimestamp(0, UTC)


def derive_seed(secret: bytes, network: str, netuid: int, epoch_id: str) -> bytes:
    """Return the 32-byte secret seed of an epoch. It cannot be predicted without the secret. Its commitment
    is published one epoch ahead, and the seed itself after the epoch.

    Raises ValueError for a secret of less than 32 bytes; the error's message never shows the secret."""
    return _derived(secret, f"seed:{network}:{netuid}:{epoch_id}")


def derive_draw_seed(seed: bytes, beacon: BeaconRound | None) -> bytes:
    """Return the 32-byte seed of an epoch's draws and nonce. It mixes the secret seed with the beacon, which
    no one could know when the secret seed was committed. Without a beacon, the operator can compute this seed
    in advance."""
    if beacon is None:
        return hmac.digest(seed, b"no beacon", "sha256")
    mixed = beacon.chain.encode() + beacon.round_number.to_bytes(8, "big") + beacon.signature
    return hmac.digest(seed, mixed, "sha256")


@dataclass(frozen=True, slots=True)
class ImportKeys:
    """The keys for the honeypots of one import, derived from the secret."""

    secret: bytes
    network: str
    netuid: int
    import_id: int

    def honeypots(self) -> bytes:
        """Return the key that decides which zipcodes are honeypots, and their counts. Raises ValueError like
        `derive_seed`."""
        return _derived(self.secret, f"honeypots:{self.network}:{self.netuid}:{self.import_id}")

    def salt(self, zipcode: str) -> bytes:
        """Return the salt of the commitment to a zipcode's real count."""
        return _derived(self.secret, f"commitment:{self.network}:{self.netuid}:{self.import_id}:{zipcode}")


def seed_commitment(seed: bytes) -> str:
    """Return the hash of a seed that is published one epoch ahead."""
    return hashlib.sha256(seed).hexdigest()


def selected_zipcodes_hash(pairs: Iterable[tuple[str, int]]) -> str:
    """Return the hash of the published pairs (zipcode, expected listings). Their order does not matter."""
    return _hash_of_sorted_lines(f"{zipcode}:{expected_listings}\n" for zipcode, expected_listings in pairs)


def derive_nonce(draw_seed: bytes, epoch_id: str, start_timestamp: int, selected_zipcodes_hash: str) -> str:
    """Return the nonce of an epoch, 64 hex digits. `start_timestamp` is the epoch's start in whole Unix
    seconds.

    The nonce binds the published zipcodes to the draw seed. No one without the secret can compute it before
    the epoch is published.
    """
    text = f"nonce:{epoch_id}:{start_timestamp}:{selected_zipcodes_hash}"
    return hmac.digest(draw_seed, text.encode(), "sha256").hex()


def candidate_pool_hash(pool: Iterable[Candidate]) -> str:
    """Return the hash of everything in a pool that affects its draw. The pool's order does not matter.

    A population of 0 counts as unknown, as it does in the weights.
    """
    return _hash_of_sorted_lines(f"{_weighed(candidate)}\n" for candidate in pool)


def zipcodes_hash(zipcodes: Iterable[tuple[Candidate, str]]) -> str:
    """Return the hash of the published part of an import: everything about its zipcodes that eligibility and
    draw depend on, except the times of assignment, and the commitment to each zipcode's real count."""
    return _hash_of_sorted_lines(
        f"{_weighed(one)},{(one.last_scraped_at - _EPOCH) // timedelta.resolution},{commitment}\n"
        for one, commitment in zipcodes
    )


def _weighed(candidate: Candidate) -> str:
    return (
        f"{candidate.zipcode},{candidate.state},{candidate.market_tier},{candidate.expected_listings},"
        f"{candidate.population or ''},{float(candidate.base_weight)!r}"
    )


def inputs_hash(inputs: bytes) -> str:
    """Return the hash of an epoch's stored inputs, computed over exactly these bytes."""
    return hashlib.sha256(inputs).hexdigest()


def _derived(secret: bytes, text: str) -> bytes:
    if len(secret) < MIN_SECRET_BYTES:
        raise ValueError(f"the selection secret must have at least {MIN_SECRET_BYTES} bytes")
    return hmac.digest(secret, text.encode(), "sha256")


def _hash_of_sorted_lines(lines: Iterable[str]) -> str:
    """Return the hash of the sorted lines. Each line starts with a zipcode, so this sorts them by zipcode."""
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()
