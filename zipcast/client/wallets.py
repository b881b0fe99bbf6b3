"""Hotkeys from disk, in the layout that `btcli` makes: WALLETS/NAME/hotkeys/HOTKEY.

Reads unencrypted hotkeys only: a hotkey signs while nobody is there to type a password.
"""

from pathlib import Path

from bittensor_core import deserialize_keypair_from_keyfile_data, keyfile_data_is_encrypted

from zipcast.protocol.hotkeys import Keypair


class WalletError(Exception):
    """There is no such hotkey, or it cannot be read. Never holds key material."""


def load_hotkey(wallets: Path, name: str, hotkey: str = "default") -> Keypair:
    """The keypair of one hotkey. Raises WalletError."""
    path = wallets.expanduser() / name / "hotkeys" / hotkey
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WalletError(f"cannot read {path}: {error.strerror}") from None
    if keyfile_data_is_encrypted(data):
        raise WalletError(f"{path} is encrypted; use an unencrypted hotkey")
    try:
        keypair = deserialize_keypair_from_keyfile_data(data)
        keypair.sign(b"")  # a file without the private key is no use
        return keypair
    except Exception:  # noqa: BLE001 - the native library raises types of its own, with keys in their text
        raise WalletError(f"{path} is not a hotkey file") from None


def wallet_names(wallets: Path) -> list[str]:
    """Wallets that hold a hotkey, by name."""
    return sorted(path.parent.name for path in wallets.expanduser().glob("*/hotkeys") if any(path.iterdir()))
