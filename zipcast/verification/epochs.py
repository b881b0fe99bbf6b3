"""Verifies epochs that have ended, with the data that the caller may see. Pure.

This module has the checks that everyone can make: signature, order, counts, beacon, seed, nonce, the chain of
seeds, and whether the seed matches the commitment of the previous epoch. `pools` has further checks for
validators. Findings also list the checks that could not be made.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from zipcast.protocol.calendar import format_epoch_id
from zipcast.protocol.envelope import EnvelopeError, Trust, UnverifiedEnvelope, VerifiedEpoch, verify
from zipcast.protocol.messages.epochs import EpochMessage
from zipcast.protocol.messages.pools import EpochPool
from zipcast.selection import seeds
from zipcast.selection.model import tolerance_band
from zipcast.verification.beacon import verify_beacon
from zipcast.verification.pools import POOL_CHECKS, Known, verify_pool

_SEED = re.compile(r"[0-9a-f]{64}")
PUBLIC_CHECKS = ("signature", "order", "counts", "beacon", "seed", "nonce", "chain", "promise")
CHECKS = (*PUBLIC_CHECKS, *POOL_CHECKS)


@dataclass(frozen=True, slots=True)
class Evidence:
    """The data about one epoch. `envelope` is None if the epoch was missed. `seed` (hex) is None if it is not
    revealed. `pool` is None if the caller is not a validator. `published` is whether there was a message,
    according to the source."""

    epoch_id: str
    envelope: UnverifiedEnvelope | None
    seed: str | None
    pool: EpochPool | None = None
    published: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of verifying one epoch. `faults` is empty if all checks in `checked` passed. `weak` lists
    the choices that the operator could make although the checks passed. If `unproven`, the operator could
    choose the draw itself, so that the checks prove nothing about the choice of zipcodes."""

    epoch_id: str
    checked: tuple[str, ...]
    faults: tuple[str, ...]
    weak: tuple[str, ...] = ()
    unproven: bool = False


def verify_epochs(evidence: Iterable[Evidence], trust: Trust) -> list[Finding]:
    """Return the findings, oldest epoch first. The order of `evidence` does not matter. Successive epochs are
    also checked against each other."""
    findings: list[Finding] = []
    before: VerifiedEpoch | None = None
    between: list[Evidence] = []
    known: dict[str, tuple[EpochMessage, EpochPool | None]] = {}
    for one in sorted(evidence, key=lambda item: item.epoch_id):
        if one.envelope is None:
            between.append(one)
            withheld = ("signature: the epoch was published, but its message is missing",)
            findings.append(
                Finding(one.epoch_id, ("signature",), withheld)
                if one.published
                else Finding(one.epoch_id, (), ())
            )
            continue
        try:
            epoch = verify(one.envelope, trust)
        except EnvelopeError as error:
            findings.append(Finding(one.epoch_id, ("signature",), (f"signature: {error}",)))
            before, between = None, []
            continue
        findings.append(_finding(one, epoch, before, between, known, trust))
        known[epoch.message.epoch_id] = epoch.message, one.pool
        before, between = epoch, []
    return findings


def _finding(
    one: Evidence,
    epoch: VerifiedEpoch,
    before: VerifiedEpoch | None,
    between: Sequence[Evidence],
    known: Known,
    trust: Trust,
) -> Finding:
    checked, faults = ["signature", "order", "counts"], _count_faults(epoch.message)
    if one.epoch_id != epoch.message.epoch_id:
        faults.append("signature: the message is of another epoch")
    zipcodes = [assigned.zipcode for assigned in epoch.message.zipcodes]
    if zipcodes != sorted(set(zipcodes)):
        faults.append("order: the zipcodes are not sorted, or occur twice")
    drawn = verify_beacon(epoch.message, None if before is None else before.message, trust)
    checked += drawn.checks
    faults += drawn.faults
    seed = one.seed if one.pool is None else one.pool.detail.seed
    if seed is not None:
        checked += ["seed", "nonce"]
        faults += _seed_faults(epoch, seed)
    if one.seed is not None and one.seed != seed:
        faults.append("seed: the pool has another seed")
    if before is not None:
        checked.append("chain")
        faults += _chain_faults(before, epoch)
        kept = _promise_kept(before, epoch, between)
        if kept is not None:
            checked.append("promise")
        if kept is False:
            faults.append("promise: the previous epoch committed to another seed")
    if one.pool is not None:
        of_pool = verify_pool(epoch.message, one.pool, known, drawn.draft)
        checked += of_pool.checks
        faults += of_pool.faults
    unproven = epoch.message.beacon is None
    return Finding(one.epoch_id, tuple(checked), tuple(faults), tuple(drawn.weak), unproven)


def _count_faults(message: EpochMessage) -> list[str]:
    """Check that the message's metadata and target match its zipcodes."""
    metadata, total = message.metadata, sum(one.expected_listings for one in message.zipcodes)
    faults = []
    if (metadata.zipcode_count, metadata.total_expected_listings) != (len(message.zipcodes), total):
        faults.append("counts: the metadata states other counts of zipcodes or listings")
    if metadata.seed_commitment != message.seed_commitment:
        faults.append("counts: the metadata has another seed commitment")
    lowest, highest = tolerance_band(message.target_listings, message.tolerance_percent)
    if not lowest <= total <= highest:
        faults.append("counts: the total of listings is outside the tolerance")
    return faults


def _seed_faults(epoch: VerifiedEpoch, seed_hex: str) -> list[str]:
    message, faults = epoch.message, []
    if not _SEED.fullmatch(seed_hex):
        return ["seed: the seed is not 64 hex digits"]
    seed = bytes.fromhex(seed_hex)
    if seeds.seed_commitment(seed) != message.seed_commitment:
        faults.append("seed: the seed does not match its commitment")
    picked = seeds.selected_zipcodes_hash((one.zipcode, one.expected_listings) for one in message.zipcodes)
    start = int(message.epoch_start.timestamp())
    draw_seed = seeds.derive_draw_seed(seed, message.used_round())
    if seeds.derive_nonce(draw_seed, message.epoch_id, start, picked) != message.nonce:
        faults.append("nonce: the nonce does not follow from seed, beacon, start and zipcodes")
    return faults


def _chain_faults(before: VerifiedEpoch, epoch: VerifiedEpoch) -> list[str]:
    """Check one message against the one before it."""
    earlier, later = before.message, epoch.message
    faults = []
    if later.previous_epoch_id != earlier.epoch_id:
        faults.append("chain: the message names another previous epoch")
    elif later.revealed_seed is None or (
        seeds.seed_commitment(bytes.fromhex(later.revealed_seed)) != earlier.seed_commitment
    ):
        faults.append("chain: the revealed seed does not match its commitment")
    return faults


def _promise_kept(before: VerifiedEpoch, epoch: VerifiedEpoch, between: Sequence[Evidence]) -> bool | None:
    """Return whether the epoch right after `before` has the seed to which `before` committed; None if that
    seed is not known. That epoch may be one of `between`, which were not published."""
    promised, end = before.message.next_seed_commitment, before.message.epoch_end
    if epoch.message.epoch_start == end:
        return epoch.message.seed_commitment == promised
    for one in between:
        if one.epoch_id == format_epoch_id(end) and one.seed is not None and _SEED.fullmatch(one.seed):
            return seeds.seed_commitment(bytes.fromhex(one.seed)) == promised
    return None
