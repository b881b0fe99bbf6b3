"""Answers nats-server's connection requests, newest first.

The steps are: decrypt the request, apply the limits of its address, put it back if it is old, verify it,
decide, mark its password as used, and send the reply. In a flood, this order serves clients that have just
arrived rather than connections that have already given up.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from broker_service.callout.address_limits import AddressLimits, Limit
from broker_service.callout.connections import Connection, Connections, Place, connection_user
from broker_service.callout.decision import Decider, Granted, KeptOutError, ProofError, RefusedError
from broker_service.callout.exchange_messages import (
    ConnectRequest,
    Exchange,
    ExchangeError,
    UnverifiedQuestion,
)
from broker_service.callout.metrics import CalloutMetrics
from broker_service.callout.reconciler import Reconciler
from broker_service.callout.refusal_log import RefusalLog
from broker_service.callout.used_passwords import SpentPasswords
from service import logs
from service.token_buckets import Buckets, Rate
from zipcast.clock import Clock

log = logs.logger()

# The age in seconds from which a request is dropped. nats-server waits only 1.9 s for a reply (nats.conf).
STALE_SECONDS = 1.7
# The age in seconds from which a request counts as old by the time that nats-server states. That time is in
# whole seconds, and the server's clock may differ from the local clock.
OLD_SECONDS = 3.0
MAX_WAITING = 2048
# At most this many used passwords are written to the bucket at the same time. Each write takes some
# milliseconds.
MAX_SPENDING = 64


@dataclass(frozen=True, slots=True)
class Question:
    arrived: float
    message: Msg
    opened: UnverifiedQuestion | None = None
    """The decrypted request, if it was put back behind newer ones."""


@dataclass(slots=True)
class Waiting:
    """Waiting requests. The newest is served first; if there is no room, the oldest is dropped."""

    _questions: deque[Question] = field(default_factory=deque)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, question: Question) -> bool:
        """Add a request. Return False if another one was dropped for it."""
        full = len(self._questions) >= MAX_WAITING
        if full:
            self._questions.popleft()
        self._questions.append(question)
        self._arrived.set()
        return not full

    def set_back(self, question: Question) -> None:
        self._questions.appendleft(question)

    async def newest(self) -> Question:
        while not self._questions:
            self._arrived.clear()
            await self._arrived.wait()
        return self._questions.pop()


@dataclass(slots=True)
class Callout:
    """Receives requests with `take`, which subscribes to the callout subject, and answers them in `run`."""

    connection: Client
    exchange: Exchange
    limits: AddressLimits
    decider: Decider
    spent: SpentPasswords
    connections: Connections
    reconciler: Reconciler
    clock: Clock
    metrics: CalloutMetrics
    refusals: RefusalLog
    proven: Buckets
    """Limits the granted connections of each hotkey, because a valid proof costs the most time."""
    _kept_out_answers: Buckets = field(default_factory=lambda: Buckets(Rate(1, 1)))
    _waiting: Waiting = field(default_factory=Waiting)
    _spending: set["asyncio.Task[None]"] = field(default_factory=set)

    async def take(self, message: Msg) -> None:
        """Queue the request. The decision follows later, so that receiving does not wait for cryptography."""
        if not self._waiting.put(Question(self.clock.monotonic(), message)):
            self.metrics.stale.inc()

    async def run(self) -> None:
        while True:
            question = await self._waiting.newest()
            if self.clock.monotonic() - question.arrived > STALE_SECONDS:
                self.metrics.stale.inc()
                continue
            await self._consider(question)
            await asyncio.sleep(0)  # receive newer requests

    async def close(self) -> None:
        for task in self._spending:
            task.cancel()
        await asyncio.gather(*self._spending, return_exceptions=True)

    async def _consider(self, question: Question) -> None:
        try:
            opened = question.opened or self._look_at(question)
            if opened is not None:
                await self._decide(question, opened.verify())
        except ExchangeError as error:
            self.metrics.malformed.inc()
            log.error("callout_request_malformed", reason=str(error))

    def _look_at(self, question: Question) -> UnverifiedQuestion | None:
        """Decrypt the request. Return it if a decision is needed now, otherwise None. Raises
        ExchangeError."""
        headers = question.message.headers or {}
        opened = self.exchange.unseal(question.message.data, headers.get("Nats-Server-Xkey", ""))
        limit = self.limits.exceeded(opened.client_host, self.clock.monotonic())
        if limit is not None:
            self.metrics.limited(limit)
            self.refusals.note(f"limit of {limit}", opened.client_host)
            return None
        # Do not drop an old request, only handle it later: if the clocks differ, every request looks old, but
        # all must be answered.
        if self.clock.now().timestamp() - opened.issued_at > OLD_SECONDS:
            self._waiting.set_back(Question(question.arrived, question.message, opened))
            return None
        return opened

    async def _decide(self, question: Question, request: ConnectRequest) -> None:
        try:
            granted = self.decider.decide(request, self._now_unix())
        except RefusedError as error:
            await self._refuse(question, request, error)
            return
        if granted.password_at is None:
            await self._grant(question, request, granted)
            return
        if len(self._spending) >= MAX_SPENDING:
            await self._refuse(question, request, RefusedError("passwords unavailable"))
            return
        task = asyncio.create_task(self._spend(question, request, granted, granted.password_at))
        self._spending.add(task)
        task.add_done_callback(self._spending.discard)

    async def _spend(self, question: Question, request: ConnectRequest, granted: Granted, at: int) -> None:
        """Mark the password as used, then answer, as a separate task, so that other requests do not wait."""
        try:
            await self.spent.spend(granted.hotkey, at)
        except RefusedError as error:
            await self._refuse(question, request, error)
        else:
            await self._grant(question, request, granted)

    async def _grant(self, question: Question, request: ConnectRequest, granted: Granted) -> None:
        """Grant the connection, unless the hotkey has connected too often. No other hotkey can use up its
        limit: a nonce is signed for this connection, and a password was marked as used just now."""
        if not self.proven.take(granted.hotkey, self.clock.monotonic()):
            self.metrics.limited(Limit.HOTKEY)
            self.refusals.note(f"limit of {Limit.HOTKEY}", request.client_host, granted.hotkey)
            return
        name = connection_user(granted.hotkey, granted.role)
        answer = self.exchange.grant(request, name, granted.permissions, self._now_unix())
        await self._answer(question, answer)
        self.metrics.granted.inc()
        log.info("connection_granted", hotkey=granted.hotkey, role=granted.role, host=request.client_host)
        place = Place(request.server_id, request.client_id)
        connection = Connection(place, granted.hotkey, granted.role, self.clock.now())
        await self.reconciler.kick(self.connections.granted(connection))

    async def _refuse(self, question: Question, request: ConnectRequest, error: RefusedError) -> None:
        named = request.token or request.user
        self.metrics.refused(error.kind)
        self.refusals.note(error.kind, request.client_host, named)
        if self._is_answered(error, request.client_host, named):
            await self._answer_refusal(question, request, error)

    def _is_answered(self, error: RefusedError, host: str, named: str) -> bool:
        """Return whether to send a refusal, which costs two signatures. Without one, the client waits for a
        timeout."""
        now = self.clock.monotonic()
        if isinstance(error, ProofError):
            return self.limits.failed(host, now)
        return not isinstance(error, KeptOutError) or self._kept_out_answers.take(named, now)

    async def _answer_refusal(self, question: Question, request: ConnectRequest, error: RefusedError) -> None:
        await self._answer(question, self.exchange.refuse(request, str(error), self._now_unix()))

    async def _answer(self, question: Question, answer: bytes) -> None:
        try:
            await self.connection.publish(question.message.reply, answer)
        except NatsError as error:  # the client has given up by now and will reconnect
            log.warning("callout_answer_lost", error=type(error).__name__)
            return
        self.metrics.duration.observe(self.clock.monotonic() - question.arrived)

    def _now_unix(self) -> int:
        return int(self.clock.now().timestamp())
