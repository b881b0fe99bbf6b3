"""Tests the invariants of the fault driver: none is violated in a sound run, and each detects a run in which
something was changed."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from tests.contract.documents import epoch_message
from tests.faults import invariants
from tests.faults.observations import (
    Arrival,
    HttpAnswer,
    Observations,
    RecordRow,
    Session,
    StreamEntry,
    Subscriber,
)
from tests.support.fakes import SIGNER, SIGNER_HOTKEY, START_AT
from zipcast.protocol.calendar import EpochCalendar, EpochInterval
from zipcast.protocol.envelope import Trust, UnverifiedEnvelope, seal
from zipcast.protocol.messages.epochs import EpochMessage
from zipcast.selection import seeds

CALENDAR = EpochCalendar(3)
TRUST = Trust(frozenset({SIGNER_HOTKEY}), "test", 46)
MOMENT = timedelta(milliseconds=5)
COUNT = 6
CUT_OFF = 2
"""The epoch during which the second subscriber has no connection."""


def intervals() -> list[EpochInterval]:
    found = [CALENDAR.starting("2026-11-22T04-00-00")]
    while len(found) < COUNT:
        found.append(CALENDAR.after(found[-1]))
    return found


def seed(number: int) -> bytes:
    return bytes([number]) * 32


def message(number: int, interval: EpochInterval) -> EpochMessage:
    base = epoch_message()
    draw_seed = seeds.derive_draw_seed(seed(number), base.used_round())
    picked = seeds.selected_zipcodes_hash((z.zipcode, z.expected_listings) for z in base.zipcodes)
    start = int(interval.start_at.timestamp())
    return base.model_copy(
        update={
            "epoch_id": interval.epoch_id,
            "epoch_start": interval.start_at,
            "epoch_end": interval.end_at,
            "nonce": seeds.derive_nonce(draw_seed, interval.epoch_id, start, picked),
            "previous_epoch_id": CALENDAR.before(interval).epoch_id,
            "seed_commitment": seeds.seed_commitment(seed(number)),
            "next_seed_commitment": seeds.seed_commitment(seed(number + 1)),
            "revealed_seed": seed(number - 1).hex(),
        }
    )


MESSAGES = [message(number, interval) for number, interval in enumerate(intervals(), start=1)]
ENVELOPES = [seal(each, SIGNER) for each in MESSAGES]
ENTRIES = tuple(
    StreamEntry(number, each.epoch_start + MOMENT, envelope)
    for number, (each, envelope) in enumerate(zip(MESSAGES, ENVELOPES, strict=True), start=1)
)


def heard(entry: StreamEntry) -> Arrival:
    return Arrival(entry.envelope, entry.stored_at + MOMENT, entry.sequence)


HEARD = tuple(map(heard, ENTRIES))


def whole_session() -> Session:
    return Session(START_AT - MOMENT, None, HEARD, ())


def cut_off_sessions() -> tuple[Session, ...]:
    """Return a connection that was lost just before an epoch, which the client requests afterwards."""
    missed = ENTRIES[CUT_OFF]
    again = missed.stored_at + timedelta(seconds=1)
    asked = Arrival(missed.envelope, again, None)
    before, after = map(heard, ENTRIES[:CUT_OFF]), map(heard, ENTRIES[CUT_OFF + 1 :])
    return (
        Session(START_AT - MOMENT, missed.stored_at - MOMENT, tuple(before), ()),
        Session(again, None, tuple(after), (asked,)),
    )


def answer_with(envelope: UnverifiedEnvelope, at: datetime) -> HttpAnswer:
    return HttpAnswer(at, at + MOMENT, 200, "", envelope)


def sound() -> Observations:
    failures = (
        HttpAnswer(START_AT, START_AT, 0, "ConnectError", None),
        HttpAnswer(START_AT, START_AT, 404, "no_current_epoch", None),
        HttpAnswer(START_AT, START_AT, 503, "registry_unavailable", None),
    )
    return Observations(
        calendar=CALENDAR,
        trust=TRUST,
        first_id=MESSAGES[0].epoch_id,
        last_id=MESSAGES[-1].epoch_id,
        subscribers=(Subscriber("whole", (whole_session(),)), Subscriber("cut off", cut_off_sessions())),
        sdk=tuple(replace(arrival, sequence=None) for arrival in HEARD[1:]),
        answers=(*failures, *(answer_with(e.envelope, e.stored_at) for e in ENTRIES)),
        stream=ENTRIES,
        record=tuple(
            RecordRow(e.envelope.epoch_id, "completed", e.sequence, (e.envelope,), e.envelope)
            for e in ENTRIES
        ),
    )


def with_session(seen: Observations, session: Session) -> Observations:
    return replace(seen, subscribers=(Subscriber("whole", (session,)), *seen.subscribers[1:]))


def with_row(seen: Observations, number: int, **changes: object) -> Observations:
    rows = list(seen.record)
    rows[number] = replace(rows[number], **changes)
    return replace(seen, record=tuple(rows))


def with_heard(seen: Observations, *arrivals: Arrival) -> Observations:
    return with_session(seen, replace(whole_session(), heard=arrivals))


def with_entry(seen: Observations, number: int, **changes: object) -> Observations:
    entries = list(seen.stream)
    entries[number] = replace(entries[number], **changes)
    return replace(seen, stream=tuple(entries))


def with_answer(seen: Observations, answer: HttpAnswer) -> Observations:
    return replace(seen, answers=(*seen.answers, answer))


def resealed(number: int, **changes: object) -> UnverifiedEnvelope:
    return seal(MESSAGES[number].model_copy(update=changes), SIGNER)


ELSEWHERE = replace(ENVELOPES[1], payload=ENVELOPES[1].payload + b" ")
EARLY = MESSAGES[1].epoch_start - MOMENT


def asked_elsewhere(seen: Observations) -> Observations:
    asked = Arrival(ELSEWHERE, HEARD[1].at, None)
    return with_session(seen, replace(whole_session(), asked=(asked,)))


Doctor = Callable[[Observations], Observations]
DOCTORED: list[tuple[str, Doctor]] = [
    ("missing: epoch 2026-11-22T04-00-06 is not", lambda s: replace(s, stream=ENTRIES[:2] + ENTRIES[3:])),
    ("double: the stream has 2026-11-22T04-00-15 2", lambda s: replace(s, stream=(*ENTRIES, ENTRIES[-1]))),
    ("order: the stream has 2026-11-22T04-00-00 after", lambda s: replace(s, stream=ENTRIES[::-1])),
    ("missing: whole was connected", lambda s: with_heard(s, *HEARD[:2], *HEARD[3:])),
    ("missing: whole was connected", lambda s: with_heard(s, *HEARD[:-1])),
    # This also holds before the end: for a lost connection that received a later epoch, and for one that was
    # lost long after.
    (
        "missing: whole was connected",
        lambda s: with_session(
            s, replace(whole_session(), heard=(HEARD[0], HEARD[2]), lost_at=HEARD[2].at + MOMENT)
        ),
    ),
    (
        "missing: whole was connected",
        lambda s: with_session(
            s, replace(whole_session(), heard=HEARD[:-1], lost_at=HEARD[-1].at + timedelta(seconds=9))
        ),
    ),
    ("missing: whole was never connected", lambda s: replace(s, subscribers=(Subscriber("whole", ()),))),
    ("double: whole has 2026-11-22T04-00-03 2", lambda s: with_heard(s, *HEARD[:2], *HEARD[1:])),
    ("order: whole has 2026-11-22T04-00-00 after", lambda s: with_heard(s, HEARD[1], HEARD[0], *HEARD[2:])),
    ("double: the SDK has 2026-11-22T04-00-15 2", lambda s: replace(s, sdk=(*s.sdk, s.sdk[-1]))),
    ("order: the SDK has 2026-11-22T04-00-03 after", lambda s: replace(s, sdk=s.sdk[::-1])),
    ("early: the SDK had", lambda s: replace(s, sdk=(replace(HEARD[1], at=EARLY), *HEARD[2:]))),
    ("different: the seal has other bytes", lambda s: replace(s, sealed=(*ENVELOPES, ELSEWHERE))),
    ("different: the SDK has", lambda s: replace(s, sdk=(replace(HEARD[1], envelope=ELSEWHERE), *HEARD[2:]))),
    ("early: whole had", lambda s: with_heard(s, HEARD[0], replace(HEARD[1], at=EARLY), *HEARD[2:])),
    ("early: 2026-11-22T04-00-03 was stored", lambda s: with_entry(s, 1, stored_at=EARLY)),
    ("early: HTTP showed", lambda s: with_answer(s, answer_with(ENVELOPES[1], EARLY - MOMENT - MOMENT))),
    ("stale: HTTP showed", lambda s: with_answer(s, answer_with(ENVELOPES[1], MESSAGES[1].epoch_end))),
    (
        "different: whole has other bytes",
        lambda s: with_heard(s, HEARD[0], replace(HEARD[1], envelope=ELSEWHERE), *HEARD[2:]),
    ),
    ("different: whole has other", asked_elsewhere),
    ("different: HTTP has", lambda s: with_answer(s, answer_with(ELSEWHERE, MESSAGES[1].epoch_start))),
    ("different: the record has", lambda s: with_row(s, 1, stored=(ELSEWHERE,), in_force=ELSEWHERE)),
    ("different: the record has 2026-11-22T04-00-06, the", lambda s: replace(s, stream=ENTRIES[:2])),
    ("record: 2026-11-22T04-00-03 has 2 rows", lambda s: replace(s, record=(*s.record, s.record[1]))),
    ("record: 2026-11-22T04-00-03 has 0 rows", lambda s: replace(s, record=(s.record[0], *s.record[2:]))),
    ("record: 2026-11-22T04-00-03 is missed", lambda s: with_row(s, 1, status="missed")),
    ("record: 2026-11-22T04-00-03 is pending", lambda s: with_row(s, 1, status="pending")),
    ("has 2 messages", lambda s: with_row(s, 1, stored=(ENVELOPES[1], ELSEWHERE))),
    ("has 0 messages", lambda s: with_row(s, 1, stored=(), in_force=None)),
    ("is said to be message 9", lambda s: with_row(s, 1, stream_sequence=9)),
    ("signature: 2026-11-22T04-00-03: ", lambda s: with_entry(s, 1, envelope=ELSEWHERE)),
    (
        "chain: 2026-11-22T04-00-06: names",
        lambda s: with_entry(s, 2, envelope=resealed(2, previous_epoch_id="2026-11-22T04-00-00")),
    ),
    (
        "chain: 2026-11-22T04-00-06: its seed commitment",
        lambda s: with_entry(s, 2, envelope=resealed(2, seed_commitment="00" * 32)),
    ),
    (
        "chain: 2026-11-22T04-00-06: the seed revealed",
        lambda s: with_entry(s, 2, envelope=resealed(2, revealed_seed="00" * 32)),
    ),
    (
        "chain: 2026-11-22T04-00-06: the seed revealed",
        lambda s: with_entry(s, 2, envelope=resealed(2, revealed_seed=None)),
    ),
    (
        "chain: 2026-11-22T04-00-06: the nonce",
        lambda s: with_entry(s, 1, envelope=resealed(1, nonce="00" * 32)),
    ),
    ("http: 500 internal_error", lambda s: with_answer(s, failing(500, "internal_error"))),
    ("http: 503 credentials_unavailable", lambda s: with_answer(s, failing(503, "credentials_unavailable"))),
    ("http: 503  at", lambda s: with_answer(s, failing(503, ""))),
    ("http: 401 bad_signature", lambda s: with_answer(s, failing(401, "bad_signature"))),
    ("http: no epoch was ever shown", lambda s: replace(s, answers=s.answers[:3])),
]


def failing(status: int, error: str) -> HttpAnswer:
    return HttpAnswer(START_AT, START_AT, status, error, None)


def test_a_sound_run_breaks_nothing():
    assert invariants.broken(sound()) == []


@pytest.mark.parametrize(("sentence", "doctor"), DOCTORED)
def test_a_doctored_run_is_told_apart(sentence: str, doctor: Doctor):
    assert any(sentence in found for found in invariants.broken(doctor(sound())))


def test_what_lies_outside_the_judged_epochs_is_not_demanded():
    seen = sound()
    narrowed = replace(seen, first_id=MESSAGES[1].epoch_id, last_id=MESSAGES[-2].epoch_id)
    assert invariants.broken(with_row(narrowed, COUNT - 1, status="pending", stream_sequence=None)) == []
