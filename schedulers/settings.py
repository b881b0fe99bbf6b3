"""Settings of the scheduler process. The only process that holds the signer and the seed secret."""

import re
from datetime import timedelta
from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field, SecretStr, model_validator

from runtime.settings import DatabaseSettings, EpochLengthSettings, InternalPort, ServiceSettings
from schedulers.prepare import Secrets
from schedulers.signal_rules import LOOKED_BACK, SignalSettings
from storage.housekeeping import Retention
from zipcast.calendar import EpochCalendar, scaled
from zipcast.honeypots import HoneypotSettings
from zipcast.selection import MarketTier, SelectionSettings

_SECRET_PAIR = re.compile(r"^[A-Za-z0-9_-]{1,32}:.{32,}$")
_SEED_HEX = re.compile(r"[0-9A-Fa-f]{64}")


class SchedulerSettings(ServiceSettings, DatabaseSettings, EpochLengthSettings):
    own_prefix: ClassVar[str | None] = "SCHEDULERS_"
    internal_port: InternalPort = 9101

    schedulers_nats_seed: SecretStr = Field(description="nkey seed of the NATS user SCHEDULERS")
    schedulers_sys_nats_seed: SecretStr = Field(
        description="nkey seed of the user SCHEDULERS_SYS (account SYS), that lists and kicks connections"
    )
    schedulers_signer_seed: SecretStr = Field(description="sr25519 seed that signs epochs, 64 hex digits")
    zipcode_secret_key: SecretStr = Field(min_length=32, description="secret behind every epoch's seed")
    zipcode_secret_id: str = Field(
        default="1", pattern=r"^[A-Za-z0-9_-]{1,32}$", description="id of that secret; a new secret, a new id"
    )
    zipcode_previous_secrets: SecretStr = Field(
        default=SecretStr(""), description="id:secret pairs in use before a rotation, comma-separated"
    )
    schedulers_registry_file: Path | None = Field(
        default=None,
        description="JSON list of neurons that stands in for the chain: local work, need",
    )
    bt_chain_endpoints: str = Field(
        default="",
        repr=False,
        pattern=r"^(wss?://[^\s,]+(,wss?://[^\s,]+)*)?$",
        description="chain nodes in order of preference, comma-separated; empty: the SDK's for BT_NETWORK",
    )
    registry_read_seconds: float = Field(default=300, gt=0, le=3600, description="between two readings")
    registry_confirm_seconds: float = Field(default=30, gt=0, description="before a confirming reading")
    registry_deadline_seconds: float = Field(default=120, gt=0, le=600, description="of one reading")
    registry_max_drop_percent: int = Field(
        default=20, ge=0, le=100, description="share of hotkeys that may vanish on one reading's word"
    )

    schedulers_fault_point_file: Path | None = Field(
        default=None,
        description="for tests of crashes: the file that names where the process is to kill itself "
        "(schedulers/fault_points.py); production refuses it",
    )

    target_listings: int = Field(
        default=10_000,
        ge=1,
        le=1_000_000,
        description="listings an epoch assigns; sensible: 5,000 to 15,000",
    )
    tolerance_percent: int = Field(default=10, ge=0, le=50, description="how far the total may be from it")
    cooldown_hours: int = Field(
        default=24,
        ge=0,
        le=24 * 30,
        description="how long an assigned zipcode rests; scales with short epochs",
    )
    min_zipcode_listings: int = Field(
        default=200, ge=2, le=1_000_000, description="fewest listings of a zipcode to assign"
    )
    max_zipcode_listings: int = Field(
        default=3_000,
        ge=2,
        le=1_000_000,
        description="most listings of a zipcode to assign; with decoys on, none with more than the tolerance "
        "spans (2,000 by default), if anything fits without it",
    )
    max_data_age_days: int = Field(
        default=30, ge=1, le=365, description="age of a zipcode's data beyond which it is not assigned"
    )
    state_priorities: str = Field(
        default="PA:1,NJ:2,NY:3,DE:4,MD:5",
        pattern=r"^[A-Z]{2}:[1-9][0-9]{0,2}(,[A-Z]{2}:[1-9][0-9]{0,2})*$",
        description="states to draw from, 1 before 2; up to 999",
    )
    geographic_regions: str | None = Field(
        default=None,
        pattern=r"^[A-Z]{2}(,[A-Z]{2})*$",
        description="of those states, the only ones to draw from now; unset: all of them",
    )
    premium_weight: float = Field(default=1.5, ge=1e-6, le=100, description="weight of PREMIUM zipcodes")
    standard_weight: float = Field(default=1.0, ge=1e-6, le=100, description="weight of STANDARD zipcodes")
    emerging_weight: float = Field(default=0.8, ge=1e-6, le=100, description="weight of EMERGING zipcodes")
    selection_randomness: float = Field(
        default=0.25, ge=0, le=1, description="0: by weight alone; 1: each zipcode alike"
    )
    geographic_spread_factor: float = Field(
        default=0.15, ge=0, le=1, description="0: states by weight alone; 1: every state alike"
    )

    honeypot_probability: float = Field(
        default=0.3, ge=0, le=1, description="of one or two decoys in an epoch; 0: never"
    )
    honeypot_threshold: int = Field(
        default=50, ge=1, description="decoys have fewer listings; below MIN_ZIPCODE_LISTINGS"
    )
    epoch_retention_days: int = Field(
        default=30, ge=7, le=30, description="detail of an epoch, from its end; then it is archived"
    )
    audit_retention_days: int = Field(
        default=365, ge=30, le=3650, description="credentials issued, admin commands, validators' results"
    )
    refusal_retention_days: int = Field(default=30, ge=1, le=365, description="refused requests")
    registry_retention_days: int = Field(default=30, ge=1, le=365, description="readings of the registry")

    signal_nonce_failures: int = Field(
        default=3, ge=1, le=10_000, description="reports with a wrong nonce, in an epoch, that are a signal"
    )
    signal_listings_per_second: float = Field(
        default=50,
        gt=0,
        le=1_000_000,
        description="reported faster is a signal; 50: fifty pages at once of a second each, 10,000 in 200 s",
    )
    signal_exact_share: float = Field(
        default=0.9, gt=0, le=1, description="share of zipcodes reported as published that is a signal"
    )
    signal_exact_epochs: int = Field(
        default=3, ge=2, le=LOOKED_BACK, description="of six epochs, with half of the zipcodes so: a signal"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if 86_400 % self.epoch_seconds:
            raise ValueError("EPOCH_DURATION_SECONDS or EPOCH_DURATION_HOURS must divide 24 hours")
        if self.min_zipcode_listings > self.max_zipcode_listings:
            raise ValueError("MIN_ZIPCODE_LISTINGS must not exceed MAX_ZIPCODE_LISTINGS")
        if self.honeypot_probability > 0 and self.honeypot_threshold >= self.min_zipcode_listings:
            raise ValueError("HONEYPOT_THRESHOLD must be below MIN_ZIPCODE_LISTINGS")
        states = [state for state, _ in self._priorities()]
        if len(set(states)) < len(states):
            raise ValueError("STATE_PRIORITIES must name each state once")
        if not set(states).issuperset(self._regions()):
            raise ValueError("GEOGRAPHIC_REGIONS must name states of STATE_PRIORITIES only")
        if self.cooldown_hours > 24 * (self.epoch_retention_days - 1):
            raise ValueError("COOLDOWN_HOURS must end a day before EPOCH_RETENTION_DAYS")
        if self.zipcode_secret_id in self._previous_secrets():
            raise ValueError("ZIPCODE_PREVIOUS_SECRETS must not hold the id of the current secret")
        if self.schedulers_registry_file is not None and self.bt_chain_endpoints:
            raise ValueError("SCHEDULERS_REGISTRY_FILE and BT_CHAIN_ENDPOINTS exclude each other")
        if self.schedulers_fault_point_file is not None and self.zipcast_environment == "production":
            raise ValueError(
                "SCHEDULERS_FAULT_POINT_FILE makes the process kill itself; "
                "ZIPCAST_ENVIRONMENT=production refuses it"
            )
        if self.registry_confirm_seconds > self.registry_read_seconds:
            raise ValueError("REGISTRY_CONFIRM_SECONDS must not exceed REGISTRY_READ_SECONDS")
        if not _SEED_HEX.fullmatch(self.schedulers_signer_seed.get_secret_value()):
            raise ValueError("SCHEDULERS_SIGNER_SEED must be 64 hex digits")
        return self

    def _priorities(self) -> list[tuple[str, int]]:
        pairs = (pair.split(":") for pair in self.state_priorities.split(","))
        return [(state, int(priority)) for state, priority in pairs]

    def _regions(self) -> list[str]:
        return self.geographic_regions.split(",") if self.geographic_regions else []

    def _previous_secrets(self) -> dict[str, bytes]:
        pairs = [pair for pair in self.zipcode_previous_secrets.get_secret_value().split(",") if pair]
        if not all(_SECRET_PAIR.fullmatch(pair) for pair in pairs):
            raise ValueError("ZIPCODE_PREVIOUS_SECRETS must be id:secret pairs of 32 characters or more")
        return {name: key.encode() for name, _, key in (pair.partition(":") for pair in pairs)}

    @property
    def secrets(self) -> Secrets:
        """The current secret and those that epochs may still be committed to."""
        current = self.zipcode_secret_key.get_secret_value().encode()
        return Secrets(self.zipcode_secret_id, self._previous_secrets() | {self.zipcode_secret_id: current})

    @property
    def chain_endpoints(self) -> tuple[str, ...]:
        return tuple(endpoint for endpoint in self.bt_chain_endpoints.split(",") if endpoint)

    @property
    def calendar(self) -> EpochCalendar:
        return EpochCalendar(self.epoch_seconds)

    @property
    def honeypots(self) -> HoneypotSettings:
        """The rules of decoys, with their rest scaled as the cooldown is."""
        return HoneypotSettings(
            self.honeypot_probability,
            self.honeypot_threshold,
            scaled(HoneypotSettings().rest, self.epoch_seconds),
        )

    @property
    def retention(self) -> Retention:
        return Retention(
            epochs=timedelta(days=self.epoch_retention_days),
            audit=timedelta(days=self.audit_retention_days),
            refusals=timedelta(days=self.refusal_retention_days),
        )

    @property
    def signals(self) -> SignalSettings:
        return SignalSettings(
            nonce_failures=self.signal_nonce_failures,
            listings_per_second=self.signal_listings_per_second,
            exact_share=self.signal_exact_share,
            exact_epochs=self.signal_exact_epochs,
        )

    @property
    def selection(self) -> SelectionSettings:
        """The rules of selection, with the cooldown scaled to epochs shorter than four hours."""
        regions = self._regions()
        drawn = tuple(pair for pair in self._priorities() if not regions or pair[0] in regions)
        return SelectionSettings(
            target_listings=self.target_listings,
            tolerance_percent=self.tolerance_percent,
            min_zipcode_listings=self.min_zipcode_listings,
            max_zipcode_listings=self.max_zipcode_listings,
            cooldown=scaled(timedelta(hours=self.cooldown_hours), self.epoch_seconds),
            max_data_age=timedelta(days=self.max_data_age_days),
            state_priorities=drawn,
            tier_weights=(
                (MarketTier.PREMIUM, self.premium_weight),
                (MarketTier.STANDARD, self.standard_weight),
                (MarketTier.EMERGING, self.emerging_weight),
            ),
            selection_randomness=self.selection_randomness,
            geographic_spread_factor=self.geographic_spread_factor,
        )
