"""Loads hotkeys from disk, in the layout of `btcli`: WALLETS/NAME/hotkeys/HOTKEY.

The defaults and the variables are those of btcli: the wallet `default` with the hotkey `default` in
`~/.bittensor/wallets`, `BT_WALLET_PATH`, `BT_WALLET_NAME` (btcli 9) or `BT_WALLET` (btcli 11),
`BT_WALLET_HOTKEY`, `BT_WALLET_PASSWORD` and `BT_WALLET_PASSWORD_FILE`.
"""

import os
from collections.abc import Callable
from pathlib import Path

from bittensor_core import (
    KeyfileError,
    WrongPasswordError,
    decrypt_keyfile_data,
    deserialize_keypair_from_keyfile_data,
    keyfile_data_is_encrypted,
)

from zipcast.errors import WalletError
from zipcast.protocol.hotkeys import Keypair

DEFAULT_WALLETS = Path("~/.bittensor/wallets")
DEFAULT_NAME = DEFAULT_HOTKEY = "default"
PATH_VARIABLE, HOTKEY_VARIABLE = "BT_WALLET_PATH", "BT_WALLET_HOTKEY"
NAME_VARIABLES = ("BT_WALLET_NAME", "BT_WALLET")
PASSWORD_VARIABLE, PASSWORD_FILE_VARIABLE = "BT_WALLET_PASSWORD", "BT_WALLET_PASSWORD_FILE"
MAX_LISTED = 5
"""The largest number of existing hotkeys that an error lists."""

AskPassword = Callable[[Path], str | None]
"""Takes the path of an encrypted hotkey and returns its password, or None if there is none."""


def load_hotkey(
    wallets: Path = DEFAULT_WALLETS,
    name: str = DEFAULT_NAME,
    hotkey: str = DEFAULT_HOTKEY,
    *,
    ask_password: AskPassword | None = None,
) -> Keypair:
    """Return the keypair of one hotkey. For an encrypted one, `ask_password` is called; without it, the
    password comes from BT_WALLET_PASSWORD or from the file that BT_WALLET_PASSWORD_FILE names.

    Raises WalletError."""
    folder = wallets.expanduser()
    path = folder / name / "hotkeys" / hotkey
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise WalletError(f"{path} does not exist", _instead(folder)) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise WalletError(f"cannot read {path}: {reason}", "Make it readable for your user") from None
    if keyfile_data_is_encrypted(data):
        data = _decrypted(path, data, (ask_password or password_from_environment)(path))
    try:
        keypair = deserialize_keypair_from_keyfile_data(data)
        keypair.sign(b"")  # fails if the file lacks the private key
        return keypair
    except Exception:  # noqa: BLE001 - the native library raises types of its own, with keys in their text
        raise WalletError(
            f"{path} is not a hotkey file", "Name the file that `btcli wallet new-hotkey` wrote"
        ) from None


def _decrypted(path: Path, data: bytes, password: str | None) -> bytes:
    if password is None:
        raise WalletError(
            f"{path} is encrypted",
            f"Put its password into a file and name the file in {PASSWORD_FILE_VARIABLE}, or use an "
            "unencrypted hotkey",
        )
    try:
        return bytes(decrypt_keyfile_data(data, password))
    except WrongPasswordError:
        raise WalletError(f"the password does not open {path}", "Give the password of this hotkey") from None
    except KeyfileError:
        raise WalletError(f"{path} is damaged", "Restore the hotkey from its mnemonic with btcli") from None


def password_from_environment(_: Path) -> str | None:
    """Return the password of BT_WALLET_PASSWORD, otherwise of the file that BT_WALLET_PASSWORD_FILE names, or
    None. Raises WalletError."""
    if stated := os.environ.get(PASSWORD_VARIABLE):
        return stated
    file = os.environ.get(PASSWORD_FILE_VARIABLE)
    return read_password(Path(file)) if file else None


def read_password(file: Path) -> str:
    """Return the first line of a file with a password. Raises WalletError."""
    try:
        return file.expanduser().read_text().partition("\n")[0].removesuffix("\r")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise WalletError(
            f"cannot read the password file {file}: {reason}", "Name a file whose first line is the password"
        ) from None


def wallet_names(wallets: Path) -> list[str]:
    """Return the names of wallets that have a hotkey, sorted."""
    return sorted({name for name, _ in _hotkeys(wallets.expanduser())})


def _hotkeys(folder: Path) -> list[tuple[str, str]]:
    """Return (wallet, hotkey) of each hotkey in the folder, sorted. Public keys end in `pub.txt`."""
    try:
        found = [path for path in folder.glob("*/hotkeys/*") if not path.name.endswith("pub.txt")]
    except OSError:  # a folder that this user may not read lists nothing
        return []
    return sorted((path.parent.parent.name, path.name) for path in found)


def _instead(folder: Path) -> str:
    found = [f"{name}/{hotkey}" for name, hotkey in _hotkeys(folder)]
    if not found:
        return (
            f"{folder} has no wallet with a hotkey. Name the folder of your wallets (--wallet-path or "
            f"{PATH_VARIABLE}), or make a wallet with `btcli wallet create`"
        )
    more = "" if len(found) <= MAX_LISTED else f" and {len(found) - MAX_LISTED} more"
    return (
        f"Name a wallet and hotkey of {folder} (--wallet and --hotkey): {', '.join(found[:MAX_LISTED])}{more}"
    )
