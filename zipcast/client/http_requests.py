"""Sends the requests of one hotkey over HTTP, for clients that cannot connect to NATS.

The signatures, the order of signers and the correction of the clock are those of `signed_requests`. Each
request uses the address and method that `zipcast.protocol.verbs` lists.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx

from zipcast.client.http import (
    HTTP_FAULTS,
    AnswerEncodingError,
    AnswerTooLargeError,
    BoundedBody,
    ProxySettingsError,
    open_client,
)
from zipcast.client.requests import Requests
from zipcast.client.service_time import ServiceTime
from zipcast.client.signed_requests import REQUEST_TIMEOUT_SECONDS, Answer, Requester, refusal_of
from zipcast.clock import Clock
from zipcast.errors import CertificateError, ClosedError, SettingsError, UnavailableError, ZipcastError
from zipcast.protocol.envelope import UnverifiedEnvelope
from zipcast.protocol.hotkeys import Hotkey, Signer
from zipcast.protocol.messages.base import HEADER_ERROR
from zipcast.protocol.verbs import VERBS, Verb

MAX_REPLY_BYTES = 8 * 2**20
MAX_EVENT_BYTES = 1 << 20
STREAM_TIMEOUT_SECONDS = 45.0
"""The longest time in seconds without data on a stream of epochs. The bridge sends a heartbeat every 15
seconds."""
RETRY_AFTER_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A reply over HTTP. Its headers are those that the same reply has over NATS."""

    data: bytes
    headers: dict[str, str] | None


class HttpRequester(Requester):
    """Sends the requests of one hotkey to one bridge."""

    def __init__(
        self,
        address: str,
        signer: Signer,
        receivers: frozenset[Hotkey],
        clock: Clock,
        time: ServiceTime | None = None,
    ) -> None:
        """Prepare for requests. Raises SettingsError for an address that would send requests unencrypted."""
        parts = urlsplit(address)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise SettingsError("the address of the bridge must be https://HOST or http://127.0.0.1:PORT")
        if parts.scheme == "http" and parts.hostname not in {"127.0.0.1", "::1", "localhost"}:
            raise SettingsError(f"{parts.hostname}: use https:// for anything but loopback")
        super().__init__(signer, receivers, clock, _no_connection, time)
        self._address = address.rstrip("/")
        self._client: httpx.AsyncClient | None = None

    async def __aenter__(self) -> "HttpRequester":
        try:
            self._client = open_client(self._address, REQUEST_TIMEOUT_SECONDS)
        except ProxySettingsError as error:
            raise SettingsError(str(error)) from error
        return self

    async def __aexit__(self, *_: object) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def epochs(self, on_sealed: Callable[[bytes], None]) -> AsyncGenerator[UnverifiedEnvelope]:
        """Yield the running epoch, then later ones as the bridge sends them. The epochs are not verified.
        Call `on_sealed` with each sealed epoch.

        If the bridge refuses the request because of its time or its receiver, the next call uses the
        service's time or the next signer. Raises ServiceError and UnavailableError. The stream may also end
        without an error."""
        target, body = self._target(Verb.EPOCH_STREAM, b"{}")
        method, path = target.split(" ", 1)
        client = self._opened()
        headers = self._signed(method, path, body, self._receivers[0]) | {"Accept": "text/event-stream"}
        with _translated(self._address):
            async with client.stream(
                method, self._address + path, headers=headers, timeout=STREAM_TIMEOUT_SECONDS
            ) as answer:
                if answer.status_code != httpx.codes.OK:
                    async with asyncio.timeout(REQUEST_TIMEOUT_SECONDS):
                        content = await _read(answer)
                    refusal = refusal_of(_answer(answer, content))
                    if refusal is None:
                        raise UnavailableError("the bridge sent no epochs")
                    self._adapt(refusal)
                    raise refusal.error
                self._time.confirm()
                async for kind, data in _events(answer):
                    if kind == b"sealed":
                        on_sealed(data)
                    elif not kind:
                        yield _envelope(_object(data))

    def _target(self, verb: Verb, body: bytes) -> tuple[str, bytes]:
        """Return the method, path and query of a request, and its body, which is empty for a GET. Raises
        UnavailableError for a verb that has no address."""
        endpoint = VERBS[verb].http
        if endpoint is None:
            raise UnavailableError(f"{verb} cannot be sent over HTTP, and NATS cannot be reached")
        if endpoint.method == "POST":
            return f"POST {endpoint.path}", body
        fields: dict[str, Any] = {name: one for name, one in json.loads(body).items() if one is not None}
        path = endpoint.path.replace("{epoch_id}", str(fields.pop("epochId", "")))
        return f"GET {path}?{urlencode(fields)}" if fields else f"GET {path}", b""

    async def _send(self, receiver: Hotkey, subject: str, body: bytes) -> Answer:
        method, path = subject.split(" ", 1)
        headers = self._signed(method, path, body, receiver) | {"Accept-Encoding": "gzip"}
        if body:
            headers["Content-Type"] = "application/json"
        client = self._opened()
        with _translated(self._address):
            async with (
                asyncio.timeout(REQUEST_TIMEOUT_SECONDS),
                client.stream(method, self._address + path, content=body, headers=headers) as answer,
            ):
                content = await _read(answer)
        return _answer(answer, content)

    def _opened(self) -> httpx.AsyncClient:
        if self._client is None:
            raise ClosedError("the client is closed")
        return self._client


