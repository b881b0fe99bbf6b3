"""Loads hotkeys from disk, in the layout of `btcli`: WALLETS/NAME/hotkeys/HOTKEY.

Only unencrypted hotkeys can be loaded, because programs sign with them when no one can type a password.
"""

from pathlib import Path

from bittensor_core import deserialize_keypair_from_keyfile_data, keyfile_data_is_encrypted

from zipcast.protocol.hotkeys import Keypair


class WalletError(Exception):
    """The hotkey does not exist or cannot be read. The message never contains key material."""


def load_hotkey(wallets: Path, name: str, hotkey: str = "default") -> Keypair:
    """Return the keypair of one hotkey. Raises WalletError."""
    path = wallets.expanduser() / name / "hotkeys" / hotkey
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WalletError(f"cannot read {path}: {error.strerror}") from None
    if keyfile_data_is_encrypted(data):
        raise WalletError(f"{path} is encrypted; use an unencrypted hotkey")
    try:
        keypair = deserialize_keypair_from_keyfile_data(data)
        keypair.sign(b"")  # fails if the file lacks the private key
        return keypair
    except Exception:  # noqa: BLE001 - the native library raises types of its own, with keys in their text
        raise WalletError(f"{path} is not a hotkey file") from None


def wallet_names(wallets: Path) -> list[str]:
    """Return the names of wallets that have a hotkey, sorted."""
    return sorted(path.parent.name for path in wallets.expanduser().glob("*/hotkeys") if any(path.iterdir()))
