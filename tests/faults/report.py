"""Formats the figures of a run as lines for people: how late epochs were, and what observers received. It
does not judge."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from statistics import median

from tests.faults.injection import Inflicted
from tests.faults.observations import Observations, StreamEntry, Subscriber
from tests.faults.plan import LEAD_MS, SCHEDULERS, SETTLE_MS

# After a part is ready again, it may still be recovering for this long.
_AFTERMATH = timedelta(seconds=2)


def report(seen: Observations, inflicted: Sequence[Inflicted]) -> Iterator[str]:
    """Return the lines. Lateness is the time at which the stream stored the epoch, minus its start."""
    yield f"epochs {seen.first_id} to {seen.last_id}: {len(seen.judged_stream)} published"
    groups: dict[str, list[float]] = {"undisturbed": [], "one scheduler out": [], "more out": []}
    for entry in seen.judged_stream:
        groups[_circumstance(seen, entry, inflicted)].append(seen.lateness(entry) / timedelta(milliseconds=1))
    for name, late in groups.items():
        yield f"  {name:17} {_distribution(sorted(late))}"
    for subscriber in seen.subscribers:
        yield f"  {subscriber.name}: {_reception(subscriber, set(seen.epoch_ids))}"
    taken = {arrival.epoch_id for arrival in seen.sdk} & set(seen.epoch_ids)
    yield f"  the SDK: {len(taken)} epochs, {len(seen.epoch_ids) - len(taken)} over while cut off"
    answers = Counter(f"{answer.status or 'none'} {answer.error}".strip() for answer in seen.answers)
    yield "  HTTP answers: " + ", ".join(f"{count} x {what}" for what, count in answers.most_common())


def _circumstance(seen: Observations, entry: StreamEntry, inflicted: Sequence[Inflicted]) -> str:
    """Return which publishing parts were out between the epoch's preparation and its start."""
    start = seen.start_of(entry.envelope.epoch_id)
    begin = start - timedelta(milliseconds=LEAD_MS)
    out = {done.fault.part for done in inflicted if _overlaps(done, begin, start)} & set(SETTLE_MS)
    if not out:
        return "undisturbed"
    return "one scheduler out" if len(out) == 1 and out <= set(SCHEDULERS) else "more out"


def _overlaps(done: Inflicted, begin: datetime, end: datetime) -> bool:
    return done.at <= end and done.back_at + _AFTERMATH >= begin


def _reception(subscriber: Subscriber, epoch_ids: set[str]) -> str:
    pushed = {arrival.epoch_id for arrival in subscriber.heard} & epoch_ids
    asked = {arrival.epoch_id for arrival in subscriber.asked} & epoch_ids - pushed
    missed = len(epoch_ids) - len(pushed) - len(asked)
    return (
        f"{len(subscriber.sessions)} connections, {len(pushed)} epochs pushed, "
        f"{len(asked)} asked for after a cut, {missed} over while cut off"
    )


def _distribution(late: Sequence[float]) -> str:
    if not late:
        return "  0 epochs"
    at_95 = late[min(len(late) - 1, len(late) * 95 // 100)]
    figures = f"median {median(late):.0f} ms late, 95 % {at_95:.0f} ms, most {late[-1]:.0f} ms"
    return f"{len(late):3} epochs, {figures}"
