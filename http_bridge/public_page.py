"""Serves `/`, a page for everyone: the running epoch, the last epochs, and the state of the service.

Its data has nothing about an epoch that has not started, and no zipcodes. It is collected at most once in two
seconds, however many visitors there are.
"""

import asyncio
from dataclasses import dataclass, field

from fastapi import FastAPI
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from http_bridge.assets import STATIC, Asset, page_assets
from http_bridge.cached_replies import ReadyReply, Remembered
from http_bridge.health import BridgeHealth
from http_bridge.ops import StartedEpoch, started_epoch
from http_bridge.recent_epochs import RecentEpoch, RecentEpochs
from service.current_epoch import CurrentEpoch
from zipcast.protocol.messages.base import WireModel, WireTime
from zipcast.protocol.messages.health import HealthStatus
from zipcast.protocol.messages.service import ServiceDescription

DATA = "/page.json"
ASSETS = "/assets/page"
KEPT_SECONDS = 2.0
POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; " + (
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class PageData(WireModel):
    """The data of the page. `services` has the state of each part, without its errors."""

    now: WireTime
    status: HealthStatus
    services: dict[str, HealthStatus]
    epoch: StartedEpoch | None = Field(description="The running epoch; null if there is none.")
    recent: tuple[RecentEpoch, ...]
    description: ServiceDescription


@dataclass(slots=True)
class PublicPage:
    """The data of the page."""

    health: BridgeHealth
    recent: RecentEpochs
    current: CurrentEpoch
    description: ServiceDescription
    _kept: Remembered[ReadyReply] = field(init=False)

    def __post_init__(self) -> None:
        self._kept = Remembered(self._collect, self.health.process_status.clock, KEPT_SECONDS)

    async def reply(self) -> ReadyReply:
        """Return the data, which are at most KEPT_SECONDS old."""
        return await self._kept.value()

    async def _collect(self) -> ReadyReply:
        health, recent = await asyncio.gather(self.health.reply(), self.recent.newest())
        data = PageData(
            now=health.timestamp,
            status=health.status,
            services={name: service.status for name, service in health.services.items()},
            epoch=started_epoch(self.current),
            recent=recent,
            description=self.description,
        )
        return ReadyReply.of(data.to_bytes())


def add_public_page(app: FastAPI, page: PublicPage) -> None:
    """Add `/`, its data and its assets."""
    content = Asset.of((STATIC / "home.html").read_bytes(), "text/html; charset=utf-8")
    app.mount(ASSETS, page_assets())

    @app.get("/", include_in_schema=False)
    async def home(request: Request) -> Response:
        reply = content.response(request, "public, max-age=60")
        reply.headers["Content-Security-Policy"] = POLICY
        return reply

    @app.get(DATA, include_in_schema=False)
    async def page_json(request: Request) -> Response:
        return (await page.reply()).response(request, "public, max-age=2")
