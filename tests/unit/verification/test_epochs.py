"""Tests `zipcast epoch verify`: a correct chain holds, and every change of it is found."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from devstack.beacon_relay import stand_in_signature
from tests.support.beacons import local_rounds, stand_in
from tests.support.fakes import START_AT
from tests.support.golden_vectors import vectors
from tests.support.signed_epochs import LENGTH, SIGNER, TRUST, drafted, message, name, seed_of, signed
from zipcast.protocol import envelope
from zipcast.protocol.calendar import EpochInterval
from zipcast.protocol.hotkeys import Keypair
from zipcast.protocol.messages.epochs import EpochBeacon, EpochMessage
from zipcast.selection import seeds
from zipcast.verification.beacon import DRAFT_WEAK, FALLBACK_WEAK, NO_BEACON
from zipcast.verification.epochs import PUBLIC_CHECKS, Evidence, Finding, verify_epochs

OTHER = Keypair.create_from_uri("//Other")
PAGE = vectors("Beacon")


def faults(evidence: list[Evidence]) -> dict[str, tuple[str, ...]]:
    return {one.epoch_id: one.faults for one in verify_epochs(evidence, TRUST) if one.faults}


def failed_checks(found: dict[str, tuple[str, ...]]) -> dict[str, list[str]]:
    return {name: [fault.partition(":")[0] for fault in faults] for name, faults in found.items()}


CHAIN = [message(number) for number in range(4)]


def test_a_chain_that_was_not_bent_holds_in_whatever_order_it_comes() -> None:
    findings = verify_epochs(reversed([signed(one) for one in CHAIN]), TRUST)
    assert [one.faults for one in findings] == [()] * 4
    assert [one.epoch_id for one in findings] == [name(number) for number in range(4)]
    assert findings[0].checked == ("signature", "order", "counts", "seed", "nonce")
    assert findings[1].checked == PUBLIC_CHECKS


def test_what_was_not_revealed_is_not_said_to_be_checked() -> None:
    (finding,) = verify_epochs([replace(signed(CHAIN[0]), seed=None)], TRUST)
    assert (finding.checked, finding.faults) == (("signature", "order", "counts"), ())


def changed_zipcode(of: EpochMessage) -> EpochMessage:
    first = of.zipcodes[0].model_copy(update={"zipcode": "99999"})
    return of.model_copy(update={"zipcodes": (first, *of.zipcodes[1:])})


def changed_count(of: EpochMessage) -> EpochMessage:
    first = of.zipcodes[0].model_copy(update={"expected_listings": 1})
    return of.model_copy(update={"zipcodes": (first, *of.zipcodes[1:])})


def updated(**changes: object) -> Callable[[EpochMessage], EpochMessage]:
    return lambda of: of.model_copy(update=changes)


def counted(**changes: object) -> Callable[[EpochMessage], EpochMessage]:
    return lambda of: of.model_copy(update={"metadata": of.metadata.model_copy(update=changes)})


def test_a_message_that_was_published_and_is_withheld_is_found() -> None:
    withheld = Evidence(name(1), None, seed_of(1).hex(), published=True)
    assert failed_checks(faults([withheld])) == {name(1): ["signature"]}


@pytest.mark.parametrize(
    ("bend", "fault"),
    [
        (changed_zipcode, "nonce"),
        (changed_count, "nonce"),
        (changed_count, "counts"),
        (counted(total_expected_listings=99_999), "counts: the metadata states"),
        (counted(zipcode_count=1), "counts: the metadata states"),
        (counted(seed_commitment="00" * 32), "counts: the metadata has another seed"),
        (updated(target_listings=99_999), "counts: the total"),
        (updated(nonce="00" * 32), "nonce"),
        (updated(seed_commitment="00" * 32), "seed"),
        (updated(previous_epoch_id=name(0)), "chain"),
        (updated(revealed_seed="00" * 32), "chain"),
        (updated(revealed_seed=None), "chain"),
        (updated(netuid=TRUST.netuid + 1), "signature"),
        (updated(network="another"), "signature"),
    ],
)
def test_what_the_service_itself_bent_and_signed_is_found(bend, fault: str) -> None:
    """Even the service's own signer cannot change this, because the commitments were published before."""
    bent = [signed(one) for one in CHAIN]
    bent[2] = signed(bend(CHAIN[2]))
    found = faults(bent)
    assert any(one.startswith(fault) for one in found[name(2)]), found


