"""The gate in front of every handler: a FastStream middleware.

Owns what happens around a handler: a reply subject that is not the caller's own is dropped and
counted, the caller is proven, errors become replies, and nothing that goes wrong is silent.
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

from broker_service.responder.intake import HotkeyIntake
from broker_service.responder.issuing import IssuanceWriter, ProvenRequest
from broker_service.responder.metrics import ANSWERED, ResponderMetrics
from broker_service.responder.proven import answering
from runtime import identity, logs
from runtime.correlation import correlated, correlation_id
from runtime.identity import Admission, Arrival, Doorkeeper, VerifiedRefusalError
from runtime.limits import Limits, Quota
from runtime.refusals import ACCEPTED, RefusalTrail, note_admin_request
from zipcast import subjects
from zipcast.btauth import SIGNED_NAME_PREFIX
from zipcast.clock import Clock
from zipcast.errors import ErrorCode, ServiceError
from zipcast.messages import (
    HEADER_ERROR,
    HEADER_REQUEST_ID,
    error_body,
    first_fault,
)
from zipcast.strict_json import parse_object
from zipcast.subjects import MINTING_VERBS, Verb

log = logs.logger()

MAX_HEADER_BYTES = 4096
Next = Callable[[StreamMessage[Msg]], Awaitable[Any]]


async def decode(message: NatsMessage) -> dict[str, object]:
    """The broker's decoder: JSON as strictly as HTTP takes it."""
    return parse_object(message.body)


class Gate:
    """Makes the middleware of one broker."""

    def __init__(
        self,
        doorkeeper: Doorkeeper,
        limits: Limits,
        writer: IssuanceWriter,
        refusals: RefusalTrail,
        metrics: ResponderMetrics,
        intake: HotkeyIntake,
    ) -> None:
        self._doorkeeper = doorkeeper
        self._limits = limits
        self._writer = writer
        self._refusals = refusals
        self._metrics = metrics
        self._intake = intake

    def __call__(self, message: Msg | None, /, *, context: ContextRepo) -> "GateMiddleware":
        return GateMiddleware(message, context=context, gate=self)

    def leave(self, message: Msg) -> None:
        """The message was answered or dropped: another one of its hotkey may come."""
        self._intake.done(message)

    async def pass_through(self, call_next: Next, message: StreamMessage[Msg]) -> Any:
        """The handler's reply, or the error's."""
        request_id = correlation_id(message.headers.get(HEADER_REQUEST_ID))
        # FastStream repeats the sender's correlation id in the reply; one of 250 KB would make the reply
        # larger than nats-server takes, and cost us the connection.
        message.correlation_id = request_id
        with correlated(request_id):
            try:
                return await self._reply(call_next, message, request_id)
            except _HostileReplyError:
                self._metrics.hostile_replies.inc()
                log.warning("reply_subject_refused", subject=message.raw_message.subject)
                message.reply_to = ""  # FastStream answers only where there is a reply subject
                return None

    async def _reply(self, call_next: Next, message: StreamMessage[Msg], request_id: str) -> Any:
        """Raises _HostileReplyError, and nothing else: what goes wrong is the reply."""
        began, verb = self._clock.monotonic(), _verb_text(message)
        sender = _sender(message)
        try:
            if _asks_for_health(message):
                return await call_next(message)
            admission = await self._admit(message, request_id)
            caller = admission.caller
            sender = _Sender(caller.hotkey, caller.source)

            async def handle(request: ProvenRequest) -> Any:
                with answering(request):
                    return await call_next(message)

            reply = await self._answer(Verb(verb), admission, handle)
        except (ServiceError, ValidationError) as error:
            refused = error if isinstance(error, ServiceError) else first_fault(error)
            if isinstance(error, VerifiedRefusalError):
                sender = replace(sender, hotkey=error.hotkey)
        except _HostileReplyError:
            raise
        except Exception as error:  # a reply must be sent, and the fault must be seen
            log.exception("request_failed", verb=verb, error=type(error).__name__)
            refused = ServiceError(ErrorCode.INTERNAL, "The request failed; the fault is logged.")
        else:
            self._measure(message, ANSWERED, began)
            log.info("request_answered", verb=verb, hotkey=caller.hotkey)
            note_admin_request(verb, caller.hotkey, caller.source, ACCEPTED)
            return reply
        if refused.code is ErrorCode.NONCE_MISMATCH and _is_legacy(message):
            # A legacy text does not cover the nonce: whoever overheard it can have put in another.
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

    async def _answer(
        self, verb: Verb, admission: Admission, handle: Callable[[ProvenRequest], Awaitable[Any]]
    ) -> Any:
        """Return the handler's reply. What grants access charges when it writes the row."""
        quota = Quota(self._limits, verb, admission.caller.hotkey, admission.proof.request_key)
        if verb not in MINTING_VERBS:
            await quota.charge()
        return await handle(ProvenRequest(admission, quota, self._writer, self._clock))

    @property
    def _clock(self) -> Clock:
        return self._doorkeeper.clock

    def _measure(self, message: StreamMessage[Msg], result: str, began: float) -> None:
        bridged = message.raw_message.subject.startswith(subjects.BRIDGE_REQUEST_PREFIX)
        took = self._clock.monotonic() - began
        self._metrics.request(_verb_text(message), "bridge" if bridged else "nats", result, took)

    async def _admit(self, message: StreamMessage[Msg], request_id: str) -> Admission:
        subject, reply = message.raw_message.subject, message.raw_message.reply
        headers = dict(message.headers)
        if subject.startswith(subjects.BRIDGE_REQUEST_PREFIX):
            if not subjects.reply_is_own(reply, subjects.BRIDGE_INBOX):
                raise _HostileReplyError
            _check_headers(message)
            verb = subjects.parse_bridge_request(subject)
            return self._doorkeeper.admit_bridged(Arrival(verb, message.body, headers, request_id))
        try:
            request = subjects.parse_request(subject)
        except ValueError:
            # The callout lets nobody publish here but that token's owner; no reply can be his.
            raise _HostileReplyError from None
        if not subjects.reply_is_own(reply, subjects.inbox_prefix(request.hotkey)):
            raise _HostileReplyError
        # Only its owner can publish here, so this counts against nobody else.
        await self._limits.charge_sender(request.hotkey)
        _check_headers(message)
        arrival = Arrival(request.verb, message.body, headers, request_id)
        return self._doorkeeper.admit_direct(arrival, subject, request.hotkey)

    def _refusal(self, error: ServiceError, request_id: str) -> NatsResponse:
        body = error_body(error, server_time=self._clock.now())
        return NatsResponse(body, headers={HEADER_ERROR: str(error.code), HEADER_REQUEST_ID: request_id})


