"""Runs before and after every handler, as a FastStream middleware.

It has `access.pipeline` check the request, drops and counts requests whose reply subject is not the sender's
own, turns errors into replies, and logs and counts failures.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

from faststream import BaseMiddleware, ContextRepo
from faststream.message import StreamMessage
from faststream.nats import NatsResponse
from faststream.nats.annotations import NatsMessage
from nats.aio.msg import Msg
from pydantic import ValidationError

from access.pipeline import Pipeline
from access.refusal_log import ACCEPTED, RefusalTrail, note_admin_request
from access.requests import Admission, Arrival, VerifiedRefusalError
from access.source_addresses import stated_address
from broker_service.responder.current_request import answering
from broker_service.responder.incoming_messages import HotkeyIntake
from broker_service.responder.issuance import IssuanceWriter, ProvenRequest
from broker_service.responder.metrics import ANSWERED, ResponderMetrics
from service import logs, tracing
from service.correlation import correlated, correlation_id
from service.tracing import TRACER
from zipcast.clock import Clock
from zipcast.protocol import subjects
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.messages.base import (
    HEADER_CLIENT_ADDRESS,
    HEADER_ERROR,
    HEADER_REQUEST_ID,
    error_body,
    first_fault,
)
from zipcast.protocol.strict_json import parse_object
from zipcast.protocol.verbs import VERBS, Verb

log = logs.logger()

Next = Callable[[StreamMessage[Msg]], Awaitable[Any]]


async def decode(message: NatsMessage) -> dict[str, object]:
    """Decode a message for FastStream: strict JSON, as over HTTP."""
    return parse_object(message.body)


class Gate:
    """Creates the middleware of one broker."""

    def __init__(
        self,
        pipeline: Pipeline,
        writer: IssuanceWriter,
        refusals: RefusalTrail,
        metrics: ResponderMetrics,
        intake: HotkeyIntake,
    ) -> None:
        self._pipeline = pipeline
        self._writer = writer
        self._refusals = refusals
        self._metrics = metrics
        self._intake = intake

    def __call__(self, message: Msg | None, /, *, context: ContextRepo) -> "GateMiddleware":
        return GateMiddleware(message, context=context, gate=self)

    def leave(self, message: Msg) -> None:
        """Note that the message was answered or dropped, so that the next one of its hotkey may be
        handled."""
        self._intake.done(message)

    async def pass_through(self, call_next: Next, message: StreamMessage[Msg]) -> Any:
        """Handle the message, and return the handler's reply or an error reply."""
        request_id = correlation_id(message.headers.get(HEADER_REQUEST_ID))
        # FastStream repeats the sender's correlation id in the reply. An id of 250 KB would make the reply
        # larger than nats-server accepts, and nats-server would close the connection.
        message.correlation_id = request_id
        subject = message.raw_message.subject
        bridged = subject.startswith(subjects.BRIDGE_REQUEST_PREFIX)
        trace = tracing.extract(message.headers) if bridged else None
        # The subject ends in one of our verbs, because FastStream subscribes to no others.
        span = TRACER.start_as_current_span(f"handle {_verb_text(message)}", context=trace)
        with correlated(request_id), span:
            try:
                return await self._reply(call_next, message, request_id)
            except _HostileReplyError:
                self._metrics.hostile_replies.inc()
                log.warning("reply_subject_refused", subject=message.raw_message.subject)
                message.reply_to = ""  # without a reply subject, FastStream does not reply
                return None

    async def _reply(self, call_next: Next, message: StreamMessage[Msg], request_id: str) -> Any:
        """Return the reply to the message; failures become error replies. Raises only _HostileReplyError."""
        began, verb = self._clock.monotonic(), _verb_text(message)
        sender = _sender(message)
        try:
            if _asks_for_health(message):
                return await call_next(message)
            admission = await self._admit(message, request_id)
            caller = admission.caller
            sender = _Sender(caller.hotkey, caller.source)

            with answering(ProvenRequest(Verb(verb), admission, self._writer, self._clock)):
                reply = await call_next(message)
        except (ServiceError, ValidationError) as error:
            refused = error if isinstance(error, ServiceError) else first_fault(error)
            if isinstance(error, VerifiedRefusalError):
                sender = replace(sender, hotkey=error.hotkey)
        except _HostileReplyError:
            raise
        except Exception as error:  # send a reply, and log the fault
            log.exception("request_failed", verb=verb, error=type(error).__name__)
            refused = ServiceError(
                ErrorCode.INTERNAL, "The request failed because of a fault in the service, which is logged."
            )
        else:
            self._measure(message, ANSWERED, began)
            log.info("request_answered", verb=verb, hotkey=caller.hotkey)
            note_admin_request(verb, caller.hotkey, caller.source, ACCEPTED)
            return reply
        if refused.code is ErrorCode.NONCE_MISMATCH and _arrival(message, request_id).is_legacy:
            # A legacy signature does not cover the nonce. An eavesdropper may have replaced the nonce, so do
            # not blame the hotkey.
            sender = replace(sender, hotkey=None)
        self._measure(message, refused.code, began)
        log.info("request_refused", verb=verb, error=refused.code)
        note_admin_request(verb, sender.hotkey, sender.source, refused.code)
        self._refusals.note(
            verb=verb,
            error=refused.code,
            hotkey=sender.hotkey,
            source=sender.source,
            request_id=request_id,
        )
        return self._refusal(refused, request_id)

    @property
    def _clock(self) -> Clock:
        return self._pipeline.clock

    def _measure(self, message: StreamMessage[Msg], result: str, began: float) -> None:
        bridged = message.raw_message.subject.startswith(subjects.BRIDGE_REQUEST_PREFIX)
        took = self._clock.monotonic() - began
        self._metrics.request(_verb_text(message), "bridge" if bridged else "nats", result, took)

    async def _admit(self, message: StreamMessage[Msg], request_id: str) -> Admission:
        """Run the checks. Raises ServiceError, and _HostileReplyError if the reply would not go to the
        sender."""
        arrival = _arrival(message, request_id)
        inbox = subjects.BRIDGE_INBOX if arrival.owner is None else subjects.inbox_prefix(arrival.owner)
        if not subjects.reply_is_own(message.raw_message.reply, inbox):
            raise _HostileReplyError
        # A request for credentials is charged later, when its row is written.
        return await self._pipeline.admit(arrival, charge=not VERBS[arrival.verb].mints)

    def _refusal(self, error: ServiceError, request_id: str) -> NatsResponse:
        body = error_body(error, server_time=self._clock.now())
        return NatsResponse(body, headers={HEADER_ERROR: str(error.code), HEADER_REQUEST_ID: request_id})


