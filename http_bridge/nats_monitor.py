"""Reads nats-server's monitoring pages, for `/ops` and for the NATS dashboard beside it."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from service import logs
from zipcast.client.http import open_client
from zipcast.protocol.messages.base import WireModel, WireTime

log = logs.logger()

TIMEOUT_SECONDS = 1.5
DASHBOARD_READS = ("varz", "connz", "jsz")
"""The monitoring pages that the dashboard reads."""
# Accounts of nats.conf in which only our processes have connections. Each process has a connection in at
# least one of these accounts.
_PROCESS_ACCOUNTS = ("STREAMS", "FOLLOW", "SPENT")
_PROCESSES = {
    "zipcast-schedulers": "schedulers",
    "zipcast-responder-follow": "responder",
    "zipcast-callout-follow": "callout",
    "zipcast-bridge-follow": "http_bridge",
}
# The responder and the bridge also have a connection in APP, the account of miners and validators.
_ALSO_IN_APP = ("responder", "http_bridge")


class ConnectedProcess(WireModel):
    """A process, as nats-server sees it. In a cluster, one server sees only its own connections."""

    name: str
    replicas: int
    connected_since: WireTime | None = Field(description="When the oldest connection of a replica began.")


@dataclass(frozen=True, slots=True)
class NatsFacts:
    """Facts from the monitoring pages. `subscribers` counts the connections of clients."""

    server: dict[str, str | int]
    subscribers: int | None = None
    processes: tuple[ConnectedProcess, ...] = ()


@dataclass(frozen=True, slots=True)
class NatsMonitor:
    """Reads nats-server's monitoring pages at `url`."""

    url: str

    async def facts(self) -> NatsFacts:
        """Return facts about the server and its connections. If it does not reply, `server` says so."""
        pages = ("/varz", "/jsz", "/connz?acc=APP&limit=1")
        paths = (*pages, *(f"/connz?acc={account}" for account in _PROCESS_ACCOUNTS))
        try:
            async with open_client(self.url, TIMEOUT_SECONDS) as http:
                varz, jsz, clients, *ours = await asyncio.gather(*(self._json(http, path) for path in paths))
        except (httpx.HTTPError, ValueError) as error:
            log.debug("nats_monitor_unread", error=type(error).__name__)
            return NatsFacts({"state": f"does not respond ({type(error).__name__})"})
        processes = _processes([one for page in ours for one in page["connections"]])
        own = sum(one.replicas for one in processes if one.name in _ALSO_IN_APP)
        return NatsFacts(_server(varz, jsz), max(0, int(clients["total"]) - own), processes)

    async def _json(self, http: httpx.AsyncClient, path: str) -> dict[str, Any]:
        reply: dict[str, Any] = (await http.get(self.url + path)).raise_for_status().json()
        return reply

    async def passed_on(self, request: Request, page: str) -> Response:
        """Return one monitoring page with the request's query, for the dashboard."""
        try:
            async with open_client(self.url, TIMEOUT_SECONDS) as http:
                reply = await http.get(f"{self.url}/{page}", params=dict(request.query_params))
        except httpx.HTTPError as error:
            return JSONResponse({"error": type(error).__name__}, 502)
        return Response(reply.content, reply.status_code, media_type="application/json")


def _processes(connections: list[Mapping[str, Any]]) -> tuple[ConnectedProcess, ...]:
    found: dict[str, list[str]] = {name: [] for name in _PROCESSES.values()}
    for one in connections:
        name = _PROCESSES.get(one.get("name", ""))
        if name is not None:
            found[name].append(one["start"])
    return tuple(
        ConnectedProcess.model_validate(
            {"name": name, "replicas": len(starts), "connected_since": min(starts, default=None)}
        )
        for name, starts in found.items()
    )


def _server(varz: Mapping[str, Any], jsz: Mapping[str, Any]) -> dict[str, str | int]:
    asked = ("version", "uptime", "connections", "total_connections", "subscriptions")
    counts = {name.replace("_", " "): varz.get(name, 0) for name in asked}
    return counts | {
        "messages in": varz.get("in_msgs", 0),
        "messages out": varz.get("out_msgs", 0),
        "slow consumers": varz.get("slow_consumers", 0),
        "memory, MB": varz.get("mem", 0) // 2**20,
        "streams": jsz.get("streams", 0),
        "messages stored": jsz.get("messages", 0),
        "stored, KB": jsz.get("bytes", 0) // 2**10,
    }
