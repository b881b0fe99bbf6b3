"""Signs and sends the requests of one hotkey, and returns the reply or raises its error.

This module decides to which signer a request is addressed, corrects the time if the local clock is wrong, and
ends requests early when their failure is already known. It does not own the connection.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from pydantic import ValidationError

from zipcast.clock import Clock
from zipcast.protocol import btauth, subjects
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.hotkeys import Hotkey, Signer, parse_hotkey
from zipcast.protocol.messages.base import HEADER_ERROR, WireModel, parse_error, stated_server_time
from zipcast.protocol.verbs import Verb

REQUEST_TIMEOUT_SECONDS = 10.0
RETRY_PAUSE_SECONDS = 0.1
MAX_CLOCK_OFFSET = timedelta(hours=1)
"""The largest correction of the local clock by the service's time. That time is not signed, and a hostile
server could otherwise obtain a request signed for the far future and use it then."""

_PUBLISH_DENIED = re.compile(r'permissions violation for publish to "([^"]+)"', re.IGNORECASE)

Reply = TypeVar("Reply", bound=WireModel)


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error reply, with the service's time if the reply states it."""

    error: ServiceError
    server_time: datetime | None


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
    ) -> None:
        """Prepare for requests. Raises ValueError if there is no receiver, and MalformedHotkeyError."""
        if not receivers:
            raise ValueError("name at least one signer to trust")
        self._signer = signer
        self._hotkey = parse_hotkey(signer.ss58_address)
        self._receivers = sorted(receivers)
        self._clock = clock
        self._connection = connection
        self._offset = timedelta(0)
        self._interruptions: dict[asyncio.Future[Msg], str] = {}

    def now(self) -> datetime:
        """Return the service's time if it is known, otherwise the local time. They differ by at most
        MAX_CLOCK_OFFSET."""
        return self._clock.now() + self._offset

    def prefer(self, receiver: Hotkey) -> None:
        """Address requests to that signer first."""
        self._receivers.sort(key=lambda pinned: pinned != receiver)

    async def call(self, verb: Verb, request: WireModel, reply: type[Reply]) -> Reply:
        """Send a request and return its reply. Raises ServiceError and nats.errors.Error."""
        message = await self.ask(verb, request.to_bytes())
        try:
            return reply.model_validate_json(message.data)
        except ValidationError as error:
            raise ServiceError(ErrorCode.INTERNAL, "The service sent an unreadable reply.") from error

    async def ask(self, verb: Verb, body: bytes) -> Msg:
        """Return the reply to a request. Address it to one trusted signer after the other until the service
        accepts it, since during a change of the signer a client cannot know which one the service uses.

        Raises ServiceError and nats.errors.Error."""
        subject = subjects.request(self._hotkey, verb)
        *others, last = self._receivers
        for receiver in others:
            try:
                return await self._ask_signer(receiver, subject, body)
            except ServiceError as error:
                if error.code is not ErrorCode.WRONG_RECEIVER:
                    raise
        return await self._ask_signer(last, subject, body)

    async def _ask_signer(self, receiver: Hotkey, subject: str, body: bytes) -> Msg:
        reply = await self._send(receiver, subject, body)
        refusal = refusal_of(reply)
        if refusal is not None and refusal.server_time is not None:
            # The local clock is wrong, and the service stated its time, so sign once more with that time.
            self._offset = _followed(refusal.server_time - self._clock.now())
            reply = await self._send(receiver, subject, body)
            refusal = refusal_of(reply)
        if refusal is not None:
            raise refusal.error
        self.prefer(receiver)
        return reply

    async def _send(self, receiver: Hotkey, subject: str, body: bytes) -> Msg:
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
        nonce_ns = int(self.now().timestamp() * 1_000_000_000)
        headers = btauth.sign(
            self._signer, method="NATS", path=subject, body=body, receiver=receiver, nonce_ns=nonce_ns
        )
        left = max(0.1, timeout_seconds - (self._clock.monotonic() - began))
        try:
            return await connection.request(subject, body, timeout=left, headers=headers)
        except nats.errors.ConnectionClosedError:
            raise ConnectionLostError from None

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


def _followed(offset: timedelta) -> timedelta:
    """Return the offset if it is within MAX_CLOCK_OFFSET. Raises ServiceError(STALE_REQUEST)."""
    if abs(offset) > MAX_CLOCK_OFFSET:
        raise ServiceError(
            ErrorCode.STALE_REQUEST,
            f"This machine's clock differs by {abs(offset)} from the service's time. Set the clock, then "
            "try again.",
        )
    return offset


def refusal_of(reply: Msg) -> Refusal | None:
    """Return the error that a reply states, INTERNAL if it is unreadable, or None. `server_time` is set only
    if the error is about the time."""
    if HEADER_ERROR not in (reply.headers or {}):
        return None
    try:
        error = parse_error(reply.data)
        stale = error.code is ErrorCode.STALE_REQUEST
        refusal = Refusal(error, stated_server_time(reply.data) if stale else None)
    except (ValueError, TypeError, AttributeError, ArithmeticError, OSError, RecursionError):
        return _UNREADABLE
    return refusal if isinstance(error.retry_after_seconds, int | None) else _UNREADABLE
