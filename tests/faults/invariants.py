"""Contains the invariants that must hold whatever fails: pure functions from observations to sentences about
violations.

No rule depends on how fast anything was.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from itertools import pairwise

from tests.faults.observations import Arrival, Observations, Session, StreamEntry
from zipcast.protocol.envelope import EnvelopeError, UnverifiedEnvelope, verify
from zipcast.protocol.errors import ERRORS, ErrorCode
from zipcast.protocol.messages.epochs import EpochMessage
from zipcast.selection import seeds

# A lost connection is noticed a little later than the loss of its server.
_NOTICED_WITHIN = timedelta(seconds=2)
# The errors with which `current` may reply while a part is down.
_EXPECTED_ERRORS = frozenset(
    {ErrorCode.NO_CURRENT_EPOCH, ErrorCode.REGISTRY_UNAVAILABLE, ErrorCode.SERVICE_UNAVAILABLE}
)

Broken = Iterator[str]


def stream_is_whole(seen: Observations) -> Broken:
    """The stream must have every epoch exactly once, in order."""
    held = [entry.envelope.epoch_id for entry in seen.judged_stream]
    for missing in sorted(set(seen.epoch_ids) - set(held)):
        yield f"missing: epoch {missing} is not in the stream"
    yield from _repeated_or_turned("the stream", held)


def subscribers_miss_nothing(seen: Observations) -> Broken:
    """Every subscriber that is connected when an epoch is published must receive it."""
    for subscriber in seen.subscribers:
        if not subscriber.sessions:
            yield f"missing: {subscriber.name} was never connected"
        for session in subscriber.sessions:
            heard = {arrival.epoch_id for arrival in session.heard}
            for entry in seen.judged_stream:
                epoch_id = entry.envelope.epoch_id
                if _was_due(session, entry) and epoch_id not in heard:
                    yield f"missing: {subscriber.name} was connected and did not hear {epoch_id}"


def _was_due(session: Session, entry: StreamEntry) -> bool:
    """Return whether the message had to reach that connection."""
    if entry.stored_at <= session.subscribed_at:
        return False
    if session.lost_at is None or entry.stored_at < session.lost_at - _NOTICED_WITHIN:
        return True
    # The connection received a later message, so it was still open.
    return any((arrival.sequence or 0) > entry.sequence for arrival in session.heard)


def nothing_comes_twice(seen: Observations) -> Broken:
    """No subscriber may receive an epoch twice, the SDK must not return one twice, and no epoch may come
    after a newer one."""
    for subscriber in seen.subscribers:
        yield from _repeated_or_turned(subscriber.name, [arrival.epoch_id for arrival in subscriber.heard])
    yield from _repeated_or_turned("the SDK", [arrival.epoch_id for arrival in seen.sdk])


def _repeated_or_turned(who: str, epoch_ids: Sequence[str]) -> Broken:
    for epoch_id, count in Counter(epoch_ids).items():
        if count > 1:
            yield f"double: {who} has {epoch_id} {count} times"
    for before, after in pairwise(epoch_ids):
        if after < before:
            yield f"order: {who} has {after} after {before}"


def nothing_comes_early(seen: Observations) -> Broken:
    """Nobody may get an epoch before its start. Over HTTP, none may be shown after its end."""
    for who, arrival in _arrivals(seen):
        if arrival.at < seen.start_of(arrival.epoch_id):
            yield f"early: {who} had {arrival.epoch_id} at {arrival.at.isoformat()}"
    for entry in seen.stream:
        if seen.lateness(entry) < timedelta(0):
            yield f"early: {entry.envelope.epoch_id} was stored at {entry.stored_at.isoformat()}"
    for answer in seen.answers:
        if answer.envelope is None:
            continue
        interval = seen.calendar.starting(answer.envelope.epoch_id)
        if answer.answered_at < interval.start_at:
            yield f"early: HTTP showed {interval.epoch_id} at {answer.answered_at.isoformat()}"
        if answer.asked_at >= interval.end_at:
            yield f"stale: HTTP showed {interval.epoch_id} to who asked at {answer.asked_at.isoformat()}"


def everybody_has_the_same(seen: Observations) -> Broken:
    """Subscribers, stream, database, HTTP and sealed epochs must have the same bytes."""
    in_force = {entry.envelope.epoch_id: entry.envelope for entry in seen.stream}
    for where, envelope in _everywhere(seen):
        held = in_force.get(envelope.epoch_id)
        if held is None:
            # The database has the next epoch before its start, and HTTP reads the database.
            if seen.is_judged(envelope.epoch_id):
                yield f"different: {where} has {envelope.epoch_id}, the stream has not"
        elif held != envelope:
            yield f"different: {where} has other bytes of {envelope.epoch_id} than the stream"


def _everywhere(seen: Observations) -> Iterator[tuple[str, UnverifiedEnvelope]]:
    yield from ((who, arrival.envelope) for who, arrival in _arrivals(seen))
    yield from (("HTTP", answer.envelope) for answer in seen.answers if answer.envelope is not None)
    yield from (("the seal", envelope) for envelope in seen.sealed)
    yield from (("the record", row.in_force) for row in seen.record if row.in_force is not None)


def _arrivals(seen: Observations) -> Iterator[tuple[str, Arrival]]:
    for subscriber in seen.subscribers:
        yield from ((subscriber.name, arrival) for arrival in (*subscriber.heard, *subscriber.asked))
    yield from (("the SDK", arrival) for arrival in seen.sdk)


def record_is_whole(seen: Observations) -> Broken:
    """Each epoch must have one row and one signed message, must be active or completed in the end, and must
    have the right sequence number."""
    rows = Counter(row.epoch_id for row in seen.record)
    for epoch_id in seen.epoch_ids:
        if rows[epoch_id] != 1:
            yield f"record: {epoch_id} has {rows[epoch_id]} rows"
    sequences = {entry.envelope.epoch_id: entry.sequence for entry in seen.stream}
    for row in seen.record:
        if not seen.is_judged(row.epoch_id):
            continue
        if row.status not in {"active", "completed"}:
            yield f"record: {row.epoch_id} is {row.status} in the end"
        if len(row.stored) != 1 or row.in_force != row.stored[0]:
            yield f"record: {row.epoch_id} has {len(row.stored)} messages, not one that is in force"
        if row.stream_sequence != sequences.get(row.epoch_id):
            yield f"record: {row.epoch_id} is said to be message {row.stream_sequence} of the stream"


def chain_holds(seen: Observations) -> Broken:
    """Signatures, commitments and revealed seeds must be right from each epoch to the next."""
    messages: list[EpochMessage] = []
    for entry in seen.judged_stream:
        try:
            messages.append(verify(entry.envelope, seen.trust).message)
        except EnvelopeError as error:
            yield f"signature: {entry.envelope.epoch_id}: {error}"
    for before, after in pairwise(messages):
        yield from (f"chain: {after.epoch_id}: {fault}" for fault in _link_faults(before, after))


def _link_faults(before: EpochMessage, after: EpochMessage) -> Broken:
    if after.previous_epoch_id != before.epoch_id:
        yield f"names {after.previous_epoch_id} as the epoch before, not {before.epoch_id}"
    if after.seed_commitment != before.next_seed_commitment:
        yield "its seed commitment is not the one announced"
    seed = bytes.fromhex(after.revealed_seed or "")
    if seeds.seed_commitment(seed) != before.seed_commitment:
        yield f"the seed revealed of {before.epoch_id} is not the one committed to"
    picked = seeds.selected_zipcodes_hash((z.zipcode, z.expected_listings) for z in before.zipcodes)
    start = int(before.epoch_start.timestamp())
    draw_seed = seeds.derive_draw_seed(seed, before.used_round())
    if seeds.derive_nonce(draw_seed, before.epoch_id, start, picked) != before.nonce:
        yield f"the nonce of {before.epoch_id} does not follow from its seed and beacon"


def http_fails_as_documented(seen: Observations) -> Broken:
    """Each HTTP request must end without a reply, with an epoch, or with an error that is documented for
    `current`."""
    expected = {(ERRORS[code].status, str(code)) for code in _EXPECTED_ERRORS}
    for answer in seen.answers:
        if answer.status not in {0, 200} and (answer.status, answer.error) not in expected:
            yield f"http: {answer.status} {answer.error} at {answer.answered_at.isoformat()}"
    if not any(answer.envelope is not None for answer in seen.answers):
        yield "http: no epoch was ever shown"


INVARIANTS: tuple[Callable[[Observations], Broken], ...] = (
    stream_is_whole,
    subscribers_miss_nothing,
    nothing_comes_twice,
    nothing_comes_early,
    everybody_has_the_same,
    record_is_whole,
    chain_holds,
    http_fails_as_documented,
)


def broken(seen: Observations) -> list[str]:
    """Return a sentence for each violation."""
    return [sentence for invariant in INVARIANTS for sentence in invariant(seen)]
