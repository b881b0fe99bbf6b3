"""Adds endpoints that need no signature: statistics, ended epochs, facts, health."""

from fastapi import FastAPI, Request
from starlette.responses import Response

from access.rate_limits import Limits, Rules
from http_bridge import formats_reply, rate_limits_reply, requests
from http_bridge.documentation import JSON, add_public
from http_bridge.health import BridgeHealth, HealthcheckReply
from http_bridge.history import EndedEpochsQuery, PublicHistory
from http_bridge.request_log import client_address
from http_bridge.statistics import PublicStatistics, StatisticsReply
from service.probes import REMEMBERED_SECONDS
from zipcast.protocol.errors import ErrorCode
from zipcast.protocol.messages.base import WireModel
from zipcast.protocol.messages.health import Alive, HealthStatus
from zipcast.protocol.messages.history import EndedEpochReply, EndedEpochsReply
from zipcast.protocol.messages.service import WELL_KNOWN_PATH, ServiceDescription
from zipcast.protocol.verbs import OF_AN_EPOCH


def add_history(app: FastAPI, limits: Limits, public: PublicStatistics, history: PublicHistory) -> None:
    """Add statistics and ended epochs."""

    async def statistics(request: Request) -> Response:
        await limits.charge_statistics(client_address(request.scope))
        reply = await public.reply()
        return Response(reply.to_bytes(), media_type=JSON, headers={"Cache-Control": "public, max-age=5"})

    async def ended_epochs(request: Request) -> Response:
        page = await history.page(requests.single_parameters(request))
        return page.response(request, "public, max-age=5")

    async def ended_epoch(request: Request, epoch_id: str) -> Response:
        reply = await history.one(epoch_id)
        return reply.response(request, "public, max-age=60")

    add_public(
        app,
        "/api/v1/zipcode-assignments/stats",
        statistics,
        title="Public statistics",
        text="Returns public statistics of epochs that have started, and of the zipcodes.",
        reply=StatisticsReply,
        errors={ErrorCode.SERVICE_UNAVAILABLE},
    )
    add_public(
        app,
        "/api/v1/epochs",
        ended_epochs,
        title="Epochs that have ended",
        text="Returns epochs that have ended, newest first, with their signed messages and seeds.",
        reply=EndedEpochsReply,
        errors={ErrorCode.MALFORMED_EPOCH_ID, ErrorCode.SERVICE_UNAVAILABLE},
        query=EndedEpochsQuery,
    )
    add_public(
        app,
        "/api/v1/epochs/{epoch_id}",
        ended_epoch,
        title="One epoch that has ended",
        text="Returns one epoch that has ended, with its signed message and seed.",
        reply=EndedEpochReply,
        errors=OF_AN_EPOCH,
    )


def add_facts(app: FastAPI, rules: Rules, description: ServiceDescription) -> None:
    """Add replies that never change."""
    _add_constant(
        app,
        WELL_KNOWN_PATH,
        "Description of the service",
        "Returns network, netuid, signers and addresses, for `zipcast profile add`. It is not signed, so "
        "confirm the signers elsewhere before you trust them.",
        description,
    )
    _add_constant(
        app,
        "/commitment-formats",
        "Legacy texts to sign",
        "Returns the texts that legacy clients sign, by endpoint.",
        formats_reply.commitment_formats(),
    )
    _add_constant(
        app,
        "/structure-info",
        "Folder layout",
        "Returns the layout of the folders.",
        formats_reply.structure_info(),
    )
    _add_constant(
        app,
        "/rate-limits",
        "Rate limits",
        "Returns the limits of requests.",
        rate_limits_reply.rate_limits(rules),
    )


def _add_constant(app: FastAPI, path: str, title: str, text: str, reply: WireModel) -> None:
    body = reply.to_bytes()

    async def constant() -> Response:
        return Response(body, media_type=JSON)

    add_public(app, path, constant, title=title, text=text, reply=type(reply))


def add_health(app: FastAPI, health: BridgeHealth) -> None:
    """Add the health of the service and of this process."""

    async def healthcheck() -> Response:
        reply = await health.reply()
        headers = {"Cache-Control": "no-store"}
        if reply.status is not HealthStatus.UNHEALTHY:
            return Response(reply.to_bytes(), 200, headers, JSON)
        return Response(reply.to_bytes(), 503, headers | {"Retry-After": str(int(REMEMBERED_SECONDS))}, JSON)

    async def live() -> Response:
        return Response(Alive().to_bytes(), media_type=JSON)

    async def ready() -> Response:
        await health.require_ready()
        return await live()

    add_public(
        app,
        "/healthcheck",
        healthcheck,
        title="Health of all parts",
        text="Returns the health of each part, checked at most five seconds ago; status 503 if the running "
        "epoch cannot be served.",
        reply=HealthcheckReply,
        is_reply_when_unavailable=True,
    )
    add_public(
        app,
        "/health/live",
        live,
        title="Liveness",
        text="Replies if this process runs, whatever the health of other parts.",
        reply=Alive,
    )
    add_public(
        app,
        "/health/ready",
        ready,
        title="Readiness",
        text="Shows whether this process can serve the running epoch.",
        reply=Alive,
        errors={ErrorCode.REGISTRY_UNAVAILABLE, ErrorCode.SERVICE_UNAVAILABLE},
    )
