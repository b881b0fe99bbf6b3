"""Tests receiving epochs over HTTP from a bridge that is hostile or faulty."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from tests.support.fakes import EPOCH_ID, FakeClock
from tests.support.signed_epochs import SIGNER, TRUST, message
from zipcast.client import async_client
from zipcast.client.async_client import HTTP_AFTER_SECONDS, MAX_HTTP_PAUSE_SECONDS, Zipcast
from zipcast.client.files import Upload
from zipcast.client.http_requests import HttpRequester
from zipcast.clock import SystemClock
from zipcast.errors import ErrorCode, ServiceError, SettingsError, TransferError
from zipcast.protocol.envelope import VerifiedEpoch, seal, verify

ADDRESS = "http://127.0.0.1:9"


def answering(**body: object) -> HttpRequester:
    """Return requests to a bridge that refuses all of them with this body."""
    content = json.dumps({"success": False, "message": "no", **body}).encode()
    transport = httpx.MockTransport(lambda _: httpx.Response(429, stream=httpx.ByteStream(content)))
    requester = HttpRequester(ADDRESS, SIGNER, TRUST.signers, SystemClock())
    requester._client = httpx.AsyncClient(transport=transport)
    return requester


@pytest.mark.parametrize(
    ("retry_after", "expected"),
    [
        (7, 7),
        (86_400, MAX_HTTP_PAUSE_SECONDS),
        (10**9, HTTP_AFTER_SECONDS),
        (10**400, HTTP_AFTER_SECONDS),
        (-5, HTTP_AFTER_SECONDS),
    ],
)
async def test_no_bridge_silences_a_client_for_longer_than_a_minute(retry_after: int, expected: float):
    client = Zipcast([], SIGNER, TRUST, http=ADDRESS)
    assert await client._stream(answering(error="rate_limited", retryAfter=retry_after)) == expected


async def test_a_fault_of_the_task_that_receives_ends_the_client(monkeypatch: pytest.MonkeyPatch):
    async def fail(*_: object) -> float:
        raise ZeroDivisionError

    monkeypatch.setattr(Zipcast, "_stream", fail)
    client = Zipcast([], SIGNER, TRUST, http=ADDRESS)
    with pytest.raises(ZeroDivisionError):
        async with asyncio.timeout(10), client:
            await anext(client.epochs())


async def test_after_a_machine_slept_the_running_epoch_is_requested(monkeypatch: pytest.MonkeyPatch):
    verified = [verify(seal(message(number), SIGNER), TRUST) for number in (1, 2)]  # type: ignore[arg-type]
    clock = FakeClock(message(1).epoch_start)
    client = Zipcast([], SIGNER, TRUST, http=ADDRESS, clock=clock)
    client._nats.offer(verified[0].envelope, "push")
    client._nats._requester._time.confirm()

    async def ask(*_: object) -> VerifiedEpoch:
        return verified[1]

    monkeypatch.setattr(Zipcast, "_ask", ask)
    assert (await client.current()).id == message(1).epoch_id
    clock.wall = message(2).epoch_start
    assert (await client.current()).id == message(2).epoch_id


@pytest.mark.parametrize("pages", [[([], "a"), ([], "b")], [(["file"], "a"), (["file"], "a")]])
async def test_pages_that_lead_nowhere_end(pages: list[object], monkeypatch: pytest.MonkeyPatch):
    async def page(*_: object) -> object:
        return pages.pop(0)

    monkeypatch.setattr(Zipcast, "_page", page)
    with pytest.raises(ServiceError) as error:
        [one async for one in Zipcast([], SIGNER, TRUST, http=ADDRESS).uploads("2026-11-22T04-00-00")]
    assert error.value.code is ErrorCode.INTERNAL


def test_a_client_without_a_signer_to_trust_is_a_fault_of_the_settings():
    nobody = type(TRUST)(frozenset(), TRUST.network, TRUST.netuid)
    with pytest.raises(SettingsError):
        Zipcast([], SIGNER, nobody, http=ADDRESS)


def uploaded(number: int) -> Upload:
    at = message(1).epoch_start
    return Upload(EPOCH_ID, "5F", f"k{number}", f"{number}", 1, "e", at, None, "http://s.test", at)


async def test_a_file_that_nobody_can_read_holds_up_no_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    async def uploads(*_: object, **__: object) -> AsyncIterator[Upload]:
        for number in range(9):
            yield uploaded(number)

    async def download(_: Zipcast, upload: Upload, *, to: Path) -> Path:
        if upload.name == "4":
            raise TransferError("the object store refused the download: 400", 400)
        return to / upload.name

    monkeypatch.setattr(Zipcast, "uploads", uploads)
    monkeypatch.setattr(Zipcast, "download", download)
    left_out: list[str] = []
    client = Zipcast([], SIGNER, TRUST, http=ADDRESS)
    found = client.download_all(
        EPOCH_ID, to=tmp_path, at_once=2, on_failure=lambda one, _: left_out.append(one.name)
    )
    read = [upload.name async for upload, _ in found]
    assert sorted(read) == [str(number) for number in range(9) if number != 4]
    assert left_out == ["4"]


async def test_a_store_that_is_down_ends_the_downloads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    async def uploads(*_: object, **__: object) -> AsyncIterator[Upload]:
        yield uploaded(1)

    async def download(*_: object, **__: object) -> Path:
        raise TransferError("the object store did not reply", retry_after=1)

    monkeypatch.setattr(Zipcast, "uploads", uploads)
    monkeypatch.setattr(Zipcast, "download", download)
    with pytest.raises(TransferError, match="did not reply"):
        await anext(Zipcast([], SIGNER, TRUST, http=ADDRESS).download_all("x", to=tmp_path))


async def test_many_files_that_the_store_refuses_cost_few_requests(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """A miner can store files under keys that no client can request as they were signed."""
    renewed: list[str] = []

    async def renew(_: Zipcast, upload: Upload) -> Upload:
        renewed.append(upload.name)
        return replace(upload, url="http://s.test/new")

    async def refuse(*_: object, **__: object) -> None:
        raise TransferError("the object store refused the download: 403", 403)

    async def store(*_: object) -> None: ...

    monkeypatch.setattr(Zipcast, "_renewed", renew)
    monkeypatch.setattr(Zipcast, "_store_client", store)
    monkeypatch.setattr(async_client, "download", refuse)
    clock = FakeClock(message(1).epoch_start - timedelta(hours=1))
    client = Zipcast([], SIGNER, TRUST, http=ADDRESS, clock=clock)
    for number in range(20):
        with pytest.raises(TransferError):
            await client.download(uploaded(number), to=tmp_path / str(number))
    assert renewed == ["0"]
