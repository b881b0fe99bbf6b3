"""Defines the base of every process's settings, which are read once from the environment, checked, and
frozen.

A variable is named like its field, in capitals. Errors never contain a value, because it may be a secret.
`service.placeholder_values` finds values that production refuses.
"""

import difflib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.placeholder_values import objection
from storage.database.engine import driver_arguments
from zipcast.client.http import is_loopback
from zipcast.client.relays import RelayFailure, Relays, ignore_failure, listed, relay_addresses
from zipcast.protocol.beacon import chain_of
from zipcast.protocol.hotkeys import Hotkey, parse_hotkey


class EnvironmentSettings(BaseSettings):
    """Reads settings from the environment. An empty variable counts as unset.

    All settings classes must derive from this one; otherwise pydantic's own defaults would apply."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_ignore_empty=True)
    own_prefix: ClassVar[str | None] = None
    """Unknown variables with this prefix are refused, because they are probably misspelled."""


InternalPort = Annotated[
    int,
    Field(
        ge=0,
        le=65_535,
        description="port of the internal listener (/metrics, /health); must not be public; 0: any free port",
    ),
]


PoolSize = Annotated[
    int,
    Field(
        ge=2,
        le=100,
        description="largest number of connections to PostgreSQL that a replica opens",
    ),
]


class ServiceSettings(EnvironmentSettings):
    """Settings of all processes."""

    secrets_file: Path | None = Field(
        default=None,
        description="file with more variables, one NAME=value per line, such as the secrets of this process; "
        "variables of the environment take precedence",
    )

    nats_url: str = Field(
        description="NATS servers, comma-separated", examples=["nats://127.0.0.1:4222"], min_length=1
    )
    bt_network: Literal["finney", "test", "local"] = Field(
        default="finney",
        description="Bittensor network: finney, test or local",
    )
    net_uid: int = Field(default=46, ge=0, le=65535, description="netuid of the subnet")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="lowest level that is logged"
    )
    zipcast_environment: Literal["production", "development"] = Field(
        default="production",
        description="development or production; production refuses placeholders, published keys and other "
        "unsafe values",
        examples=["development"],
    )
    traces_url: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="OpenTelemetry collector that receives traces, OTLP over HTTP; empty: none are sent",
    )
    traces_share: float = Field(default=0.1, gt=0, le=1, description="share of the traces that is sent")
    ready_file: Path | None = Field(default=None, description="file that exists while the process is ready")
    internal_host: str = Field(
        default="127.0.0.1", description="address of the internal listener; must not be public"
    )
    internal_port: InternalPort
    """Each process has its own default."""

    @model_validator(mode="after")
    def _refuse_unsafe(self) -> Self:
        if self.zipcast_environment == "production":
            for name, secret in self._secrets():
                if (reason := objection(secret)) is not None:
                    raise ValueError(f"{name} {reason}; ZIPCAST_ENVIRONMENT=production refuses it")
            for url in self.nats_url.split(","):
                if urlsplit(url.strip()).scheme in {"nats", "ws"} and not is_loopback(url.strip()):
                    raise ValueError(
                        "NATS_URL is unencrypted and leads to another host: use tls://; "
                        "ZIPCAST_ENVIRONMENT=production refuses it"
                    )
        return self

    def _secrets(self) -> Iterator[tuple[str, str]]:
        for field in type(self).model_fields:
            value = getattr(self, field)
            if isinstance(value, SecretStr) and value.get_secret_value():
                text = value.get_secret_value()
                secret = urlsplit(text).password if field == "database_url" else text
                if secret is not None:
                    yield field.upper(), secret


class BeaconSettings(ServiceSettings):
    """Settings of processes that fetch rounds of the beacon."""

    beacon_relays: str = Field(
        default="",
        description="HTTP relays of drand's quicknet, comma-separated; empty: the public relays. On the "
        "network `local`: relays of the local beacon, on this machine only; empty: none",
    )

    @model_validator(mode="after")
    def _check_relays(self) -> Self:
        try:
            relay_addresses(listed(self.beacon_relays), chain_of(self.bt_network))
        except ValueError as error:
            raise ValueError(f"BEACON_RELAYS with BT_NETWORK={self.bt_network}: {error}") from None
        return self

    def relays(self, on_failure: Callable[[str, RelayFailure], None] = ignore_failure) -> Relays:
        """Return the relays of the network's beacon."""
        chain = chain_of(self.bt_network)
        return Relays(relay_addresses(listed(self.beacon_relays), chain), chain, on_failure=on_failure)


