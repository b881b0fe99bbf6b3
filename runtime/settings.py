"""The base of every process's settings: read from the environment once, checked, frozen.

Field names in capitals are the variables' names. A value never appears in an error: it may be a
secret.
"""

import sys
from datetime import timedelta
from pathlib import Path
from typing import Literal, NoReturn, TypeVar

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from zipcast.hotkeys import Hotkey, parse_hotkey


class EnvironmentSettings(BaseSettings):
    """How every class here reads the environment; an empty variable counts as unset.

    All derive from this one: a class beside it would bring pydantic's defaults back in."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_ignore_empty=True)


class ServiceSettings(EnvironmentSettings):
    """What all processes share."""

    nats_url: str = Field(description="NATS servers, comma-separated")
    bt_network: str = Field(default="finney", pattern=r"^[a-z0-9-]{1,32}$", description="Bittensor network")
    net_uid: int = Field(default=46, ge=0, le=65535, description="netuid of the subnet")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    zipcast_environment: Literal["production", "development"] = "production"
    ready_file: Path | None = Field(
        default=None, description="created when the process is ready, removed when it stops"
    )


class DatabaseSettings(EnvironmentSettings):
    database_url: str = Field(repr=False, description="postgresql://… as the provider prints it")


class SignerSettings(EnvironmentSettings):
    """Whose epochs are believed, and for whom requests must be signed."""

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

    epoch_duration_hours: int = Field(default=4, ge=1, le=24)
    epoch_duration_seconds: int | None = Field(default=None, ge=2, le=86_400)

    @property
    def epoch_seconds(self) -> int:
        return self.epoch_duration_seconds or self.epoch_duration_hours * 3600


Settings = TypeVar("Settings", bound=BaseSettings)


def load(settings_class: type[Settings]) -> Settings:
    """The process's settings, or exit status 2 after one line that names the variable and the rule."""
    try:
        return settings_class()
    except ValidationError as error:
        refuse(error)


def refuse(error: ValidationError) -> NoReturn:
    first = error.errors(include_input=False, include_url=False)[0]
    name = "_".join(str(part) for part in first["loc"][:1]).upper() or "settings"
    sys.stderr.write(f"{name}: {first['msg']}\n")
    raise SystemExit(2)
