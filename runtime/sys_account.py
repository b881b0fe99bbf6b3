"""Listing and kicking clients by way of nats-server's system account.

Owns the questions and the shape of their answers, over pages and over the servers of a cluster. Nobody says
how many servers there are, so a listing waits a second for whoever answers. Decides nothing.
"""

import asyncio
import json
from dataclasses import dataclass
from datetime import datetime

from nats.aio.client import Client
from nats.aio.msg import Msg
from pydantic import BaseModel, ConfigDict

from zipcast.hotkeys import Hotkey, MalformedHotkeyError, parse_hotkey
from zipcast.subjects import LIST_CONNECTIONS, kick

ACCOUNT = "APP"
PAGE = 1000
PATIENCE_SECONDS = 1.0


class ListingError(Exception):
    """No server answered, or not every page came in time; an incomplete listing is not gone by."""


@dataclass(frozen=True, slots=True)
class ClientConnection:
    """One connection of a hotkey. `server_id` and `client_id` name it as long as that server runs."""

    server_id: str
    client_id: int
    hotkey: Hotkey
    address: str
    since: datetime
    messages_in: int
    messages_out: int


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class _Listed(_Answer):
    cid: int
    ip: str = ""
    start: datetime
    in_msgs: int = 0
    out_msgs: int = 0
    authorized_user: str = ""


class _Page(_Answer):
    server_id: str
    total: int
    connections: tuple[_Listed, ...] = ()


class _PageAnswer(_Answer):
    data: _Page


async def client_connections(system: Client, page: int = PAGE) -> list[ClientConnection]:
    """Every connection of a hotkey, on every server, oldest first; service users are left out.

    Raises ListingError, nats.errors.Error, pydantic.ValidationError."""
    found: dict[tuple[str, int], ClientConnection] = {}
    servers: set[str] | None = None
    offset = 0
    while servers is None or servers:
        pages = await _ask(system, offset, page, servers)
        for answered in pages:
            found |= {(one.server_id, one.client_id): one for one in _connections(answered)}
        offset += page
        servers = {answered.server_id for answered in pages if answered.total > offset}
    return sorted(found.values(), key=lambda one: (one.since, one.server_id, one.client_id))


async def kick_connection(system: Client, connection: ClientConnection) -> None:
    """Not waited for; its client may connect again at once. Raises nats.errors.Error."""
    question = json.dumps({"cid": connection.client_id}).encode()
    # nats-server ignores a kick that nobody could be answered about.
    await system.publish(kick(connection.server_id), question, reply=system.new_inbox())


async def _ask(system: Client, offset: int, limit: int, servers: set[str] | None) -> list[_Page]:
    """One page of each of `servers`; None: of whoever answers."""
    question = {"auth": True, "acc": ACCOUNT, "sort": "cid", "offset": offset, "limit": limit}
    pages: dict[str, _Page] = {}
    inbox = system.new_inbox()
    answers = await system.subscribe(inbox)
    try:
        await system.publish(LIST_CONNECTIONS, json.dumps(question).encode(), reply=inbox)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while servers is None or not servers <= pages.keys():
                message: Msg = await answers.next_msg(timeout=None)
                answered = _PageAnswer.model_validate_json(message.data).data
                pages[answered.server_id] = answered
    except TimeoutError:
        pass  # whoever has not answered by now is not there
    finally:
        await answers.unsubscribe()
    if not pages or (servers is not None and not servers <= pages.keys()):
        raise ListingError(f"{len(pages)} servers answered")
    return list(pages.values())


def _connections(page: _Page) -> list[ClientConnection]:
    found = []
    for listed in page.connections:
        hotkey = _hotkey(listed.authorized_user)
        if hotkey is not None:
            found.append(
                ClientConnection(
                    page.server_id,
                    listed.cid,
                    hotkey,
                    listed.ip,
                    listed.start,
                    listed.in_msgs,
                    listed.out_msgs,
                )
            )
    return found


def _hotkey(user: str) -> Hotkey | None:
    """The hotkey is all of a client's name, or what follows its role; a service user's name is his nkey."""
    try:
        return parse_hotkey(user.rpartition(".")[2])
    except MalformedHotkeyError:
        return None
