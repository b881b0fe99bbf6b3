"""Tests what counts as a change of an upload after its deadline."""

from datetime import timedelta

from broker_service.responder.changed_uploads import MAX_NAME, changed
from storage.database.manifests import SealedObject
from storage.objects.store import ObjectVersion
from tests.support.fakes import MINER_HOTKEY, START_AT

PREFIX = "data/x/"
LATER = START_AT + timedelta(hours=5)


def sealed(name: str, version: str = "v1") -> SealedObject:
    return SealedObject(MINER_HOTKEY, PREFIX + name, version, 10, "etag", START_AT)


def newest(name: str, version: str = "v1", etag: str = "etag") -> tuple[str, ObjectVersion]:
    return PREFIX + name, ObjectVersion(PREFIX + name, version, 10, f'"{etag}"', LATER)


def test_the_same_versions_and_new_files_are_no_change() -> None:
    found = dict([newest("a"), newest("new")])
    assert changed([sealed("a")], found, PREFIX, complete=True) is None


def test_another_version_is_one_whatever_it_holds() -> None:
    found = dict([newest("a", "v2"), newest("b")])
    assert changed([sealed("a"), sealed("b")], found, PREFIX, complete=True) == {
        "objects": 1,
        "names": ["a"],
        "lastChangedAt": "2026-11-22T09:00:00Z",
    }


def test_where_no_versions_are_kept_the_entity_tag_tells() -> None:
    found = dict([newest("a", "null", "other")])
    assert changed([sealed("a", "null")], found, PREFIX, complete=True) is not None


def test_what_is_gone_is_a_change_if_the_whole_listing_was_seen() -> None:
    assert changed([sealed("a")], {}, PREFIX, complete=False) is None
    told = changed([sealed("a")], {}, PREFIX, complete=True)
    assert told == {"objects": 1, "names": ["a"], "lastChangedAt": None}


def test_what_is_told_is_short_however_much_was_changed() -> None:
    found = dict(newest(f"{n}{'x' * 500}", "v2") for n in range(50))
    told = changed([sealed(f"{n}{'x' * 500}") for n in range(50)], found, PREFIX, complete=True)
    assert told is not None
    assert told["objects"] == 50
    assert [len(name) for name in told["names"]] == [MAX_NAME] * 3
