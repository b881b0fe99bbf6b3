"""Which versions of a miner's objects count: for each key the newest that met the deadline."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker_service.responder.reading import Reader, sealed
from runtime.identity import Caller
from storage.object_store import ObjectVersion
from tests.unit.fakes import (
    EPOCH_ID,
    MINER_HOTKEY,
    START_AT,
    VALIDATOR_HOTKEY,
    ZERO_KEY,
    FakeClock,
    FakeObjectStore,
    FakeRecord,
)
from zipcast.errors import ErrorCode, ServiceError
from zipcast.messages import ValidatorReadRequest

END_AT = START_AT + timedelta(hours=4)
CALLER = Caller(VALIDATOR_HOTKEY, "validator", "request-1", "nats")


def version(key: str, stored_at: datetime, name: str = "v") -> ObjectVersion:
    return ObjectVersion(key, name, 4096, f'"{name}"', stored_at)


# Around the deadline, in whole seconds as S3 counts, so that ties are common.
moments = st.integers(-5, 5).map(lambda seconds: END_AT + timedelta(seconds=seconds))
pages = st.lists(st.tuples(st.sampled_from("abc"), moments), max_size=12).map(
    lambda found: tuple(version(key, at, f"v{n}") for n, (key, at) in enumerate(found))
)


@settings(max_examples=60)
@given(pages)
def test_for_each_key_the_newest_version_before_the_deadline_counts(page: tuple[ObjectVersion, ...]) -> None:
    found = sealed(page, END_AT)
    in_time = [v for v in page if v.last_modified < END_AT]
    assert [v.key for v in found] == sorted({v.key for v in in_time})
    for chosen in found:
        rivals = [v for v in in_time if v.key == chosen.key]
        assert chosen.last_modified == max(v.last_modified for v in rivals)


def test_a_version_stored_at_the_deadline_comes_too_late() -> None:
    assert sealed((version("a", END_AT),), END_AT) == []
    in_time = version("a", END_AT - timedelta.resolution)
    assert sealed((version("a", END_AT), in_time), END_AT) == [in_time]


def test_of_two_versions_in_one_second_the_one_the_store_lists_first_is_newer() -> None:
    newer, older = (version("a", START_AT, name) for name in ("newer", "older"))
    assert sealed((newer, older), END_AT) == [newer]


def reader(clock: FakeClock, record: FakeRecord | None = None, **store: object) -> Reader:
    return Reader(FakeObjectStore(**store), record or FakeRecord(), clock, "miners")


def read_request(**changes: str) -> ValidatorReadRequest:
    return ValidatorReadRequest(**{"epoch_id": EPOCH_ID, "miner_hotkey": MINER_HOTKEY} | changes)


async def refusal(of: Reader, request: ValidatorReadRequest) -> ErrorCode:
    with pytest.raises(ServiceError) as refused:
        await of.miner_objects(CALLER, request)
    return refused.value.code


async def test_nothing_of_a_running_epoch_is_read_until_its_very_end() -> None:
    record = FakeRecord()
    before = reader(FakeClock(END_AT - timedelta.resolution), record)
    assert await refusal(before, read_request()) is ErrorCode.EPOCH_NOT_ENDED
    assert record.issued == []
    reply = await reader(FakeClock(END_AT), record).miner_objects(CALLER, read_request())
    assert reply.objects == ()
    assert len(record.issued) == 1


@pytest.mark.parametrize("hotkey", ["", "*", f"{MINER_HOTKEY}/", ZERO_KEY])
async def test_a_malformed_miner_is_refused_and_nothing_is_recorded(hotkey: str) -> None:
    record = FakeRecord()
    request = read_request(miner_hotkey=hotkey)
    assert await refusal(reader(FakeClock(END_AT), record), request) is ErrorCode.MALFORMED_HOTKEY
    assert record.issued == []


async def test_addresses_open_exactly_the_versions_that_count() -> None:
    key = f"data/hotkey={MINER_HOTKEY}/epoch={EPOCH_ID}/a.json"
    versions = [version(key, END_AT, "late"), version(key, START_AT, "in-time")]
    reply = await reader(FakeClock(END_AT), versions=versions).miner_objects(CALLER, read_request())
    (only,) = reply.objects
    assert (only.version_id, only.etag, only.last_modified) == ("in-time", "in-time", START_AT)
    assert "v=in-time" in only.url
