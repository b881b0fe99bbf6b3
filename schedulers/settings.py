"""Defines the settings of the scheduler, the only process with the signer's key and the secret for seeds."""

import re
from datetime import timedelta
from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field, SecretStr, model_validator

from schedulers.epochs.seed_secrets import Secrets
from schedulers.rule_settings import RuleSettings
from schedulers.signal_rules import LOOKED_BACK, SignalSettings
from service.settings import (
    BeaconSettings,
    DatabaseSettings,
    EpochLengthSettings,
    InternalPort,
    PoolSize,
    ReplicaSettings,
)
from storage.database.retention import Retention
from zipcast.protocol.calendar import EpochCalendar
from zipcast.protocol.envelope import Trust
from zipcast.protocol.hotkeys import Hotkey, Keypair, MalformedHotkeyError, Signer, parse_hotkey
from zipcast.selection.honeypots import HoneypotSettings
from zipcast.selection.model import SelectionSettings

_SECRET_PAIR = re.compile(r"^[A-Za-z0-9_-]{1,32}:.{32,}$")
_SEED_HEX = re.compile(r"[0-9A-Fa-f]{64}")


class SchedulerSettings(RuleSettings, BeaconSettings, ReplicaSettings, DatabaseSettings, EpochLengthSettings):
    own_prefix: ClassVar[str | None] = "SCHEDULERS_"
    internal_port: InternalPort = 9101
    schedulers_database_connections: PoolSize = 10

    schedulers_nats_seed: SecretStr = Field(description="nkey seed of the NATS user SCHEDULERS")
    schedulers_sys_nats_seed: SecretStr = Field(
        description="nkey seed of the user SCHEDULERS_SYS (account SYS), which lists and closes connections"
    )
    schedulers_signer_seed: SecretStr = Field(description="sr25519 seed that signs epochs, 64 hex digits")
    schedulers_next_signer: str | None = Field(
        default=None,
        description="SS58 address that will sign later epochs; set it 7 days before the change, so that each "
        "message announces it",
    )
    zipcode_secret_key: SecretStr = Field(
        min_length=32, description="secret from which every epoch's seed is derived"
    )
    zipcode_secret_id: str = Field(
        default="1",
        pattern=r"^[A-Za-z0-9_-]{1,32}$",
        description="id of ZIPCODE_SECRET_KEY; a new secret needs a new id",
    )
    zipcode_previous_secrets: SecretStr = Field(
        default=SecretStr(""), description="id:secret pairs of earlier secrets, comma-separated"
    )
    schedulers_registry_file: Path | None = Field(
        default=None,
        description="file with a JSON list of neurons, instead of the chain, in development or an emergency",
    )
    bt_chain_endpoints: str = Field(
        default="",
        repr=False,
        pattern=r"^(wss?://[^\s,]+(,wss?://[^\s,]+)*)?$",
        description="chain nodes in order of preference, comma-separated; empty: the SDK's for BT_NETWORK",
    )
    registry_read_seconds: float = Field(
        default=300, gt=0, le=3600, description="seconds between two readings of the chain"
    )
    registry_confirm_seconds: float = Field(
        default=30, gt=0, description="seconds until a reading is repeated to confirm it"
    )
    registry_deadline_seconds: float = Field(
        default=120, gt=0, le=600, description="time limit of a reading, in seconds"
    )
    registry_max_drop_percent: int = Field(
        default=20, ge=0, le=100, description="percentage of hotkeys that may be missing in a single reading"
    )

    epoch_retention_days: int = Field(
        default=30, ge=7, le=30, description="days until an ended epoch is archived and its details deleted"
    )
    audit_retention_days: int = Field(
        default=365,
        ge=30,
        le=3650,
        description="days to keep issued credentials, admin commands and validators' reports",
    )
    refusal_retention_days: int = Field(default=30, ge=1, le=365, description="days to keep refused requests")
    registry_retention_days: int = Field(
        default=30, ge=1, le=365, description="days to keep snapshots of the registry"
    )

    signal_nonce_failures: int = Field(
        default=3,
        ge=1,
        le=10_000,
        description="signal: at least this many reports with a wrong nonce in an epoch",
    )
    signal_listings_per_second: float = Field(
        default=50,
        gt=0,
        le=1_000_000,
        description="signal: more listings per second than this, from the epoch's start to the report",
    )
    signal_exact_share: float = Field(
        default=0.9,
        gt=0,
        le=1,
        description="signal: at least this share of zipcodes reported with exactly the published count",
    )
    signal_exact_epochs: int = Field(
        default=3,
        ge=2,
        le=LOOKED_BACK,
        description="signal: at least half of the zipcodes reported with exactly the published count, in at "
        "least this many of the last six epochs",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if 86_400 % self.epoch_seconds:
            raise ValueError("EPOCH_DURATION_SECONDS or EPOCH_DURATION_HOURS must divide 24 hours")
        if self.cooldown_hours > 24 * (self.epoch_retention_days - 1):
            raise ValueError("COOLDOWN_HOURS must be at least a day shorter than EPOCH_RETENTION_DAYS")
        if self.zipcode_secret_id in self._previous_secrets():
            raise ValueError("ZIPCODE_PREVIOUS_SECRETS must not contain ZIPCODE_SECRET_ID")
        if self.schedulers_registry_file is not None and self.bt_chain_endpoints:
            raise ValueError("set either SCHEDULERS_REGISTRY_FILE or BT_CHAIN_ENDPOINTS, not both")
        if self.registry_confirm_seconds > self.registry_read_seconds:
            raise ValueError("REGISTRY_CONFIRM_SECONDS must not exceed REGISTRY_READ_SECONDS")
        if self.schedulers_next_signer is not None:
            _require_address(self.schedulers_next_signer)
        if not _SEED_HEX.fullmatch(self.schedulers_signer_seed.get_secret_value()):
            raise ValueError("SCHEDULERS_SIGNER_SEED must be 64 hex digits")
        return self

    def _previous_secrets(self) -> dict[str, bytes]:
        pairs = [pair for pair in self.zipcode_previous_secrets.get_secret_value().split(",") if pair]
        if not all(_SECRET_PAIR.fullmatch(pair) for pair in pairs):
            raise ValueError("ZIPCODE_PREVIOUS_SECRETS must be id:secret pairs of 32 characters or more")
        return {name: key.encode() for name, _, key in (pair.partition(":") for pair in pairs)}

    @property
    def signer(self) -> Signer:
        seed = bytes.fromhex(self.schedulers_signer_seed.get_secret_value())
        signer: Signer = Keypair.create_from_seed(seed)
        return signer

    @property
    def own_trust(self) -> Trust:
        """Return the trust that accepts only this scheduler's own messages."""
        signer = parse_hotkey(self.signer.ss58_address)
        return Trust(frozenset({signer}), self.bt_network, self.net_uid)

    @property
    def next_signer(self) -> Hotkey | None:
        return None if self.schedulers_next_signer is None else parse_hotkey(self.schedulers_next_signer)

    @property
    def secrets(self) -> Secrets:
        """Return the current secret, and earlier ones to which epochs may still be committed."""
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
        return self.honeypot_rules()

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
        return self.selection_rules(self.epoch_seconds)


def _require_address(stated: str) -> None:
    try:
        parse_hotkey(stated)
    except MalformedHotkeyError as error:
        raise ValueError(f"SCHEDULERS_NEXT_SIGNER: {error}") from None
