"""Tests replies of hostile servers on which the HTTP library fails, that do not end, or that grow."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator

import httpx
import pytest

import zipcast.legacy
from tests.support.hostile_replies import COOKIE_ON_REDIRECT, replying
from tests.support.relays import relay
from tests.support.signed_epochs import SIGNER, TRUST
from zipcast.cli.bridge_requests import UnreachableError, get
from zipcast.client.http import AnswerEncodingError, BoundedBody
from zipcast.client.http_requests import HttpRequester, HttpRequests, _events
from zipcast.client.relays import RelayFailure, Relays
from zipcast.client.requests import MAX_PAGES, PageTokens
from zipcast.client.signed_requests import ByteBudget
from zipcast.client.transfers import download
from zipcast.clock import SystemClock
from zipcast.errors import ErrorCode, ServiceError, TransferError, UnavailableError
from zipcast.legacy import LegacyClient
from zipcast.protocol.beacon import LOCAL_CHAIN

ROUND = 1000


async def test_a_relay_on_whose_reply_the_library_fails_stops_no_other_relay():
    failures: list[RelayFailure] = []
    async with replying(COOKIE_ON_REDIRECT) as hostile:
        with relay("honest") as honest:
            relays = Relays(
                (hostile, honest), LOCAL_CHAIN, on_failure=lambda _, failure: failures.append(failure)
            )
            assert await relays.signature(ROUND) is not None
            assert await relays.signature(ROUND) is not None
    assert set(failures) == {RelayFailure.REFUSED}


async def test_a_bridge_on_whose_reply_the_library_fails_is_unavailable(tmp_path):
    async with replying(COOKIE_ON_REDIRECT) as address:
        requester = HttpRequester(address, SIGNER, TRUST.signers, SystemClock())
        async with requester:
            for _ in range(2):
                with pytest.raises((UnavailableError, ServiceError)):
                    await HttpRequests(requester).current()
                with pytest.raises((UnavailableError, ServiceError)):
                    await anext(requester.epochs(lambda _: None))
        with pytest.raises((UnreachableError, ServiceError)):
            await asyncio.to_thread(get, address, "/")
        with pytest.raises(TransferError):
            await download(f"{address}/file", tmp_path / "file", size_bytes=1, etag="0" * 32)
        health = await asyncio.to_thread(LegacyClient(address, SIGNER).check_health)
        assert health["status"] == "error"


async def test_a_reply_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(zipcast.legacy, "WHOLE_REPLY_SECONDS", 0.2)
    monkeypatch.setattr(zipcast.legacy, "MAX_ATTEMPTS", 1)
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with asyncio.timeout(20), replying(head, b"1\r\n \r\n") as address:
        with pytest.raises(UnavailableError):
            await asyncio.to_thread(LegacyClient(address, SIGNER).get_system_statistics)


@pytest.mark.parametrize("at_once", [True, False])
def test_nothing_is_kept_of_what_follows_the_end_of_gzip_data(at_once: bool):
    body = BoundedBody(httpx.Headers({"Content-Encoding": "gzip"}), 1_000)
    sent = gzip.compress(b"short")
    with pytest.raises(AnswerEncodingError):
        for piece in [sent + b"x"] if at_once else [sent, b"x"]:
            body.decompress(piece)


async def test_events_are_found_wherever_their_bytes_are_divided():
    sent = b'retry: 1\n\ndata: {"a":1}\n\n: alive\n\nevent: sealed\ndata: {"b":2}\n\n'
    for step in range(1, len(sent)):

        async def pieces(step: int = step) -> AsyncIterator[bytes]:
            for at in range(0, len(sent), step):
                yield sent[at : at + step]

        answer = httpx.Response(200, content=pieces())
        found = [(kind, json.loads(data)) async for kind, data in _events(answer)]
        assert found == [(b"", {"a": 1}), (b"sealed", {"b": 2})]


@pytest.mark.parametrize(
    "pages", [[([], "a")], [(["x"], "a"), (["x"], "a")], [(["x"], "a"), (["x"], "b"), (["x"], "a")]]
)
def test_pages_of_uploads_that_lead_nowhere_end(pages: list[tuple[list[str], str]]):
    tokens = PageTokens()
    with pytest.raises(ServiceError) as refused:
        for rows, token in pages:
            assert tokens.following(token, rows) == token
    assert refused.value.code is ErrorCode.INTERNAL


def test_there_is_a_largest_number_of_pages():
    tokens = PageTokens()
    assert tokens.following(None, []) is None
    for number in range(MAX_PAGES):
        tokens.following(str(number), ["x"])
    with pytest.raises(ServiceError):
        tokens.following("one more", ["x"])


def test_pages_have_a_largest_size_together():
    budget = ByteBudget(10)
    budget.spend(6)
    budget.spend(4)
    with pytest.raises(ServiceError):
        budget.spend(1)
