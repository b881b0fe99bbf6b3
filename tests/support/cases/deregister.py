"""Removes a hotkey from the registry file of the local stack, as if it had lost its slot on the subnet.

python -m tests.support.cases.deregister [WALLET]
"""

import json
import sys
from pathlib import Path

from zipcast import load_hotkey


def main(wallet: str = "miner-1") -> None:
    ready = json.loads(Path(".devstack/ready.json").read_text())
    address = load_hotkey(Path(ready["wallets"]), wallet).ss58_address
    registry = Path(".devstack/registry.json")
    neurons = json.loads(registry.read_text())
    left = [one for one in neurons if one["hotkey"] != address]
    partial = registry.with_suffix(".partial")
    partial.write_text(json.dumps(left, indent=2))
    partial.replace(registry)
    print(f"{wallet} {address}: {len(neurons)} -> {len(left)} neurons")


if __name__ == "__main__":
    main(*sys.argv[1:])
