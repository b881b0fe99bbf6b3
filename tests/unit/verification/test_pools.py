"""Tests that a validator finds every part of a pool that was changed, left out or invented."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta

import pytest

from tests.support.beacons import local_rounds
from tests.support.candidates import START_AT, candidate
from tests.support.signed_epochs import LENGTH, SIGNER, TRUST, drafted, message, name, seed_of, signed
from zipcast.protocol import envelope
from zipcast.protocol.calendar import EpochInterval
from zipcast.protocol.messages.epochs import AssignedZipcode, EpochMessage, EpochMetadata
from zipcast.protocol.messages.pools import EpochPool, EpochPoolReply, PoolDetail, PoolRow, ShownHoneypot
from zipcast.selection import seeds
from zipcast.selection.committed_inputs import SelectionInputs
from zipcast.selection.honeypots import Choice, HoneypotSettings, commitment
from zipcast.selection.model import MAX_TARGET_LISTINGS, Candidate, SelectionSettings
from zipcast.verification.beacon import DRAFT_WEAK
from zipcast.verification.epochs import CHECKS, Evidence, Finding, verify_epochs

SETTINGS = SelectionSettings(
    target_listings=1000, tolerance_percent=20, min_zipcode_listings=21, max_zipcode_listings=500
)
HONEYPOTS = HoneypotSettings(probability=1, threshold=20)
POOL = [
    *(candidate(f"{10000 + number}", 60 + 3 * number) for number in range(50)),
    *(candidate(f"{90000 + number}", 100 + number) for number in range(20)),
]
REAL = {one.zipcode: number for number, one in enumerate(POOL[50:])}
SALT = bytes(32)
COUNT = 3


def commitment_of(one: Candidate) -> str:
    real = REAL.get(one.zipcode)
    listings = one.expected_listings if real is None else real
    return commitment(one.zipcode, listings, is_honeypot=real is not None, salt=SALT)


ZIPCODES = seeds.zipcodes_hash((one, commitment_of(one)) for one in POOL)


@dataclass(frozen=True, slots=True)
class Made:
    """One honest epoch: its message, and what is published about it one epoch after its end."""

    message: EpochMessage
    pool: EpochPool


def inputs_of(number: int, **changes: object) -> SelectionInputs:
    earlier = tuple(name(one) for one in range(number))
    start = message(number).epoch_start
    rounds = local_rounds(EpochInterval(start, start + LENGTH))
    inputs = SelectionInputs(name(number), 1, "1", earlier, SETTINGS, HONEYPOTS, rounds, ZIPCODES)
    return replace(inputs, **changes)  # type: ignore[arg-type]


def draw_seed_of(number: int) -> bytes:
    beacon = message(number).beacon
    assert beacon is not None
    return seeds.derive_draw_seed(seed_of(number), beacon.used())


def chain(zipcodes: Sequence[Candidate] = POOL, **changes: object) -> list[Made]:
    """Return three successive epochs by the rules. `changes` are changes of their inputs."""
    made: list[Made] = []
    for number in range(COUNT):
        start = message(number).epoch_start
        candidates = [replace(one, last_assigned_at=_assigned_at(made, one.zipcode)) for one in zipcodes]
        inputs = inputs_of(number, **changes)
        choice = inputs.choose(candidates, REAL, draw_seed_of(number), start)
        following = inputs_of(number + 1, **changes).to_bytes()
        made.append(
            Made(
                _message(number, inputs, choice, following),
                _pool(inputs, candidates, choice, seed_of(number)),
            )
        )
    return made


def _assigned_at(made: list[Made], zipcode: str) -> datetime | None:
    starts = [
        one.message.epoch_start
        for one in made
        if any(zipcode == assigned.zipcode for assigned in one.message.zipcodes)
    ]
    return max(starts, default=None)


def _message(number: int, inputs: SelectionInputs, choice: Choice, following: bytes) -> EpochMessage:
    base, draw_seed = message(number), draw_seed_of(number)
    zipcodes = AssignedZipcode.all_of(choice.zipcodes)
    picked = seeds.selected_zipcodes_hash((one.zipcode, one.expected_listings) for one in zipcodes)
    start = int(base.epoch_start.timestamp())
    made = base.model_copy(
        update={
            "zipcodes": zipcodes,
            "target_listings": SETTINGS.target_listings,
            "tolerance_percent": SETTINGS.tolerance_percent,
            "metadata": EpochMetadata(
                total_expected_listings=choice.published_total,
                zipcode_count=len(zipcodes),
                algorithm_version=inputs.algorithm_version,
                seed_commitment=base.seed_commitment,
            ),
            "nonce": seeds.derive_nonce(draw_seed, base.epoch_id, start, picked),
            "next_inputs_hash": seeds.inputs_hash(following),
            "candidate_pool_hash": seeds.candidate_pool_hash(choice.selection.pool),
            "previous_epoch_id": base.previous_epoch_id if number else None,
            "revealed_seed": base.revealed_seed if number else None,
        }
    )
    return made if number else drafted(made, seeds.inputs_hash(inputs.to_bytes()))


def _pool(
    inputs: SelectionInputs,
    candidates: list[Candidate],
    choice: Choice,
    seed: bytes,
) -> EpochPool:
    detail = PoolDetail(
        inputs=inputs.to_bytes().decode(),
        seed=seed.hex(),
        relaxed_age_days=choice.selection.relaxed_age_days,
        relaxed_cooldown=choice.selection.relaxed_cooldown,
        honeypots=tuple(_told(choice)),
    )
    rows = tuple(PoolRow.of(one, commitment_of(one)) for one in candidates)
    return EpochPool(detail=detail, candidates=rows)


def _told(choice: Choice) -> Iterator[ShownHoneypot]:
    for discarded, honeypots in ((False, choice.honeypots), (True, choice.discarded)):
        for one in honeypots:
            yield ShownHoneypot(**asdict(one), salt=SALT.hex(), discarded=discarded)


CHAIN = chain()
LAST = EpochInterval(message(COUNT - 1).epoch_start, message(COUNT - 1).epoch_end)


def findings(made: list[Made]) -> list[Finding]:
    return verify_epochs(evidence_of(made), TRUST)


def evidence_of(made: list[Made]) -> list[Evidence]:
    """Return the evidence by way of the JSON in which pools are sent and stored."""
    return [
        Evidence(
            one.message.epoch_id,
            envelope.seal(one.message, SIGNER),
            None,
            EpochPool.model_validate_json(one.pool.to_bytes()),
        )
        for one in made
    ]


def bent(**changes: object) -> list[Made]:
    """Return the last epoch with another message or pool."""
    return [*CHAIN[:-1], replace(CHAIN[-1], **changes)]  # type: ignore[arg-type]


def faults(made: list[Made]) -> tuple[str, ...]:
    found = findings(made)
    assert [one.faults for one in found[:-1]] == [()] * (COUNT - 1)
    return found[-1].faults


def test_honest_epochs_hold_and_all_is_checked() -> None:
    found = findings(CHAIN)
    assert [one.faults for one in found] == [()] * COUNT
    assert set(found[-1].checked) == set(CHECKS)
    assert [one.weak for one in found] == [(DRAFT_WEAK,), (), ()]
    assert any(not told.discarded for told in CHAIN[-1].pool.detail.honeypots)
    assert any(told.discarded for told in CHAIN[-1].pool.detail.honeypots)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"beacon": replace(local_rounds(LAST), fallback_round=None, rounding="up")}, ()),
        ({"secret_id": "2"}, ("inputs: the draft changes more of the promised inputs than the round",)),
    ],
)
def test_a_draft_keeps_the_promised_inputs_except_for_the_rounds(
    changes: dict[str, object], expected: tuple[str, ...]
) -> None:
    """Otherwise an operator could choose other inputs after the promise, and sign a draft of them."""
    text = inputs_of(COUNT - 1, **changes).to_bytes()
    late = drafted(CHAIN[-1].message, seeds.inputs_hash(text))
    assert faults(bent(message=late, pool=detail(inputs=text.decode())(CHAIN[-1].pool))) == expected


def test_without_a_pool_it_is_said_what_was_not_checked() -> None:
    (finding,) = verify_epochs([signed(CHAIN[0].message)], TRUST)
    assert finding.checked == ("signature", "order", "counts", "beacon", "seed", "nonce")


def row(number: int, **changes: object) -> Callable[[EpochPool], EpochPool]:
    def change(pool: EpochPool) -> EpochPool:
        rows = list(pool.candidates)
        rows[number] = rows[number]._replace(**changes)
        return pool.model_copy(update={"candidates": tuple(rows)})

    return change


def detail(**changes: object) -> Callable[[EpochPool], EpochPool]:
    return lambda pool: pool.model_copy(update={"detail": pool.detail.model_copy(update=changes)})


def free() -> int:
    """Return the row of an ordinary zipcode that the last epoch did not assign, and that is in no
    cooldown."""
    assigned = {one.zipcode for made in CHAIN for one in made.message.zipcodes}
    return next(n for n, one in enumerate(POOL) if one.zipcode not in assigned)


def resting() -> int:
    return next(n for n, one in enumerate(CHAIN[-1].pool.candidates) if one.last_assigned_at is not None)


def shorter(pool: EpochPool) -> EpochPool:
    rows = list(pool.candidates)
    del rows[free()]
    return pool.model_copy(update={"candidates": tuple(rows)})


def told(**changes: object) -> Callable[[EpochPool], EpochPool]:
    """Return another first honeypot, from those that the epoch assigned."""

    def change(pool: EpochPool) -> EpochPool:
        first, *others = pool.detail.honeypots
        assert not first.discarded
        return detail(honeypots=(first.model_copy(update=changes), *others))(pool)

    return change


def without_discarded(pool: EpochPool) -> EpochPool:
    return detail(honeypots=tuple(one for one in pool.detail.honeypots if not one.discarded))(pool)


LONG_AGO = (START_AT - timedelta(days=90)).timestamp() * 1e6
INPUTS = CHAIN[-1].pool.detail.inputs


@pytest.mark.parametrize(
    ("change", "check"),
    [
        (row(free(), expected_listings=61), "pool"),
        (row(free(), state="NJ"), "pool"),
        (row(free(), base_weight=1.5), "pool"),
        (row(free(), commitment="00" * 32), "pool"),
        (row(free(), last_scraped_at=int(LONG_AGO)), "pool"),
        (row(free(), last_assigned_at=int(START_AT.timestamp() * 1e6)), "history"),
        (row(resting(), last_assigned_at=None), "history"),
        (row(0, zipcode="1000"), "pool"),
        (row(0, last_scraped_at=10**30), "pool"),
        (shorter, "pool"),
        (detail(seed="00" * 32), "seed"),
        (detail(honeypots=()), "selection"),
        (told(real_listings=3), "honeypots"),
        (told(salt="01" * 32), "honeypots"),
        (told(discarded=True), "honeypots"),
        (without_discarded, "selection"),
        (detail(relaxed_age_days=1), "selection"),
        (detail(relaxed_cooldown=("10000",)), "selection"),
        (detail(inputs=INPUTS + " "), "inputs"),
        (detail(inputs=INPUTS.replace('"importId":1', '"importId":2')), "inputs"),
        (detail(inputs="{}"), "inputs"),
        (detail(inputs="{}"), "pool"),
        (lambda pool: pool.model_copy(update={"candidates": ()}), "pool"),
        (
            lambda pool: pool.model_copy(update={"candidates": (*pool.candidates, pool.candidates[0])}),
            "pool",
        ),
    ],
)
def test_whatever_is_changed_of_a_pool_is_found(change, check: str) -> None:
    found = faults(bent(pool=change(CHAIN[-1].pool)))
    assert any(one.startswith(f"{check}: ") for one in found), found


def first_changed(**changes: object) -> tuple[AssignedZipcode, ...]:
    first, *others = CHAIN[-1].message.zipcodes
    return first.model_copy(update=changes), *others


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"candidate_pool_hash": "00" * 32}, "pool"),
        ({"target_listings": 1001}, "inputs"),
        ({"zipcodes": first_changed(zipcode="00001")}, "selection"),
        ({"zipcodes": first_changed(expected_listings=1)}, "selection"),
        ({"zipcodes": first_changed(county="Elsewhere")}, "selection"),
        ({"zipcodes": CHAIN[-1].message.zipcodes[1:]}, "selection"),
        ({"zipcodes": CHAIN[-1].message.zipcodes[::-1]}, "order"),
        ({"zipcodes": CHAIN[-1].message.zipcodes[::-1]}, "selection"),
    ],
)
def test_whatever_is_changed_of_the_message_is_found_even_if_it_was_signed(changes, check: str) -> None:
    found = faults(bent(message=CHAIN[-1].message.model_copy(update=changes)))
    assert any(one.startswith(f"{check}: ") for one in found), found


def test_nothing_is_drawn_by_inputs_that_nobody_promised() -> None:
    """A draw to a target that a hostile bridge has made up can take all memory there is."""
    inputs = INPUTS.replace('"target_listings":1000', f'"target_listings":{MAX_TARGET_LISTINGS}')
    assert inputs != INPUTS
    finding = findings(bent(pool=detail(inputs=inputs)(CHAIN[-1].pool)))[-1]
    assert finding.faults[0].startswith("inputs: ")
    assert not {"selection", "honeypots", "pool"} & set(finding.checked)


def test_a_promise_that_was_not_kept_is_found() -> None:
    other = CHAIN[0].message.model_copy(update={"next_inputs_hash": "00" * 32})
    found = findings([replace(CHAIN[0], message=other), *CHAIN[1:]])
    assert [fault.partition(":")[0] for fault in found[1].faults] == ["inputs"]


def test_rows_keep_every_microsecond_and_digit() -> None:
    exact = candidate("19104", 7, base_weight=0.1 + 0.2, last_scraped_at=START_AT - timedelta(microseconds=1))
    page = EpochPoolReply(
        epoch_id=name(0), detail=None, candidates=(PoolRow.of(exact, "00" * 32),), next_after=None
    )
    (read,) = EpochPoolReply.model_validate_json(page.to_bytes()).candidates
    assert read.candidate() == exact


def test_pages_without_their_first_are_refused() -> None:
    page = EpochPoolReply(epoch_id=name(0), detail=None, candidates=(), next_after=None)
    with pytest.raises(ValueError, match="first page"):
        EpochPool.of([page])


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"history_epoch_ids": ()}, f"history: epoch {name(0)} is missing"),
    ],
    ids=["history"],
)
def test_an_epoch_that_was_left_out_of_the_inputs_is_missed(changes: dict, fault: str) -> None:
    assert fault in findings(chain(**changes))[-1].faults


def test_where_not_all_that_should_rest_is_at_hand_it_is_not_said_to_hold() -> None:
    without_pool = verify_epochs([signed(CHAIN[0].message), *evidence_of(CHAIN[1:])], TRUST)[-1]
    assert (without_pool.faults, "history" in without_pool.checked) == ((), True)
    alone = verify_epochs(evidence_of(CHAIN[-1:]), TRUST)[-1]
    assert alone.faults == ()
    assert "history" not in alone.checked


def test_inputs_that_nest_without_end_are_a_fault_and_no_crash() -> None:
    pool = CHAIN[-1].pool
    bent_pool = pool.model_copy(update={"detail": pool.detail.model_copy(update={"inputs": "[" * 100_000})})
    found = findings([*CHAIN[:-1], replace(CHAIN[-1], pool=bent_pool)])[-1]
    assert any(fault.startswith("pool: it cannot be read") for fault in found.faults)


def test_zipcodes_that_were_changed_after_the_promise_are_found_even_if_all_else_follows_them() -> None:
    """The promise names the version of the zipcodes; the hash is of what that version held then."""
    other = replace(POOL[0], expected_listings=POOL[0].expected_listings + 1)
    found = findings(chain([other, *POOL[1:]]))
    assert [[fault.partition(":")[0] for fault in one.faults] for one in found] == [["pool"]] * COUNT
