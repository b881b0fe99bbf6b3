"""Tests the public port with requests that two parsers could read differently, and with requests that never
end."""

import asyncio
import time
from contextlib import suppress

import httpx
import pytest

from devstack.stack import Stack
from service.http_server import ARRIVAL_SECONDS, MAX_HEAD_BYTES
from tests.support.operator_view import granted_folder, log_lines, only_line
from tests.support.people import keypair
from tests.support.raw_http import all_said, connected, http_request, statuses
from zipcast.client.local_stack import Ready
from zipcast.protocol import btauth

FOLDER = "/get-folder-access"
SMUGGLED = b"GET /smuggled-canary HTTP/1.1\r\nHost: bridge\r\n\r\n"
POST = b"POST /get-folder-access HTTP/1.1\r\nHost: bridge\r\n"
AMBIGUOUS = {
    "both lengths": b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "both lengths, the other way": b"Transfer-Encoding: chunked\r\nContent-Length: 99\r\n\r\n0\r\n\r\n",
    "two lengths": b"Content-Length: 4\r\nContent-Length: 0\r\n\r\nabcd",
    "a list of lengths": b"Content-Length: 0, 4\r\n\r\n",
    "an unknown encoding": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "two encodings": b"Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
    "encoding behind a space": b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "a negative length": b"Content-Length: -1\r\n\r\n",
    "a signed length": b"Content-Length: +1\r\n\r\na",
    "an endless length": b"Content-Length: " + b"9" * 30 + b"\r\n\r\na",
    "no chunk size": b"Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    "NUL in a header": b"X-A: a\x00b\r\nContent-Length: 0\r\n\r\n",
    "a bare LF in a header's name": b"X-A\nX-B: a\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("ambiguous", AMBIGUOUS.values(), ids=AMBIGUOUS)
async def test_a_request_whose_length_is_doubtful_ends_the_connection(
    ready: Ready, stack: Stack, http: httpx.AsyncClient, ambiguous: bytes
):
    heard = await all_said(ready, POST + ambiguous + SMUGGLED)
    assert statuses(heard) in ([400], [411])
    assert b'"malformed_request"' in heard or b'"length_required"' in heard
    assert (await http.get("/health/live")).status_code == 200
    assert all("smuggled-canary" not in str(line) for line in log_lines(stack, "http_bridge"))


BODIES = {
    "none yet": b"",
    "usual chunks": b"1000\r\n" + b"x" * 4096 + b"\r\n0\r\n\r\n",
    "the shortest chunks": b"1\r\na\r\n" * 20_000,
    "trailers": b"0\r\n" + b"a:\n" * 4_000 + b"\r\n",
}


@pytest.mark.parametrize("target", [FOLDER, "/nowhere"])
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_a_body_in_chunks_is_refused_before_it_is_read(
    ready: Ready, http: httpx.AsyncClient, target: str, body: bytes
):
    head = f"POST {target} HTTP/1.1\r\nHost: bridge\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    async with connected(ready) as (reader, writer):
        writer.write(head)
        heard = await asyncio.wait_for(reader.readuntil(b"}"), 5)
        assert statuses(heard) == [411]
        assert b'"length_required"' in heard
        with suppress(ConnectionError):
            writer.write(body)
            await writer.drain()
            assert await reader.read() == b""
    # Refused with a reply, or closed before.
    assert statuses(await all_said(ready, head + body)) in ([411], [])
    assert (await http.get("/health/live")).status_code == 200


LINES = b"a:\n" * 20_000


@pytest.mark.parametrize(
    "hostile",
    [
        b"GET /nowhere HTTP/1.1\r\nHost: bridge\r\n" + LINES + b"\r\n",
        b"GET /health/live HTTP/1.1\r\nHost: bridge\r\n\r\nGET /nowhere HTTP/1.1\r\nHost: b\r\n"
        + LINES
        + b"\r\n",
    ],
    ids=["head", "second head"],
)
async def test_countless_headers_end_the_connection(ready: Ready, http: httpx.AsyncClient, hostile: bytes):
    heard = await all_said(ready, hostile)
    assert statuses(heard)[-1:] in ([400], [])  # closed before everything was read, or refused with a reply
    assert b"not_found" not in heard
    assert (await http.get("/health/live")).status_code == 200


SPLITTING = {
    "a folded id": http_request("GET", "/health/live", X_Request_Id="a\r\n Set-Cookie: canary=1"),
    "an id with percent signs": http_request("GET", "/health/live", X_Request_Id="a%0d%0aSet-Cookie: canary"),
    "a path": http_request("GET", "/%0d%0aSet-Cookie:%20canary=1"),
    "a path that is redirected": http_request("GET", "//canary.example/%2e%2e"),
    "a host": http_request("GET", "/docs/", Host="canary.example"),
    "a query": http_request("GET", f"{FOLDER}?a=%0d%0aSet-Cookie:%20canary"),
    "a hotkey": http_request("POST", FOLDER, X_Bittensor_Hotkey="a%0d%0aSet-Cookie: canary"),
}


@pytest.mark.parametrize("request_bytes", SPLITTING.values(), ids=SPLITTING)
async def test_nothing_of_a_request_comes_back_as_a_header(ready: Ready, request_bytes: bytes):
    heard = await all_said(ready, request_bytes)
    assert statuses(heard)
    head, _, _ = heard.partition(b"\r\n\r\n")
    assert b"canary" not in head
    assert b"cookie" not in head.lower()


async def test_a_header_line_of_its_own_does_not_reach_nats(ready: Ready, stack: Stack):
    """If the value were passed on, the responder would log under the id of the attacker."""
    for attack in ("1\r\n Zipcast-Request-Id: smuggled-id", "1\tZipcast-Request-Id: smuggled-id"):
        heard = await all_said(ready, http_request("POST", FOLDER, b"{}", X_Bittensor_Version=attack))
        assert statuses(heard)[0] in {400, 401}
    for process in ("http_bridge", "responder"):
        assert all(line.get("correlation_id") != "smuggled-id" for line in log_lines(stack, process))


async def test_a_clients_own_internal_headers_are_not_forwarded(
    ready: Ready, stack: Stack, http: httpx.AsyncClient
):
    """The bridge sets these headers itself. A client's own ones are not trusted."""
    forged = {
        "Zipcast-Http-Method": "GET",
        "Zipcast-Http-Target": "/elsewhere",
        "Zipcast-Client-Address": "6.6.6.6",
        "Zipcast-Request-Id": "forged-internal-id",
    }
    http.headers.update(forged)
    answer = await granted_folder(ready, http, "with-forged-headers")
    assert answer.status_code == 200
    line = await only_line(stack, "http_bridge", "with-forged-headers")
    assert line["client"] == "127.0.0.1"
    await only_line(stack, "responder", "with-forged-headers")


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "X-Client-IP"])
async def test_an_address_that_a_client_gives_itself_is_not_believed(
    ready: Ready, stack: Stack, http: httpx.AsyncClient, header: str
):
    told = f"forged-address-{header}"
    http.headers.update({header: "6.6.6.6", "X-Forwarded-Proto": "https"})
    assert (await granted_folder(ready, http, told)).status_code == 200
    assert (await only_line(stack, "http_bridge", told))["client"] == "127.0.0.1"


