"""Settings of the callout process."""

from typing import ClassVar

from pydantic import Field, SecretStr

from runtime.settings import AdminSettings, InternalPort, ServiceSettings, ValidatorSettings


class CalloutSettings(ServiceSettings, ValidatorSettings, AdminSettings):
    own_prefix: ClassVar[str | None] = "CALLOUT_"
    internal_port: InternalPort = 9103

    callout_nats_seed: SecretStr = Field(description="nkey seed of the NATS user CALLOUT (account AUTH)")
    callout_follow_nats_seed: SecretStr = Field(description="nkey seed of the user CALLOUT_FOLLOW")
    callout_sys_nats_seed: SecretStr = Field(
        description="nkey seed of the user CALLOUT_SYS (account SYS), which lists and kicks connections"
    )
    callout_issuer_seed: SecretStr = Field(description="account seed that signs its answers")
    callout_xkey_seed: SecretStr = Field(description="curve seed that opens what nats-server seals")
    callout_audiences: str = Field(
        description="names under which clients verify this NATS, comma-separated; `loopback` for 127.0.0.1",
        pattern=r"^[A-Za-z0-9.-]+(,[A-Za-z0-9.-]+)*$",
        examples=["loopback"],
    )
    callout_connections_per_hotkey: int = Field(
        default=10, ge=1, le=1000, description="connections a hotkey; one more, and its oldest is kicked"
    )
    callout_address_per_second: float = Field(
        default=20, gt=0, description="connection attempts an address (IPv6: a /64) that are looked at"
    )
    callout_address_burst: int = Field(
        default=200, ge=1, description="of those, how many at once: a farm behind one address comes back"
    )
    callout_failures_per_second: float = Field(
        default=2, gt=0, description="false proofs an address; beyond, nothing from there is looked at"
    )
    callout_failure_burst: int = Field(default=20, ge=1, description="of those, how many at once")

    @property
    def audiences(self) -> tuple[str, ...]:
        return tuple(self.callout_audiences.split(","))
