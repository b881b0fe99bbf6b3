"""Plans the faults of a run of the driver, as a pure function of the seed.

A plan must be fair. The system promises that an epoch may be late but is never lost, as long as the parts
that publish it come back in time. An epoch is prepared half its length before its start, and one that nobody
could prepare until its end is rightly recorded as missed. Therefore the rule for every epoch is:

between its preparation and its end there is a period of `CLEAR_MS` in which PostgreSQL, nats-server and a
scheduler are all up, and have had time to recover (`SETTLE_MS`).

A plan is fair when it is made, and remains fair while it is carried out: if a busy machine brings a part back
later than planned, faults that would now be unfair wait (`leaves_room`).

Faults that obey this rule may overlap in any way. A scheduler that is down counts only while the other one is
down too. A frozen scheduler always counts, because it may hold a row or the preparation lock, which
PostgreSQL takes from it only after 30 s. Parts that publish no epochs may be away for two of them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise
from random import Random

EPOCH_SECONDS = 3
EPOCH_MS = EPOCH_SECONDS * 1000
LEAD_MS = EPOCH_MS // 2
CLEAR_MS = 800
# The time that a part needs after its start or continuation until it works, on a busy machine: a scheduler
# needs 1.5 s for imports, PostgreSQL recovers, and a client that lost a server tries again once a second.
SETTLE_MS = {"postgres": 3000, "nats": 2200, "schedulers": 5000, "schedulers_2": 5000}
FREEZE_SETTLE_MS = 700
# After each of its faults, a part has no other fault for this long.
RESPITE_MS = 5000
# The first epoch and the last ones have no faults, so that a run begins and ends with everything up.
QUIET_EPOCHS_BEFORE, QUIET_EPOCHS_AFTER = 1, 2

SCHEDULERS = ("schedulers", "schedulers_2")
PARTS = (*SCHEDULERS, "responder", "callout", "http_bridge", "nats", "postgres", "object_store")

_MIN_MS = 50
_TRIES = 200
_LOOKED_AHEAD = 4


class Harm(StrEnum):
    """What is done to a part."""

    KILL = "kill"  # SIGKILL to all its processes; started again after a while
    RESTART = "restart"  # asked to stop as its supervisor would; started again after a while
    FREEZE = "freeze"  # SIGSTOP to all its processes, SIGCONT after a while


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One fault. It begins `offset_ms` after the start of epoch number `epoch` (0 is the first observed one)
    and lasts for `lasts_ms`."""

    epoch: int
    offset_ms: int
    part: str
    harm: Harm
    lasts_ms: int

    @property
    def at_ms(self) -> int:
        """Milliseconds since the start of epoch 0."""
        return self.epoch * EPOCH_MS + self.offset_ms

    @property
    def end_ms(self) -> int:
        return self.at_ms + self.lasts_ms

    def __str__(self) -> str:
        return f"epoch {self.epoch:3} +{self.offset_ms:4} ms  {self.harm} {self.part} for {self.lasts_ms} ms"


Span = tuple[int, int]
"""[begin, end) in milliseconds since the start of epoch 0."""


class PlanTooDenseError(ValueError):
    """The rule of this module does not allow so many faults in so few epochs."""


def make_plan(seed: int, epochs: int, faults: int, parts: Sequence[str] = PARTS) -> tuple[Fault, ...]:
    """Return `faults` faults over `epochs` epochs, in order of time. Every part has every kind of fault
    before one has the same again, unless there is no fair place for it. Raises PlanTooDenseError."""
    draw = Random(seed)  # noqa: S311 - replayable on purpose
    last_ms = (epochs - QUIET_EPOCHS_AFTER) * EPOCH_MS
    chosen: list[Fault] = []
    left = len(parts) * len(Harm) + faults
    for part, harm in _rounds(draw, parts):
        if len(chosen) == faults:
            return tuple(sorted(chosen))
        if left == 0:
            break
        placed = _place(draw, part, harm, chosen, last_ms, parts)
        chosen += [] if placed is None else [placed]
        left -= placed is None
    raise PlanTooDenseError(f"{faults} faults do not fit into {epochs} epochs")


def is_fair(faults: Sequence[Fault], parts: Sequence[str] = PARTS) -> bool:
    """Return whether the plan obeys this module's rule, so that no epoch may be lost."""
    if not _respited(faults):
        return False
    away = outages(faults, parts)
    last = max((end for _, end in away), default=0) // EPOCH_MS
    return all(_longest_clear(away, *_window(epoch)) >= CLEAR_MS for epoch in range(last + 2))


def leaves_room(faults: Sequence[Fault], at_ms: int) -> bool:
    """Return whether the epoch of that time and the next ones may still not be lost with these faults."""
    away, epoch = outages(faults), at_ms // EPOCH_MS
    return all(_longest_clear(away, *_window(n)) >= CLEAR_MS for n in range(epoch, epoch + _LOOKED_AHEAD))


