"""Settings of the bridge process."""

from typing import ClassVar

from pydantic import Field, SecretStr

from runtime.settings import (
    DatabaseSettings,
    InternalPort,
    LimitSettings,
    ServiceSettings,
    SignerSettings,
    ValidatorSettings,
)


class BridgeSettings(ServiceSettings, DatabaseSettings, SignerSettings, ValidatorSettings, LimitSettings):
    own_prefix: ClassVar[str | None] = "BRIDGE_"
    internal_port: InternalPort = 9104

    bridge_nats_seed: SecretStr = Field(description="nkey seed of the NATS user BRIDGE")
    bridge_host: str = Field(default="0.0.0.0", description="address to listen on")  # noqa: S104
    port: int = Field(default=8000, ge=1, le=65535, description="port to listen on")
