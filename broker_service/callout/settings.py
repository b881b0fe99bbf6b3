"""Settings of the callout process."""

from typing import ClassVar

from pydantic import Field, SecretStr

from runtime.settings import AdminSettings, InternalPort, ServiceSettings, ValidatorSettings


class CalloutSettings(ServiceSettings, ValidatorSettings, AdminSettings):
    own_prefix: ClassVar[str | None] = "CALLOUT_"
    internal_port: InternalPort = 9103

    callout_nats_seed: SecretStr = Field(description="nkey seed of the NATS user CALLOUT (account AUTH)")
    callout_follow_nats_seed: SecretStr = Field(description="nkey seed of the user CALLOUT_FOLLOW")
    callout_issuer_seed: SecretStr = Field(description="account seed that signs its answers")
    callout_xkey_seed: SecretStr = Field(description="curve seed that opens what nats-server seals")
    callout_audiences: str = Field(
        description="names under which clients verify this NATS, comma-separated; `loopback` for 127.0.0.1",
        pattern=r"^[A-Za-z0-9.-]+(,[A-Za-z0-9.-]+)*$",
        examples=["loopback"],
    )

    @property
    def audiences(self) -> tuple[str, ...]:
        return tuple(self.callout_audiences.split(","))
