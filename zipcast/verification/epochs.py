"""Checking epochs that have ended, from whatever the caller may see of them. Pure.

Owns what anybody can check: signature, order, counts, seed, nonce, the chain of seeds, and whether the seed
promised one epoch ahead was used. What
validators can check besides, given an epoch's pool, is `pool_verification`'s. What was not checked is said,
never implied.
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
from zipcast.verification.pools import POOL_CHECKS, Known, verify_pool

_SEED = re.compile(r"[0-9a-f]{64}")
PUBLIC_CHECKS = ("signature", "order", "counts", "seed", "nonce", "chain", "promise")
CHECKS = (*PUBLIC_CHECKS, *POOL_CHECKS)


@dataclass(frozen=True, slots=True)
class Evidence:
    """The known facts of one epoch: no `envelope` if it was missed, no `seed` (hex) if it is not revealed, no
    `pool` without a validator's rights. `published`: the source says that there was a message."""

    epoch_id: str
    envelope: UnverifiedEnvelope | None
    seed: str | None
    pool: EpochPool | None = None
    published: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """`faults` is empty if all that was `checked` holds."""

    epoch_id: str
    checked: tuple[str, ...]
    faults: tuple[str, ...]


def verify_epochs(evidence: Iterable[Evidence], trust: Trust) -> list[Finding]:
    """Oldest first, whatever order they come in. Neighbours are checked against each other."""
    findings: list[Finding] = []
    before: VerifiedEpoch | None = None
    between: list[Evidence] = []
    known: dict[str, tuple[EpochMessage, EpochPool | None]] = {}
    for one in sorted(evidence, key=lambda item: item.epoch_id):
        if one.envelope is None:
            between.append(one)
            withheld = ("signature: it was published, and its message is not here",)
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
        findings.append(_finding(one, epoch, before, between, known))
        known[epoch.message.epoch_id] = epoch.message, one.pool
        before, between = epoch, []
    return findings


def _finding(
    one: Evidence,
    epoch: VerifiedEpoch,
    before: VerifiedEpoch | None,
    between: Sequence[Evidence],
    known: Known,
) -> Finding:
    checked, faults = ["signature", "order", "counts"], _count_faults(epoch.message)
    if one.epoch_id != epoch.message.epoch_id:
        faults.append("signature: it is another epoch's message")
    zipcodes = [assigned.zipcode for assigned in epoch.message.zipcodes]
    if zipcodes != sorted(set(zipcodes)):
        faults.append("order: its zipcodes are not sorted, each once")
    seed = one.seed if one.pool is None else one.pool.detail.seed
    if seed is not None:
        checked += ["seed", "nonce"]
        faults += _seed_faults(epoch, seed)
    if one.seed is not None and one.seed != seed:
        faults.append("seed: the pool's is another")
    if before is not None:
        checked.append("chain")
        faults += _chain_faults(before, epoch)
        kept = _promise_kept(before, epoch, between)
        if kept is not None:
            checked.append("promise")
        if kept is False:
            faults.append("promise: the epoch before it committed to another seed")
    if one.pool is not None:
        of_pool = verify_pool(epoch.message, one.pool, known)
        checked += of_pool.checks
        faults += of_pool.faults
    return Finding(one.epoch_id, tuple(checked), tuple(faults))


def _count_faults(message: EpochMessage) -> list[str]:
    """Check the message's statements about itself."""
    told, total = message.metadata, sum(one.expected_listings for one in message.zipcodes)
    faults = []
    if (told.zipcode_count, told.total_expected_listings) != (len(message.zipcodes), total):
        faults.append("counts: its metadata counts other zipcodes or listings")
    if told.seed_commitment != message.seed_commitment:
        faults.append("counts: its metadata has another seed commitment")
    lowest, highest = tolerance_band(message.target_listings, message.tolerance_percent)
    if not lowest <= total <= highest:
        faults.append("counts: its listings are not within the tolerance of its target")
    return faults


def _seed_faults(epoch: VerifiedEpoch, seed_hex: str) -> list[str]:
    message, faults = epoch.message, []
    if not _SEED.fullmatch(seed_hex):
        return ["seed: it is not 64 hex digits"]
    seed = bytes.fromhex(seed_hex)
    if seeds.seed_commitment(seed) != message.seed_commitment:
        faults.append("seed: it is not the one that was committed to")
    picked = seeds.selected_zipcodes_hash((one.zipcode, one.expected_listings) for one in message.zipcodes)
    start = int(message.epoch_start.timestamp())
    if seeds.derive_nonce(seed, message.epoch_id, start, picked) != message.nonce:
        faults.append("nonce: it does not follow from seed, start and zipcodes")
    return faults


def _chain_faults(before: VerifiedEpoch, epoch: VerifiedEpoch) -> list[str]:
    """Check one message against the one before it."""
    earlier, later = before.message, epoch.message
    faults = []
    if later.previous_epoch_id != earlier.epoch_id:
        faults.append("chain: it names another epoch as the one before it")
    elif later.revealed_seed is None or (
        seeds.seed_commitment(bytes.fromhex(later.revealed_seed)) != earlier.seed_commitment
    ):
        faults.append("chain: the seed it reveals is not the one that was committed to")
    return faults


def _promise_kept(before: VerifiedEpoch, epoch: VerifiedEpoch, between: Sequence[Evidence]) -> bool | None:
    """Return whether the epoch right after `before` has the seed that was promised for it; None if that seed
    is not known. The epoch may be one of `between`, which were not published."""
    promised, end = before.message.next_seed_commitment, before.message.epoch_end
    if epoch.message.epoch_start == end:
        return epoch.message.seed_commitment == promised
    for one in between:
        if one.epoch_id == format_epoch_id(end) and one.seed is not None and _SEED.fullmatch(one.seed):
            return seeds.seed_commitment(bytes.fromhex(one.seed)) == promised
    return None
