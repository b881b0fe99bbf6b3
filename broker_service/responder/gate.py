"""The gate in front of every handler: a FastStream middleware.

Owns what happens around a handler: a reply subject that is not the caller's own is dropped and
counted, the caller is proven, errors become replies, and nothing that goes wrong is silent.
"""

import re
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

from faststream import BaseMiddleware, ContextRepo
from faststream.message import StreamMessage
from faststream.nats import NatsResponse
from faststream.nats.annotations import NatsMessage
from nats.aio.msg import Msg
from pydantic import ValidationError

from runtime import logs
from runtime.identity import Arrival, Caller, Doorkeeper
from zipcast import subjects
from zipcast.errors import ErrorCode, ServiceError
from zipcast.messages import HEADER_ERROR, HEADER_REQUEST_ID, error_body, first_fault
from zipcast.strict_json import parse_object

log = logs.logger()

MAX_HEADER_BYTES = 4096
_REQUEST_ID = re.compile(r"^[A-Za-z0-9_-]{1,64}$")
Next = Callable[[StreamMessage[Msg]], Awaitable[Any]]


async def decode(message: NatsMessage) -> dict[str, object]:
    """The broker's decoder: JSON as strictly as HTTP takes it."""
    return parse_object(message.body)


class Gate:
    """Makes the middleware of one broker; `refused` and `answered` count by code and verb."""

    def __init__(self, doorkeeper: Doorkeeper) -> None:
        self._doorkeeper = doorkeeper
        self.refused: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.dropped = 0

    def __call__(self, message: Msg | None, /, *, context: ContextRepo) -> "GateMiddleware":
        return GateMiddleware(message, context=context, gate=self)

    async def pass_through(self, call_next: Next, message: StreamMessage[Msg], context: ContextRepo) -> Any:
        """The handler's reply, or the error's."""
        request_id = _request_id(message)
        # FastStream repeats the sender's correlation id in the reply; one of 250 KB would make the reply
        # larger than nats-server takes, and cost us the connection.
        message.correlation_id = request_id
        try:
            _check_headers(message)
            caller = self._admit(message, request_id)
            with context.scope("caller", caller):
                reply = await call_next(message)
        except _HostileReplyError:
            self.dropped += 1
            log.warning("reply_subject_refused", subject=message.raw_message.subject)
            message.reply_to = ""  # FastStream answers only where there is a reply subject
            return None
        except ServiceError as error:
            return self._refuse(error, message, request_id)
        except ValidationError as error:
            return self._refuse(first_fault(error), message, request_id)
        except Exception as error:  # a reply must be sent, and the fault must be seen
            log.exception("request_failed", error=type(error).__name__, request_id=request_id)
            fault = ServiceError(ErrorCode.INTERNAL, "The request failed; the fault is logged.")
            return self._refuse(fault, message, request_id)
        self.answered[_verb_text(message)] += 1
        log.info("request_answered", verb=_verb_text(message), hotkey=caller.hotkey, request_id=request_id)
        return reply

    def _admit(self, message: StreamMessage[Msg], request_id: str) -> Caller:
        subject, reply = message.raw_message.subject, message.raw_message.reply
        headers = dict(message.headers)
        if subject.startswith(subjects.BRIDGE_REQUEST_PREFIX):
            if not subjects.reply_is_own(reply, subjects.BRIDGE_INBOX):
                raise _HostileReplyError
            verb = subjects.parse_bridge_request(subject)
            return self._doorkeeper.admit_bridged(Arrival(verb, message.body, headers, request_id))
        try:
            request = subjects.parse_request(subject)
        except ValueError:
            # The callout lets nobody publish here but that token's owner; no reply can be his.
            raise _HostileReplyError from None
        if not subjects.reply_is_own(reply, subjects.inbox_prefix(request.hotkey)):
            raise _HostileReplyError
        arrival = Arrival(request.verb, message.body, headers, request_id)
        return self._doorkeeper.admit_direct(arrival, subject, request.hotkey)

    def _refuse(self, error: ServiceError, message: StreamMessage[Msg], request_id: str) -> NatsResponse:
        self.refused[error.code] += 1
        log.info("request_refused", error=error.code, verb=_verb_text(message), request_id=request_id)
        body = error_body(error, server_time=self._doorkeeper.clock.now(), request_id=request_id)
        return NatsResponse(body, headers={HEADER_ERROR: str(error.code), HEADER_REQUEST_ID: request_id})


class GateMiddleware(BaseMiddleware[Any, Any]):
    """One message on its way through the gate."""

    def __init__(self, message: Msg | None, /, *, context: ContextRepo, gate: Gate) -> None:
        super().__init__(message, context=context)
        self._gate = gate

    async def consume_scope(self, call_next: Next, msg: StreamMessage[Any]) -> Any:
        return await self._gate.pass_through(call_next, msg, self.context)


class _HostileReplyError(Exception):
    """The reply subject is not under the caller's own inbox."""


def _check_headers(message: StreamMessage[Msg]) -> None:
    size = sum(len(name) + len(value) for name, value in message.headers.items())
    if size > MAX_HEADER_BYTES:
        raise ServiceError(ErrorCode.PAYLOAD_TOO_LARGE, f"Headers hold at most {MAX_HEADER_BYTES} bytes.")


def _request_id(message: StreamMessage[Msg]) -> str:
    """The client's own id if it is a plain token, so that both sides' logs meet; else a fresh one."""
    given = message.headers.get(HEADER_REQUEST_ID, "")
    return given if _REQUEST_ID.fullmatch(given) else uuid4().hex


def _verb_text(message: StreamMessage[Msg]) -> str:
    return ".".join(message.raw_message.subject.split(".")[-2:])