def as_it_went(fault: Fault, began_ms: int, back_ms: int | None, now_ms: int) -> Fault:
    """Return the fault as it happened. It is longer if the part came back later than this module allows. With
    `back_ms` None, the part is not back yet."""
    settle_ms = SETTLE_MS.get(fault.part, 0)
    took_ms = (now_ms if back_ms is None else back_ms) - began_ms
    overdue = fault.harm is not Harm.FREEZE and took_ms > fault.lasts_ms + settle_ms
    # If a part is overdue and not back, it is only known that it needs its settling time from now on.
    spare_ms = 0 if back_ms is None else settle_ms
    lasts_ms = took_ms - spare_ms if overdue else fault.lasts_ms
    return replace(fault, epoch=began_ms // EPOCH_MS, offset_ms=began_ms % EPOCH_MS, lasts_ms=lasts_ms)


def outages(faults: Sequence[Fault], parts: Sequence[str] = PARTS) -> list[Span]:
    """Return the periods in which no epoch needs to be prepared or published, in order."""
    spans = [_settled(fault) for fault in faults if _stops_epochs_alone(fault)]
    down = [_down_spans(faults, part) for part in SCHEDULERS if part in parts]
    together = down[0] if down else []
    for other in down[1:]:
        together = [
            (max(a[0], b[0]), min(a[1], b[1])) for a in together for b in other if a[0] < b[1] and b[0] < a[1]
        ]
    return sorted(spans + together)


def _rounds(draw: Random, parts: Sequence[str]) -> Iterator[tuple[str, Harm]]:
    """Yield every part with every kind of fault in a random order, again and again."""
    while True:
        pairs = [(part, harm) for part in parts for harm in Harm]
        draw.shuffle(pairs)
        yield from pairs


def _place(
    draw: Random, part: str, harm: Harm, chosen: Sequence[Fault], last_ms: int, parts: Sequence[str]
) -> Fault | None:
    for _ in range(_TRIES):
        at_ms, longest = _instant(draw, chosen, last_ms), _longest(part, harm)
        # Half of the faults are short, which leaves room for others close to them.
        lasts_ms = draw.randint(_MIN_MS, draw.choice((longest, longest // 6)))
        fault = Fault(*divmod(at_ms, EPOCH_MS), part, harm, lasts_ms)
        inside = fault.epoch >= QUIET_EPOCHS_BEFORE and fault.end_ms <= last_ms
        if inside and is_fair([*chosen, fault], parts):
            return fault
    return None


def _instant(draw: Random, chosen: Sequence[Fault], last_ms: int) -> int:
    """Return a time for the fault, mostly near a start, a preparation or another fault."""
    kind, anywhere = draw.random(), draw.randrange(max(1, last_ms))
    start = anywhere // EPOCH_MS * EPOCH_MS
    if kind < 0.4:
        return start + draw.randint(-60, 60)
    if kind < 0.55:
        return start + EPOCH_MS - LEAD_MS + draw.randint(-60, 120)
    if kind < 0.8 and chosen:
        return draw.choice(chosen).at_ms + draw.randint(-700, 700)
    return anywhere


def _longest(part: str, harm: Harm) -> int:
    """Return the longest duration in milliseconds. Parts that publish epochs are mostly away for less than
    half an epoch."""
    if part not in SETTLE_MS:
        return 2 * EPOCH_MS
    if harm is Harm.FREEZE or part not in SCHEDULERS:
        return EPOCH_MS // 2
    return 2 * EPOCH_MS


def _stops_epochs_alone(fault: Fault) -> bool:
    return fault.part in SETTLE_MS and (fault.part not in SCHEDULERS or fault.harm is Harm.FREEZE)


def _settled(fault: Fault) -> Span:
    settle_ms = FREEZE_SETTLE_MS if fault.harm is Harm.FREEZE else SETTLE_MS[fault.part]
    return fault.at_ms, fault.end_ms + settle_ms


def _down_spans(faults: Sequence[Fault], scheduler: str) -> list[Span]:
    return [_settled(f) for f in faults if f.part == scheduler and f.harm is not Harm.FREEZE]


def _respited(faults: Sequence[Fault]) -> bool:
    ordered = sorted(faults, key=lambda fault: (fault.part, fault.at_ms))
    return all(a.part != b.part or a.end_ms + RESPITE_MS <= b.at_ms for a, b in pairwise(ordered))


def _window(epoch: int) -> Span:
    """Return the time from an epoch's preparation to its end."""
    return epoch * EPOCH_MS - LEAD_MS, (epoch + 1) * EPOCH_MS


def _longest_clear(away: Sequence[Span], begin_ms: int, end_ms: int) -> int:
    """Return the longest period of the window outside all of `away`, which is in order."""
    longest, clear_from = 0, begin_ms
    for begin, end in away:
        if begin >= end_ms:
            break
        longest = max(longest, begin - clear_from)
        clear_from = max(clear_from, end)
    return max(longest, end_ms - clear_from)
