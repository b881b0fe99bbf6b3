"""Settings of the callout process."""

from pydantic import Field, SecretStr

from runtime.settings import InternalPort, ServiceSettings


class CalloutSettings(ServiceSettings):
    internal_port: InternalPort = 9103
    callout_nats_seed: SecretStr = Field(description="nkey seed of the NATS user CALLOUT (account AUTH)")
    callout_follow_nats_seed: SecretStr = Field(description="nkey seed of the user CALLOUT_FOLLOW")
    callout_issuer_seed: SecretStr = Field(description="account seed that signs its answers")
    callout_xkey_seed: SecretStr = Field(description="curve seed that opens what nats-server seals")
    callout_audiences: str = Field(
        description="names under which clients verify this NATS, comma-separated; `loopback` for 127.0.0.1",
        pattern=r"^[A-Za-z0-9.-]+(,[A-Za-z0-9.-]+)*$",
    )
    validator_min_stake: int = Field(default=1000, ge=0, description="alpha a validator must hold")

    @property
    def audiences(self) -> tuple[str, ...]:
        return tuple(self.callout_audiences.split(","))
