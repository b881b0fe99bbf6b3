"""Finds the service and the hotkey for a command. They come from options, otherwise from the local stack's
ready.json."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from zipcast.client.client import ZipcastClient
from zipcast.client.local_stack import NotReadyError, Ready
from zipcast.client.wallets import load_hotkey, wallet_names
from zipcast.protocol.envelope import Trust
from zipcast.protocol.hotkeys import Keypair, MalformedHotkeyError, parse_hotkey

DEFAULT_READY = Path(".devstack/ready.json")

Value = TypeVar("Value")

ReadyOption = Annotated[
    Path, typer.Option("--ready", help="ready.json of a local stack, used for options that are not given.")
]
NatsOption = Annotated[str | None, typer.Option("--nats", help="URLs of NATS servers, comma-separated.")]
SignerOption = Annotated[
    str | None, typer.Option("--signers", help="SS58 addresses of the signers to trust, comma-separated.")
]
NetworkOption = Annotated[
    str | None, typer.Option("--network", help="Bittensor network: finney, test or local.")
]
NetuidOption = Annotated[int | None, typer.Option("--netuid", help="netuid of the subnet.")]
WalletsOption = Annotated[
    Path | None, typer.Option("--wallet-path", help="Folder of wallets, in the layout of btcli.")
]
WalletOption = Annotated[str | None, typer.Option("--wallet", help="Wallet name. Default: the first.")]
HotkeyOption = Annotated[str, typer.Option("--hotkey", help="Hotkey name.")]


@dataclass(frozen=True, slots=True)
class Session:
    """The service that a command talks to, and the hotkey that it uses."""

    servers: tuple[str, ...]
    trust: Trust
    wallets: Path
    wallet: str
    hotkey: str

    def keypair(self) -> Keypair:
        """Return the hotkey, read from its wallet. Raises WalletError."""
        return load_hotkey(self.wallets, self.wallet, self.hotkey)

    def client(self) -> ZipcastClient:
        """Return a client that is not connected yet. Raises WalletError, ValueError."""
        return ZipcastClient(self.servers, self.keypair(), self.trust)


@dataclass(frozen=True, slots=True)
class _Chosen:
    """Returns an option's value, or the value in the local stack's ready.json if the option is not given."""

    ready: Path
    local: Ready | None

    @classmethod
    def of(cls, ready: Path) -> "_Chosen":
        """Return the settings of a running stack. Raises NotReadyError."""
        return cls(ready, Ready.read(ready) if ready.is_file() else None)

    def __call__(self, option: Value | None, name: str, attribute: str, kind: type[Value]) -> Value:
        if option is not None:
            return option
        if self.local is None:
            raise typer.BadParameter(f"pass {name}, or start a local stack: {self.ready} does not exist")
        stated = getattr(self.local, attribute)
        if not isinstance(stated, kind):
            raise NotReadyError(f"{self.ready} does not describe a running stack: run `zipcast up` again")
        return stated


def trust_of(ready: Path, signers: str | None, network: str | None, netuid: int | None) -> Trust:
    """Return the signers, network and netuid whose epochs are trusted.

    Raises NotReadyError, and typer.BadParameter naming a missing option."""
    chosen = _Chosen.of(ready)
    try:
        trusted = frozenset(
            parse_hotkey(text) for text in chosen(signers, "--signers", "signer", str).split(",")
        )
    except MalformedHotkeyError as error:
        raise typer.BadParameter(f"--signers {error}") from None
    return Trust(
        trusted,
        chosen(network, "--network", "network", str),
        chosen(netuid, "--netuid", "netuid", int),
    )


def resolve(
    ready: ReadyOption = DEFAULT_READY,
    nats: NatsOption = None,
    signers: SignerOption = None,
    network: NetworkOption = None,
    netuid: NetuidOption = None,
    wallet_path: WalletsOption = None,
    wallet: WalletOption = None,
    hotkey: HotkeyOption = "default",
    *,
    local_wallets: str = "wallets",
) -> Session:
    """Return the session from options, or from ready.json for options that are not given. `local_wallets` is
    the key of ready.json that names the folder of wallets.

    Raises NotReadyError, and typer.BadParameter naming a missing option."""
    folder, name = chosen_wallet(ready, wallet_path, wallet, local_wallets)
    trust = trust_of(ready, signers, network, netuid)
    servers = tuple(_Chosen.of(ready)(nats, "--nats", "nats", str).split(","))
    return Session(servers, trust, folder, name, hotkey)


def chosen_wallet(
    ready: Path, wallet_path: Path | None, wallet: str | None, local_wallets: str = "wallets"
) -> tuple[Path, str]:
    """Return the folder of wallets and the name of a wallet in it.

    Raises NotReadyError, and typer.BadParameter naming a missing option."""
    folder = wallet_path or Path(_Chosen.of(ready)(None, "--wallet-path", local_wallets, str))
    names = [wallet] if wallet else wallet_names(folder)
    if not names:
        raise typer.BadParameter(f"no wallet with a hotkey in {folder}")
    return folder, names[0]
