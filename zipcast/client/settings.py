"""Reads the settings of a client: from arguments first, then from environment variables, then from a profile.

btcli's variables for the wallet are read too, so that a machine that is set up for btcli needs no others.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from pydantic import AliasChoices, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from zipcast.client.profiles import ProfileError, profile_settings
from zipcast.client.wallets import load_hotkey
from zipcast.errors import SettingsError, WalletError
from zipcast.protocol.envelope import Trust
from zipcast.protocol.hotkeys import MalformedHotkeyError, Signer, parse_hotkey
from zipcast.protocol.messages.base import first_fault


def profile() -> Mapping[str, str]:
    """Return the settings of the chosen profile by field name. Raises SettingsError."""
    try:
        return profile_settings()
    except ProfileError as error:
        raise SettingsError(str(error)) from None


class ClientSettings(BaseSettings):
    """The settings of a miner's or validator's client."""

    model_config = SettingsConfigDict(
        env_prefix="ZIPCAST_", extra="ignore", populate_by_name=True, env_ignore_empty=True
    )

    servers: str = Field(default="", description="Addresses of NATS servers, comma-separated.")
    http: str = Field(
        default="", description="Address of the HTTP bridge, which is used while NATS cannot be reached."
    )
    relays: str = Field(
        default="",
        description="Addresses of relays of the beacon, comma-separated; empty: drand's public ones.",
    )
    signer: str = Field(default="", description="Addresses of the signers to trust, comma-separated.")
    network: str = Field(default="finney", description="Bittensor network.")
    netuid: int | None = Field(default=None, ge=0, le=2**16 - 1, description="Number of the subnet.")
    wallet: str = Field(
        default="default",
        validation_alias=AliasChoices("ZIPCAST_WALLET", "BT_WALLET_NAME"),
        description="Name of the wallet.",
    )
    hotkey: str = Field(
        default="default",
        validation_alias=AliasChoices("ZIPCAST_HOTKEY", "BT_WALLET_HOTKEY"),
        description="Name of the hotkey in the wallet.",
    )
    wallet_path: Path = Field(
        default=Path("~/.bittensor/wallets"),
        validation_alias=AliasChoices("ZIPCAST_WALLET_PATH", "BT_WALLET_PATH"),
        description="Folder of wallets, in the layout of btcli.",
    )
    retry_seconds: float = Field(
        default=60.0, ge=0, description="How long a failed request is repeated, in seconds."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources of settings, the most important first."""
        return init_settings, env_settings, InitSettingsSource(settings_cls, dict(profile()))

    @classmethod
    def of(cls, **given: Any) -> "ClientSettings":
        """Return the settings. Arguments that are None count as not given. Raises SettingsError."""
        stated = {
            name: ",".join(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
            for name, value in given.items()
            if value is not None
        }
        try:
            return cls.model_validate(stated)
        except ValidationError as error:
            raise SettingsError(first_fault(error).message) from error

    def addresses(self) -> tuple[str, ...]:
        """Return the addresses of NATS servers; there are none if only the bridge is used. Raises
        SettingsError."""
        found = tuple(one.strip() for one in self.servers.split(",") if one.strip())
        if not found and not self.http:
            raise SettingsError(
                "no server is named: pass `servers` or `http`, set ZIPCAST_SERVERS or ZIPCAST_HTTP, or add "
                "the service with `zipcast profile add URL`. For a local system, first run "
                'eval "$(zipcast status --env)"'
            )
        return found

    def trust(self) -> Trust:
        """Return the signers, network and netuid whose epochs the client accepts. Raises SettingsError."""
        if not self.signer:
            raise SettingsError("no signer is named: pass `signer`, or set ZIPCAST_SIGNER")
        if self.netuid is None:
            raise SettingsError("no subnet is named: pass `netuid`, or set ZIPCAST_NETUID")
        try:
            signers = frozenset(parse_hotkey(one.strip()) for one in self.signer.split(","))
        except MalformedHotkeyError as error:
            raise SettingsError(f"signer {error}") from None
        return Trust(signers, self.network, self.netuid)


def signer_of(wallet: object, settings: ClientSettings) -> Signer:
    """Return the hotkey: `wallet` itself if it can sign, the hotkey of a wallet object, or the hotkey that
    the settings name. Raises WalletError."""
    if wallet is None or isinstance(wallet, str):
        return cast(Signer, load_hotkey(settings.wallet_path, settings.wallet, settings.hotkey))
    try:
        # A Keypair has `sign` itself. A Wallet of bittensor has `hotkey`, which reads a file.
        key: Any = wallet if hasattr(wallet, "sign") else wallet.hotkey  # type: ignore[attr-defined]
        parse_hotkey(key.ss58_address)
    except Exception as error:  # noqa: BLE001 - bittensor raises errors of its own, with keys in their text
        raise WalletError(
            f"the wallet has no usable hotkey ({type(error).__name__}): pass a wallet's name, a Keypair, or "
            "an object with `hotkey`"
        ) from None
    return cast(Signer, key)