class GateMiddleware(BaseMiddleware[Any, Any]):
    """One message on its way through the gate."""

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
    """The reply subject is not under the caller's own inbox."""


def _asks_for_health(message: StreamMessage[Msg]) -> bool:
    """The bridge's own question: no client stands behind it, and it opens nothing."""
    if message.raw_message.subject != subjects.BRIDGE_HEALTH:
        return False
    if not subjects.reply_is_own(message.raw_message.reply, subjects.BRIDGE_INBOX):
        raise _HostileReplyError
    return True


@dataclass(frozen=True, slots=True)
class _Sender:
    """`hotkey`: verified, or None as long as it is not. `source`: `nats`, or the HTTP client's address."""

    hotkey: str | None
    source: str


def _sender(message: StreamMessage[Msg]) -> _Sender:
    """Return what is known of the sender before its signature is verified.

    On NATS nats-server lets nobody but its owner publish on a hotkey's subject. Over the bridge the request
    names a hotkey, which anybody can do: it is not noted, since refusals that are noted count against it."""
    subject = message.raw_message.subject
    if subject.startswith(subjects.BRIDGE_REQUEST_PREFIX):
        return _Sender(None, identity.bridged_source(message.headers))
    return _Sender(subjects.named_owner(subject), "nats")


def _is_legacy(message: StreamMessage[Msg]) -> bool:
    """Return whether the request carries no `btauth` signature, which would cover its body."""
    return not any(name.lower().startswith(SIGNED_NAME_PREFIX) for name in message.headers)


def _check_headers(message: StreamMessage[Msg]) -> None:
    size = sum(len(name) + len(value) for name, value in message.headers.items())
    if size > MAX_HEADER_BYTES:
        raise ServiceError(ErrorCode.PAYLOAD_TOO_LARGE, f"Headers hold at most {MAX_HEADER_BYTES} bytes.")


def _verb_text(message: StreamMessage[Msg]) -> str:
    return ".".join(message.raw_message.subject.split(".")[-2:])
