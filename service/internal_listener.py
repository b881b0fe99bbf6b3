"""Serves the internal listener of a process: `/metrics`, `/health`, `/health/live`, and pages of this
process.

It is for operators and Prometheus only. It has no authentication, so it must never be reachable from outside.
It starts before everything else, so that an operator can see why a process is waiting.
"""

import socket

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from service.http_server import Server
from service.process_status import ProcessStatus
from zipcast.protocol.messages.health import HealthStatus

# The content type of what `prometheus_client.generate_latest` writes.
EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"
_UNCACHED = {"Cache-Control": "no-store"}
_GUARDED = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket. Port 0 means any free port. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family)


async def serve(listener: socket.socket, process_status: ProcessStatus) -> None:
    """Serve until cancelled."""
    await Server(application(process_status)).serve(sockets=[listener])


def application(process_status: ProcessStatus) -> Starlette:
    async def metrics(_: Request) -> Response:
        return Response(process_status.exposition(), headers=_UNCACHED | {"Content-Type": EXPOSITION})

    async def health(_: Request) -> Response:
        """Reply with the process's health, with status 200 even if a connection is down, since the process
        still works as far as it can."""
        health = process_status.health()
        status = 503 if health.status is HealthStatus.UNHEALTHY else 200
        return Response(health.to_bytes(), status, _UNCACHED, "application/json")

    async def live(_: Request) -> Response:
        return JSONResponse({"status": "ok"}, headers=_UNCACHED)

    async def page(request: Request) -> Response:
        make = process_status.pages.get(request.path_params["path"])
        if make is None:
            return JSONResponse({"error": "not_found"}, 404, headers=_UNCACHED)
        reply = await make(request)
        for name, value in (_UNCACHED | _GUARDED).items():
            reply.headers.setdefault(name, value)
        return reply

    return Starlette(
        routes=[
            Route("/metrics", metrics),
            Route("/health", health),
            Route("/health/live", live),
            Route("/{path:path}", page),
        ]
    )