def test_another_promise_is_found_at_the_epoch_it_was_made_for() -> None:
    bent = [signed(one) for one in CHAIN]
    bent[1] = signed(CHAIN[1].model_copy(update={"next_seed_commitment": "00" * 32}))
    assert failed_checks(faults(bent)) == {name(2): ["promise"]}


def test_a_signature_of_somebody_else_or_over_something_else_is_found() -> None:
    bent = [signed(one) for one in CHAIN]
    bent[1] = signed(CHAIN[1], OTHER)
    sealed = bent[2].envelope
    assert sealed is not None
    bent[2] = replace(bent[2], envelope=replace(sealed, payload=sealed.payload + b" "))
    assert set(faults(bent)) == {name(1), name(2)}


@pytest.mark.parametrize("seed", ["00" * 32, "zz" * 32, "00", "AB" * 32])
def test_another_seed_is_found(seed: str) -> None:
    assert any(fault.startswith("seed") for fault in faults([replace(signed(CHAIN[0]), seed=seed)])[name(0)])


def test_one_epoch_s_message_does_not_pass_for_another_s() -> None:
    assert name(1) in faults([replace(signed(CHAIN[0]), epoch_id=name(1))])


def test_an_epoch_that_was_missed_breaks_no_chain_if_its_seed_was_the_promised_one() -> None:
    missed = Evidence(name(1), None, seed_of(1).hex())
    after = signed(message(2, missed_before=1))
    assert faults([signed(CHAIN[0]), missed, after]) == {}
    other = replace(missed, seed=seed_of(7).hex())
    assert failed_checks(faults([signed(CHAIN[0]), other, after])) == {name(2): ["promise"]}


def test_only_the_promised_epoch_says_whether_a_promise_was_kept() -> None:
    """In a long gap, the database may lack the promised epoch, and may have others that were not promised."""
    after = signed(message(4, missed_before=3))
    later = [Evidence(name(number), None, seed_of(number).hex()) for number in (2, 3)]
    *_, finding = verify_epochs([signed(CHAIN[0]), *later, after], TRUST)
    assert finding.faults == ()
    assert "chain" in finding.checked
    assert "promise" not in finding.checked
    promised = Evidence(name(1), None, seed_of(1).hex())
    *_, finding = verify_epochs([signed(CHAIN[0]), promised, *later, after], TRUST)
    assert (finding.checked, finding.faults) == (PUBLIC_CHECKS, ())
    broken = replace(promised, seed=seed_of(9).hex())
    assert name(4) in faults([signed(CHAIN[0]), broken, *later, after])


def with_beacon(of: EpochMessage, **changes: object) -> EpochMessage:
    """Return the message drawn with another round, as a dishonest operator could draw it."""
    assert of.beacon is not None
    number = changes.pop("round", of.beacon.round)
    assert isinstance(number, int)
    beacon = EpochBeacon.of(stand_in(number)).model_copy(update=changes)
    return redrawn(of, beacon)


def redrawn(of: EpochMessage, beacon: EpochBeacon | None) -> EpochMessage:
    seed = seed_of(round((of.epoch_start - START_AT) / LENGTH))
    draw_seed = seeds.derive_draw_seed(seed, None if beacon is None else beacon.used())
    picked = seeds.selected_zipcodes_hash((one.zipcode, one.expected_listings) for one in of.zipcodes)
    nonce = seeds.derive_nonce(draw_seed, of.epoch_id, int(of.epoch_start.timestamp()), picked)
    return of.model_copy(update={"beacon": beacon, "nonce": nonce})


def last_finding(of: EpochMessage, before: EpochMessage = CHAIN[2]) -> Finding:
    return verify_epochs([signed(before), signed(of)], TRUST)[-1]


INTERVAL = EpochInterval(CHAIN[3].epoch_start, CHAIN[3].epoch_end)
ROUNDS = local_rounds(INTERVAL)


