"""`ready.json`: where a local stack listens, written once everything in it is up.

Owns the file's shape, for the stack that writes it and the commands that read it. The file names a
database password and local keys' folders, so only its owner may read it.
"""

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from zipcast.client.private_files import write_private


class NotReadyError(Exception):
    """There is no `ready.json`, or it is not one. The message says what to start."""


@dataclass(frozen=True, slots=True)
class ReadyObjectStore:
    endpoint: str
    miner_bucket: str
    validator_bucket: str


@dataclass(frozen=True, slots=True)
class Ready:
    """URLs are TCP URLs; `signer` is the SS58 address epochs are signed with; `wallets` a folder;
    `admin_wallets` another, of who may send admin requests; `internal` where each process of ours shows
    `/metrics` and `/health`."""

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
    """NATS over WebSocket."""

    @classmethod
    def read(cls, path: Path) -> "Ready":
        """Read the file that `write` wrote, also one of a version that wrote more. Raises NotReadyError."""
        try:
            written: dict[str, Any] = json.loads(path.read_text())
            known = {one.name: written[one.name] for one in fields(cls) if one.name in written}
            return cls(**{**known, "s3": ReadyObjectStore(**written["s3"])})
        except FileNotFoundError:
            raise NotReadyError(f"{path} does not exist: start the stack with `zipcast up`") from None
        except (ValueError, KeyError, TypeError) as error:
            raise NotReadyError(f"{path} is not a description of a running stack") from error

    def write(self, path: Path) -> None:
        """Atomically: a reader sees the old file, the new one, or none."""
        write_private(path, f"{json.dumps(asdict(self), indent=2)}\n".encode())
