"""Checks that an epoch was drawn with a round of the beacon that was unknown when it was committed. Pure.

`zipcast.protocol.envelope` checks the round's signature, and `pools` checks that the epoch's inputs name this
round. The rules are in docs/protocol.md, "Beacon".
"""

from dataclasses import dataclass, field

from zipcast.protocol.beacon import chain_of, promised_rounds
from zipcast.protocol.calendar import EpochInterval
from zipcast.protocol.envelope import EnvelopeError, Trust, verify_draft
from zipcast.protocol.messages.epochs import EpochBeacon, EpochDraft, EpochMessage

FALLBACK_WEAK = "drawn with the fallback round, so the operator could choose between two draws"
DRAFT_WEAK = "promised by a draft, and only clients that received the draft in time can confirm this"
NO_BEACON = "drawn without a beacon, so the operator could choose the draw"


@dataclass(slots=True)
class BeaconFinding:
    """The result of the check `beacon`. The check is left out if it is unknown which round was promised."""

    checks: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    weak: list[str] = field(default_factory=list)
    draft: EpochDraft | None = None


def verify_beacon(message: EpochMessage, before: EpochMessage | None, trust: Trust) -> BeaconFinding:
    """Check the round of a verified message. `before` is the verified previous message, if it is known."""
    found = BeaconFinding()
    if message.draft is not None:
        found.checks.append("beacon")
        try:
            found.draft = verify_draft(message.draft, trust)
        except EnvelopeError as error:
            found.faults.append(f"beacon: {error}")
            return found
        found.weak.append(DRAFT_WEAK)
    if message.beacon is None:
        found.weak.append(NO_BEACON)
        return found
    if message.beacon.fallback:
        found.weak.append(FALLBACK_WEAK)
    if found.draft is not None:
        found.faults += _draft_faults(message, message.beacon, found.draft, trust)
    elif before is not None and before.epoch_end == message.epoch_start:
        found.checks.append("beacon")
        found.faults += _promise_faults(message, message.beacon, before, trust)
    elif message.previous_epoch_id is None or before is not None:
        found.checks.append("beacon")
        found.faults.append("beacon: no message promised the round, and there is no draft")
    return found


def _draft_faults(message: EpochMessage, beacon: EpochBeacon, draft: EpochDraft, trust: Trust) -> list[str]:
    faults = []
    if (draft.epoch_id, draft.seed_commitment) != (message.epoch_id, message.seed_commitment):
        faults.append("beacon: the draft is of another epoch or seed")
    if (draft.chain, draft.round) != (beacon.chain, beacon.round) or beacon.fallback:
        faults.append("beacon: the draft promised another round")
    elif chain_of(trust.network).instant(beacon.round) <= draft.issued_at:
        faults.append("beacon: the round was known when the draft was signed")
    return faults


def _promise_faults(
    message: EpochMessage, beacon: EpochBeacon, before: EpochMessage, trust: Trust
) -> list[str]:
    """Check that the round is the promised one, and that the previous message is older than the round."""
    chain = chain_of(trust.network)
    interval = EpochInterval(message.epoch_start, message.epoch_end)
    rounds = promised_rounds(chain, interval, EpochInterval(before.epoch_start, before.epoch_end))
    expected = rounds.fallback_round if beacon.fallback else rounds.draw_round
    if beacon.round != expected:
        return ["beacon: the round is not the promised one"]
    if chain.instant(beacon.round) <= max(before.epoch_start, before.issued_at):
        return ["beacon: the round was known when the previous message was signed"]
    return []
