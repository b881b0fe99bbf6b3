"""Tests which versions of a miner's objects count: for each key, the newest one that met the deadline."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker_service.responder.legacy_uploads import names_epoch
from broker_service.responder.manifest_freezing import highest_level
from broker_service.responder.object_versions import keep_newest
from storage.objects.store import ObjectVersion
from tests.support.fakes import START_AT

END_AT = START_AT + timedelta(hours=4)


def version(key: str, stored_at: datetime, name: str = "v") -> ObjectVersion:
    return ObjectVersion(key, name, 4096, f'"{name}"', stored_at)


def sealed(*pages: tuple[ObjectVersion, ...]) -> dict[str, ObjectVersion]:
    chosen: dict[str, ObjectVersion] = {}
    for page in pages:
        keep_newest(chosen, page, END_AT)
    return chosen


# These times are around the deadline and in whole seconds, like those of S3, so that ties are common.
moments = st.integers(-5, 5).map(lambda seconds: END_AT + timedelta(seconds=seconds))
pages = st.lists(st.tuples(st.sampled_from("abc"), moments), max_size=12).map(
    lambda found: tuple(version(key, at, f"v{n}") for n, (key, at) in enumerate(found))
)


def test_a_key_that_postgresql_cannot_hold_keeps_no_other_out() -> None:
    too_long = "\u00e9" * 513  # the limit counts bytes, not characters
    chosen = sealed((version("a\0", START_AT), version(too_long, START_AT), version("b", START_AT)))
    assert set(chosen) == {"b"}


@settings(max_examples=60)
@given(pages, st.integers(0, 12))
def test_for_each_key_the_newest_version_before_the_deadline_counts_however_pages_are_cut(
    found: tuple[ObjectVersion, ...], cut: int
) -> None:
    chosen = sealed(found[:cut], found[cut:])
    in_time = [v for v in found if v.last_modified < END_AT]
    assert chosen.keys() == {v.key for v in in_time}
    for version_of_key in chosen.values():
        rivals = [v for v in in_time if v.key == version_of_key.key]
        assert version_of_key.last_modified == max(v.last_modified for v in rivals)
    assert chosen == sealed(found)


def test_a_version_stored_at_the_deadline_comes_too_late() -> None:
    assert sealed((version("a", END_AT),)) == {}
    in_time = version("a", END_AT - timedelta.resolution)
    assert sealed((version("a", END_AT), in_time)) == {"a": in_time}


def test_of_two_versions_in_one_second_the_one_the_store_lists_first_is_newer() -> None:
    newer, older = (version("a", START_AT, name) for name in ("newer", "older"))
    assert sealed((newer, older)) == {"a": newer}


@given(st.lists(st.integers(0, 40), max_size=12), st.integers(0, 200))
def test_what_is_cut_is_cut_where_most_is_and_no_further_than_needed(counts: list[int], most: int) -> None:
    def total(level: int) -> int:
        return sum(min(count, level) for count in counts)

    level = highest_level(counts, most)
    assert total(level) <= most
    assert total(level) == sum(counts) or total(level + 1) > most


@pytest.mark.parametrize(
    ("key", "named"),
    [
        ("data/hotkey=H/epoch=2026-11-22T04-00-00/a.json", True),
        ("data/hotkey=H/data/hotkey=H/epoch=2026-11-22T04-00-00/b/a.json", True),
        ("data/hotkey=H/x/epoch=2026-11-22T04-00-00/a.json", True),
        ("data/hotkey=H/epoch=2026-11-22/a.json", False),
        ("data/hotkey=H/epoch=/a.json", False),
        ("data/hotkey=H/2026-11-22T04-00-00/a.json", False),
        ("data/hotkey=H/epoch=2026-11-22T04-00-00", False),
        ("data/hotkey=H/job_id=1/a.json", False),
    ],
)
def test_which_keys_name_an_epoch(key: str, named: bool) -> None:
    assert names_epoch(key) is named