class GateMiddleware(BaseMiddleware[Any, Any]):
    """The middleware for one message."""

    def __init__(self, message: Msg | None, /, *, context: ContextRepo, gate: Gate) -> None:
        super().__init__(message, context=context)
        self._gate = gate

    async def consume_scope(self, call_next: Next, msg: StreamMessage[Any]) -> Any:
        return await self._gate.pass_through(call_next, msg)

    async def after_processed(
        self,
        exc_type: type[BaseException] | None = None,
        exc_val: BaseException | None = None,
        exc_tb: TracebackType | None = None,
    ) -> bool | None:
        self._gate.leave(self.msg)
        return await super().after_processed(exc_type, exc_val, exc_tb)


class _HostileReplyError(Exception):
    """The reply subject is not in the sender's inbox."""


def _arrival(message: StreamMessage[Msg], request_id: str) -> Arrival:
    """Read the message. Raises _HostileReplyError for a subject to which no client may publish, because it
    names no hotkey whose inbox the reply subject could be compared with."""
    subject, headers = message.raw_message.subject, dict(message.headers)
    if subject.startswith(subjects.BRIDGE_REQUEST_PREFIX):
        return Arrival(subjects.parse_bridge_request(subject), message.body, headers, request_id)
    try:
        request = subjects.parse_request(subject)
    except ValueError:
        raise _HostileReplyError from None
    return Arrival(request.verb, message.body, headers, request_id, owner=request.hotkey)


def _asks_for_health(message: StreamMessage[Msg]) -> bool:
    """Return whether the message is the bridge's health request. It comes from no client and needs no
    rights."""
    if message.raw_message.subject != subjects.BRIDGE_HEALTH:
        return False
    if not subjects.reply_is_own(message.raw_message.reply, subjects.BRIDGE_INBOX):
        raise _HostileReplyError
    return True


@dataclass(frozen=True, slots=True)
class _Sender:
    """The known facts about a sender. `hotkey` is None until it is verified. `source` is `nats` or the HTTP
    client's address."""

    hotkey: str | None
    source: str


def _sender(message: StreamMessage[Msg]) -> _Sender:
    """Return what is known about the sender before its signature is verified.

    Over NATS, the hotkey of the subject is known, because only its owner can publish there. A request from
    the bridge only names a hotkey. It is left out, because refusals that name a hotkey count against it."""
    subject = message.raw_message.subject
    if subject.startswith(subjects.BRIDGE_REQUEST_PREFIX):
        return _Sender(None, stated_address(message.headers.get(HEADER_CLIENT_ADDRESS, "")))
    return _Sender(subjects.named_owner(subject), "nats")


def _verb_text(message: StreamMessage[Msg]) -> str:
    return ".".join(message.raw_message.subject.split(".")[-2:])
