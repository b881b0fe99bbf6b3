"""Makes parts of our four processes, with their environments and checks of readiness.

Each process gets only the variables that it needs.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from devstack import logins
from devstack.options import DEFAULT_NETUID, LOCAL_NETWORK
from devstack.part import Part
from devstack.ports import HOST
from devstack.programs import REPOSITORY, inherited_environment
from devstack.servers import Servers
from devstack.wallets import admin_address

AUDIENCE = "loopback"
TARGET_LISTINGS = 5000
# The longest start of a scheduler that reads a chain: a slow node takes a minute for the first reading.
CHAIN_TIMEOUT_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Services:
    """The processes that use the running `servers`. `registry` is an absolute path, or None to read the
    chain."""

    servers: Servers
    epoch_seconds: int
    registry: Path | None
    settings: Mapping[str, str] = field(default_factory=dict)
    network: str = LOCAL_NETWORK
    netuid: int = DEFAULT_NETUID

    def parts(self) -> tuple[Part, ...]:
        """Return schedulers, responder, callout and http_bridge, which must be started after the servers."""
        port = self.servers.ports.http
        schedulers = {"TARGET_LISTINGS": str(TARGET_LISTINGS)}
        if self.registry is not None:
            schedulers["SCHEDULERS_REGISTRY_FILE"] = str(self.registry)
        admins = {"ADMIN_HOTKEYS": admin_address(self.servers.state.admin_wallets)}
        responder = self.servers.s3_environment | admins
        callout = {"CALLOUT_AUDIENCES": AUDIENCE} | admins
        bridge = {
            "PORT": str(port),
            "BRIDGE_HOST": HOST,
            "NATS_MONITOR_URL": self.servers.monitoring_url,
            "BRIDGE_PUBLIC_SERVERS": self.servers.nats_url,
            "BRIDGE_PUBLIC_URL": self.servers.http_url,
        } | admins
        scheduler = self._part("schedulers", "schedulers", schedulers)
        if self.registry is None:
            scheduler = replace(scheduler, start_timeout_seconds=CHAIN_TIMEOUT_SECONDS)
        return (
            scheduler,
            self._part("responder", "broker_service.responder", responder),
            self._part("callout", "broker_service.callout", callout),
            self._part("http_bridge", "http_bridge", bridge, address=f"http://{HOST}:{port}"),
        )

    def _part(self, name: str, module: str, own: dict[str, str], address: str = "") -> Part:
        state = self.servers.state
        mark = state.run / f"{name}.ready"
        internal_port: int = getattr(self.servers.ports, name)
        keys = self.servers.keys["bridge" if name == "http_bridge" else name]

        async def before_start() -> None:
            mark.unlink(missing_ok=True)

        async def is_ready() -> bool:
            return mark.exists()

        return Part(
            name=name,
            address=address or "on NATS",
            argv=(sys.executable, "-m", module),
            environment=inherited_environment()
            | self._common(mark, internal_port)
            | self._database(name)
            | keys
            | own
            | dict(self.settings),
            log=state.logs / f"{name}.log",
            folder=REPOSITORY,
            is_ready=is_ready,
            before_start=before_start,
            internal=f"http://{HOST}:{internal_port}",
        )

    def _database(self, process: str) -> dict[str, str]:
        if process not in logins.ROLES:
            return {}
        return {"DATABASE_URL": self.servers.database_url_of(process)}

    def _common(self, mark: Path, internal_port: int) -> dict[str, str]:
        return {
            "NATS_URL": self.servers.nats_url,
            "BEACON_RELAYS": self.servers.beacon_relay_url,
            "BT_NETWORK": self.network,
            "NET_UID": str(self.netuid),
            "EPOCH_DURATION_SECONDS": str(self.epoch_seconds),
            "LOG_LEVEL": "INFO",
            "ZIPCAST_ENVIRONMENT": "development",
            "READY_FILE": str(mark),
            "INTERNAL_HOST": HOST,
            "INTERNAL_PORT": str(internal_port),
        }
