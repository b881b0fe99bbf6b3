"""Computes which rounds of drand's beacon an epoch uses, and checks the signature of a round.

The rules are in docs/protocol.md, "Beacon". `zipcast.client.relays` fetches signatures, and
`zipcast.selection.seeds` derives seeds from them. drand: https://docs.drand.love/docs/timelock-encryption/
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from functools import lru_cache

from bittensor_core import decrypt_with_signature, encrypt_at_round

from zipcast.protocol.calendar import MAX_PREPARATION_LEAD, EpochInterval

DRAW_LEAD = timedelta(seconds=90)
DECISION_LEAD = timedelta(seconds=30)
# A draft on the local chain is signed this long before its round. The time does not depend on the epoch's
# length, because sending a draft takes equally long in short epochs.
LOCAL_NOTICE = timedelta(seconds=0.5)
MAX_ROUND = 2**53 - 1  # some JSON parsers change larger numbers
_SIGNATURE_HEX = re.compile(r"[0-9a-f]{96}")
_PROBE = b"zipcast"
# The first of three old rounds of quicknet. On the local network, their public signatures replace those of
# future rounds.
_FIRST_STAND_IN = 1000


class BeaconError(ValueError):
    """The signature is not that of its round. The message states the reason."""


class Purpose(IntEnum):
    """The purpose of a round. On the local network, each purpose has its own signature."""

    DRAW = 0
    OPENING = 1
    FALLBACK = 2


@dataclass(frozen=True, slots=True)
class Chain:
    """A sequence of rounds, one per `period` from `genesis_at` on.

    If `stands_in`, the chain replaces drand on a local network. It has one round per purpose and instant,
    each with the public signature of a past drand round, and therefore keeps nothing secret."""

    name: str
    genesis_at: datetime
    period: timedelta
    stands_in: bool = False

    def last_by(self, instant: datetime, purpose: Purpose) -> int:
        """Return the last round at or before that instant."""
        return self._round((instant - self.genesis_at) // self.period, purpose)

    def first_from(self, instant: datetime, purpose: Purpose) -> int:
        """Return the first round at or after that instant."""
        return self._round(-((self.genesis_at - instant) // self.period), purpose)

    def instant(self, round_number: int) -> datetime:
        """Return when the round is published. Raises OverflowError for a time after the year 9999."""
        index = round_number // len(Purpose) if self.stands_in else round_number - 1
        return self.genesis_at + index * self.period

    def drand_round(self, round_number: int) -> int:
        """Return the drand round that has the signature of this round."""
        return _FIRST_STAND_IN + round_number % len(Purpose) if self.stands_in else round_number

    def _round(self, index: int, purpose: Purpose) -> int:
        return index * len(Purpose) + purpose if self.stands_in else index + 1


QUICKNET = Chain("quicknet", datetime.fromtimestamp(1692803367, UTC), timedelta(seconds=3))
LOCAL_CHAIN = Chain("local", datetime.fromtimestamp(0, UTC), timedelta(milliseconds=1), stands_in=True)


def chain_of(network: str) -> Chain:
    """Return the chain of a Bittensor network: quicknet, or its replacement for the network `local`."""
    return LOCAL_CHAIN if network == "local" else QUICKNET


@dataclass(frozen=True, slots=True)
class BeaconRounds:
    """The rounds to which an epoch is committed. `fallback_round` is None if there is no fallback.

    If `rounding` is "down", the draw round is the last one at least `lead` before the start; if it is "up",
    the first one at least `lead` after the draft was signed."""

    chain: str
    draw_round: int
    fallback_round: int | None
    lead: timedelta
    rounding: str


@dataclass(frozen=True, slots=True)
class BeaconRound:
    """A round with its 48-byte signature. `is_fallback` is true for the fallback round."""

    chain: str
    round_number: int
    signature: bytes
    is_fallback: bool


def draw_lead(length: timedelta) -> timedelta:
    """Return how long before its start an epoch is drawn: 90 s, or less if it is shorter than 300 s."""
    return min(DRAW_LEAD, _preparation_lead(length) * 3 // 5)


def decision_lead(length: timedelta) -> timedelta:
    """Return how long before its start an epoch is drawn without its draw round, if that round is missing: 30
    s, or less if the epoch is shorter than 300 s. A draft is signed just as long before its round, except on
    the local chain (`draft_notice`)."""
    return min(DECISION_LEAD, _preparation_lead(length) // 5)


def draft_notice(chain: Chain, length: timedelta) -> timedelta:
    """Return how long before its round a draft is signed: the decision lead, or 0.5 s on the local chain."""
    return LOCAL_NOTICE if chain.stands_in else decision_lead(length)


def drafting_time(chain: Chain, length: timedelta) -> timedelta:
    """Return the longest wait from a draft to its draw: 90 s, or less if the epoch is shorter than 300 s."""
    return draft_notice(chain, length) + draw_lead(length) - decision_lead(length)


def promised_rounds(chain: Chain, interval: EpochInterval, previous: EpochInterval) -> BeaconRounds:
    """Return the rounds to which the message of `previous` commits the epoch `interval`."""
    lead = draw_lead(interval.end_at - interval.start_at)
    half = previous.start_at + (previous.end_at - previous.start_at) / 2
    return BeaconRounds(
        chain.name,
        chain.last_by(interval.start_at - lead, Purpose.DRAW),
        chain.last_by(half, Purpose.FALLBACK),
        lead,
        "down",
    )


def drafted_rounds(chain: Chain, interval: EpochInterval, issued_at: datetime) -> BeaconRounds:
    """Return the rounds of a draft that is signed at `issued_at`. Its draw round is the usual one if that
    leaves enough notice."""
    length = interval.end_at - interval.start_at
    notice = draft_notice(chain, length)
    usual = chain.last_by(interval.start_at - draw_lead(length), Purpose.DRAW)
    first = chain.first_from(issued_at + notice, Purpose.DRAW)
    return BeaconRounds(chain.name, max(first, usual), None, notice, "up")


def decided_at(chain: Chain, rounds: BeaconRounds, interval: EpochInterval) -> datetime:
    """Return when the epoch is drawn without its draw round, if that round is missing: at the decision lead
    before the start, or 60 s after the draw round (less for short epochs), whichever is later."""
    length = interval.end_at - interval.start_at
    patience = draw_lead(length) - decision_lead(length)
    after_round = chain.instant(rounds.draw_round) + patience
    return max(interval.start_at - decision_lead(length), after_round)


def parse_beacon_signature(text: str) -> bytes:
    """Return the 48 bytes of a signature. Raises BeaconError unless `text` is 96 lower-case hex digits. The
    library accepts other spellings, each of which would give another seed."""
    if not _SIGNATURE_HEX.fullmatch(text):
        raise BeaconError("a beacon's signature must be 96 lower-case hex digits")
    return bytes.fromhex(text)


def check_signature(chain: Chain, round_number: int, signature: str) -> bytes:
    """Return the 48 bytes of the round's signature. Raises BeaconError if the signature is not valid."""
    parsed = parse_beacon_signature(signature)
    if not 1 <= round_number <= MAX_ROUND:
        raise BeaconError("a beacon's round must be a positive number")
    try:
        chain.instant(round_number)
    except OverflowError:
        raise BeaconError("a beacon's round must have an instant") from None
    if not _opens_probe(chain.drand_round(round_number), signature):
        raise BeaconError(f"the signature is not that of round {round_number} of {chain.name}")
    return parsed


@lru_cache(maxsize=4096)
def _opens_probe(drand_round: int, signature: str) -> bool:
    """Return whether the signature decrypts a text that was encrypted to the round."""
    probe, _ = encrypt_at_round(_PROBE, drand_round)
    try:
        return bytes(decrypt_with_signature(probe, signature)) == _PROBE
    except ValueError:
        return False


def _preparation_lead(length: timedelta) -> timedelta:
    return min(MAX_PREPARATION_LEAD, length // 2)
