"""Tests uploads and downloads of the SDK: proxy settings, limits, and uploads after the deadline."""

import asyncio
import base64
import gzip
import hashlib
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
import trustme

from zipcast.client.http import ProxySettingsError, is_loopback
from zipcast.client.transfers import download, fetch, post_file
from zipcast.errors import TooLargeError, TooLateError, TransferError

PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
Answer = Callable[[], bytes]


@asynccontextmanager
async def store(answer: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Run an object store that replies to every request with what `answer` returns."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"Content-Length: " in head:
            await reader.readexactly(int(head.partition(b"Content-Length: ")[2].split(b"\r\n")[0]))
        writer.write(answer())
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls) as server:
        yield f"http{'s' if tls else ''}://127.0.0.1:{server.sockets[0].getsockname()[1]}/bucket"


def hence(**time: float) -> datetime:
    """Return this time from now. Every case leaves an hour, so that a slow machine changes no result."""
    return datetime.now(UTC) + timedelta(**time)


def form(expires_at: datetime | None = None) -> dict[str, str]:
    expires_at = expires_at or hence(hours=1)
    policy = json.dumps({"expiration": f"{expires_at:%Y-%m-%dT%H:%M:%SZ}", "conditions": []})
    return {"key": "data/x/${filename}", "policy": base64.b64encode(policy.encode()).decode()}


def stored(at: datetime | None = None, status: str = "204 No Content") -> Answer:
    at = at or hence()
    head = f"HTTP/1.1 {status}\r\nDate: {format_datetime(at, usegmt=True)}\r\nContent-Length: 0\r\n\r\n"
    return head.encode


def holds(content: bytes, *, stated: bool = True) -> Answer:
    length = f"Content-Length: {len(content)}\r\n" if stated else "Connection: close\r\n"
    return lambda: f"HTTP/1.1 200 OK\r\n{length}\r\n".encode() + content


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "listings.json"
    path.write_text("x" * 2000)
    return path


@pytest.mark.parametrize(
    "settings",
    [
        {"ALL_PROXY": "socks5://127.0.0.1:9"},
        {"HTTP_PROXY": "http://127.0.0.1:9"},
        {"HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "fd00::/8,10.0.0.0/8"},
        {"ALL_PROXY": "gopher://127.0.0.1:9"},
    ],
)
async def test_loopback_is_never_proxied(settings, monkeypatch: pytest.MonkeyPatch, file: Path):
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    async with store(stored()) as url:
        assert await post_file(url, form(), file.name, file) == "data/x/listings.json"
    async with store(holds(b"content")) as url:
        assert await fetch(url) == b"content"


@pytest.mark.parametrize(
    "settings",
    [
        {"ALL_PROXY": "socks5://127.0.0.1:9"},
        {"HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "fd00::/8"},
        {"ALL_PROXY": "gopher://127.0.0.1:9"},
        {"HTTP_PROXY": "http://127.0.0.1:9"},
    ],
)
async def test_a_proxy_that_cannot_be_used_is_one_line(settings, monkeypatch: pytest.MonkeyPatch, file: Path):
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    for attempt in (post_file("http://s3.example/b", form(), "x", file), fetch("http://s3.example/b")):
        with pytest.raises((ProxySettingsError, TransferError)) as refused:
            await attempt
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://127.0.0.1:8333/x", True),
        ("http://127.9.9.9", True),
        ("http://[::1]:80", True),
        ("http://localhost:1", True),
        ("http://127.0.0.1.example", False),
        ("https://s3.example", False),
        ("http://[", False),
        ("", False),
    ],
)
def test_which_hosts_are_this_machine(url: str, loopback: bool):
    assert is_loopback(url) is loopback


async def test_a_form_that_has_ended_is_not_sent(file: Path):
    with pytest.raises(TooLateError, match="next epoch"):
        await post_file("http://127.0.0.1:9/", form(hence(seconds=-1)), file.name, file)


async def test_a_file_that_arrives_after_the_deadline_does_not_count(file: Path):
    deadline = hence(hours=1)
    async with store(stored(deadline + timedelta(seconds=22))) as url:
        with pytest.raises(TooLateError, match="does not count"):
            await post_file(url, form(deadline), file.name, file, deadline_at=deadline)
    async with store(stored(deadline + timedelta(seconds=1), "403 Forbidden")) as url:
        with pytest.raises(TooLateError):
            await post_file(url, form(deadline), file.name, file)
    async with store(stored(deadline - timedelta(seconds=1), "403 Forbidden")) as url:
        with pytest.raises(TransferError) as refused:
            await post_file(url, form(deadline), file.name, file, deadline_at=deadline)
        assert not isinstance(refused.value, TooLateError)
    async with store(stored(deadline - timedelta(seconds=1))) as url:
        assert await post_file(url, form(deadline), file.name, file, deadline_at=deadline)


@pytest.mark.parametrize("stated", [True, False])
async def test_what_is_larger_than_allowed_is_left_where_it_is(stated: bool, tmp_path: Path):
    path = tmp_path / "big"
    async with store(holds(b"x" * 5000, stated=stated)) as url:
        with pytest.raises(TooLargeError):
            await fetch(url, max_bytes=4999)
        with pytest.raises(TooLargeError):
            await download(url, path, max_bytes=4999)
        assert names(tmp_path) == []
        assert await download(url, path, max_bytes=5000) == 5000
        assert path.stat().st_size == 5000
        assert len(await fetch(url, max_bytes=5000)) == 5000


@pytest.mark.parametrize("encoding", ["gzip", "gzip, gzip", "br", "deflate", "none such"])
async def test_an_object_is_read_as_it_is_stored_whatever_encoding_its_miner_stated(
    encoding: str, tmp_path: Path
):
    packed = gzip.compress(bytes(64 * 2**20))
    etag = hashlib.md5(packed, usedforsecurity=False).hexdigest()
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nConnection: close\r\n\r\n".encode()
    async with store(lambda: head + packed) as url:
        path = tmp_path / "stored"
        assert await download(url, path, size_bytes=len(packed), etag=etag) == len(packed)
        assert path.read_bytes() == packed
        assert await fetch(url) == packed


async def test_a_download_that_is_cut_leaves_nothing(tmp_path: Path):
    async with store(lambda: b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b"x" * 100) as url:
        with pytest.raises(TransferError):
            await download(url, tmp_path / "cut")
    assert names(tmp_path) == []


async def test_a_refusal_without_end_is_not_read_to_its_end(file: Path):
    """Otherwise a hostile store could fill the memory with its reply."""
    sent = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\n<Code>AccessDenied</Code>")
        try:
            while sent < 200 * 2**20:
                writer.write(b"x" * 2**20)
                await writer.drain()
                sent += 2**20
        except ConnectionError:
            pass  # the client has read enough
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/bucket"
        with pytest.raises(TransferError, match="AccessDenied"):
            await fetch(url)
        with pytest.raises(TransferError, match="AccessDenied"):
            await post_file(url, form(), file.name, file)
    assert sent < 100 * 2**20


async def test_certificates_of_the_environment_count_for_this_machine_too(tmp_path: Path, monkeypatch):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    async with store(holds(b"content"), tls) as url:
        monkeypatch.delenv("SSL_CERT_FILE", raising=False)
        with pytest.raises(TransferError):
            await fetch(url)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        assert await fetch(url) == b"content"
