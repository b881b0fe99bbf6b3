"""Defines the settings of the bridge process."""

import re
from ipaddress import ip_network
from typing import ClassVar

from pydantic import Field, SecretStr, field_validator

from service.settings import AccessSettings, InternalPort, PoolSize

_WEB = r"^https?://[!-~]+$"
_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?")


class BridgeSettings(AccessSettings):
    own_prefix: ClassVar[str | None] = "BRIDGE_"
    internal_port: InternalPort = 9104
    bridge_database_connections: PoolSize = 10

    bridge_nats_seed: SecretStr = Field(description="nkey seed of the NATS user BRIDGE")
    bridge_follow_nats_seed: SecretStr = Field(description="nkey seed of the NATS user BRIDGE_FOLLOW")
    bridge_host: str = Field(default="0.0.0.0", description="address to listen on")  # noqa: S104
    bridge_trusted_proxies: str = Field(
        default="",
        description="addresses or networks of proxies whose X-Forwarded-For is trusted, comma-separated",
    )
    bridge_cors_origins: str = Field(
        default="",
        description="origins of web pages that may read replies, comma-separated; empty: none",
    )
    nats_monitor_url: str | None = Field(
        default=None,
        pattern=_WEB,
        description="nats-server's monitoring URL, for /ops and its NATS dashboard; empty: not shown",
        examples=["http://127.0.0.1:8222"],
    )
    nats_dashboard_url: str | None = Field(
        default=None,
        pattern=_WEB,
        description="URL of the NATS dashboard to which /ops links; empty: the one in the bridge",
    )
    bridge_public_servers: str = Field(
        default="",
        pattern=r"^$|^(tls|wss|nats)://[!-+\--~]+(,(tls|wss|nats)://[!-+\--~]+)*$",
        description="URLs under which clients reach NATS, such as tls://nats.example.org:4222, "
        "comma-separated, for /.well-known/zipcast.json",
    )
    bridge_public_url: str | None = Field(
        default=None,
        pattern=_WEB,
        description="URL under which clients reach this bridge, for /.well-known/zipcast.json, / and /ops",
    )
    documentation_url: str | None = Field(
        default=None,
        pattern=_WEB,
        description="URL of the documentation site, to which /docs links; empty: no link",
    )
    port: int = Field(default=8000, ge=1, le=65535, description="port to listen on")

    @field_validator("bridge_trusted_proxies")
    @classmethod
    def _networks(cls, value: str) -> str:
        for network in value.split(",") if value else ():
            ip_network(network)
        return value

    @field_validator("bridge_cors_origins")
    @classmethod
    def _origins(cls, value: str) -> str:
        for origin in value.split(",") if value else ():
            if not _ORIGIN.fullmatch(origin):
                raise ValueError("must be origins such as https://app.example.org, without a path")
        return value

    @property
    def cors_origins(self) -> tuple[str, ...]:
        return tuple(self.bridge_cors_origins.split(",")) if self.bridge_cors_origins else ()

    @property
    def public_servers(self) -> tuple[str, ...]:
        return tuple(self.bridge_public_servers.split(",")) if self.bridge_public_servers else ()

    @property
    def trusted_proxies(self) -> tuple[str, ...]:
        return tuple(self.bridge_trusted_proxies.split(",")) if self.bridge_trusted_proxies else ()