class ReplicaSettings(EnvironmentSettings):
    nats_replicas: int = Field(
        default=1,
        ge=1,
        le=5,
        description="servers of the NATS cluster that store each stream; applies when a stream is created",
    )


class DatabaseSettings(EnvironmentSettings):
    database_url: SecretStr = Field(
        description="PostgreSQL URL as the provider shows it, including ?sslmode=require; its login must "
        "be a member of this process's role"
    )

    @field_validator("database_url")
    @classmethod
    def _postgresql(cls, value: SecretStr) -> SecretStr:
        driver_arguments(value.get_secret_value())
        return value


class ValidatorSettings(EnvironmentSettings):
    validator_min_stake: int = Field(
        default=1000, ge=0, description="stake in alpha that a validator needs, besides a permit"
    )


class SignerSettings(EnvironmentSettings):
    """The signers whose epochs are trusted, and to which requests must be addressed."""

    zipcast_signers: str = Field(description="SS58 addresses of the service's signers, comma-separated")

    @field_validator("zipcast_signers")
    @classmethod
    def _addresses(cls, value: str) -> str:
        for address in value.split(","):
            parse_hotkey(address)
        return value

    @property
    def signers(self) -> frozenset[Hotkey]:
        return frozenset(parse_hotkey(address) for address in self.zipcast_signers.split(","))


class AdminSettings(EnvironmentSettings):
    admin_hotkeys: str = Field(
        default="",
        description="SS58 addresses that may send admin requests, comma-separated, registered or not",
    )

    @field_validator("admin_hotkeys")
    @classmethod
    def _admins(cls, value: str) -> str:
        for address in value.split(",") if value else ():
            parse_hotkey(address)
        return value

    @property
    def admins(self) -> frozenset[Hotkey]:
        return frozenset(parse_hotkey(address) for address in self.admin_hotkeys.split(",") if address)


DEFAULT_REGISTRY_MAX_AGE_HOURS = 24


class RegistryAgeSettings(EnvironmentSettings):
    registry_max_age_hours: float = Field(
        default=DEFAULT_REGISTRY_MAX_AGE_HOURS,
        gt=0,
        le=24 * 365,
        description="hours; if the registry is older, no credentials are issued, but epochs continue",
    )

    @property
    def registry_max_age(self) -> timedelta:
        return timedelta(hours=self.registry_max_age_hours)


class EpochLengthSettings(EnvironmentSettings):
    """The length of an epoch. EPOCH_DURATION_SECONDS, for tests and demonstrations, overrides
    EPOCH_DURATION_HOURS."""

    epoch_duration_hours: int = Field(
        default=4, ge=1, le=24, description="length of an epoch in hours; must divide 24"
    )
    epoch_duration_seconds: int | None = Field(
        default=None,
        ge=2,
        le=86_400,
        description="length of an epoch in seconds, for tests; overrides the hours",
    )

    @property
    def epoch_seconds(self) -> int:
        return self.epoch_duration_seconds or self.epoch_duration_hours * 3600


