"""Tests how requests and replies are transferred: methods, compression, cross-origin rules, headers and
entity tags."""

import gzip
import json
from collections.abc import AsyncIterator, Sequence

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI, Request
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import Response

from access.rate_limits import Limits
from http_bridge import errors
from http_bridge.current_reply import CurrentReply, accepts_gzip, is_known
from http_bridge.metrics import BridgeMetrics
from http_bridge.middleware import front
from http_bridge.request_log import METHOD_SENT, Access
from service.http_server import MAX_HEAD_BYTES
from service.process_status import ProcessStatus
from service.settings import LimitSettings
from tests.contract.documents import epoch_message
from tests.support.fakes import SIGNER_HOTKEY, FakeClock
from zipcast.protocol.envelope import UnverifiedEnvelope, VerifiedEpoch

ORIGIN = "https://app.example.org"
LONG = "x" * 5_000


def application(clock: FakeClock) -> FastAPI:
    app = FastAPI(docs_url=None, redoc_url=None)
    errors.install(app, clock)

    @app.get("/read")
    async def read(request: Request) -> dict[str, str]:
        return {"long": LONG, "sent": request.scope[METHOD_SENT]}

    @app.post("/mint")
    async def mint() -> dict[str, str]:
        return {"long": LONG}

    @app.get("/page")
    async def page() -> Response:
        return Response("<p>", headers={"Content-Security-Policy": "default-src 'self'"})

    return app


def client_of(
    origins: Sequence[str] = (), base_url: str = "http://bridge", **limits: int
) -> httpx.AsyncClient:
    clock = FakeClock()
    inner = front(application(clock), Limits.of(LimitSettings(**limits), clock), clock, origins)
    app = Access(inner, BridgeMetrics(ProcessStatus("http_bridge", clock).registry), clock)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=base_url)


@pytest_asyncio.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with client_of() as http:
        yield http


async def test_head_is_get_without_its_body(http: httpx.AsyncClient) -> None:
    got, head = await http.get("/read"), await http.head("/read")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == got.headers["content-type"]
    assert int(head.headers["content-length"]) > 0
    assert (await http.head("/nothing")).status_code == 404
    refused = await http.head("/mint")
    assert (refused.status_code, refused.content) == (405, b"")


async def test_the_endpoint_learns_which_method_was_signed(http: httpx.AsyncClient) -> None:
    assert (await http.get("/read")).json()["sent"] == "GET"
    plain = {"Accept-Encoding": "identity"}
    lengths = [
        int((await http.request(m, "/read", headers=plain)).headers["content-length"])
        for m in ("GET", "HEAD")
    ]
    assert lengths[1] == lengths[0] + len("HEAD") - len("GET")


@pytest.mark.parametrize(
    ("path", "allowed"), [("/read", "GET, HEAD, OPTIONS"), ("/mint", "OPTIONS, POST"), ("/nothing", None)]
)
async def test_options_says_what_an_address_takes(
    http: httpx.AsyncClient, path: str, allowed: str | None
) -> None:
    answer = await http.options(path)
    assert answer.headers.get("allow") == allowed
    assert answer.status_code == (404 if allowed is None else 204)


async def test_a_wrong_method_is_told_the_right_ones(http: httpx.AsyncClient) -> None:
    answer = await http.post("/read")
    assert (answer.status_code, answer.json()["error"]) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS"


async def test_what_is_read_is_compressed_and_what_mints_is_not(http: httpx.AsyncClient) -> None:
    accepting = {"Accept-Encoding": "gzip"}
    read = await http.get("/read", headers=accepting)
    assert read.headers["content-encoding"] == "gzip"
    assert read.json()["long"] == LONG
    for refusing in ({"Accept-Encoding": "identity"}, {"Accept-Encoding": "gzip;q=0, identity"}):
        plain = await http.get("/read", headers=refusing)
        assert "content-encoding" not in plain.headers
        assert plain.headers["vary"] == "Accept-Encoding"
    assert "content-encoding" not in (await http.head("/read", headers=accepting)).headers
    assert "content-encoding" not in (await http.post("/mint", headers=accepting)).headers


