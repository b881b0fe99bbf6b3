"""The bridge's endpoints (contract-http): each a few lines over what memory and responder hold."""

from dataclasses import dataclass, field

from fastapi import FastAPI, Request
from starlette.responses import Response

from http_bridge import errors, requests
from http_bridge.current_reply import CurrentReply
from http_bridge.forwarding import Forwarder
from runtime.current_epoch import CurrentEpoch
from runtime.identity import Doorkeeper
from zipcast.subjects import Verb

JSON = "application/json"


@dataclass(slots=True)
class Bridge:
    """What the endpoints work with."""

    doorkeeper: Doorkeeper
    current: CurrentEpoch
    forwarder: Forwarder
    _reply: CurrentReply | None = field(default=None)

    def current_reply(self) -> CurrentReply:
        """Prebuilt per epoch. Raises ServiceError(NO_CURRENT_EPOCH)."""
        epoch = self.current.running()
        if self._reply is None or self._reply.epoch_id != epoch.message.epoch_id:
            self._reply = CurrentReply.of(epoch)
        return self._reply


def build(bridge: Bridge) -> FastAPI:
    """The application; everything it needs is in `bridge`."""
    app = FastAPI(title="Zipcast", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    errors.install(app, bridge.doorkeeper.clock)

    @app.get("/api/v1/zipcode-assignments/current")
    async def current_assignment(request: Request) -> Response:
        """The running epoch, with the signed text it was published as."""
        arrival = await requests.arrival(request, Verb.EPOCH_CURRENT)
        bridge.doorkeeper.admit_bridged(arrival, requests.single_parameters(request))
        reply = bridge.current_reply()
        headers = {"Cache-Control": "private", "ETag": reply.etag}
        if request.headers.get("if-none-match") == reply.etag:
            return Response(status_code=304, headers=headers)
        return Response(reply.body, media_type=JSON, headers=headers)

    @app.post("/api/v1/s3-access/validator-upload")
    async def validator_upload(request: Request) -> Response:
        """A form and session credentials for one validator's folder of one epoch."""
        arrival = await requests.arrival(request, Verb.S3_VALIDATOR_UPLOAD)
        bridge.doorkeeper.admit_bridged(arrival)
        body = await bridge.forwarder.forward(arrival)
        return Response(body, media_type=JSON, headers={"Cache-Control": "no-store"})

    @app.get("/health/live")
    async def live() -> dict[str, str]:
        """Whether this process answers at all; says nothing of what it depends on."""
        return {"status": "ok"}

    return app
