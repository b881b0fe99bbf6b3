"""Receives messages before they are parsed. It drops messages of hotkeys that send too many, and queues the
others fairly.

The limit per hotkey needs no signature, because only the owner of a hotkey can publish on its subjects. The
sender of dropped messages gets one refusal per second; the other messages are not parsed, logged or answered.
Each verb has separate queues for NATS and for the bridge. So a slow verb does not delay other verbs, and the
bridge's health requests do not wait for other requests.
"""

import asyncio
import json
import re
from collections import Counter
from dataclasses import dataclass, field
from secrets import token_hex

from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from access.fair_queue import Bounds, FairQueue
from access.refusal_log import RefusalTrail
from broker_service.responder.metrics import ResponderMetrics
from service import logs
from service.correlation import correlation_id
from service.nats_client import HardenedClient, RawMessage
from service.token_buckets import Buckets, Rate
from zipcast.clock import Clock
from zipcast.protocol import subjects
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.hotkeys import parse_hotkey
from zipcast.protocol.messages.base import (
    CALLER_OF_COPY,
    HEADER_CALLER,
    HEADER_ERROR,
    HEADER_REQUEST_ID,
    error_body,
)

log = logs.logger()

# At most this many requests of one verb are handled at once. This is enough even if the object store is slow.
MAX_AT_ONCE = 32
MAX_AT_ONCE_OF_ONE = 8
MAX_WAITING = 4096
# How long messages on a subject are dropped after its hotkey exceeded the limit.
MUTED_SECONDS = 1.0
MAX_WAITING_BYTES, MAX_WAITING_BYTES_OF_ONE = 16 * 1024**2, 4 * 1024**2
_CALLER = re.compile(
    rb"\r\n%b: ?([1-9A-HJ-NP-Za-km-z]{40,60})(%b)?\r\n" % (HEADER_CALLER.encode(), CALLER_OF_COPY.encode())
)
_BRIDGE, _COPY = "bridge", "copy"
_END = b"\r\n\r\n"
_BRIDGED = subjects.BRIDGE_REQUEST_PREFIX.encode()


@dataclass(frozen=True, slots=True)
class Origin:
    """The hotkey of a message. Requests from the bridge, and copies of them, are counted separately from the
    same hotkey's requests over NATS, so that someone who repeats an intercepted HTTP request cannot use up
    the hotkey's limits."""

    hotkey: str
    verb: str
    bridged: bool
    is_copy: bool = False

    @property
    def owner(self) -> str:
        if not self.bridged:
            return self.hotkey
        return f"{_COPY if self.is_copy else _BRIDGE}.{self.hotkey}"

    @property
    def queue(self) -> str:
        return f"{_BRIDGE}.{self.verb}" if self.bridged else self.verb


