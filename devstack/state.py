"""Defines the layout of the state folder (`.devstack`), and locks it.

The folder may contain a user's own files, so only files that this package wrote are removed.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from devstack.errors import StateInUseError, StateUnusableError
from service import deployment_keys
from service.placeholder_values import LOCAL_MARK
from zipcast.client.private_files import write_private


@dataclass(frozen=True, slots=True)
class State:
    """A state folder. `root` is absolute. Only the owner can read the folders in it."""

    root: Path

    @property
    def keys(self) -> Path:
        return self.root / "keys"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def run(self) -> Path:
        """Return the folder of the ready files, one per process."""
        return self.root / "run"

    @property
    def nats(self) -> Path:
        return self.root / "nats"

    @property
    def postgres(self) -> Path:
        return self.root / "postgres"

    @property
    def objects(self) -> Path:
        return self.root / "objects"

    @property
    def wallets(self) -> Path:
        return self.root / "wallets"

    @property
    def admin_wallets(self) -> Path:
        """Return the folder of admins' wallets. They are separate, because an admin is not in the
        registry."""
        return self.root / "admins"

    @property
    def registry(self) -> Path:
        return self.root / "registry.json"

    @property
    def ready(self) -> Path:
        return self.root / "ready.json"

    @property
    def ports(self) -> Path:
        return self.root / "ports.json"

    def create(self) -> None:
        """Create missing folders. Raises StateUnusableError if they cannot be created, or contain another
        program's files. In that case, starting the stack would first stop a PostgreSQL that runs on them."""
        servers = (self.nats, self.postgres, self.objects)
        folders = (self.keys, self.logs, self.run, *servers, self.wallets, self.admin_wallets)
        try:
            foreign = () if self.has_keys else [one for one in servers if one.is_dir() and any(one.iterdir())]
            if foreign:
                raise StateUnusableError(
                    f"--state: {foreign[0]} contains files that `zipcast up` did not make; choose another "
                    "folder"
                )
            self.root.mkdir(parents=True, exist_ok=True)
            for folder in folders:
                folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise StateUnusableError(f"--state: {error.filename}: {error.strerror}") from error

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the state for this process. The kernel releases the lock when the process dies. Raises
        StateInUseError."""
        with (self.root / "lock").open("a") as held:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StateInUseError(
                    f"{self.root} is in use by another `zipcast up`: stop it with "
                    "`zipcast down`, or choose another folder with --state"
                ) from None
            held.truncate(0)
            held.write(str(os.getpid()))  # `zipcast down` reads it
            held.flush()
            yield

    def keys_of(self, process: str) -> dict[str, str]:
        """Return the variables in `keys/<process>.env`; none if there is no such file."""
        return deployment_keys.read_keys(self.keys).get(process, {})

    @property
    def has_keys(self) -> bool:
        """Return whether all keys exist. They do before any server has started."""
        return (self.keys / "nats.env").exists()

    def ensure_keys(self) -> None:
        """Make missing keys: all of them, or those that a newer version needs in addition. `nats.env` is
        written last and marks that all keys exist."""
        fresh = deployment_keys.create_keys()
        # The secret is marked, so that production refuses a copy of it.
        fresh["schedulers"]["ZIPCODE_SECRET_KEY"] = LOCAL_MARK + fresh["schedulers"]["ZIPCODE_SECRET_KEY"]
        whole = self.has_keys
        for process in sorted(fresh, key=lambda name: name == "nats"):
            kept = self.keys_of(process) if whole else {}
            if not fresh[process].keys() <= kept.keys():
                self._keep(process, fresh[process] | kept)

    def ensure_secrets(self, process: str, fresh: dict[str, str]) -> dict[str, str]:
        """Return the saved secrets of `process`; if there are none, save and return `fresh`."""
        if not self.keys_of(process):
            self._keep(process, fresh)
        return self.keys_of(process)

    def _keep(self, process: str, values: dict[str, str]) -> None:
        lines = "".join(f"{name}={value}\n" for name, value in values.items())
        write_private(self.keys / f"{process}.env", lines.encode())
