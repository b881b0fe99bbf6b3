"""Observes a stack from outside during faults: NATS subscribers, an HTTP poller, the SDK.

Owns keeping them watching: a lost connection is replaced by a new one, an unanswered question asked
again. Judges nothing; `invariants` does.
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
    """A participant on raw connections: what the SDK would filter out is seen here."""

    def __init__(self, ready: Ready, name: str) -> None:
        self.name = name
        self._ready = ready
        self._signer = keypair(ready, name)
        self._sessions: list[Session] = []
        self.connected = asyncio.Event()

    async def run(self) -> None:
        """One session after the other, until cancelled."""
        while True:
            try:
                await self._session()
            except (nats.errors.Error, OSError, TimeoutError):
                await asyncio.sleep(_PAUSE_SECONDS)

    @property
    def seen(self) -> Subscriber:
        return Subscriber(self.name, tuple(self._sessions))

    async def _session(self) -> None:
        """Raises nats.errors.Error, OSError, TimeoutError while there is no getting in."""
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
        """The running epoch, which the push of it may have missed."""
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
    """`Nats-Sequence` is what the stream's republishing adds."""
    headers = message.headers or {}
    envelope = UnverifiedEnvelope.from_headers(headers, message.data)
    sequence = headers.get("Nats-Sequence")
    return Arrival(envelope, datetime.now(UTC), None if sequence is None else int(sequence))


class SdkWatcher:
    """A participant as the SDK makes one: takes what `epochs` hands out, on one client all along."""

    def __init__(self, ready: Ready, name: str) -> None:
        self._ready = ready
        self._name = name
        self.taken: list[Arrival] = []

    async def run(self) -> None:
        """Until cancelled, or until the client ends for good, which it must not."""
        async with client(self._ready, self._name) as connected:
            async for received in connected.epochs():
                self.taken.append(Arrival(received.epoch.envelope, received.received_at, None))


class HttpWatcher:
    """Asks for the running epoch again and again, as a client that cannot use NATS does."""

    def __init__(self, ready: Ready, name: str) -> None:
        self._ready = ready
        self._signer = keypair(ready, name)
        self.answers: list[HttpAnswer] = []

    async def run(self) -> None:
        """Until cancelled."""
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
    """Empty where the body is not one of our errors."""
    try:
        return str(reply.json()["error"])
    except (ValueError, KeyError, TypeError):
        return ""