@pytest.mark.parametrize("host", ["[", "a:99999999", "a/api/v1/auth/legacy?", "a#", "", "\xff", "a b"])
async def test_the_host_header_does_not_change_what_was_signed(ready: Ready, host: str):
    """The signature covers the path of the request line, whichever host is named."""
    signer, body = keypair(ready, "miner-4"), b"{}"
    signed = btauth.sign(
        signer, method="POST", path=FOLDER, body=body, receiver=ready.signer, nonce_ns=time.time_ns()
    )
    good = {name.replace("-", "_"): value for name, value in signed.items()}
    heard = await all_said(ready, http_request("POST", FOLDER, body, Host=host, **good))
    assert b'"coldkey: must be an SS58 address."' in heard or b"Invalid HTTP" in heard, heard
    elsewhere = await all_said(ready, http_request("POST", "/api/v1/auth/legacy", body, Host=host, **good))
    assert statuses(elsewhere) in ([400], [401])
    assert b'"bad_signature"' in elsewhere or b"Invalid HTTP" in elsewhere, elsewhere


METHODS = [
    "HEAD",
    "PUT",
    "DELETE",
    "PATCH",
    "TRACE",
    "CONNECT",
    "get",
    "POST/",
    "M-SEARCH",
    "A" * 900,
]


@pytest.mark.parametrize("method", METHODS)
async def test_other_methods_are_refused_in_our_shape(ready: Ready, method: str):
    heard = await all_said(ready, http_request(method, FOLDER))
    assert statuses(heard) in ([405], [400]), heard
    override = http_request("GET", FOLDER, X_HTTP_Method_Override="POST", X_Method_Override="POST")
    assert statuses(await all_said(ready, override)) == [405]


