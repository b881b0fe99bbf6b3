"""Settings of the bridge process."""

from pydantic import Field, SecretStr

from runtime.settings import DatabaseSettings, RegistryAgeSettings, ServiceSettings, SignerSettings


class BridgeSettings(ServiceSettings, DatabaseSettings, SignerSettings, RegistryAgeSettings):
    bridge_nats_seed: SecretStr = Field(description="nkey seed of the NATS user BRIDGE")
    bridge_host: str = Field(default="0.0.0.0", description="address to listen on")  # noqa: S104
    port: int = Field(default=8000, ge=1, le=65535)
    validator_min_stake: int = Field(default=1000, ge=0, description="alpha a validator must hold")
