"""Defines the bridge's endpoints. Each replies with data of this process, or with the responder's reply."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from fastapi import FastAPI, Request
from starlette.responses import Response

from access.legacy_authentication import named_epoch
from access.pipeline import Pipeline
from access.rate_limits import Limits
from access.refusal_log import RefusalTrail, note_admin_request
from access.requests import Admission, Arrival, Fields, VerifiedRefusalError
from http_bridge import errors, requests
from http_bridge.current_reply import CurrentReply, is_known
from http_bridge.documentation import Endpoint, add_public, add_verb, describe
from http_bridge.epoch_reply import Assignments
from http_bridge.event_stream import Listeners
from http_bridge.forwarding import Forwarder
from http_bridge.health import BridgeHealth
from http_bridge.history import PublicHistory
from http_bridge.pages import add_pages
from http_bridge.public_endpoints import add_facts, add_health, add_history
from http_bridge.public_page import PublicPage, add_public_page
from http_bridge.published_rounds import PublishedRounds, RoundReply
from http_bridge.statistics import PublicStatistics
from service.current_epoch import CurrentEpoch
from service.epoch_pools import EpochPools, pool_request
from service.epoch_results import EpochResultsReader, consensus_request
from service.sealed_epochs import SealedEpochs
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.hotkeys import Hotkey
from zipcast.protocol.messages.service import ServiceDescription
from zipcast.protocol.verbs import VERBS, Verb

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
    page: PublicPage
    listeners: Listeners
    sealed: SealedEpochs
    rounds: PublishedRounds
    limits: Limits
    refusals: RefusalTrail
    description: ServiceDescription
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
        """Check a request, forward it, and return the responder's reply. The responder checks the request
        again, charges it, and logs a refusal. Copies are limited here, because others may send them. Raises
        ServiceError."""
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
    if bridge.description.documentation is not None:
        documentation = {"description": "Documentation", "url": bridge.description.documentation}
        app.openapi_external_docs = documentation
    errors.install(app, bridge.pipeline.clock)
    # The stream's path must come before `/epochs/{epoch_id}`, which would match it as an id.
    _add_current(app, bridge)
    _add_for_validators(app, bridge)
    for verb, spec in VERBS.items():
        if spec.is_forwarded:
            add_verb(app, verb, _forwarding(bridge, verb), bridge.limits.rules)
    add_history(app, bridge.limits, bridge.statistics, bridge.history)
    add_facts(app, bridge.limits.rules, bridge.description)
    add_health(app, bridge.health)
    add_public_page(app, bridge.page)
    add_pages(app)
    describe(app, bridge.limits.rules)
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

    async def sealed_epoch(request: Request) -> Response:
        await bridge.admit(request, Verb.EPOCH_SEALED, requests.single_parameters(request))
        return _private(bridge.sealed.reply().to_bytes())

    async def beacon_round(round_number: str) -> Response:
        body = (await bridge.rounds.reply(round_number)).to_bytes()
        return Response(body, media_type=JSON, headers={"Cache-Control": "public, max-age=86400"})

    add_verb(app, Verb.EPOCH_CURRENT, current_assignment, bridge.limits.rules)
    add_verb(app, Verb.EPOCH_STREAM, epoch_stream, bridge.limits.rules)
    add_verb(app, Verb.EPOCH_SEALED, sealed_epoch, bridge.limits.rules)
    add_public(
        app,
        "/api/v1/beacon/{round_number}",
        beacon_round,
        title="A round of the beacon",
        text="Returns the signature that opens the newest sealed epoch, from the epoch's start on.",
        reply=RoundReply,
        errors={ErrorCode.ROUND_NOT_PUBLISHED},
    )


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

    add_verb(app, Verb.EPOCH_VALIDATION, epoch_assignment, bridge.limits.rules)
    add_verb(app, Verb.EPOCH_POOL, epoch_pool, bridge.limits.rules)
    add_verb(app, Verb.VALIDATOR_CONSENSUS, epoch_results, bridge.limits.rules)


def _private(body: bytes) -> Response:
    return Response(body, media_type=JSON, headers={"Cache-Control": "private"})
