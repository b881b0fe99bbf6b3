"""Derives seed, salt, commitments and nonce, which prove that an epoch was not bent.

Owns: how each is derived from the bytes it stands for. Does not own: where the secret
lives, when a seed is revealed, or signatures (envelope.py). The rules are those of
docs/protocol.md, "Seed, commitments, nonce"; every hash is lower-case hex of SHA-256.
"""

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from zipcast.selection.model import Candidate

SHORTEST_SECRET_BYTES = 32
_EPOCH = datetime.fromtimestamp(0, UTC)


def derive_seed(secret: bytes, network: str, netuid: int, epoch_id: str) -> bytes:
    """Return the 32-byte seed of an epoch. Without the secret it looks like noise.

    Raises ValueError for a secret under 32 bytes; its message never shows the secret."""
    return _derived(secret, f"seed:{network}:{netuid}:{epoch_id}")


def derive_salt(secret: bytes, network: str, netuid: int, epoch_id: str) -> bytes:
    """Return the 32-byte salt of an epoch's draws, to which the epoch is committed. Raises ValueError as
    `epoch_seed`."""
    return _derived(secret, f"salt:{network}:{netuid}:{epoch_id}")


@dataclass(frozen=True, slots=True)
class ImportKeys:
    """The keys that decide over the honeypots of one import, derived from the secret."""

    secret: bytes
    network: str
    netuid: int
    import_id: int

    def honeypots(self) -> bytes:
        """Return the key by which honeypots and their counts are chosen. Raises ValueError as above."""
        return _derived(self.secret, f"honeypots:{self.network}:{self.netuid}:{self.import_id}")

    def salt(self, zipcode: str) -> bytes:
        """Return the salt of the commitment to a zipcode's real count."""
        return _derived(self.secret, f"commitment:{self.network}:{self.netuid}:{self.import_id}:{zipcode}")


def draw_key(seed: bytes, salt: bytes) -> bytes:
    """Return the key of an epoch's draws, 32 bytes. The seed is public once the epoch has ended. With the
    draw key one could repeat the draws that were discarded, which have many honeypots: so that takes the
    salt, which only validators get, with the pool."""
    return hmac.digest(seed, salt, "sha256")


def seed_commitment(seed: bytes) -> str:
    """Return the hash of a seed that is published one epoch ahead."""
    return hashlib.sha256(seed).hexdigest()


def selected_zipcodes_hash(pairs: Iterable[tuple[str, int]]) -> str:
    """The hash of the published (zipcode, expected listings) pairs, in whatever order they come."""
    return _hash_of_sorted_lines(f"{zipcode}:{expected_listings}\n" for zipcode, expected_listings in pairs)


def derive_nonce(seed: bytes, epoch_id: str, start_timestamp: int, selected_zipcodes_hash: str) -> str:
    """The nonce of an epoch, 64 hex digits; `start_timestamp` is its start in whole Unix seconds.

    It binds the published zipcodes to the seed, and nobody can compute it before the seed
    is revealed.
    """
    text = f"nonce:{epoch_id}:{start_timestamp}:{selected_zipcodes_hash}"
    return hmac.digest(seed, text.encode(), "sha256").hex()


def candidate_pool_hash(pool: Iterable[Candidate]) -> str:
    """Return the hash of everything about a pool that its draw depends on, in whatever order it comes.

    A population of 0 counts as unknown, as it does in the weights.
    """
    return _hash_of_sorted_lines(f"{_weighed(candidate)}\n" for candidate in pool)


def zipcodes_hash(zipcodes: Iterable[tuple[Candidate, str]]) -> str:
    """Return the hash of what is published of an import: of everything about its zipcodes that eligibility
    and draw depend on, but for when they were assigned, and of the commitment to each one's real count."""
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
    """The hash of an epoch's stored inputs, of exactly those bytes."""
    return hashlib.sha256(inputs).hexdigest()


def _derived(secret: bytes, text: str) -> bytes:
    if len(secret) < SHORTEST_SECRET_BYTES:
        raise ValueError(f"the selection secret must have at least {SHORTEST_SECRET_BYTES} bytes")
    return hmac.digest(secret, text.encode(), "sha256")


def _hash_of_sorted_lines(lines: Iterable[str]) -> str:
    """Zipcodes come first and are equally long, so sorting the lines sorts by zipcode."""
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()