@pytest.mark.parametrize("path", ["/read", "/nothing", "/mint"])
async def test_every_reply_tells_browsers_not_to_guess_frame_or_leak(
    http: httpx.AsyncClient, path: str
) -> None:
    headers = (await http.get(path)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert "server" not in headers
    assert "strict-transport-security" not in headers


async def test_a_page_keeps_its_own_policy_and_tls_is_asked_for_where_there_is_some() -> None:
    async with client_of(base_url="https://bridge") as http:
        headers = (await http.get("/page")).headers
    assert headers["content-security-policy"] == "default-src 'self'"
    assert headers["strict-transport-security"] == "max-age=31536000"


async def test_other_sites_are_let_in_only_as_configured() -> None:
    asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "GET"}
    async with client_of() as closed:
        assert "access-control-allow-origin" not in (await closed.get("/read", headers=asked)).headers
        assert "access-control-allow-origin" not in (await closed.options("/read", headers=asked)).headers
    async with client_of([ORIGIN]) as opened:
        preflight = await opened.options(
            "/read", headers={**asked, "Access-Control-Request-Headers": "X-Bittensor-Hotkey"}
        )
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == ORIGIN
        assert "x-bittensor-hotkey" in preflight.headers["access-control-allow-headers"].lower()
        read = await opened.get("/read", headers=asked)
        assert read.headers["access-control-allow-origin"] == ORIGIN
        assert "ETag" in read.headers["access-control-expose-headers"]
        assert "access-control-allow-credentials" not in read.headers
        other = await opened.get("/read", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers
        assert (await opened.options("/read")).headers["allow"] == "GET, HEAD, OPTIONS"


async def test_a_refusal_of_the_limit_can_be_read_by_an_allowed_page() -> None:
    async with client_of([ORIGIN], limit_address_per_minute=1) as http:
        await http.get("/read")
        refused = await http.get("/read", headers={"Origin": ORIGIN})
    assert (refused.status_code, refused.json()["error"]) == (429, "rate_limited")
    assert refused.headers["access-control-allow-origin"] == ORIGIN
    assert int(refused.headers["retry-after"]) > 0


@pytest.mark.parametrize(
    ("accepted", "expected"),
    [
        ("gzip", True),
        ("gzip, deflate", True),
        ("deflate, GZIP;q=0.5", True),
        ("*", True),
        ("", False),
        ("identity", False),
        ("gzip;q=0", False),
        ("gzip; q=0.0, *", False),
        ("br", False),
    ],
)
def test_gzip_is_sent_to_those_who_take_it(accepted: str, expected: bool) -> None:
    assert accepts_gzip(accepted) is expected


@given(st.text(max_size=40))
def test_no_accept_encoding_breaks_anything(accepted: str) -> None:
    assert accepts_gzip(accepted) in {True, False}


@pytest.mark.parametrize(
    ("stated", "known"),
    [
        ('"a"', True),
        ('W/"a"', True),
        ('"b", "a"', True),
        ("*", True),
        ('"b"', False),
        (None, False),
        ("a", False),
    ],
)
def test_an_entity_tag_is_compared_as_http_says(stated: str | None, known: bool) -> None:
    assert is_known(stated, '"a"') is known


def test_both_representations_are_the_same_body_under_tags_of_their_own() -> None:
    message = epoch_message()
    envelope = UnverifiedEnvelope(message.to_bytes(), SIGNER_HOTKEY, "ab" * 64, message.epoch_id)
    reply, again = (CurrentReply.of(VerifiedEpoch(message, envelope)) for _ in range(2))
    assert gzip.decompress(reply.gzipped.body) == reply.plain.body
    assert json.loads(reply.plain.body)["epochId"] == message.epoch_id
    assert reply == again
    assert reply.plain.etag != reply.gzipped.etag
    assert reply.gzipped.headers["Vary"] == reply.plain.headers["Vary"] == "Accept-Encoding"


@pytest.mark.parametrize("where", ["headers", "address"])
async def test_a_large_head_is_refused(http: httpx.AsyncClient, where: str) -> None:
    large = "x" * MAX_HEAD_BYTES
    answer = await (
        http.get("/read", headers={"X-Large": large}) if where == "headers" else http.get(f"/read?{large}")
    )
    assert (answer.status_code, answer.json()["error"]) == (400, "malformed_request")
    assert answer.headers["connection"] == "close"
    small = await http.get("/read", headers={"X-Large": large[:-1024]})
    assert small.status_code == 200
