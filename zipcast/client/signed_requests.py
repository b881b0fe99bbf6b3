"""Signs and sends the requests of one hotkey, and returns the reply or raises its error.

This module decides to which signer a request is addressed, signs again if the service states another time
(`service_time`), and ends requests early when their failure is already known. It does not own the connection.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from pydantic import ValidationError

from zipcast.client.service_time import ServiceTime
from zipcast.clock import Clock
from zipcast.protocol import btauth, subjects
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.hotkeys import Hotkey, Signer, parse_hotkey
from zipcast.protocol.messages.base import (
    HEADER_ERROR,
    HEADER_REQUEST_ID,
    WireModel,
    parse_error,
    stated_server_time,
)
from zipcast.protocol.verbs import Verb

REQUEST_TIMEOUT_SECONDS = 10.0
AGAIN_SECONDS = 3.0
"""The time in seconds after which an unanswered request is sent again, unchanged, because the responder that
received it may have died. The service answers a repeated request like the first one."""
RETRY_PAUSE_SECONDS = 0.1

_PUBLISH_DENIED = re.compile(r'permissions violation for publish to "([^"]+)"', re.IGNORECASE)

Reply = TypeVar("Reply", bound=WireModel)


class Answer(Protocol):
    """A reply to a request: its headers, and its body or the body of an error."""

    @property
    def data(self) -> bytes: ...

    @property
    def headers(self) -> dict[str, str] | None: ...


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error reply, with the service's time if the reply states it."""

    error: ServiceError
    server_time: datetime | None


@dataclass(slots=True)
class ByteBudget:
    """Limits the size of several replies together, because a hostile service could send pages without end."""

    left: int

    def spend(self, count: int) -> None:
        """Subtract the size of one reply. Raises ServiceError(INTERNAL) if the sum is too large."""
        self.left -= count
        if self.left < 0:
            raise ServiceError(ErrorCode.INTERNAL, "The service sent more pages than an epoch can have.")


class ConnectionLostError(nats.errors.ConnectionClosedError):
    """The connection was lost while a request waited on it."""


_UNREADABLE = Refusal(
    ServiceError(ErrorCode.INTERNAL, "The service refused the request with an unreadable error."), None
)