def test_the_fallback_is_weak_and_no_beacon_proves_nothing() -> None:
    assert ROUNDS.fallback_round is not None
    fallback = last_finding(with_beacon(CHAIN[3], round=ROUNDS.fallback_round, fallback=True))
    assert (fallback.faults, fallback.weak, fallback.unproven) == ((), (FALLBACK_WEAK,), False)
    none = last_finding(redrawn(CHAIN[3], None))
    assert (none.faults, none.weak, none.unproven) == ((), (NO_BEACON,), True)
    assert "beacon" not in none.checked


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"round": ROUNDS.draw_round - 3}, "beacon: the round is not the promised one"),
        ({"round": ROUNDS.draw_round + 3}, "beacon: the round is not the promised one"),
        ({"round": ROUNDS.draw_round, "fallback": True}, "beacon: the round is not the promised one"),
        ({"round": ROUNDS.fallback_round}, "beacon: the round is not the promised one"),
        ({"round": ROUNDS.draw_round, "signature": stand_in_signature(1)}, "signature: the signature is not"),
        ({"chain": "quicknet"}, "signature: the beacon's chain is not"),
    ],
)
def test_another_round_than_the_promised_one_is_found(changes: dict[str, object], fault: str) -> None:
    (found,) = last_finding(with_beacon(CHAIN[3], **changes)).faults
    assert found.startswith(fault)


@pytest.mark.parametrize("signature", PAGE["malformed"])
def test_another_spelling_of_the_signature_is_no_message(signature: str) -> None:
    assert CHAIN[3].beacon is not None
    bent = CHAIN[3].model_copy(update={"beacon": CHAIN[3].beacon.model_copy(update={"signature": signature})})
    (fault,) = last_finding(bent).faults
    assert fault == "signature: the signed payload is not an epoch message"


def test_a_round_that_was_known_when_the_message_before_was_signed_is_found() -> None:
    late = CHAIN[2].model_copy(update={"issued_at": CHAIN[3].epoch_start - timedelta(seconds=90)})
    (found,) = last_finding(CHAIN[3], late).faults
    assert found == "beacon: the round was known when the previous message was signed"


def test_a_first_epoch_or_one_after_a_gap_needs_a_draft() -> None:
    first = CHAIN[0].model_copy(update={"previous_epoch_id": None, "revealed_seed": None})
    bare = message(3, missed_before=1).model_copy(update={"draft": None})
    for finding in (verify_epochs([signed(first)], TRUST)[0], last_finding(bare, CHAIN[1])):
        assert finding.faults == ("beacon: no message promised the round, and there is no draft",)
    finding = verify_epochs([signed(drafted(first))], TRUST)[0]
    assert (finding.faults, finding.weak) == ((), (DRAFT_WEAK,))


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"epoch_id": name(2)}, "beacon: the draft is of another epoch or seed"),
        ({"seed_commitment": "07" * 32}, "beacon: the draft is of another epoch or seed"),
        ({"round": ROUNDS.draw_round + 3}, "beacon: the draft promised another round"),
        ({"issued_at": CHAIN[3].epoch_start - timedelta(seconds=90)}, "beacon: the round was known"),
        ({"netuid": 47}, "beacon: the draft is of another network"),
    ],
)
def test_a_draft_that_does_not_fit_is_found(changes: dict[str, object], fault: str) -> None:
    honest = drafted(CHAIN[3]).draft
    assert honest is not None
    draft = envelope.verify_draft(honest, TRUST).model_copy(update=changes)
    bent = CHAIN[3].model_copy(update={"draft": envelope.sign_draft(draft, SIGNER)})  # type: ignore[arg-type]
    (found,) = last_finding(bent).faults
    assert found.startswith(fault)


def test_a_draft_of_a_stranger_is_found() -> None:
    honest = drafted(CHAIN[3]).draft
    assert honest is not None
    draft = envelope.verify_draft(honest, TRUST)
    bent = CHAIN[3].model_copy(update={"draft": envelope.sign_draft(draft, OTHER)})  # type: ignore[arg-type]
    assert last_finding(bent).faults == ("beacon: the signer is not trusted",)
