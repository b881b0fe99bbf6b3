"""Finds the service and the hotkey for a command.

Each value comes from the first of these that has it: an option, its environment variable, the profile that
`--profile` names, the local stack's ready.json, the profile in use. The local stack comes before the profile
in use, because its ready.json exists only while it runs and only in its own folder.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zipcast.client.local_stack import NotReadyError, Ready
from zipcast.client.profiles import Profile, Profiles
from zipcast.client.wallets import (
    DEFAULT_HOTKEY,
    DEFAULT_NAME,
    DEFAULT_WALLETS,
    HOTKEY_VARIABLE,
    NAME_VARIABLES,
    PASSWORD_FILE_VARIABLE,
    PATH_VARIABLE,
    load_hotkey,
    password_from_environment,
    read_password,
    wallet_names,
)
from zipcast.protocol.hotkeys import Keypair, MalformedHotkeyError, parse_hotkey

if TYPE_CHECKING:
    from zipcast.client.client import ZipcastClient
    from zipcast.protocol.envelope import Trust

DEFAULT_READY = Path(".devstack/ready.json")

ReadyOption = Annotated[
    Path, typer.Option("--ready", help="ready.json of a local stack, used for options that are not given.")
]
ProfileOption = Annotated[
    str | None,
    typer.Option("--profile", envvar="ZIPCAST_PROFILE", help="Profile to use; see `zipcast profile list`."),
]
NatsOption = Annotated[
    str | None,
    typer.Option("--nats", envvar="ZIPCAST_SERVERS", help="URLs of NATS servers, comma-separated."),
]
SignerOption = Annotated[
    str | None,
    typer.Option(
        "--signers",
        envvar=["ZIPCAST_SIGNER", "ZIPCAST_SIGNERS"],
        help="SS58 addresses of the signers to trust, comma-separated.",
    ),
]
NetworkOption = Annotated[
    str | None,
    typer.Option("--network", envvar="ZIPCAST_NETWORK", help="Bittensor network: finney, test or local."),
]
NetuidOption = Annotated[
    int | None, typer.Option("--netuid", envvar="ZIPCAST_NETUID", help="netuid of the subnet.")
]
HttpOption = Annotated[
    str | None, typer.Option("--http", envvar="ZIPCAST_HTTP", help="URL of the HTTP bridge.")
]
WalletsOption = Annotated[
    Path | None,
    typer.Option(
        "--wallet-path",
        "--wallet.path",
        envvar=PATH_VARIABLE,
        help=f"Folder of wallets, in the layout of btcli. Default: {DEFAULT_WALLETS}.",
    ),
]
WalletOption = Annotated[
    str | None,
    typer.Option(
        "--wallet",
        "--wallet-name",
        "--wallet.name",
        "-w",
        envvar=list(NAME_VARIABLES),
        help="Wallet name. Default: `default`, or the local stack's first wallet.",
    ),
]
HotkeyOption = Annotated[
    str,
    typer.Option(
        "--hotkey", "--wallet-hotkey", "--wallet.hotkey", "-H", envvar=HOTKEY_VARIABLE, help="Hotkey name."
    ),
]
PasswordFileOption = Annotated[
    Path | None,
    typer.Option(
        "--password-file",
        envvar=PASSWORD_FILE_VARIABLE,
        help="File with the password of an encrypted hotkey. Default: ask on the terminal.",
    ),
]


@dataclass(frozen=True, slots=True)
class Session:
    """The service that a command talks to, and the hotkey that it uses. `http` is the address of the bridge,
    and `label` names the profile or local stack, if they are known."""

    servers: tuple[str, ...]
    trust: "Trust"
    wallets: Path
    wallet: str
    hotkey: str
    password_file: Path | None = None
    relays: tuple[str, ...] = ()
    http: str | None = None
    label: str = ""

    def keypair(self) -> Keypair:
        """Return the hotkey, read from its wallet. Raises WalletError."""
        return load_keypair(self.wallets, self.wallet, self.hotkey, self.password_file)

    def client(self) -> "ZipcastClient":
        """Return a client that is not connected yet. Raises WalletError, ValueError."""
        from zipcast.client.client import ZipcastClient

        return ZipcastClient(self.servers, self.keypair(), self.trust, relays=self.relays)


def load_keypair(wallets: Path, wallet: str, hotkey: str, password_file: Path | None) -> Keypair:
    """Return a hotkey. If the hotkey is encrypted and neither a file nor a variable has its password, ask for
    the password on the terminal, if there is a terminal. Raises WalletError."""

    def password(path: Path) -> str | None:
        if password_file is not None:
            return read_password(password_file)
        found = password_from_environment(path)
        if found is None and sys.stdin.isatty():
            return str(typer.prompt(f"Password of {path}", hide_input=True, err=True))
        return found

    return load_hotkey(wallets, wallet, hotkey, ask_password=password)


@dataclass(frozen=True, slots=True)
class Service:
    """The facts about the service that are known without options. `label` names the source of the facts: a
    profile or the local stack. Empty values are unknown."""

    label: str = ""
    servers: str | None = None
    signers: str | None = None
    network: str | None = None
    netuid: int | None = None
    http: str | None = None
    wallets: str | None = None
    admin_wallets: str | None = None
    beacon: str | None = None
    """URL of the local stack's relay of the beacon."""

    @classmethod
    def find(cls, ready: Path, profile: str | None = None) -> "Service":
        """Return the service of the profile, the local stack, or the profile in use.

        Raises NotReadyError and ProfileError."""
        if profile is not None:
            return cls._of_profile(Profiles.read().find(profile))
        if ready != DEFAULT_READY or ready.is_file():
            return cls._of_stack(ready)
        profiles = Profiles.read()
        return cls() if profiles.current is None else cls._of_profile(profiles.find(profiles.current))

    @classmethod
    def _of_profile(cls, profile: Profile) -> "Service":
        return cls(
            f"profile {profile.name}",
            ",".join(profile.servers) or None,
            ",".join(profile.signers),
            profile.network,
            profile.netuid,
            profile.http,
        )

    @classmethod
    def _of_stack(cls, ready: Path) -> "Service":
        local = Ready.read(ready)
        texts = (local.nats, local.signer, local.network, local.http, local.wallets, local.admin_wallets)
        if not all(isinstance(text, str) for text in texts) or not isinstance(local.netuid, int):
            raise NotReadyError(f"{ready} does not describe a running stack: run `zipcast up` again")
        return cls(
            f"local stack {ready.parent}",
            local.nats,
            local.signer,
            local.network,
            local.netuid,
            local.http,
            local.wallets,
            local.admin_wallets,
            local.beacon,
        )

    def trust(self, signers: str | None, network: str | None, netuid: int | None) -> "Trust":
        """Return the signers, network and netuid whose epochs are trusted. Raises typer.BadParameter naming a
        missing option."""
        from zipcast.protocol.envelope import Trust

        try:
            trusted = frozenset(
                parse_hotkey(text.strip())
                for text in self.needed(signers, self.signers, "--signers").split(",")
            )
        except MalformedHotkeyError as error:
            raise typer.BadParameter(f"--signers: {error}") from None
        subnet = self.netuid if netuid is None else netuid
        return Trust(
            trusted,
            self.needed(network, self.network, "--network"),
            int(self.needed(None if subnet is None else str(subnet), None, "--netuid")),
        )

    def needed(self, option: str | None, known: str | None, name: str) -> str:
        """Return the option, otherwise the known value. Raises typer.BadParameter if both are missing."""
        value = option or known
        if value is None:
            if self.label:
                raise typer.BadParameter(f"{name} is missing, and {self.label} does not have it. Give it.")
            raise typer.BadParameter(
                f"no service is chosen: no local stack runs in {DEFAULT_READY.parent}, and no profile is in "
                "use. Start a stack with `zipcast up`, add a service with `zipcast profile add URL`, or give "
                f"{name}."
            )
        return value

    def wallet(self, path: Path | None, name: str | None, *, admins: bool = False) -> tuple[Path, str]:
        """Return the folder of wallets and the name of a wallet. Without options, they are those of the local
        stack, if it is used, otherwise btcli's defaults."""
        local = self.admin_wallets if admins else self.wallets
        if path is None and local:
            folder = Path(local)
            return folder, name or next(iter(wallet_names(folder)), DEFAULT_NAME)
        return path or DEFAULT_WALLETS, name or DEFAULT_NAME


def resolve(
    ready: ReadyOption = DEFAULT_READY,
    profile: ProfileOption = None,
    nats: NatsOption = None,
    signers: SignerOption = None,
    network: NetworkOption = None,
    netuid: NetuidOption = None,
    wallet_path: WalletsOption = None,
    wallet: WalletOption = None,
    hotkey: HotkeyOption = DEFAULT_HOTKEY,
    password_file: PasswordFileOption = None,
    *,
    admins: bool = False,
) -> Session:
    """Return the session that the options describe. With `admins`, the local stack's admin is the default.

    Raises NotReadyError, ProfileError, and typer.BadParameter naming a missing option."""
    service = Service.find(ready, profile)
    folder, name = service.wallet(wallet_path, wallet, admins=admins)
    trust = service.trust(signers, network, netuid)
    servers = tuple(service.needed(nats, service.servers, "--nats").split(","))
    relays = (service.beacon,) if trust.network == "local" and service.beacon else ()
    return Session(servers, trust, folder, name, hotkey, password_file, relays, service.http, service.label)
