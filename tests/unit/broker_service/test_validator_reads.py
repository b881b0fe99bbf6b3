"""Tests what validators can read: pages of the manifest, and nothing before it is written."""

import asyncio
from datetime import timedelta
from threading import Event

import pytest

from access.requests import Caller
from broker_service.responder import validator_reads
from broker_service.responder.sts_sessions import Sessions
from broker_service.responder.validator_reads import Reader
from storage.database.manifests import SealedObject
from tests.support.fakes import (
    EPOCH_ID,
    MINER_HOTKEY,
    START_AT,
    STRANGER_HOTKEY,
    VALIDATOR_HOTKEY,
    ZERO_KEY,
    FakeClock,
    FakeObjectStore,
    FakeRecord,
    FakeRequest,
)
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.messages.access import ValidatorReadRequest

END_AT = START_AT + timedelta(hours=4)
CALLER = Caller(VALIDATOR_HOTKEY, "validator", "request-1", "nats")


def by_validator() -> FakeRequest:
    return FakeRequest(CALLER, FakeClock(END_AT))


def uploaded(name: str, hotkey: str = MINER_HOTKEY) -> SealedObject:
    key = f"data/hotkey={hotkey}/epoch={EPOCH_ID}/{name}"
    return SealedObject(hotkey, key, f"v-{name}", 4096, "etag", START_AT)


def reader(clock: FakeClock, record: FakeRecord | None = None, *, sts: bool = True) -> Reader:
    store = FakeObjectStore(sts=sts)
    return Reader(store, record or FakeRecord(), Sessions(store, clock), clock, "miners")


def read_request(**changes: object) -> ValidatorReadRequest:
    return ValidatorReadRequest.model_validate({"epoch_id": EPOCH_ID, "miner_hotkey": MINER_HOTKEY} | changes)


async def refusal(of: Reader, request: ValidatorReadRequest) -> ErrorCode:
    """Return the error of a refused request, for which nothing may be granted."""
    proven = by_validator()
    with pytest.raises(ServiceError) as refused:
        await of.objects(proven, request)
    assert proven.terms == []
    return refused.value.code


async def read_all(of: Reader, **changes: object) -> list[str]:
    keys, token = [], None
    while True:
        page = await of.objects(by_validator(), read_request(page_token=token, **changes))
        keys += [one.key for one in page.objects]
        token = page.next_page_token
        if token is None:
            return keys


async def test_nothing_of_a_running_epoch_is_read_until_its_very_end() -> None:
    before = reader(FakeClock(END_AT - timedelta.resolution))
    assert await refusal(before, read_request()) is ErrorCode.EPOCH_NOT_ENDED
    proven = by_validator()
    assert (await reader(FakeClock(END_AT)).objects(proven, read_request())).objects == ()
    assert len(proven.terms) == 1


async def test_nothing_is_read_before_the_manifest_is_written() -> None:
    record = FakeRecord(manifest=None)
    assert await refusal(reader(FakeClock(END_AT), record), read_request()) is ErrorCode.EPOCH_NOT_ENDED


@pytest.mark.parametrize("hotkey", ["", "*", f"{MINER_HOTKEY}/", ZERO_KEY])
async def test_a_malformed_miner_is_refused_and_nothing_is_granted(hotkey: str) -> None:
    request = read_request(miner_hotkey=hotkey)
    assert await refusal(reader(FakeClock(END_AT)), request) is ErrorCode.MALFORMED_HOTKEY


@pytest.mark.parametrize("token", ["x", "bm9uZQ==", "Y\n", "\u00e9", "////", "YQBiCmtleQ=="])
async def test_a_page_token_that_no_page_gave_is_refused(token: str) -> None:
    request = read_request(page_token=token)
    assert await refusal(reader(FakeClock(END_AT)), request) is ErrorCode.MALFORMED_REQUEST


async def test_a_key_may_hold_a_line_end_and_the_pages_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise one miner could end the list for all miners after it."""
    monkeypatch.setattr(validator_reads, "PAGE_SIZE", 1)
    mine = [uploaded(name) for name in ("a\n", "b\nc\n", "d")]
    of = reader(FakeClock(END_AT), FakeRecord(mine))
    assert await read_all(of) == [one.object_key for one in mine]


async def test_addresses_open_exactly_the_versions_of_the_manifest() -> None:
    record = FakeRecord([uploaded("a.json")])
    (only,) = (await reader(FakeClock(END_AT), record).objects(by_validator(), read_request())).objects
    assert (only.version_id, only.etag, only.last_modified) == ("v-a.json", "etag", START_AT)
    assert "v=v-a.json" in only.url


@pytest.mark.parametrize("size", [1, 2, 3, 7])
async def test_every_object_is_on_one_page_of_any_size(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validator_reads, "PAGE_SIZE", size)
    mine = [uploaded(name) for name in "abc"]
    theirs = [uploaded(name, STRANGER_HOTKEY) for name in "abc"]
    of = reader(FakeClock(END_AT), FakeRecord(mine + theirs))
    assert await read_all(of) == [one.object_key for one in mine]
    everything = await read_all(of, miner_hotkey=None)
    assert sorted(everything) == sorted(one.object_key for one in mine + theirs)


async def test_reading_credentials_come_on_request_where_there_is_sts() -> None:
    of, proven = reader(FakeClock(END_AT)), by_validator()
    assert (await of.objects(proven, read_request())).s3_credentials is None
    given = (await of.objects(proven, read_request(with_credentials=True))).s3_credentials
    assert given is not None
    # The row states the widest access and the latest end.
    addresses, session = proven.terms
    assert (addresses.scope.prefix, addresses.lifetime) == (
        f"data/hotkey={MINER_HOTKEY}/epoch={EPOCH_ID}/",
        timedelta(hours=1),
    )
    assert (session.scope.prefix, session.lifetime) == (given.prefix, timedelta(hours=4))
    assert given.prefix == f"data/hotkey=*/epoch={EPOCH_ID}/*"
    of = reader(FakeClock(END_AT), sts=False)
    without = await of.objects(by_validator(), read_request(with_credentials=True))
    assert without.s3_credentials is None


async def test_a_page_fits_into_a_message_however_long_its_keys_are() -> None:
    everything = [uploaded(f"{number:04}/{'x' * 900}") for number in range(400)]
    of = reader(FakeClock(END_AT), FakeRecord(everything))
    first = await of.objects(by_validator(), read_request())
    assert 0 < len(first.to_bytes()) <= 256 * 1024
    assert await read_all(of) == [one.object_key for one in everything]


async def test_the_event_loop_goes_on_while_a_page_is_signed_and_one_is_signed_at_a_time() -> None:
    loop, under_way, most = asyncio.get_running_loop(), 0, 0
    others_went_on = Event()

    class SlowStore(FakeObjectStore):
        def get_url(self, *signed: object) -> str:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            loop.call_soon_threadsafe(others_went_on.set)
            assert others_went_on.wait(5), "the loop stood still"
            under_way -= 1
            return "https://s3.example.org/"

    clock, store = FakeClock(END_AT), SlowStore()
    record = FakeRecord(manifest=[uploaded("a"), uploaded("b")])
    signing = Reader(store, record, Sessions(store, clock), clock, "miners")
    pages = await asyncio.gather(*(signing.objects(by_validator(), read_request()) for _ in range(5)))
    signing.close()
    assert [len(page.objects) for page in pages] == [2] * 5
    assert most == 1
