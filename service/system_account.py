"""Lists and closes connections with nats-server's system account.

It reads all pages of all servers of a cluster. The number of servers is unknown, so it waits a fixed time for
the first page of each and then uses the servers that have replied.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from nats.aio.client import Client
from nats.aio.msg import Msg
from pydantic import BaseModel, ConfigDict

from zipcast.protocol.subjects import LIST_CONNECTIONS, kick

ACCOUNT = "APP"
PAGE = 1000
# Each page of connections begins this many before the end of the last one, because connections that end in
# the meantime move the following ones forward.
OVERLAP = 50
TIMEOUT_SECONDS = 1.0


class ListingError(Exception):
    """No server replied, or a page did not arrive in time. An incomplete list must not be used."""


@dataclass(frozen=True, slots=True)
class ClientConnection:
    """One connection. `server_id` and `client_id` identify it while the server runs. `user` is the user name
    that the callout gave it."""

    server_id: str
    client_id: int
    user: str
    address: str
    since: datetime
    messages_in: int
    messages_out: int
    bytes_in: int = 0


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class _Listed(_Answer):
    cid: int
    ip: str = ""
    start: datetime
    in_msgs: int = 0
    in_bytes: int = 0
    out_msgs: int = 0
    authorized_user: str = ""


class _Page(_Answer):
    server_id: str
    total: int
    connections: tuple[_Listed, ...] = ()


class _PageAnswer(_Answer):
    data: _Page


async def client_connections(system: Client, page_size: int = PAGE) -> list[ClientConnection]:
    """Return every connection of the account on every server, oldest first.

    Raises ListingError, nats.errors.Error, pydantic.ValidationError."""
    overlap = min(OVERLAP, page_size - 1)
    found: dict[tuple[str, int], ClientConnection] = {}
    servers: set[str] | None = None
    offset = 0
    while servers is None or servers:
        pages = await _ask(system, offset, page_size, servers)
        for page in pages:
            found |= {(page.server_id, one.cid): _connection(page.server_id, one) for one in page.connections}
        servers = {page.server_id for page in pages if page.total > offset + page_size}
        offset += page_size - overlap
    return sorted(found.values(), key=lambda one: (one.since, one.server_id, one.client_id))


async def active_connections(system: Client, limit: int = PAGE) -> list[ClientConnection]:
    """Return the most recently active connections of the account, at most `limit` of each server.

    Raises ListingError, nats.errors.Error, pydantic.ValidationError."""
    pages = await _ask(system, 0, limit, None, sort="last")
    return [_connection(page.server_id, one) for page in pages for one in page.connections]


async def kick_connection(system: Client, server_id: str, client_id: int) -> None:
    """Close a connection, without waiting for the result. A good client then connects again at once. Raises
    nats.errors.Error."""
    question = json.dumps({"cid": client_id}).encode()
    # nats-server ignores a kick without a reply subject.
    await system.publish(kick(server_id), question, reply=system.new_inbox())


def _connection(server_id: str, listed: _Listed) -> ClientConnection:
    return ClientConnection(
        server_id=server_id,
        client_id=listed.cid,
        user=listed.authorized_user,
        address=listed.ip,
        since=listed.start,
        messages_in=listed.in_msgs,
        messages_out=listed.out_msgs,
        bytes_in=listed.in_bytes,
    )


async def _ask(
    system: Client, offset: int, limit: int, servers: set[str] | None, sort: str = "cid"
) -> list[_Page]:
    """Return one page of each of `servers`, or, if it is None, of every server that replies."""
    wanted = {"auth": True, "acc": ACCOUNT, "sort": sort, "offset": offset, "limit": limit}
    pages: dict[str, _Page] = {}
    complete = asyncio.Event()

    async def take(message: Msg) -> None:
        page = _PageAnswer.model_validate_json(message.data).data
        pages[page.server_id] = page
        if servers is not None and servers <= pages.keys():
            complete.set()

    await _gather(system, json.dumps(wanted).encode(), take, complete)
    if not pages or (servers is not None and not servers <= pages.keys()):
        raise ListingError(f"only {len(pages)} servers replied in time")
    return list(pages.values())


async def _gather(
    system: Client, question: bytes, take: Callable[[Msg], Awaitable[None]], complete: asyncio.Event
) -> None:
    """Pass every reply to `take` until `complete` is set, or for TIMEOUT_SECONDS."""
    inbox = system.new_inbox()
    answers = await system.subscribe(inbox, cb=take)
    try:
        await system.publish(LIST_CONNECTIONS, question, reply=inbox)
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await complete.wait()
    except TimeoutError:
        pass
    finally:
        await answers.unsubscribe()
