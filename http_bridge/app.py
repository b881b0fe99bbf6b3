"""The bridge's endpoints (contract-http): each a few lines over what memory and responder hold."""

from dataclasses import dataclass, field
from types import UnionType
from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import Response, StreamingResponse

from http_bridge import errors, facts, limits, requests
from http_bridge.access import client_address
from http_bridge.admin import add_admin
from http_bridge.assignments import Assignments
from http_bridge.current_reply import CurrentReply, is_known
from http_bridge.description import describe
from http_bridge.forwarding import Forwarder
from http_bridge.health import BridgeHealth, HealthcheckReply
from http_bridge.history import PublicHistory
from http_bridge.pages import add_pages
from http_bridge.schemas import Alive, CurrentAssignmentReply, EpochAssignmentReply, RevealedEpochReply
from http_bridge.statistics import PublicStatistics, StatisticsReply
from http_bridge.stream import Listeners
from runtime.current_epoch import CurrentEpoch
from runtime.epoch_pools import EpochPools, pool_request
from runtime.epoch_results import EpochResultsReader, consensus_request
from runtime.identity import Arrival, Caller, Doorkeeper, Proof, VerifiedRefusalError
from runtime.legacy_rules import Fields, named_epoch
from runtime.limits import Limits, Rules
from runtime.probes import REMEMBERED_SECONDS
from runtime.refusals import RefusalTrail, note_admin_request
from zipcast.errors import ServiceError
from zipcast.health import HealthStatus
from zipcast.history_messages import EndedEpochReply, EndedEpochsReply
from zipcast.hotkeys import Hotkey
from zipcast.legacy_messages import FolderAccessReply, MinerAccessReply, ValidatorAccessReply
from zipcast.messages import HEADER_CLIENT_ADDRESS, LegacyChoiceReply, ValidatorUploadReply, WireModel
from zipcast.pool_messages import EpochPoolReply
from zipcast.result_messages import ConsensusReply, ResultsReply
from zipcast.status_messages import StatusReply
from zipcast.subjects import Verb

JSON = "application/json"
CURRENT_PATH = "/api/v1/zipcode-assignments/current"
# Counted here; the responder counts what it answers.
ANSWERED_HERE = frozenset(
    {
        Verb.EPOCH_CURRENT,
        Verb.EPOCH_POOL,
        Verb.EPOCH_STREAM,
        Verb.EPOCH_VALIDATION,
        Verb.VALIDATOR_CONSENSUS,
    }
)


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request that may go on, and who was proven to send it."""

    arrival: Arrival
    caller: Caller
    proof: Proof


@dataclass(slots=True)
class Bridge:
    """What the endpoints work with."""

    doorkeeper: Doorkeeper
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
        """Prebuilt per epoch. Raises ServiceError(NO_CURRENT_EPOCH)."""
        epoch = await self.current.awaited()
        if self._reply is None or self._reply.epoch_id != epoch.message.epoch_id:
            self._reply = CurrentReply.of(epoch)
        return self._reply

    async def admit(self, request: Request, verb: Verb, query: Fields | None = None) -> Admitted:
        """Who asks. What is refused here is noted here; the responder notes what it refuses itself.

        Raises ServiceError."""
        arrival = await requests.arrival(request, verb)
        verified: Hotkey | None = None
        try:
            admission = self.doorkeeper.admit_bridged(arrival, query)
            if verb in ANSWERED_HERE:
                verified = admission.caller.hotkey
                await self.limits.charge(verb, verified, admission.proof.request_key)
        except ServiceError as error:
            if isinstance(error, VerifiedRefusalError):
                verified = error.hotkey
            source = arrival.headers[HEADER_CLIENT_ADDRESS]
            note_admin_request(verb, verified, source, error.code)
            self.refusals.note(
                verb=verb, error=error.code, hotkey=verified, source=source, request_id=arrival.request_id
            )
            raise
        return Admitted(arrival, admission.caller, admission.proof)

    async def forwarded(self, request: Request, verb: Verb) -> Response:
        """The responder's answer to a request that was checked here first. Raises ServiceError."""
        admitted = await self.admit(request, verb)
        body = await self.forwarder.forward(admitted.arrival, admitted.caller.hotkey)
        return Response(body, media_type=JSON, headers={"Cache-Control": "no-store"})