class HttpRequests(Requests):
    """The requests of one hotkey over HTTP."""

    def __init__(self, requester: HttpRequester) -> None:
        self._requester = requester

    async def current(self) -> UnverifiedEnvelope:
        """Return the running epoch, not verified. Raises ServiceError, EnvelopeError and UnavailableError."""
        answer = await self._requester.ask(Verb.EPOCH_CURRENT, b"{}")
        return _proven(answer.data)


async def _no_connection() -> Any:
    raise ClosedError("this client uses only HTTP")


class _translated:  # noqa: N801 - a context manager, used like a function
    """Turns errors of the HTTP library into UnavailableError."""

    def __init__(self, address: str) -> None:
        self._address = address

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, httpx.ConnectError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise CertificateError(f"the certificate of {self._address} was refused") from error
        if isinstance(error, HTTP_FAULTS) and not isinstance(error, ZipcastError):
            raise UnavailableError(
                f"{self._address} does not reply: {type(error).__name__}", retry_after=RETRY_AFTER_SECONDS
            ) from error


async def _read(answer: httpx.Response) -> bytes:
    """Return the body of a reply. Raises UnavailableError if it is too large or unreadable."""
    content = bytearray()
    try:
        body = BoundedBody(answer.headers, MAX_REPLY_BYTES)
        async for piece in answer.aiter_raw():
            content += body.decompress(piece)
    except (AnswerTooLargeError, AnswerEncodingError) as error:
        raise UnavailableError(f"the reply of the bridge cannot be read: {error}") from None
    return bytes(content)


def _answer(answer: httpx.Response, content: bytes) -> HttpAnswer:
    headers = dict(answer.headers)
    request_id = headers.get("x-request-id")
    stated = {} if request_id is None else {"Zipcast-Request-Id": request_id}
    if answer.status_code != httpx.codes.OK:
        stated[HEADER_ERROR] = str(answer.status_code)
    return HttpAnswer(content, stated)


async def _events(answer: httpx.Response) -> AsyncIterator[tuple[bytes, bytes]]:
    """Yield type and data of each event of a stream; epochs have no type. Raises UnavailableError for an
    event that is too large."""
    pending, searched = bytearray(), 0
    async for piece in answer.aiter_raw():
        pending += piece
        while (end := pending.find(b"\n\n", searched)) >= 0:
            lines = bytes(pending[:end]).split(b"\n")
            del pending[: end + 2]
            searched = 0
            kind = b"".join(line[6:].strip() for line in lines if line.startswith(b"event:"))
            data = b"".join(line[5:] for line in lines if line.startswith(b"data:"))
            if data:
                yield kind, data
        searched = max(0, len(pending) - 1)  # search each byte once, since pieces may be small
        if len(pending) > MAX_EVENT_BYTES:
            raise UnavailableError("the bridge sent an event that is too large")


def _proven(data: bytes) -> UnverifiedEnvelope:
    return _envelope(_object(data).get("proof"))


def _object(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {}


def _envelope(stated: object) -> UnverifiedEnvelope:
    """Read an envelope from JSON. Raises EnvelopeError if a field is missing."""
    fields = stated if isinstance(stated, dict) else {}
    payload = str(fields.get("payload", "")).encode(errors="replace")
    named = _object(payload).get("epochId", "")
    return UnverifiedEnvelope(
        payload, str(fields.get("signer", "")), str(fields.get("signature", "")), str(named)
    )
