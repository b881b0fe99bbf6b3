"""Listing and kicking connections by way of nats-server's system account.

Owns the questions and the shape of their answers, over pages and over the servers of a cluster. Decides
nothing. Nobody says how many servers there are, so the first page waits for whoever answers in time.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import datetime

from nats.aio.client import Client
from nats.aio.msg import Msg
from pydantic import BaseModel, ConfigDict, ValidationError

from broker_service.callout.connections import Connection, Place, parse_connection_user
from broker_service.callout.exchange import TARGET_ACCOUNT
from runtime import logs
from zipcast.subjects import DISCONNECTIONS, LIST_CONNECTIONS, kick

log = logs.logger()

PAGE = 1000
# A page begins a little before the end of the one before: whoever leaves meanwhile moves the others up.
OVERLAP = 50
PATIENCE_SECONDS = 1.0


class ListingError(Exception):
    """No server answered, or not every page came in time; an incomplete listing is not gone by."""


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class _Listed(_Answer):
    cid: int
    start: datetime
    authorized_user: str = ""


class _Page(_Answer):
    server_id: str
    total: int
    connections: tuple[_Listed, ...] = ()


class _PageAnswer(_Answer):
    data: _Page


class _Server(_Answer):
    id: str


class _Client(_Answer):
    id: int


class _Disconnection(_Answer):
    server: _Server
    client: _Client


class SystemAccount:
    """`connection` is the service user's of the account SYS."""

    def __init__(self, connection: Client, page: int = PAGE) -> None:
        self._connection = connection
        self._page = page
        self._overlap = min(OVERLAP, page - 1)

    async def follow_ends(self, ended: Callable[[Place], None]) -> None:
        """Call `ended` for each connection of the account that ends, from now on."""

        async def hear(message: Msg) -> None:
            try:
                told = _Disconnection.model_validate_json(message.data)
            except ValidationError as error:
                log.error("disconnection_unreadable", error=type(error).__name__)
                return
            ended(Place(told.server.id, told.client.id))

        await self._connection.subscribe(DISCONNECTIONS, cb=hear)

    async def hotkey_connections(self) -> list[Connection]:
        """Every connection of a hotkey, on every server. Raises ListingError, nats.errors.Error."""
        found: dict[Place, Connection] = {}
        servers: set[str] | None = None
        offset = 0
        while servers is None or servers:
            pages = await self._ask(offset, servers)
            for page in pages:
                found |= _connections(page)
            servers = {page.server_id for page in pages if page.total > offset + self._page}
            offset += self._page - self._overlap
        return list(found.values())

    async def kick(self, place: Place) -> None:
        """Its client connects again at once, if it is a good one. Not waited for: the next listing shows
        whether it worked. Raises nats.errors.Error."""
        question = json.dumps({"cid": place.client_id}).encode()
        # nats-server ignores a kick that nobody could be answered about.
        await self._connection.publish(kick(place.server_id), question, reply=self._connection.new_inbox())

    async def _ask(self, offset: int, servers: set[str] | None) -> list[_Page]:
        """One page of each of `servers`; None: of whoever answers."""
        wanted = {"auth": True, "acc": TARGET_ACCOUNT, "sort": "cid", "offset": offset, "limit": self._page}
        pages: dict[str, _Page] = {}
        complete = asyncio.Event()

        async def take(message: Msg) -> None:
            page = _PageAnswer.model_validate_json(message.data).data
            pages[page.server_id] = page
            if servers is not None and servers <= pages.keys():
                complete.set()

        await self._gather(json.dumps(wanted).encode(), take, complete)
        if not pages or (servers is not None and not servers <= pages.keys()):
            raise ListingError(f"{len(pages)} servers answered")
        return list(pages.values())

    async def _gather(
        self, question: bytes, take: Callable[[Msg], Awaitable[None]], complete: asyncio.Event
    ) -> None:
        """Hand every answer to `take` until it is complete, or for as long as patience lasts."""
        inbox = self._connection.new_inbox()
        answers = await self._connection.subscribe(inbox, cb=take)
        try:
            await self._connection.publish(LIST_CONNECTIONS, question, reply=inbox)
            async with asyncio.timeout(PATIENCE_SECONDS):
                await complete.wait()
        except TimeoutError:
            pass
        finally:
            await answers.unsubscribe()


def _connections(page: _Page) -> dict[Place, Connection]:
    """Those of hotkeys: a service user has another kind of name, and is left alone."""
    found = {}
    for listed in page.connections:
        parsed = parse_connection_user(listed.authorized_user)
        if parsed is not None:
            place = Place(page.server_id, listed.cid)
            found[place] = Connection(place, *parsed, listed.start)
    return found
