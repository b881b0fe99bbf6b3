"""Replies to every error of the bridge in the form that all errors have."""

from collections.abc import Awaitable, Callable, Mapping

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from http_bridge.error_response import error_reply
from http_bridge.middleware import allowed_methods
from http_bridge.request_log import CUT_OFF, MAX_PATH, mark
from service import logs
from zipcast.clock import Clock
from zipcast.protocol.errors import ErrorCode, ServiceError

log = logs.logger()

_BY_STATUS = {404: ErrorCode.NOT_FOUND, 405: ErrorCode.METHOD_NOT_ALLOWED}
# The status that the log shows for a client that disconnected, as in nginx's logs. It is never sent.
_CUT_OFF_STATUS = 499
_MESSAGES = {404: "There is nothing at this path.", 405: "This path does not accept that HTTP method."}


def install(app: FastAPI, clock: Clock) -> None:
    """Install handlers for ServiceError, for errors of the framework, and for unexpected errors."""

    def reply(request: Request, error: ServiceError, headers: Mapping[str, str] | None = None) -> Response:
        mark(request.scope, error.code)
        return error_reply(error, clock, headers)

    async def service_error(request: Request, error: Exception) -> Response:
        return reply(request, error) if isinstance(error, ServiceError) else fault(request, error)

    async def framework_error(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        code = _BY_STATUS.get(status, ErrorCode.MALFORMED_REQUEST)
        message = _MESSAGES.get(status, "The request is not well-formed HTTP.")
        allow = {"Allow": ", ".join(allowed_methods(app, request.scope))} if status == 405 else {}
        return reply(request, ServiceError(code, message), allow)

    def fault(request: Request, error: Exception) -> Response:
        log.error("request_failed", path=request.scope["path"][:MAX_PATH], exc_info=error)
        return reply(
            request,
            ServiceError(
                ErrorCode.INTERNAL, "The request failed because of a fault in the service, which is logged."
            ),
        )

    async def cut_off(request: Request, _: Exception) -> Response:
        """Count a request whose client has disconnected. Nobody receives the response."""
        mark(request.scope, CUT_OFF)
        return Response(status_code=_CUT_OFF_STATUS)

    async def any_fault(request: Request, error: Exception) -> Response:
        return fault(request, error)

    handlers: dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
        ServiceError: service_error,
        HTTPException: framework_error,
        ClientDisconnect: cut_off,
        Exception: any_fault,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)