@dataclass(slots=True)
class HotkeyIntake:
    """Receives every message of `client`. `run` passes them on, and `done` makes room for the next one."""

    client: HardenedClient
    per_minute: int
    clock: Clock
    metrics: ResponderMetrics
    refusals: RefusalTrail
    _allowed: Buckets = field(init=False)
    _answers: Buckets = field(default_factory=lambda: Buckets(Rate(1, 1)))
    _dropped: Counter[str] = field(default_factory=Counter)
    """The number of messages of each owner that were dropped since its last refusal."""
    _queues: dict[str, FairQueue[RawMessage]] = field(default_factory=dict)
    _bounds: Bounds = field(init=False)
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _owner_header: str = field(default_factory=lambda: f"Zipcast-Owner-{token_hex(8)}")

    def __post_init__(self) -> None:
        rate = Rate.of_minute(self.per_minute)
        self._allowed = Buckets(rate)
        self._bounds = Bounds(
            waiting=MAX_WAITING,
            waiting_of_one=int(rate.burst),
            bytes=MAX_WAITING_BYTES,
            bytes_of_one=MAX_WAITING_BYTES_OF_ONE,
            at_once=MAX_AT_ONCE,
            at_once_of_one=MAX_AT_ONCE_OF_ONE,
        )
        self.client.intake = self

    async def take(self, message: RawMessage) -> None:
        """Receive a message; the client calls this for every message."""
        subject = message.subject.decode("utf-8", "replace")
        bridged = subject.startswith(subjects.BRIDGE_REQUEST_PREFIX)
        owner, is_copy = _caller(message.headers) if bridged else (subjects.named_owner(subject), False)
        origin = Origin(owner, _verb(subject), bridged, is_copy)
        now = self.clock.monotonic()
        if not self._allowed.take(origin.owner, now):
            if not bridged:
                self._dropped[owner] += self.client.muted.mute(message.subject, now + MUTED_SECONDS)
            await self._refuse(origin, message)
            return
        queue = self._queues.get(origin.queue)
        if queue is None:
            queue = self._queues[origin.queue] = FairQueue(self._bounds)
        size = len(message.data) + len(message.headers)
        if not queue.put(origin.owner, message, size):
            await self._refuse(origin, message)
            return
        self._news.set()

    async def run(self) -> None:
        """Pass on the next messages until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            for queue in list(self._queues.values()):
                while (next_one := queue.take()) is not None:
                    owner, message = next_one
                    if not await self.client.deliver(self._marked(owner, message)):
                        queue.done(owner)

    def _marked(self, owner: str, message: RawMessage) -> RawMessage:
        """Return a message from the bridge with its owner in a header whose name clients cannot know.

        So `done` frees the place of the right hotkey, even if two parsers read the sender's headers
        differently."""
        if not message.subject.startswith(_BRIDGED) or not message.headers.endswith(_END):
            return message
        line = f"\r\n{self._owner_header}: {owner}".encode()
        return message._replace(headers=message.headers.removesuffix(_END) + line + _END)

    def done(self, message: Msg) -> None:
        """Note that a message that `deliver` passed on was answered or dropped."""
        bridged = message.subject.startswith(subjects.BRIDGE_REQUEST_PREFIX)
        headers = message.headers or {}
        origin = Origin(subjects.named_owner(message.subject), _verb(message.subject), bridged)
        owner = headers.get(self._owner_header, f"{_BRIDGE}.") if bridged else origin.owner
        self._queues[origin.queue].done(owner)
        self._news.set()

    async def _refuse(self, origin: Origin, message: RawMessage) -> None:
        """Drop the message. The bridge always gets a refusal, because it waits for a reply; a hotkey gets one
        per second."""
        self._dropped[origin.owner] += 1
        may_answer = self._answers.take(origin.owner, self.clock.monotonic())
        if not (may_answer or origin.bridged):
            return
        error = ServiceError(
            ErrorCode.RATE_LIMITED,
            f"The limit is {self.per_minute} requests in 60 s per hotkey. Wait 1 second before the next "
            "request.",
            retry_after_seconds=1,
        )
        request_id = correlation_id(None)
        if may_answer:
            dropped = self._dropped.pop(origin.owner)
            self.metrics.dropped.inc(dropped)
            log.info("requests_dropped", hotkey=origin.hotkey, verb=origin.verb, dropped=dropped)
            self.refusals.note(
                verb=origin.verb,
                error=error.code,
                hotkey=None
                if origin.bridged
                else origin.hotkey,  # the hotkey of a request from the bridge is not verified here
                source="unknown" if origin.bridged else "nats",
                request_id=request_id,
            )
        await self._answer(origin, message.reply, error, request_id)

    async def _answer(self, origin: Origin, reply: bytes, error: ServiceError, request_id: str) -> None:
        """Send the error to the sender's inbox; if the reply subject is elsewhere, send nothing."""
        try:
            inbox = _inbox(origin)
            to = reply.decode()
        except ValueError:
            return
        if not subjects.reply_is_own(to, inbox):
            return
        headers = {HEADER_ERROR: str(error.code), HEADER_REQUEST_ID: request_id}
        try:
            await self.client.publish(to, json.dumps(error_body(error)).encode(), headers=headers)
        except NatsError as fault:  # without a connection, the sender cannot be reached
            log.warning("refusal_not_sent", error=type(fault).__name__)


def _inbox(origin: Origin) -> str:
    """Return the prefix that reply subjects must have. Raises MalformedHotkeyError."""
    return subjects.BRIDGE_INBOX if origin.bridged else subjects.inbox_prefix(parse_hotkey(origin.hotkey))


def _caller(headers: bytes) -> tuple[str, bool]:
    """Return the hotkey that the bridge names, or an empty text, and whether the message is a copy."""
    found = _CALLER.search(headers) if headers.endswith(_END) else None
    return ("", False) if found is None else (found[1].decode(), found[2] is not None)


def _verb(subject: str) -> str:
    return ".".join(subject.split(".")[-2:])