class LimitSettings(EpochLengthSettings):
    """Limits of requests. They count per hotkey after the signature is verified, and per address before
    that."""

    redis_url: SecretStr | None = Field(
        default=None,
        description="Redis or Valkey that shares counts between replicas; if empty, each process counts "
        "alone",
    )
    daily_limit_per_miner: int = Field(
        default=20,
        ge=1,
        description="folder accesses per miner and day; s3.miner-upload has a separate limit of the same "
        "size",
    )
    daily_limit_per_validator: int = Field(
        default=10_000,
        ge=1,
        description="s3.validator-read, s3.miner-list and legacy lists together, per validator and day",
    )
    total_daily_limit: int = Field(
        default=200_000, ge=1, description="credential requests of all hotkeys per day"
    )
    limit_current_per_minute: int = Field(
        default=10,
        ge=1,
        description="`current` per hotkey and minute; opening epochs/stream has a separate limit of the same "
        "size",
    )
    limit_epoch_per_hour: int = Field(default=20, ge=1, description="`epoch/{id}` per validator and hour")
    limit_pool_per_hour: int = Field(default=1000, ge=1, description="pages of pools per validator and hour")
    limit_status_per_hour: int = Field(
        default=60,
        ge=1,
        description="status reports per hotkey and hour; epoch.get, miner.uploads and auth.legacy each have "
        "a separate limit of the same size",
    )
    limit_results_per_hour: int = Field(default=20, ge=1, description="reports per validator and hour")
    limit_consensus_per_hour: int = Field(
        default=120, ge=1, description="pages of results per validator and hour"
    )
    limit_stats_per_minute: int = Field(default=30, ge=1, description="`stats` per address and minute")
    limit_upload_per_hour: int = Field(default=5, ge=1, description="upload accesses per validator and hour")
    limit_address_per_minute: int = Field(
        default=1000, ge=1, description="requests per minute and address (IPv6: /64); over NATS, per hotkey"
    )

    @field_validator("redis_url")
    @classmethod
    def _redis(cls, value: SecretStr | None) -> SecretStr | None:
        schemes = ("redis://", "rediss://", "valkey://", "valkeys://")
        if value is not None and not value.get_secret_value().startswith(schemes):
            raise ValueError(f"must start with one of {', '.join(schemes)}")
        return value


class AccessSettings(
    BeaconSettings,
    DatabaseSettings,
    SignerSettings,
    ValidatorSettings,
    AdminSettings,
    LimitSettings,
    RegistryAgeSettings,
):
    """Settings that responder and bridge share."""


Settings = TypeVar("Settings", bound=EnvironmentSettings)


class SettingsError(Exception):
    """Settings are invalid. The message names the variable and the rule, but no value."""


def read(settings_class: type[Settings]) -> Settings:
    """Return the process's settings. Raises SettingsError."""
    _read_secrets_file()
    if (slip := unknown_name(settings_class, os.environ)) is not None:
        raise SettingsError(slip)
    try:
        return settings_class()
    except ValidationError as error:
        raise SettingsError(first_rule(error)) from None


def load(settings_class: type[Settings]) -> Settings:
    """Return the process's settings. If they are invalid, print one line and exit with status 2."""
    try:
        return read(settings_class)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from None


def _read_secrets_file() -> None:
    """Add the variables of SECRETS_FILE to the environment, except those that it already has."""
    if not (name := os.environ.get("SECRETS_FILE")):
        return
    try:
        lines = Path(name).read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise SettingsError(f"SECRETS_FILE: cannot read {name}: {reason}") from None
    for line in lines:
        if line.strip() and not line.startswith("#"):
            variable, _, value = line.partition("=")
            if not os.environ.get(variable.strip()):  # an empty variable counts as unset
                os.environ[variable.strip()] = value.strip()


def unknown_name(settings_class: type[EnvironmentSettings], names: Iterable[str]) -> str | None:
    """Return an error about the first unknown variable with the process's prefix, or None."""
    if settings_class.own_prefix is None:
        return None
    known = [field.upper() for field in settings_class.model_fields]
    for name in sorted(name.upper() for name in names):
        if name.startswith(settings_class.own_prefix) and name not in known:
            close = difflib.get_close_matches(name, known, 1)
            return f"{name}: is not a setting" + (f"; did you mean {close[0]}?" if close else "")
    return None


def first_rule(error: ValidationError) -> str:
    """Return the first broken rule in one line, without the value."""
    first = error.errors(include_input=False, include_url=False)[0]
    rule = first["msg"].removeprefix("Value error, ")
    name = "_".join(str(part) for part in first["loc"][:1]).upper()
    if first["type"] == "missing":
        rule = "must be set"
    return f"{name}: {rule}" if name else rule  # rules about several fields name them in their text
