"""`zipcast epoch verify`: a chain that holds, and every way of bending it found out."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.support.signed_epochs import TRUST, message, name, seed_of, signed
from zipcast.protocol.hotkeys import Keypair
from zipcast.protocol.messages.epochs import EpochMessage
from zipcast.verification.epochs import PUBLIC_CHECKS, Evidence, verify_epochs

OTHER = Keypair.create_from_uri("//Other")


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
    """Even its own signer cannot: the commitments were out before."""
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
    """In a long gap the record may lack it, and hold others that nobody had promised anything for."""
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
