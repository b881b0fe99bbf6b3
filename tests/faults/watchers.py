"""Observes a stack from outside during faults: NATS subscribers, an HTTP poller and a client of the SDK.

Lost connections are replaced, and requests without a reply are sent again. This module does not judge;
`invariants` does.
"""

import asyncio
from datetime import UTC, datetime

import httpx
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from tests.faults.observations import Arrival, HttpAnswer, Session, Subscriber
from tests.support.current_requests import CURRENT, current_query
from tests.support.people import ask, client, keypair, raw_connection
from zipcast.client.local_stack import Ready
from zipcast.protocol import subjects
from zipcast.protocol.envelope import UnverifiedEnvelope
from zipcast.protocol.messages.base import HEADER_ERROR
from zipcast.protocol.verbs import Verb

_PAUSE_SECONDS = 0.2
_POLL_SECONDS = 0.15


class NatsWatcher:
    """A participant on raw connections, which also sees messages that the SDK would ignore."""

    def __init__(self, ready: Ready, name: str) -> None:
        self.name = name
        self._ready = ready
        self._signer = keypair(ready, name)
        self._sessions: list[Session] = []
        self.connected = asyncio.Event()

    async def run(self) -> None:
        """Connect again and again until cancelled."""
        while True:
            try:
                await self._session()
            except (nats.errors.Error, OSError, TimeoutError):
                await asyncio.sleep(_PAUSE_SECONDS)

    @property
    def seen(self) -> Subscriber:
        return Subscriber(self.name, tuple(self._sessions))

    async def _session(self) -> None:
        """Run one connection. Raises nats.errors.Error, OSError and TimeoutError while no connection is
        possible."""
        heard: list[Arrival] = []
        asked: list[Arrival] = []
        lost = asyncio.Event()

        async def hear(message: Msg) -> None:
            heard.append(_arrival(message))

        async def on_close() -> None:
            lost.set()

        connection = await raw_connection(self._ready, self._signer, on_close)
        try:
            await connection.subscribe(subjects.EPOCH, cb=hear)
            await connection.flush(timeout=3)
            subscribed_at = datetime.now(UTC)
            number = len(self._sessions)
            self._sessions.append(Session(subscribed_at, None, heard, asked))
            self.connected.set()
            await self._ask_until_told(connection, asked, lost)
            await lost.wait()
            self.connected.clear()
            self._sessions[number] = Session(subscribed_at, datetime.now(UTC), heard, asked)
        finally:
            await connection.close()

    async def _ask_until_told(self, connection: Client, asked: list[Arrival], lost: asyncio.Event) -> None:
        """Request the running epoch until there is a reply, because its message may have come before the
        subscription."""
        while not asked and not lost.is_set():
            try:
                reply = await ask(self._ready, connection, self._signer, Verb.EPOCH_CURRENT, b"{}")
            except (nats.errors.Error, TimeoutError):
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            if HEADER_ERROR not in (reply.headers or {}):
                asked.append(_arrival(reply))
            else:
                await asyncio.sleep(_PAUSE_SECONDS)


def _arrival(message: Msg) -> Arrival:
    """Return the arrival. `Nats-Sequence` is the header that the stream adds when it sends a message on."""
    headers = message.headers or {}
    envelope = UnverifiedEnvelope.from_headers(headers, message.data)
    sequence = headers.get("Nats-Sequence")
    return Arrival(envelope, datetime.now(UTC), None if sequence is None else int(sequence))


class SdkWatcher:
    """One client of the SDK, which iterates over `epochs` all the time."""

    def __init__(self, ready: Ready, name: str) -> None:
        self._ready = ready
        self._name = name
        self.taken: list[Arrival] = []

    async def run(self) -> None:
        """Receive until cancelled, or until the client ends for good, which must not happen."""
        async with client(self._ready, self._name) as connected:
            async for received in connected.epochs():
                self.taken.append(Arrival(received.epoch.envelope, received.received_at, None))


class HttpWatcher:
    """Requests the running epoch again and again, like a client that cannot use NATS."""

    def __init__(self, ready: Ready, name: str) -> None:
        self._ready = ready
        self._signer = keypair(ready, name)
        self.answers: list[HttpAnswer] = []

    async def run(self) -> None:
        """Send requests until cancelled."""
        async with httpx.AsyncClient(base_url=self._ready.http, timeout=3, trust_env=False) as http:
            while True:
                self.answers.append(await self._ask(http))
                await asyncio.sleep(_POLL_SECONDS)

    async def _ask(self, http: httpx.AsyncClient) -> HttpAnswer:
        asked_at = datetime.now(UTC)
        try:
            reply = await http.get(CURRENT, params=current_query(self._signer))
        except httpx.TransportError as error:
            return HttpAnswer(asked_at, datetime.now(UTC), 0, type(error).__name__, None)
        answered_at = datetime.now(UTC)
        if reply.status_code == httpx.codes.OK:
            return HttpAnswer(asked_at, answered_at, reply.status_code, "", _proof_of(reply))
        return HttpAnswer(asked_at, answered_at, reply.status_code, _stated_error(reply), None)


def _proof_of(reply: httpx.Response) -> UnverifiedEnvelope:
    body = reply.json()
    proof = body["proof"]
    return UnverifiedEnvelope(proof["payload"].encode(), proof["signer"], proof["signature"], body["epochId"])


def _stated_error(reply: httpx.Response) -> str:
    """Return the error of the body, or an empty text if the body is not one of our errors."""
    try:
        return str(reply.json()["error"])
    except (ValueError, KeyError, TypeError):
        return ""