class Requester:
    """Sends the requests of one hotkey. `receivers` are the trusted signers. `connection` waits for an open
    connection, or raises."""

    def __init__(
        self,
        signer: Signer,
        receivers: frozenset[Hotkey],
        clock: Clock,
        connection: Callable[[], Awaitable[Client]],
        time: ServiceTime | None = None,
    ) -> None:
        """Prepare for requests. Raises ValueError if there is no receiver, and MalformedHotkeyError."""
        if not receivers:
            raise ValueError("name at least one signer to trust")
        self._signer = signer
        self._hotkey = parse_hotkey(signer.ss58_address)
        self._receivers = sorted(receivers)
        self._clock = clock
        self._connection = connection
        self._time = time or ServiceTime(clock)
        self._interruptions: dict[asyncio.Future[Msg], str] = {}

    def now(self) -> datetime:
        """Return the service's time if it is known, otherwise the local time."""
        return self._time.now()

    def prefer(self, receiver: Hotkey) -> None:
        """Address requests to that signer first."""
        self._receivers.sort(key=lambda pinned: pinned != receiver)

    async def call(
        self, verb: Verb, request: WireModel, reply: type[Reply], budget: ByteBudget | None = None
    ) -> Reply:
        """Send a request and return its reply. The size of the reply counts against `budget`. Raises
        ServiceError and nats.errors.Error."""
        message = await self.ask(verb, request.to_bytes())
        if budget is not None:
            budget.spend(len(message.data))
        try:
            return reply.model_validate_json(message.data)
        except ValidationError as error:
            raise ServiceError(ErrorCode.INTERNAL, "The service sent an unreadable reply.") from error

    async def ask(self, verb: Verb, body: bytes) -> Answer:
        """Return the reply to a request. Address it to one trusted signer after the other until the service
        accepts it, since during a change of the signer a client cannot know which one the service uses.

        Raises ServiceError and nats.errors.Error."""
        subject, body = self._target(verb, body)
        *others, last = self._receivers
        for receiver in others:
            try:
                return await self._ask_signer(receiver, subject, body)
            except ServiceError as error:
                if error.code is not ErrorCode.WRONG_RECEIVER:
                    raise
        return await self._ask_signer(last, subject, body)

    def _target(self, verb: Verb, body: bytes) -> tuple[str, bytes]:
        """Return the subject of a request, and its body. Over HTTP, the subject is method, path and query."""
        return subjects.request(self._hotkey, verb), body

    async def _ask_signer(self, receiver: Hotkey, subject: str, body: bytes) -> Answer:
        reply = await self._send(receiver, subject, body)
        refusal = refusal_of(reply)
        if refusal is not None and refusal.server_time is not None:
            # This machine's time is wrong, and the service has stated its own, so sign once more with that
            # time.
            self._time.follow(refusal.server_time)
            reply = await self._send(receiver, subject, body)
            refusal = refusal_of(reply)
        if refusal is not None:
            raise refusal.error
        self._time.confirm()
        self.prefer(receiver)
        return reply

    async def _send(self, receiver: Hotkey, subject: str, body: bytes) -> Answer:
        """Send the request until there is a reply. If the connection is lost, sign and send it again on the
        next connection. That is harmless: a report counts once, and credentials are only issued again.

        Raises nats.errors.TimeoutError after REQUEST_TIMEOUT_SECONDS, and nats.errors.Error."""
        ends_at = self._clock.monotonic() + REQUEST_TIMEOUT_SECONDS
        while True:
            left = ends_at - self._clock.monotonic()
            try:
                return await self._reply_or_interruption(
                    asyncio.ensure_future(self._attempt(receiver, subject, body, left)), subject
                )
            except ConnectionLostError:
                if self._clock.monotonic() >= ends_at:
                    raise
                await self._clock.sleep(RETRY_PAUSE_SECONDS)

    async def _attempt(self, receiver: Hotkey, subject: str, body: bytes, timeout_seconds: float) -> Msg:
        began = self._clock.monotonic()
        try:
            async with asyncio.timeout(timeout_seconds):
                connection = await self._connection()
        except TimeoutError:
            raise nats.errors.ConnectionClosedError from None
        headers = self._signed("NATS", subject, body, receiver)
        left = max(0.1, timeout_seconds - (self._clock.monotonic() - began))
        first = min(AGAIN_SECONDS, left)
        try:
            try:
                return await connection.request(subject, body, timeout=first, headers=headers)
            except nats.errors.TimeoutError:
                if left <= first:
                    raise
                return await connection.request(subject, body, timeout=left - first, headers=headers)
        except nats.errors.ConnectionClosedError:
            raise ConnectionLostError from None

    def _adapt(self, refusal: Refusal) -> None:
        """Take over the service's time if the refusal states it, and address the next request to another
        signer if this one is wrong. Raises ServiceError(STALE_REQUEST) if the local clock differs too
        much."""
        if refusal.server_time is not None:
            self._time.follow(refusal.server_time)
        if refusal.error.code is ErrorCode.WRONG_RECEIVER:
            self._receivers.append(self._receivers.pop(0))

    def _signed(self, method: str, path: str, body: bytes, receiver: Hotkey) -> dict[str, str]:
        """Return the headers that prove the hotkey for one request."""
        nonce_ns = int(self.now().timestamp() * 1_000_000_000)
        return btauth.sign(
            self._signer, method=method, path=path, body=body, receiver=receiver, nonce_ns=nonce_ns
        )

    async def _reply_or_interruption(self, request: asyncio.Future[Msg], subject: str) -> Msg:
        """Return the reply, or raise the error that `interrupt` reports, for which the request would
        otherwise wait until its timeout."""
        interruption: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        self._interruptions[interruption] = subject.lower()
        try:
            await asyncio.wait({request, interruption}, return_when=asyncio.FIRST_COMPLETED)
            return request.result() if request.done() else interruption.result()
        finally:
            del self._interruptions[interruption]
            # Await it even if it has failed, since asyncio would otherwise warn about an unretrieved error.
            request.cancel()
            interruption.cancel()

    def interrupt(self, error: BaseException, subject: str | None = None) -> None:
        """End waiting requests with `error`: all, or those on one subject."""
        for interruption, waiting_on in self._interruptions.items():
            if subject in {None, waiting_on} and not interruption.done():
                interruption.set_exception(error)

    async def on_error(self, error: Exception) -> None:
        """End the requests on a subject that this hotkey may not use. nats-server reports this separately
        from the request."""
        denied = _PUBLISH_DENIED.search(str(error))
        if denied is not None:
            subject = denied.group(1).lower()
            admins_own = subject.startswith(subjects.ADMIN_PREFIX)
            code = ErrorCode.ADMIN_REQUIRED if admins_own else ErrorCode.VALIDATOR_REQUIRED
            needed = "an admin's hotkey" if admins_own else "a validator permit and enough stake"
            self.interrupt(ServiceError(code, f"This request needs {needed}."), subject)


def refusal_of(reply: Answer) -> Refusal | None:
    """Return the error that a reply states, INTERNAL if it is unreadable, or None. `server_time` is set only
    if the error is about the time."""
    if HEADER_ERROR not in (reply.headers or {}):
        return None
    try:
        error = parse_error(reply.data)
        error.request_id = (reply.headers or {}).get(HEADER_REQUEST_ID)
        stale = error.code is ErrorCode.STALE_REQUEST
        return Refusal(error, stated_server_time(reply.data) if stale else None)
    except (ValueError, TypeError, AttributeError, ArithmeticError, OSError, RecursionError):
        return _UNREADABLE
