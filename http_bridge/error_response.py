"""Makes the HTTP response for an error, in the form that all errors have."""

from collections.abc import Mapping

from starlette.responses import JSONResponse, Response

from zipcast.clock import Clock
from zipcast.protocol.errors import ServiceError
from zipcast.protocol.messages.base import error_body


def error_reply(error: ServiceError, clock: Clock, more_headers: Mapping[str, str] | None = None) -> Response:
    headers = {"Cache-Control": "no-store", **(more_headers or {})}
    if error.retry_after_seconds is not None:
        headers["Retry-After"] = str(error.retry_after_seconds)
    body = error_body(error, server_time=clock.now())
    return JSONResponse(body, error.status, headers)
