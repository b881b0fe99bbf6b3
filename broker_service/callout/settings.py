"""Defines the settings of the callout process."""

from typing import ClassVar, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from access.source_addresses import Network, parse_networks
from service.settings import AdminSettings, InternalPort, ReplicaSettings, ServiceSettings, ValidatorSettings
from zipcast.protocol.signed_texts import LOOPBACK_AUDIENCE


class CalloutSettings(ServiceSettings, ReplicaSettings, ValidatorSettings, AdminSettings):
    own_prefix: ClassVar[str | None] = "CALLOUT_"
    internal_port: InternalPort = 9103

    callout_nats_seed: SecretStr = Field(description="nkey seed of the NATS user CALLOUT (account AUTH)")
    callout_follow_nats_seed: SecretStr = Field(description="nkey seed of the user CALLOUT_FOLLOW")
    callout_sys_nats_seed: SecretStr = Field(
        description="nkey seed of the user CALLOUT_SYS (account SYS), which lists and closes connections"
    )
    callout_issuer_seed: SecretStr = Field(description="account seed that signs the callout's replies")
    callout_xkey_seed: SecretStr = Field(description="curve seed that decrypts nats-server's requests")
    callout_audiences: str = Field(
        description="host names of this NATS that clients verify, comma-separated; `loopback` for 127.0.0.1",
        pattern=r"^[A-Za-z0-9.-]+(, ?[A-Za-z0-9.-]+)*$",
        examples=["loopback"],
    )
    callout_connections_per_hotkey: int = Field(
        default=10,
        ge=1,
        le=1000,
        description="connections per hotkey; if there are more, the oldest is closed",
    )
    callout_address_per_second: float = Field(
        default=20, gt=0, description="connection attempts processed per second and address (IPv6: /64)"
    )
    callout_address_burst: int = Field(
        default=200,
        ge=1,
        description="connection attempts at once per address, for many miners that reconnect",
    )
    callout_failures_per_second: float = Field(
        default=2,
        gt=0,
        description="false proofs per second and address; beyond that, the address's attempts are ignored",
    )
    callout_failure_burst: int = Field(default=20, ge=1, description="false proofs at once per address")

    callout_trusted_proxies: str = Field(
        default="",
        description="addresses or networks of proxies that end TLS for WebSocket clients, comma-separated",
    )
    callout_proxy_per_second: float = Field(
        default=200, gt=0, description="connection attempts processed per second and trusted proxy"
    )
    callout_proxy_burst: int = Field(
        default=2000, ge=1, description="connection attempts at once per trusted proxy, for all its clients"
    )
    callout_hotkey_per_second: float = Field(
        default=5, gt=0, description="connections granted per second and hotkey, from all addresses"
    )
    callout_hotkey_burst: int = Field(default=50, ge=1, description="connections granted at once per hotkey")
    callout_flood_messages_per_second: float = Field(
        default=50, gt=0, description="messages per second that a hotkey may send on all its connections"
    )
    callout_flood_bytes_per_second: float = Field(
        default=250_000, gt=0, description="bytes per second that a hotkey may send on all its connections"
    )
    callout_flood_burst_seconds: float = Field(
        default=20,
        ge=1,
        description="a hotkey may send at once what both rates allow in this many seconds; if it sends "
        "more, it is blocked",
    )
    callout_kept_out_seconds: float = Field(
        default=300, gt=0, description="seconds for which a blocked hotkey cannot connect"
    )

    @field_validator("callout_trusted_proxies")
    @classmethod
    def _networks(cls, value: str) -> str:
        parse_networks(value)
        return value

    @model_validator(mode="after")
    def _refuse_loopback(self) -> Self:
        """In production, clients on other hosts verify a name. With `loopback`, a proof for a service on this
        machine would also be accepted from them."""
        if self.zipcast_environment == "production" and LOOPBACK_AUDIENCE in self.audiences:
            raise ValueError(
                "CALLOUT_AUDIENCES contains loopback: name the hosts in the certificate of NATS; "
                "ZIPCAST_ENVIRONMENT=production refuses it"
            )
        return self

    @property
    def trusted_proxies(self) -> tuple[Network, ...]:
        return parse_networks(self.callout_trusted_proxies)

    @property
    def audiences(self) -> tuple[str, ...]:
        return tuple(name.strip() for name in self.callout_audiences.split(","))
