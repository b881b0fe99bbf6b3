"""Defines the bridge's endpoints. Each replies with data of this process, or with the responder's reply."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from fastapi import FastAPI, Request
from starlette.responses import Response

from access.legacy_authentication import named_epoch
from access.pipeline import Pipeline
from access.rate_limits import Limits, Rules
from access.refusal_log import RefusalTrail, note_admin_request
from access.requests import Admission, Arrival, Fields, VerifiedRefusalError
from http_bridge import errors, formats_reply, rate_limits_reply, requests
from http_bridge.current_reply import CurrentReply, is_known
from http_bridge.documentation import Endpoint, add_public, add_verb, describe
from http_bridge.epoch_reply import Assignments
from http_bridge.event_stream import Listeners
from http_bridge.forwarding import Forwarder
from http_bridge.health import BridgeHealth, HealthcheckReply
from http_bridge.history import EndedEpochsQuery, PublicHistory
from http_bridge.pages import add_pages
from http_bridge.request_log import client_address
from http_bridge.statistics import PublicStatistics, StatisticsReply
from service.current_epoch import CurrentEpoch
from service.epoch_pools import EpochPools, pool_request
from service.epoch_results import EpochResultsReader, consensus_request
from service.probes import REMEMBERED_SECONDS
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.hotkeys import Hotkey
from zipcast.protocol.messages.base import WireModel
from zipcast.protocol.messages.health import Alive, HealthStatus
from zipcast.protocol.messages.history import EndedEpochReply, EndedEpochsReply
from zipcast.protocol.verbs import OF_AN_EPOCH, VERBS, Verb

JSON = "application/json"


@dataclass(slots=True)
class Bridge:
    """The parts that the endpoints work with."""

    pipeline: Pipeline
    current: CurrentEpoch
    forwarder: Forwarder
    health: BridgeHealth
    statistics: PublicStatistics
    assignments: Assignments
    history: PublicHistory
    pools: EpochPools
    results: EpochResultsReader
    listeners: Listeners
    limits: Limits
    refusals: RefusalTrail
    _reply: CurrentReply | None = field(default=None)

    async def current_reply(self) -> CurrentReply:
        """Return the reply of `current`, which is built once per epoch. Raises
        ServiceError(NO_CURRENT_EPOCH)."""
        epoch = await self.current.awaited()
        if self._reply is None or self._reply.epoch_id != epoch.message.epoch_id:
            self._reply = CurrentReply.of(epoch)
        return self._reply

    async def admit(self, request: Request, verb: Verb, query: Fields) -> Admission:
        """Check a request that the bridge answers itself, and return its sender. Raises ServiceError."""
        arrival = await requests.arrival(request, verb, query)
        with self._noted(arrival):
            return await self.pipeline.admit(arrival, charge=True)

    async def forwarded(self, request: Request, verb: Verb) -> Response:
        """Check a request, forward it, and return the responder's reply. The responder checks it again,
        charges it, and logs what it refuses. Copies are limited here, because a stranger may send them.
        Raises ServiceError."""
        arrival = await requests.arrival(request, verb)
        with self._noted(arrival):
            admission = await self.pipeline.admit(arrival, charge=False)
            is_copy = await admission.quota.charge_copy()
        body = await self.forwarder.forward(arrival, admission.caller.hotkey, is_copy=is_copy)
        return Response(body, media_type=JSON, headers={"Cache-Control": "no-store"})

    @contextmanager
    def _noted(self, arrival: Arrival) -> Iterator[None]:
        """Log why the request is refused."""
        try:
            yield
        except ServiceError as error:
            verified: Hotkey | None = error.hotkey if isinstance(error, VerifiedRefusalError) else None
            note_admin_request(arrival.verb, verified, arrival.source, error.code)
            self.refusals.note(
                verb=arrival.verb,
                error=error.code,
                hotkey=verified,
                source=arrival.source,
                request_id=arrival.request_id,
            )
            raise


def build(bridge: Bridge) -> FastAPI:
    """Return the application."""
    app = FastAPI(title="Zipcast", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    errors.install(app, bridge.pipeline.clock)
    # The stream's path must come before `/epochs/{epoch_id}`, which would match it as an id.
    _add_current(app, bridge)
    _add_for_validators(app, bridge)
    for verb, spec in VERBS.items():
        if spec.is_forwarded:
            add_verb(app, verb, _forwarding(bridge, verb))
    _add_history(app, bridge)
    add_pages(app)
    _add_facts(app, bridge.limits.rules)
    _add_health(app, bridge.health)
    describe(app)
    return app


def _forwarding(bridge: Bridge, verb: Verb) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        return await bridge.forwarded(request, verb)

    return endpoint


def _add_current(app: FastAPI, bridge: Bridge) -> None:
    async def current_assignment(request: Request) -> Response:
        await bridge.admit(request, Verb.EPOCH_CURRENT, requests.single_parameters(request))
        reply = await bridge.current_reply()
        shown = reply.for_encodings(request.headers.get("accept-encoding", ""))
        age = {"Age": str(bridge.current.unchecked_seconds())}
        if is_known(request.headers.get("if-none-match"), shown.etag):
            return Response(status_code=304, headers=shown.headers | age)
        return Response(shown.body, media_type=JSON, headers=shown.headers | age)

    async def epoch_stream(request: Request) -> Response:
        admission = await bridge.admit(request, Verb.EPOCH_STREAM, requests.single_parameters(request))
        return bridge.listeners.respond(request, admission.caller.hotkey, admission.proof)

    add_verb(app, Verb.EPOCH_CURRENT, current_assignment)
    add_verb(app, Verb.EPOCH_STREAM, epoch_stream)


def _add_for_validators(app: FastAPI, bridge: Bridge) -> None:
    async def epoch_assignment(request: Request, epoch_id: str) -> Response:
        asked = requests.single_parameters(request) | {"epochId": epoch_id}
        await bridge.admit(request, Verb.EPOCH_VALIDATION, asked)
        named_epoch(asked)
        return _private(await bridge.assignments.body(epoch_id))

    async def epoch_pool(request: Request, epoch_id: str) -> Response:
        asked = requests.single_parameters(request) | {"epochId": epoch_id}
        await bridge.admit(request, Verb.EPOCH_POOL, asked)
        return _private((await bridge.pools.page(pool_request(asked))).to_bytes())

    async def epoch_results(request: Request, epoch_id: str) -> Response:
        asked = requests.single_parameters(request) | {"epochId": epoch_id}
        caller = (await bridge.admit(request, Verb.VALIDATOR_CONSENSUS, asked)).caller
        return _private((await bridge.results.page(caller.hotkey, consensus_request(asked))).to_bytes())

    add_verb(app, Verb.EPOCH_VALIDATION, epoch_assignment)
    add_verb(app, Verb.EPOCH_POOL, epoch_pool)
    add_verb(app, Verb.VALIDATOR_CONSENSUS, epoch_results)


def _private(body: bytes) -> Response:
    return Response(body, media_type=JSON, headers={"Cache-Control": "private"})


def _add_history(app: FastAPI, bridge: Bridge) -> None:
    async def statistics(request: Request) -> Response:
        await bridge.limits.charge_statistics(client_address(request.scope))
        reply = await bridge.statistics.reply()
        return Response(reply.to_bytes(), media_type=JSON, headers={"Cache-Control": "public, max-age=5"})

    async def ended_epochs(request: Request) -> Response:
        page = await bridge.history.page(requests.single_parameters(request))
        return page.response(request, "public, max-age=5")

    async def ended_epoch(request: Request, epoch_id: str) -> Response:
        reply = await bridge.history.one(epoch_id)
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


def _add_facts(app: FastAPI, rules: Rules) -> None:
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
        "How much may be asked for.",
        rate_limits_reply.rate_limits(rules),
    )


def _add_constant(app: FastAPI, path: str, title: str, text: str, reply: WireModel) -> None:
    body = reply.to_bytes()

    async def constant() -> Response:
        return Response(body, media_type=JSON)

    add_public(app, path, constant, title=title, text=text, reply=type(reply))


def _add_health(app: FastAPI, health: BridgeHealth) -> None:
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
        text="Tells whether this process can serve the running epoch.",
        reply=Alive,
        errors={ErrorCode.REGISTRY_UNAVAILABLE, ErrorCode.SERVICE_UNAVAILABLE},
    )
