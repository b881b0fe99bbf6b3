"""Settings of the bridge process."""

from ipaddress import ip_network
from typing import ClassVar

from pydantic import Field, SecretStr, field_validator

from runtime.settings import DoorwaySettings, InternalPort


class BridgeSettings(DoorwaySettings):
    own_prefix: ClassVar[str | None] = "BRIDGE_"
    internal_port: InternalPort = 9104

    bridge_nats_seed: SecretStr = Field(description="nkey seed of the NATS user BRIDGE")
    bridge_host: str = Field(default="0.0.0.0", description="address to listen on")  # noqa: S104
    bridge_trusted_proxies: str = Field(
        default="",
        description="addresses or networks whose X-Forwarded-For is believed, comma-separated",
    )
    port: int = Field(default=8000, ge=1, le=65535, description="port to listen on")

    @field_validator("bridge_trusted_proxies")
    @classmethod
    def _networks(cls, value: str) -> str:
        for network in value.split(",") if value else ():
            ip_network(network)
        return value

    @property
    def trusted_proxies(self) -> tuple[str, ...]:
        return tuple(self.bridge_trusted_proxies.split(",")) if self.bridge_trusted_proxies else ()
