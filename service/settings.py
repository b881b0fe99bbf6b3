"""The base of every process's settings: read from the environment once, checked, frozen.

Field names in capitals are the variables' names. A value never appears in an error: it may be a
secret. What production refuses is `service.placeholder_values`'s.
"""

import difflib
import os
import sys
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, ClassVar, Literal, NoReturn, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.placeholder_values import objection
from storage.database.engine import driver_arguments
from zipcast.protocol.hotkeys import Hotkey, parse_hotkey


class EnvironmentSettings(BaseSettings):
    """How every settings class reads the environment; an empty variable counts as unset.

    All derive from this one: a class beside it would bring pydantic's defaults back in."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_ignore_empty=True)
    own_prefix: ClassVar[str | None] = None
    """A variable that begins so and is not known is a slip, and refused."""


InternalPort = Annotated[
    int,
    Field(
        ge=0,
        le=65_535,
        description="port of the internal listener (/metrics, /health), never to be public; 0: any free one",
    ),
]


class ServiceSettings(EnvironmentSettings):
    """Settings of all processes."""

    nats_url: str = Field(
        description="NATS servers, comma-separated", examples=["nats://127.0.0.1:4222"], min_length=1
    )
    bt_network: str = Field(
        default="finney",
        pattern=r"^[a-z0-9-]{1,32}$",
        description="Bittensor network: finney, test, or local",
    )
    net_uid: int = Field(default=46, ge=0, le=65535, description="netuid of the subnet")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="least level that is logged"
    )
    zipcast_environment: Literal["production", "development"] = Field(
        default="production",
        description="production refuses placeholders, published keys and other unsafe values",
        examples=["development"],
    )
    ready_file: Path | None = Field(
        default=None, description="created when the process is ready, removed when it stops"
    )
    internal_host: str = Field(
        default="127.0.0.1", description="address of the internal listener, never a public one"
    )
    internal_port: InternalPort
    """Each process has a default of its own."""

    @model_validator(mode="after")
    def _refuse_unsafe(self) -> Self:
        if self.zipcast_environment == "production":
            for name, secret in self._secrets():
                if (reason := objection(secret)) is not None:
                    raise ValueError(f"{name} {reason}; ZIPCAST_ENVIRONMENT=production refuses it")
        return self

    def _secrets(self) -> Iterator[tuple[str, str]]:
        for field in type(self).model_fields:
            value = getattr(self, field)
            if isinstance(value, SecretStr) and value.get_secret_value():
                text = value.get_secret_value()
                secret = urlsplit(text).password if field == "database_url" else text
                if secret is not None:
                    yield field.upper(), secret


class DatabaseSettings(EnvironmentSettings):
    database_url: SecretStr = Field(
        description="PostgreSQL as the provider prints it, ?sslmode=require and all; the login is member "
        "of this process's role"
    )

    @field_validator("database_url")
    @classmethod
    def _postgresql(cls, value: SecretStr) -> SecretStr:
        driver_arguments(value.get_secret_value())
        return value


class ValidatorSettings(EnvironmentSettings):
    validator_min_stake: int = Field(
        default=1000, ge=0, description="alpha stake a validator must hold, besides its permit"
    )


class SignerSettings(EnvironmentSettings):
    """The signers whose epochs are believed and for whom requests must be signed."""

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
        description="SS58 addresses that may send admin requests, comma-separated; need not be registered",
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
        description="age of the registry beyond which nothing is minted; assignments go on",
    )

    @property
    def registry_max_age(self) -> timedelta:
        return timedelta(hours=self.registry_max_age_hours)


class EpochLengthSettings(EnvironmentSettings):
    """EPOCH_DURATION_SECONDS, for tests and demonstrations, wins over EPOCH_DURATION_HOURS."""

    epoch_duration_hours: int = Field(default=4, ge=1, le=24, description="length of an epoch; divides 24")
    epoch_duration_seconds: int | None = Field(
        default=None, ge=2, le=86_400, description="for tests and demonstrations; wins over the hours"
    )

    @property
    def epoch_seconds(self) -> int:
        return self.epoch_duration_seconds or self.epoch_duration_hours * 3600


class LimitSettings(EpochLengthSettings):
    """Limits of requests: per hotkey once its signature is verified, per address before."""

    redis_url: SecretStr | None = Field(
        default=None,
        description="Redis or Valkey that counts for all replicas; none: each process counts for itself",
    )
    daily_limit_per_miner: int = Field(
        default=20, ge=1, description="folder accesses a miner, a day; as many s3.miner-upload beside them"
    )
    daily_limit_per_validator: int = Field(
        default=10_000,
        ge=1,
        description="s3.validator-read, s3.miner-list and legacy lists of a validator together, a day",
    )
    total_daily_limit: int = Field(default=200_000, ge=1, description="credential requests of all, a day")
    limit_current_per_minute: int = Field(
        default=10,
        ge=1,
        description="`current` a hotkey, a minute; as many openings of epochs/stream beside them",
    )
    limit_epoch_per_hour: int = Field(default=20, ge=1, description="`epoch/{id}` a validator, an hour")
    limit_pool_per_hour: int = Field(
        default=1000, ge=1, description="pages of epochs' pools a validator, an hour"
    )
    limit_status_per_hour: int = Field(
        default=60,
        ge=1,
        description="status reports a hotkey, an hour; as many epoch.get, and auth.legacy",
    )
    limit_results_per_hour: int = Field(default=20, ge=1, description="reports a validator, an hour")
    limit_consensus_per_hour: int = Field(
        default=120, ge=1, description="pages of epochs' results a validator, an hour"
    )
    limit_stats_per_minute: int = Field(default=30, ge=1, description="`stats` an address, a minute")
    limit_upload_per_hour: int = Field(default=5, ge=1, description="upload accesses a validator, an hour")
    limit_address_per_minute: int = Field(
        default=1000, ge=1, description="requests an address (IPv6: a /64), a minute; over NATS: a hotkey"
    )

    @field_validator("redis_url")
    @classmethod
    def _redis(cls, value: SecretStr | None) -> SecretStr | None:
        schemes = ("redis://", "rediss://", "valkey://", "valkeys://")
        if value is not None and not value.get_secret_value().startswith(schemes):
            raise ValueError(f"must start with one of {', '.join(schemes)}")
        return value


class DoorwaySettings(
    ServiceSettings,
    DatabaseSettings,
    SignerSettings,
    ValidatorSettings,
    AdminSettings,
    LimitSettings,
    RegistryAgeSettings,
):
    """Settings of the processes that let requests in: responder and bridge."""


Settings = TypeVar("Settings", bound=EnvironmentSettings)


def load(settings_class: type[Settings]) -> Settings:
    """The process's settings, or exit status 2 after one line that names the variable and the rule."""
    if (slip := unknown_name(settings_class, os.environ)) is not None:
        _refuse(slip)
    try:
        return settings_class()
    except ValidationError as error:
        _refuse(first_rule(error))


def unknown_name(settings_class: type[EnvironmentSettings], names: Iterable[str]) -> str | None:
    """A complaint of the first variable in the process's own prefix that it does not know."""
    if settings_class.own_prefix is None:
        return None
    known = [field.upper() for field in settings_class.model_fields]
    for name in sorted(name.upper() for name in names):
        if name.startswith(settings_class.own_prefix) and name not in known:
            close = difflib.get_close_matches(name, known, 1)
            return f"{name}: is not a setting" + (f"; is {close[0]} meant?" if close else "")
    return None


def first_rule(error: ValidationError) -> str:
    """The first broken rule in one line, without the value."""
    first = error.errors(include_input=False, include_url=False)[0]
    rule = first["msg"].removeprefix("Value error, ")
    name = "_".join(str(part) for part in first["loc"][:1]).upper()
    if first["type"] == "missing":
        rule = "must be set"
    return f"{name}: {rule}" if name else rule  # a rule over several fields names them itself


def _refuse(line: str) -> NoReturn:
    sys.stderr.write(f"{line}\n")
    raise SystemExit(2)