async def test_a_websocket_is_not_spoken_and_leaves_no_fault(ready: Ready, stack: Stack):
    upgrade = http_request(
        "GET",
        FOLDER,
        Connection="Upgrade",
        Upgrade="websocket",
        Sec_WebSocket_Version="13",
        Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ==",
        X_Request_Id="a-websocket",
    )
    assert statuses(await all_said(ready, upgrade)) == [405]
    assert (await only_line(stack, "http_bridge", "a-websocket"))["status"] == 405
    assert all(line["level"] != "error" for line in log_lines(stack, "http_bridge"))


TRAVERSALS = [
    "/assets/docs/../../../../../../etc/passwd",
    "/assets/docs/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "/assets/docs/..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
    "/assets/docs//etc/passwd",
    "/assets/docs/%00",
    "/assets/docs/%ff%fe",
    "/assets/docs/" + "a" * 5000,
    "/assets/docs/..\\..\\main.py",
    "/assets/docs/",
]


@pytest.mark.parametrize("target", TRAVERSALS, ids=range(len(TRAVERSALS)))
async def test_the_assets_end_at_their_folder(ready: Ready, target: str):
    heard = await all_said(ready, http_request("GET", target))
    assert statuses(heard) == [404]
    assert b"root:" not in heard


async def test_a_body_of_a_megabyte_is_refused_before_it_is_held(ready: Ready, http: httpx.AsyncClient):
    answer = await http.post(FOLDER, content=b"x" * 1_000_000)
    assert (answer.status_code, answer.json()["error"]) == (413, "payload_too_large")


async def test_headers_of_a_megabyte_are_refused(ready: Ready):
    heard = await all_said(ready, http_request("GET", "/health/live", X_Large="x" * 1_000_000))
    assert statuses(heard) in ([400], [])


@pytest.mark.parametrize("pipelined", [False, True])
async def test_a_head_has_its_limit_whether_it_comes_at_once_or_behind_another(
    ready: Ready, *, pipelined: bool
):
    first = b"GET /health/live HTTP/1.1\r\nHost: bridge\r\n\r\n" if pipelined else b""
    served = [200] if pipelined else []
    for size, status in ((MAX_HEAD_BYTES - 1024, 200), (MAX_HEAD_BYTES + 4096, 400)):
        request = http_request("GET", "/health/live", X_Large="x" * size)
        assert statuses(await all_said(ready, first + request)) == [*served, status]


DRIPPING = {
    "nothing": b"",
    "half a line": b"GET /health/li",
    "headers": b"GET /health/live HTTP/1.1\r\nHost: bridge\r\n",
    "a body": b"POST /get-folder-access HTTP/1.1\r\nHost: bridge\r\nContent-Length: 999\r\n\r\n{",
    "a second request": b"GET /health/live HTTP/1.1\r\nHost: bridge\r\n\r\nG",
}


@pytest.mark.parametrize(
    "half",
    [
        b"POST /get-folder-access HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n",
        b"GET /b HTTP/1.1\r\nHost:",
    ],
    ids=["body", "head"],
)
async def test_half_a_request_sent_behind_a_whole_one_is_cut_too(ready: Ready, half: bytes):
    async with asyncio.timeout(3 * ARRIVAL_SECONDS), connected(ready) as (reader, writer):
        writer.write(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n" + half)
        answered = b""
        with suppress(ConnectionError):
            while received := await reader.read(4096):
                answered += received
    assert answered.startswith(b"HTTP/1.1 200")
    assert answered.count(b"HTTP/1.1") == 1


async def test_requests_that_never_end_are_cut_and_hold_up_nobody(ready: Ready, http: httpx.AsyncClient):
    """Open two hundred connections that send a byte now and then."""

    async def drip(beginning: bytes) -> None:
        async with connected(ready) as (reader, writer):
            writer.write(beginning)
            while not writer.is_closing() and not reader.at_eof():
                try:
                    writer.write(b"a")
                    await asyncio.wait_for(reader.read(4096), 1)
                except TimeoutError:
                    continue
                except ConnectionError:
                    return

    async with asyncio.timeout(3 * ARRIVAL_SECONDS), asyncio.TaskGroup() as dripping:
        for _ in range(40):
            for beginning in DRIPPING.values():
                dripping.create_task(drip(beginning))
        for _ in range(20):
            assert (await http.get("/health/live")).status_code == 200
