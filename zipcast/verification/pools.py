"""Verifies, for validators, that the rules and the pool of a revealed epoch lead to exactly its zipcodes.
Pure.

This module checks committed inputs, history, pool, selection and honeypots. `zipcast.verification.epochs` has
the checks that need no pool.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime

from zipcast.protocol.beacon import BeaconRounds, chain_of, promised_rounds
from zipcast.protocol.calendar import EpochInterval, parse_epoch_id
from zipcast.protocol.messages.epochs import AssignedZipcode, EpochBeacon, EpochDraft, EpochMessage
from zipcast.protocol.messages.pools import EpochPool
from zipcast.selection import seeds
from zipcast.selection.committed_inputs import SelectionInputs
from zipcast.selection.honeypots import Choice, Honeypot, commitment
from zipcast.selection.model import Candidate, PoolTooSmallError

POOL_CHECKS = ("inputs", "history", "pool", "selection", "honeypots")
# Verified epochs other than the one being checked, by id, each with its pool if that is known.
Known = Mapping[str, tuple[EpochMessage, EpochPool | None]]


class Checked:
    """The checks that were made, and the faults that they found. Each fault begins with the name of its
    check."""

    def __init__(self) -> None:
        self.checks: list[str] = []
        self.faults: list[str] = []

    def note(self, check: str, holds: bool, fault: str) -> bool:
        """Note that the check was made, and its fault unless it holds. Return `holds`."""
        if check not in self.checks:
            self.checks.append(check)
        if not holds:
            self.faults.append(f"{check}: {fault}")
        return holds


def verify_pool(message: EpochMessage, pool: EpochPool, known: Known, draft: EpochDraft | None) -> Checked:
    """Check a pool against its epoch. `known` has other verified epochs, by id. The check of inputs needs the
    draft of the epoch or the previous epoch, and the check of history needs the epochs that the inputs name;
    without them, these checks are left out."""
    checked = Checked()
    stated = pool.detail.inputs.encode()
    before, _ = known.get(message.previous_epoch_id or "", (None, None))
    if before is not None and before.epoch_end != message.epoch_start:
        before = None
    if draft is not None:
        checked.note("inputs", seeds.inputs_hash(stated) == draft.inputs_hash, "they differ from the draft")
    elif before is not None:
        same = seeds.inputs_hash(stated) == before.next_inputs_hash
        checked.note("inputs", same, "they differ from the commitment in the previous message")
    try:
        inputs = SelectionInputs.from_bytes(stated)
        if draft is not None and before is not None:
            same = seeds.inputs_hash(_as_promised(inputs, message, before)) == before.next_inputs_hash
            checked.note("inputs", same, "the draft changes more of the promised inputs than the round")
        candidates = [row.candidate() for row in pool.candidates]
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        checked.note("pool", False, f"it cannot be read ({type(error).__name__})")
        return checked
    _check_inputs(checked, message, inputs)
    if checked.faults:
        # Do not repeat the choice: with other inputs it would prove nothing, and could take unlimited memory
        # and time.
        return checked
    rows = zip(candidates, (row.commitment for row in pool.candidates), strict=True)
    if inputs.zipcodes_sha256 != seeds.zipcodes_hash(rows):
        checked.note("pool", False, "its zipcodes differ from the commitment in the inputs")
    _check_history(checked, message, candidates, inputs, known)
    _check_choice(checked, message, pool, inputs, candidates)
    return checked


def _as_promised(inputs: SelectionInputs, message: EpochMessage, before: EpochMessage) -> bytes:
    """Return the inputs of a draft with the rounds to which the previous message committed."""
    interval = EpochInterval(message.epoch_start, message.epoch_end)
    previous = EpochInterval(before.epoch_start, before.epoch_end)
    rounds = promised_rounds(chain_of(message.network), interval, previous)
    return replace(inputs, beacon=rounds).to_bytes()


def _check_inputs(checked: Checked, message: EpochMessage, inputs: SelectionInputs) -> None:
    """Note where the message differs from its inputs. A separate check compares the inputs with the
    commitment."""
    stated = (
        message.epoch_id,
        message.metadata.algorithm_version,
        message.target_listings,
        message.tolerance_percent,
    )
    settings = inputs.settings
    committed = (
        inputs.epoch_id,
        inputs.algorithm_version,
        settings.target_listings,
        settings.tolerance_percent,
    )
    if stated != committed or not _is_committed(message.beacon, inputs.beacon):
        checked.note("inputs", False, "the message differs from them")


def _is_committed(used: EpochBeacon | None, rounds: BeaconRounds) -> bool:
    """Return whether the round is one of those that the inputs allow; an epoch may have none."""
    if used is None:
        return True
    expected = rounds.fallback_round if used.fallback else rounds.draw_round
    return (used.chain, used.round) == (rounds.chain, expected)


def _check_history(
    checked: Checked,
    message: EpochMessage,
    candidates: list[Candidate],
    inputs: SelectionInputs,
    known: Known,
) -> None:
    """Note whether exactly the zipcodes assigned by epochs within the cooldown are in cooldown. Note nothing
    unless all of these epochs are known."""
    named = inputs.history_epoch_ids
    since = message.epoch_start - inputs.settings.cooldown
    recent, complete = _epochs_since(message, since, known)
    if not recent <= set(named):
        checked.note("history", False, f"epoch {min(recent - set(named))} is missing")
    elif complete and all(epoch_id in known for epoch_id in named):
        expected = _last_assigned(known[epoch_id][0] for epoch_id in named)
        stated = {one.zipcode: one.last_assigned_at for one in candidates}
        same = all(expected.get(zipcode) == at for zipcode, at in stated.items())
        checked.note(
            "history", same, "the zipcodes in cooldown differ from those that earlier epochs assigned"
        )


def _epochs_since(message: EpochMessage, since: datetime, known: Known) -> tuple[set[str], bool]:
    """Return the ids of the epochs before `message` that start after `since`, by following the chain of
    messages, and whether the chain was complete."""
    found: set[str] = set()
    while (epoch_id := message.previous_epoch_id) is not None and parse_epoch_id(epoch_id) > since:
        found.add(epoch_id)
        if epoch_id not in known:
            return found, False
        message = known[epoch_id][0]
    return found, True


def _last_assigned(messages: Iterator[EpochMessage]) -> dict[str, datetime]:
    newest: dict[str, datetime] = {}
    for message in sorted(messages, key=lambda one: one.epoch_start):
        newest |= {one.zipcode: message.epoch_start for one in message.zipcodes}
    return newest


def _check_choice(
    checked: Checked,
    message: EpochMessage,
    pool: EpochPool,
    inputs: SelectionInputs,
    candidates: list[Candidate],
) -> None:
    """Repeat the selection and compare. The pool names the honeypots of all draws, so no others are
    needed."""
    detail = pool.detail
    real_listings = {one.zipcode: one.real_listings for one in detail.honeypots}
    try:
        draw_seed = seeds.derive_draw_seed(bytes.fromhex(detail.seed), message.used_round())
        choice = inputs.choose(candidates, real_listings, draw_seed, message.epoch_start)
    except (PoolTooSmallError, ValueError, TypeError) as error:
        checked.note("pool", False, f"no zipcodes can be selected from it ({type(error).__name__})")
        return
    same_pool = seeds.candidate_pool_hash(choice.selection.pool) == message.candidate_pool_hash
    checked.note("pool", same_pool, "its hash differs from the published hash")
    same = AssignedZipcode.all_of(choice.zipcodes) == message.zipcodes
    checked.note("selection", same, "pool and seed lead to other zipcodes or counts")
    relaxed = (choice.selection.relaxed_age_days, choice.selection.relaxed_cooldown)
    same = relaxed == (detail.relaxed_age_days, detail.relaxed_cooldown)
    checked.note("selection", same, "the age limit or the cooldown was relaxed in another way")
    checked.note("honeypots", _named(pool) == _drawn(choice), "pool and seed lead to other honeypots")
    checked.note("honeypots", _opens(pool), "a real count differs from its commitment")
    checked.note("honeypots", _in_tolerance(choice, inputs), "a total lies outside the tolerance")


def _named(pool: EpochPool) -> set[tuple[Honeypot, bool]]:
    return {
        (Honeypot(one.zipcode, one.real_listings, one.published_listings), one.discarded)
        for one in pool.detail.honeypots
    }


def _drawn(choice: Choice) -> set[tuple[Honeypot, bool]]:
    counted = {(one, False) for one in choice.honeypots}
    return counted | {(one, True) for one in choice.discarded}


def _opens(pool: EpochPool) -> bool:
    commitments = {row.zipcode: row.commitment for row in pool.candidates}
    return all(
        commitment(one.zipcode, one.real_listings, is_honeypot=True, salt=bytes.fromhex(one.salt))
        == commitments.get(one.zipcode)
        for one in pool.detail.honeypots
    )


def _in_tolerance(choice: Choice, inputs: SelectionInputs) -> bool:
    lowest, highest = inputs.settings.lowest_total, inputs.settings.highest_total
    return all(lowest <= total <= highest for total in (choice.published_total, choice.true_total))
