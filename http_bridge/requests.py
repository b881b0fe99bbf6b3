"""Turns an HTTP request into an `Arrival`, with a body of limited size and the headers that are forwarded.

Header values that cannot be sent over NATS are refused.
"""

import json
import re
from urllib.parse import parse_qsl

from starlette.requests import Request

from access.requests import Arrival, Fields
from http_bridge.request_log import METHOD_SENT, client_address, correlation_of
from zipcast.protocol import btauth
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.messages.base import HEADER_CLIENT_ADDRESS, HEADER_HTTP_METHOD, HEADER_HTTP_TARGET
from zipcast.protocol.verbs import VERBS, Verb

_FORM, _MULTIPART = "application/x-www-form-urlencoded", "multipart/form-data"
_MAX_FIELDS = 64
_PRINTABLE = re.compile(r"^[\x20-\x7e]{0,512}$")
# The bridge forwards the target and the signed headers as NATS headers; together they must stay below the
# responder's limit (`MAX_HEADER_BYTES`).
MAX_TARGET = 2048
_TARGET = re.compile(rf"^[\x21-\x7e]{{1,{MAX_TARGET}}}$")


async def arrival(request: Request, verb: Verb, query: Fields | None = None) -> Arrival:
    """Read a request. `query` has the parameters of a GET, which may contain a legacy identity.

    Raises ServiceError(PAYLOAD_TOO_LARGE | MALFORMED_REQUEST | MALFORMED_AUTH)."""
    # Use the request line. `request.url` would depend on the Host header, which the client chooses.
    query_text = request.scope["query_string"].decode("latin-1")
    target = request.scope["raw_path"].decode("latin-1") + (f"?{query_text}" if query_text else "")
    if not _TARGET.fullmatch(target):
        raise ServiceError(
            ErrorCode.MALFORMED_REQUEST,
            f"Path and query must have at most {MAX_TARGET} printable ASCII characters.",
        )
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        if name.startswith(btauth.SIGNED_NAME_PREFIX):
            if _title(name) in headers:
                raise ServiceError(
                    ErrorCode.MALFORMED_AUTH, f"Header {_title(name)} is given twice: send it once."
                )
            headers[_title(name)] = value
    signed = bool(headers)
    headers |= {
        HEADER_HTTP_METHOD: request.scope[METHOD_SENT],
        HEADER_CLIENT_ADDRESS: client_address(request.scope),
    }
    for name, value in headers.items():
        if not _PRINTABLE.fullmatch(value):
            raise ServiceError(
                ErrorCode.MALFORMED_REQUEST, f"{name} must have at most 512 printable ASCII characters."
            )
    headers[HEADER_HTTP_TARGET] = target
    body = await _bounded_body(request, VERBS[verb].max_body_bytes)
    if body:
        body = _as_json(request.headers.get("content-type", ""), body, signed=signed)
    return Arrival(verb, body, headers, correlation_of(request.scope), query=query)


def _as_json(content_type: str, body: bytes, *, signed: bool) -> bytes:
    """Return the body as JSON, whatever its content type, since `curl -d` labels JSON as a form.

    Raises ServiceError(MALFORMED_REQUEST)."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == _MULTIPART:
        raise ServiceError(ErrorCode.MALFORMED_REQUEST, f"Send JSON, or a form as {_FORM}, not {_MULTIPART}.")
    if kind != _FORM or body.lstrip().startswith(b"{"):
        return body
    return _form_as_json(body, signed=signed)


def _form_as_json(form: bytes, *, signed: bool) -> bytes:
    """Convert a legacy form to JSON. That is possible because a legacy signature covers fields, not bytes.

    Raises ServiceError(MALFORMED_REQUEST)."""
    if signed:
        raise ServiceError(ErrorCode.MALFORMED_REQUEST, "A body signed with btauth/1 must be JSON.")
    try:
        pairs = parse_qsl(
            form.decode(), keep_blank_values=True, strict_parsing=True, max_num_fields=_MAX_FIELDS
        )
    except ValueError:
        raise ServiceError(ErrorCode.MALFORMED_REQUEST, "The form is not well-formed.") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ServiceError(ErrorCode.MALFORMED_REQUEST, "A field is given twice.")
    # Treat an empty field as absent, because many forms send all fields.
    return json.dumps({name: value for name, value in fields.items() if value}).encode()


def single_parameters(request: Request) -> dict[str, str]:
    """Return the parameters of the query. Raises ServiceError(MALFORMED_REQUEST) if one is given twice."""
    pairs = parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True)
    parameters = dict(pairs)
    if len(parameters) != len(pairs):
        raise ServiceError(ErrorCode.MALFORMED_REQUEST, "A parameter is given twice.")
    return parameters


def _title(name: str) -> str:
    """Return the header's name in the spelling of `btauth`, because NATS headers are case-sensitive."""
    return "-".join(part.capitalize() for part in name.split("-"))


async def _bounded_body(request: Request, most_bytes: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most_bytes:
            raise ServiceError(ErrorCode.PAYLOAD_TOO_LARGE, f"The body must have at most {most_bytes} bytes.")
    return bytes(body)
