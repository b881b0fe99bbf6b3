"""Makes wallets for the local stack, and the registry that replaces the chain.

Existing files are never overwritten, so you may edit them. The wallets have the layout of `btcli`, so a
miner's code needs only their path to use them.
"""

import json
from pathlib import Path

MINERS = tuple(f"miner-{number}" for number in range(1, 9))
VALIDATORS = ("validator-1", "validator-2")
ADMIN = "admin-1"
HOTKEY_NAME = "default"
# The stakes, in alpha.
VALIDATOR_STAKE, MINER_STAKE = 5000, 10


def ensure_all_wallets(participants: Path, admins: Path) -> None:
    """Create the ten wallets of miners and validators, and the admin's wallet in a separate folder."""
    ensure_wallets(participants)
    ensure_wallets(admins, (ADMIN,))


def admin_address(admins: Path) -> str:
    """Return the SS58 address of the local stack's admin."""
    return _address(admins / ADMIN / "hotkeys" / f"{HOTKEY_NAME}pub.txt")


def ensure_wallets(folder: Path, names: tuple[str, ...] = (*MINERS, *VALIDATORS)) -> None:
    """Create missing wallets, unencrypted. This blocks for about a second the first time."""
    missing = [name for name in names if not (folder / name).exists()]
    if not missing:
        return
    from bittensor import Wallet

    for name in missing:
        partial = f".{name}.partial"
        wallet = Wallet(partial, HOTKEY_NAME, path=str(folder))
        wallet.create_new_coldkey(use_password=False, overwrite=True, suppress=True)
        wallet.create_new_hotkey(use_password=False, overwrite=True, suppress=True)
        (folder / partial).rename(folder / name)


def ensure_registry(path: Path, wallets: Path) -> None:
    """Write a registry of the ten wallets with uids in their order, unless there is one."""
    if path.exists():
        return
    neurons = [_neuron(uid, wallets / name) for uid, name in enumerate((*MINERS, *VALIDATORS))]
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(neurons, indent=2) + "\n")
    partial.replace(path)


def _neuron(uid: int, wallet: Path) -> dict[str, object]:
    is_validator = wallet.name in VALIDATORS
    return {
        "uid": uid,
        "hotkey": _address(wallet / "hotkeys" / f"{HOTKEY_NAME}pub.txt"),
        "coldkey": _address(wallet / "coldkeypub.txt"),
        "validator_permit": is_validator,
        "alpha_stake": VALIDATOR_STAKE if is_validator else MINER_STAKE,
    }


def _address(public_file: Path) -> str:
    address: str = json.loads(public_file.read_text())["ss58Address"]
    return address
