"""The SDK: epochs as they start, and the requests a miner or validator makes.

    async with ZipcastClient(servers, wallet.hotkey, trust) as client:
        async for received in client.epochs():
            grant = await client.miner_upload()

Owns reconnecting, signing, and trusting nothing unverified. A connection that is lost is replaced
with a new one, and the running epoch is asked for again, so that none is missed.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from zipcast import btauth, subjects
from zipcast.clock import Clock, SystemClock
from zipcast.connection import Server, connect
from zipcast.envelope import EnvelopeError, Trust, UnverifiedEnvelope, VerifiedEpoch, verify
from zipcast.errors import ErrorCode, ServiceError
from zipcast.hotkeys import Hotkey, Signer, parse_hotkey
from zipcast.messages import (
    HEADER_ERROR,
    MinerUploadReply,
    MinerUploadRequest,
    ValidatorReadReply,
    ValidatorReadRequest,
    ValidatorUploadReply,
    ValidatorUploadRequest,
    WireModel,
    parse_error,
    stated_server_time,
)
from zipcast.subjects import Verb

REQUEST_TIMEOUT_SECONDS = 10.0
LONGEST_PAUSE_SECONDS = 5.0

_PUBLISH_DENIED = re.compile(r'permissions violation for publish to "([^"]+)"', re.IGNORECASE)

Reply = TypeVar("Reply", bound=WireModel)


@dataclass(frozen=True, slots=True)
class ReceivedEpoch:
    """A verified epoch. `via`: pushed at its start, or asked for on connecting."""

    epoch: VerifiedEpoch
    received_at: datetime
    via: Literal["push", "request"]

    @property
    def milliseconds_after_start(self) -> float:
        return (self.received_at - self.epoch.message.epoch_start) / timedelta(milliseconds=1)


class ZipcastClient:
    """One hotkey's connection. `trust` pins signers, network and netuid."""

    def __init__(
        self, servers: Sequence[str], signer: Signer, trust: Trust, *, clock: Clock | None = None
    ) -> None:
        self._servers = [Server.parse(url) for url in servers]
        self._signer = signer
        self._trust = trust
        self._clock = clock or SystemClock()
        self._hotkey = parse_hotkey(signer.ss58_address)
        self._receiver: Hotkey = min(trust.signers)
        self._connection: Client | None = None
        self._closing = False
        self._keeper: asyncio.Task[None] | None = None
        self._lost = asyncio.Event()
        self._arrivals: asyncio.Queue[ReceivedEpoch] = asyncio.Queue()
        self._newest = ""
        self._denials: dict[str, asyncio.Future[None]] = {}
        self._offset = timedelta(0)
        self.refused_messages = 0
        """Epoch messages that failed verification, and were therefore ignored."""

    async def __aenter__(self) -> Self:
        """Connect. Raises nats.errors.Error, asyncio.TimeoutError."""
        await self._connect()
        self._keeper = asyncio.create_task(self._keep_connected(), name="zipcast-connection")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing = True
        if self._keeper is not None:
            self._keeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeper
        if self._connection is not None:
            await self._connection.close()

    async def epochs(self) -> AsyncIterator[ReceivedEpoch]:
        """The running epoch, then each next one as it starts; each once, never an older one."""
        while True:
            received = await self._arrivals.get()
            if received.epoch.message.epoch_id > self._newest:
                self._newest = received.epoch.message.epoch_id
                yield received

    async def current(self) -> VerifiedEpoch:
        """The running epoch. Raises ServiceError, EnvelopeError, nats.errors.Error."""
        message = await self._ask(Verb.EPOCH_CURRENT, b"{}")
        return verify(UnverifiedEnvelope.from_headers(message.headers, message.data), self._trust)

    async def miner_upload(self, epoch_id: str | None = None) -> MinerUploadReply:
        """Access to this miner's folder of one epoch. Raises ServiceError, nats.errors.Error."""
        request = MinerUploadRequest(epoch_id=epoch_id)
        return await self._call(Verb.S3_MINER_UPLOAD, request, MinerUploadReply)

    async def validator_upload(self, epoch_id: str) -> ValidatorUploadReply:
        """Access to this validator's folder of one epoch. Raises ServiceError, nats.errors.Error."""
        request = ValidatorUploadRequest(epoch_id=epoch_id)
        return await self._call(Verb.S3_VALIDATOR_UPLOAD, request, ValidatorUploadReply)

    async def validator_read(
        self, epoch_id: str, miner_hotkey: str, page_token: str | None = None
    ) -> ValidatorReadReply:
        """One page of a miner's uploads of an ended epoch. Raises ServiceError, nats.errors.Error."""
        request = ValidatorReadRequest(epoch_id=epoch_id, miner_hotkey=miner_hotkey, page_token=page_token)
        return await self._call(Verb.S3_VALIDATOR_READ, request, ValidatorReadReply)

    async def _call(self, verb: Verb, request: WireModel, reply: type[Reply]) -> Reply:
        return reply.model_validate_json((await self._ask(verb, request.to_bytes())).data)

    async def _ask(self, verb: Verb, body: bytes) -> Msg:
        try:
            return await self._ask_once(verb, body)
        except _ClockWrongError as error:
            # Our clock is off: the service said by how much, so sign once more with its time.
            self._offset = error.server_time - self._clock.now()
        try:
            return await self._ask_once(verb, body)
        except _ClockWrongError as error:
            raise error.refusal from None

    async def _ask_once(self, verb: Verb, body: bytes) -> Msg:
        connection = self._connection
        if connection is None:
            raise nats.errors.ConnectionClosedError
        subject = subjects.request(self._hotkey, verb)
        now_ns = int((self._clock.now() + self._offset).timestamp() * 1_000_000_000)
        headers = btauth.sign(
            self._signer, method="NATS", path=subject, body=body, receiver=self._receiver, nonce_ns=now_ns
        )
        reply = await self._reply_or_denial(connection, subject, body, headers)
        if reply.headers and HEADER_ERROR in reply.headers:
            refusal = parse_error(reply.data)
            server_time = stated_server_time(reply.data)
            if refusal.code is ErrorCode.STALE_REQUEST and server_time is not None:
                raise _ClockWrongError(refusal, server_time)
            raise refusal
        return reply

    async def _reply_or_denial(
        self, connection: Client, subject: str, body: bytes, headers: dict[str, str]
    ) -> Msg:
        """nats-server reports a subject we may not use apart from the request, which would only time
        out; that report ends it."""
        denied = self._denials.setdefault(subject.lower(), asyncio.get_running_loop().create_future())
        request = asyncio.ensure_future(
            connection.request(subject, body, timeout=REQUEST_TIMEOUT_SECONDS, headers=headers)
        )
        waiting: set[asyncio.Future[Any]] = {request, denied}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if request.done():
            return request.result()
        request.cancel()
        self._denials.pop(subject.lower(), None)
        raise ServiceError(
            ErrorCode.VALIDATOR_REQUIRED, "The role of this hotkey does not allow the request."
        )

    async def _connect(self) -> None:
        """The first server that lets us in; subscribe, then ask for what already runs."""
        failure: Exception = nats.errors.NoServersError()
        for server in self._servers:
            try:
                self._connection = await connect(
                    server,
                    self._signer,
                    network=self._trust.network,
                    netuid=self._trust.netuid,
                    on_error=self._on_error,
                    on_close=self._on_close,
                )
                break
            except (TimeoutError, nats.errors.Error, OSError) as error:
                failure = error
        else:
            raise failure
        self._lost.clear()
        await self._connection.subscribe(subjects.EPOCH, cb=self._on_epoch)
        await self._ask_for_running()

    async def _ask_for_running(self) -> None:
        """An epoch that started before we subscribed. None may be running, and that is no error; an
        unanswered question is made good by the next push."""
        with suppress(ServiceError, nats.errors.Error, asyncio.TimeoutError):
            self._arrive(await self.current(), "request")

    async def _keep_connected(self) -> None:
        pause = 0.1
        while True:
            await self._lost.wait()
            try:
                await self._connect()
                pause = 0.1
            except (TimeoutError, nats.errors.Error, OSError):
                await self._clock.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _on_epoch(self, message: Msg) -> None:
        try:
            envelope = UnverifiedEnvelope.from_headers(message.headers, message.data)
            self._arrive(verify(envelope, self._trust), "push")
        except EnvelopeError:
            self.refused_messages += 1

    def _arrive(self, epoch: VerifiedEpoch, via: Literal["push", "request"]) -> None:
        self._arrivals.put_nowait(ReceivedEpoch(epoch, self._clock.now(), via))

    async def _on_close(self) -> None:
        if not self._closing:
            self._lost.set()

    async def _on_error(self, error: Exception) -> None:
        """A subject denied ends the request waiting on it; what closes the connection reaches `_on_close`."""
        denied = _PUBLISH_DENIED.search(str(error))
        waiting = self._denials.get(denied.group(1).lower()) if denied else None
        if waiting is not None and not waiting.done():
            waiting.set_result(None)


class _ClockWrongError(Exception):
    def __init__(self, refusal: ServiceError, server_time: datetime) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal
        self.server_time = server_time
