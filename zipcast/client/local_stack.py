"""Reads and writes `ready.json`, which lists the addresses of a local stack and appears when the stack is
ready.

The stack writes the file; commands read it. It contains a database password and the folders of local keys, so
only its owner may read it.
"""

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from zipcast.client.private_files import write_private


class NotReadyError(Exception):
    """There is no valid `ready.json`. The message names the command that makes one."""


@dataclass(frozen=True, slots=True)
class ReadyObjectStore:
    """The endpoint and the buckets of the local object store."""

    endpoint: str
    miner_bucket: str
    validator_bucket: str


@dataclass(frozen=True, slots=True)
class Ready:
    """The addresses and files of a running local stack. `signer` is the SS58 address that signs epochs.
    `wallets` is the folder of wallets for clients, `admin_wallets` that of wallets for admins. `internal` has
    the URL of each process for `/metrics` and `/health`."""

    nats: str
    monitoring: str
    http: str
    postgres: str
    s3: ReadyObjectStore
    signer: str
    netuid: int
    network: str
    audience: str
    epoch_seconds: int
    wallets: str
    pids: dict[str, int]
    internal: dict[str, str] = field(default_factory=dict)
    admin_wallets: str = ""
    websocket: str = ""
    """URL of NATS over WebSocket."""
    dashboard: str = ""
    """URL of the NATS dashboard."""
    beacon: str = ""
    """URL of the relay of the local beacon."""

    @classmethod
    def read(cls, path: Path) -> "Ready":
        """Read a file that `write` wrote, and ignore fields of newer versions. Raises NotReadyError."""
        try:
            written: dict[str, Any] = json.loads(path.read_text())
            known = {one.name: written[one.name] for one in fields(cls) if one.name in written}
            return cls(**{**known, "s3": ReadyObjectStore(**written["s3"])})
        except FileNotFoundError:
            raise NotReadyError(f"{path} does not exist: start the stack with `zipcast up`") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise NotReadyError(
                f"{path} does not describe a running stack: run `zipcast up` again"
            ) from error

    def write(self, path: Path) -> None:
        """Write the file atomically: readers see the old file, the new one, or none."""
        write_private(path, f"{json.dumps(asdict(self), indent=2)}\n".encode())