def build(bridge: Bridge) -> FastAPI:
    """The application; everything it needs is in `bridge`."""
    app = FastAPI(title="Zipcast", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    errors.install(app, bridge.doorkeeper.clock)

    @app.get(CURRENT_PATH, responses=_replies(CurrentAssignmentReply))
    async def current_assignment(request: Request) -> Response:
        """The running epoch, with the signed text it was published as."""
        await bridge.admit(request, Verb.EPOCH_CURRENT, requests.single_parameters(request))
        reply = await bridge.current_reply()
        shown = reply.for_encodings(request.headers.get("accept-encoding", ""))
        age = {"Age": str(bridge.current.unchecked_seconds())}
        if is_known(request.headers.get("if-none-match"), shown.etag):
            return Response(status_code=304, headers=shown.headers | age)
        return Response(shown.body, media_type=JSON, headers=shown.headers | age)

    @app.get("/api/v1/zipcode-assignments/stats", responses=_replies(StatisticsReply))
    async def statistics(request: Request) -> Response:
        """Public numbers of epochs that have started, and of the zipcodes."""
        await bridge.limits.charge_statistics(client_address(request.scope))
        reply = await bridge.statistics.reply()
        return Response(reply.to_bytes(), media_type=JSON, headers={"Cache-Control": "public, max-age=5"})

    @app.get("/api/v1/epochs", responses=_replies(EndedEpochsReply))
    async def ended_epochs(request: Request) -> Response:
        """Epochs that have ended, newest first, as they were signed, with their seeds."""
        page = await bridge.history.page(requests.single_parameters(request))
        return page.response(request, "public, max-age=5")

    @app.get("/api/v1/epochs/stream", response_class=StreamingResponse)
    async def epoch_stream(request: Request) -> Response:
        """Each epoch as it starts, as a server-sent event; from `Last-Event-ID` on, if that is given."""
        admitted = await bridge.admit(request, Verb.EPOCH_STREAM, requests.single_parameters(request))
        return bridge.listeners.respond(request, admitted.caller.hotkey, admitted.proof)

    @app.get("/api/v1/epochs/{epoch_id}", responses=_replies(EndedEpochReply))
    async def ended_epoch(request: Request, epoch_id: str) -> Response:
        """One epoch that has ended."""
        reply = await bridge.history.one(epoch_id)
        return reply.response(request, "public, max-age=60")

    @app.get("/api/v1/epochs/{epoch_id}/pool", responses=_replies(EpochPoolReply))
    async def epoch_pool(request: Request, epoch_id: str) -> Response:
        """What an epoch was chosen from, for validators, one epoch after its end; page by page."""
        asked = requests.single_parameters(request) | {"epochId": epoch_id}
        await bridge.admit(request, Verb.EPOCH_POOL, asked)
        page = await bridge.pools.page(pool_request(asked))
        return Response(page.to_bytes(), media_type=JSON, headers={"Cache-Control": "private"})

    @app.get(
        "/api/v1/zipcode-assignments/epoch/{epoch_id}",
        responses=_replies(EpochAssignmentReply | RevealedEpochReply),
    )
    async def epoch_assignment(request: Request, epoch_id: str) -> Response:
        """An epoch that has started, for validators; one epoch after its end with its seed."""
        asked = requests.single_parameters(request) | {"epochId": epoch_id}
        await bridge.admit(request, Verb.EPOCH_VALIDATION, asked)
        named_epoch(asked)
        body = await bridge.assignments.body(epoch_id)
        return Response(body, media_type=JSON, headers={"Cache-Control": "private"})

    _add_forwarded(app, bridge)
    _add_results(app, bridge)
    add_admin(app, bridge.forwarded)
    add_pages(app)
    _add_facts(app, bridge.limits.rules)
    _add_health(app, bridge.health)
    describe(app)
    return app


def _add_forwarded(app: FastAPI, bridge: Bridge) -> None:
    @app.post("/api/v1/zipcode-assignments/status", responses=_replies(StatusReply))
    async def status(request: Request) -> Response:
        """How far a miner is with an epoch."""
        return await bridge.forwarded(request, Verb.MINER_STATUS)

    @app.post("/api/v1/s3-access/validator-upload", responses=_replies(ValidatorUploadReply))
    async def validator_upload(request: Request) -> Response:
        """A form and session credentials for one validator's folder of one epoch."""
        return await bridge.forwarded(request, Verb.S3_VALIDATOR_UPLOAD)

    @app.post("/get-folder-access", responses=_replies(FolderAccessReply))
    async def folder_access(request: Request) -> Response:
        """A form for one miner's whole folder, for 24 hours."""
        return await bridge.forwarded(request, Verb.S3_FOLDER_ACCESS)

    @app.post("/get-validator-access", responses=_replies(ValidatorAccessReply))
    async def validator_access(request: Request) -> Response:
        """Lists of all that miners uploaded, for validators, for 24 hours."""
        return await bridge.forwarded(request, Verb.S3_VALIDATOR_ACCESS)

    @app.post("/get-miner-specific-access", responses=_replies(MinerAccessReply))
    async def miner_access(request: Request) -> Response:
        """A list of one miner's uploads, for validators, for 24 hours."""
        return await bridge.forwarded(request, Verb.S3_MINER_ACCESS)

    @app.post("/api/v1/auth/legacy", responses=_replies(LegacyChoiceReply))
    async def legacy_choice(request: Request) -> Response:
        """Whether legacy commitments count for the hotkey that signs this, which takes `btauth/1`."""
        return await bridge.forwarded(request, Verb.AUTH_LEGACY)


def _add_results(app: FastAPI, bridge: Bridge) -> None:
    @app.post("/api/v1/validation-results", responses=_replies(ResultsReply))
    async def validation_results(request: Request) -> Response:
        """What a validator found in an epoch that has ended; the files that it names are checked."""
        return await bridge.forwarded(request, Verb.VALIDATOR_RESULTS)

    @app.get("/api/v1/validation-results/{epoch_id}", responses=_replies(ConsensusReply))
    async def epoch_results(request: Request, epoch_id: str) -> Response:
        """What validators found in an epoch, and their consensus, once it is revealed; page by page."""
        asked = requests.single_parameters(request) | {"epochId": epoch_id}
        caller = (await bridge.admit(request, Verb.VALIDATOR_CONSENSUS, asked)).caller
        page = await bridge.results.page(caller.hotkey, consensus_request(asked))
        return Response(page.to_bytes(), media_type=JSON, headers={"Cache-Control": "private"})


def _add_facts(app: FastAPI, rules: Rules) -> None:
    @app.get("/commitment-formats")
    async def commitment_formats() -> facts.CommitmentFormatsReply:
        """What to sign for which endpoint."""
        return facts.commitment_formats()

    @app.get("/structure-info")
    async def structure_info() -> facts.StructureInfoReply:
        """Where files go."""
        return facts.structure_info()

    @app.get("/rate-limits")
    async def rate_limits() -> limits.RateLimitsReply:
        """How much may be asked for."""
        return limits.rate_limits(rules)


def _add_health(app: FastAPI, health: BridgeHealth) -> None:
    @app.get("/healthcheck", responses=_replies(HealthcheckReply))
    async def healthcheck() -> Response:
        """How each part is, at most five seconds ago; 503 if the assignment cannot be served."""
        reply = await health.reply()
        headers = {"Cache-Control": "no-store"}
        if reply.status is not HealthStatus.UNHEALTHY:
            return Response(reply.to_bytes(), 200, headers, JSON)
        return Response(reply.to_bytes(), 503, headers | {"Retry-After": str(int(REMEMBERED_SECONDS))}, JSON)

    @app.get("/health/live", responses=_replies(Alive))
    async def live() -> dict[str, str]:
        """Whether this process answers at all; says nothing of what it depends on."""
        return {"status": "ok"}

    @app.get("/health/ready", responses=_replies(Alive))
    async def ready() -> dict[str, str]:
        """Whether it can serve the current assignment."""
        await health.require_ready()
        return {"status": "ok"}


def _replies(model: type[WireModel] | UnionType) -> dict[int | str, dict[str, Any]]:
    """What the description says of an endpoint that answers with ready-made bytes."""
    return {200: {"model": model}}
