"""Selects many epochs from pools that are so small that it is often uncertain whether any subset fits."""

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from tests.replay.pools import START_AT, pool
from tests.support.feasibility import is_feasible
from zipcast.selection.model import Candidate, PoolTooSmallError, SelectionSettings
from zipcast.selection.select import select

EPOCH = timedelta(hours=4)


@dataclass(frozen=True)
class TightEpoch:
    """The result of the selection, and of another algorithm for the same candidates: for all of them, for
    those that are not in cooldown, and for the pool of the selection without the zipcodes of the epoch that
    it admitted last."""

    succeeded: bool
    relaxed: bool
    feasible: bool
    feasible_rested: bool
    feasible_with_fewer: bool


def tight_epochs(*, seed: int, pools: int, epochs: int) -> Iterator[TightEpoch]:
    generator = random.Random(seed)  # noqa: S311 - need not be unpredictable
    for number in range(pools):
        step = generator.choice([1, 2, 50])  # most totals are not reachable with multiples of one number
        candidates = [
            replace(
                one,
                state="PA",
                expected_listings=200 + step * generator.randrange(2_800 // step),
                last_scraped_at=START_AT,
                last_assigned_at=None,
            )
            for one in pool(f"tight:{seed}:{number}", generator.randint(2, 22))
        ]
        settings = SelectionSettings(
            target_listings=generator.randint(300, 9_000), tolerance_percent=generator.choice([0, 0, 1, 10])
        )
        yield from _run(candidates, settings, epochs)


def _run(candidates: list[Candidate], settings: SelectionSettings, epochs: int) -> Iterator[TightEpoch]:
    by_zipcode = {one.zipcode: one for one in candidates}
    for number in range(epochs):
        start_at = START_AT + number * EPOCH
        known = list(by_zipcode.values())
        seed = hashlib.sha256(f"{number}:{settings.target_listings}".encode()).digest()
        try:
            selection = select(known, settings, seed, start_at)
        except PoolTooSmallError:
            yield _judged(known, settings, start_at, None)
            continue
        assert settings.lowest_total <= selection.total_listings <= settings.highest_total
        yield _judged(known, settings, start_at, selection.relaxed_cooldown)
        for chosen in selection.zipcodes:
            by_zipcode[chosen.zipcode] = replace(chosen, last_assigned_at=start_at)


def _judged(
    known: Sequence[Candidate], settings: SelectionSettings, start_at: object, relaxed: Sequence[str] | None
) -> TightEpoch:
    def fits(candidates: Sequence[Candidate]) -> bool:
        listings = [one.expected_listings for one in candidates]
        return is_feasible(listings, settings.lowest_total, settings.highest_total)

    rested = [
        one
        for one in known
        if one.last_assigned_at is None or start_at - one.last_assigned_at >= settings.cooldown  # type: ignore[operator]
    ]
    let_back = [one for one in known if one.zipcode in (relaxed or ())]
    newest = max((one.last_assigned_at for one in let_back if one.last_assigned_at), default=None)
    fewer = [one for one in let_back if one.last_assigned_at != newest]
    return TightEpoch(
        succeeded=relaxed is not None,
        relaxed=bool(relaxed),
        feasible=fits(known),
        feasible_rested=fits(rested),
        feasible_with_fewer=bool(let_back) and fits([*rested, *fewer]),
    )
