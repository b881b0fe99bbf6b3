"""Runs programs of users, such as README's, against a running stack."""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from zipcast.client.local_stack import Ready

ROOT = Path(__file__).parents[2]


def environment(ready: Ready, folder: Path, wallet: str, *, http: bool = False) -> dict[str, str]:
    """Return the variables that a user sets. The wallet also exists under the names that README uses, and
    modules in `folder` can be imported."""
    own = folder / "wallets" / "my-wallet"
    if not own.exists():
        shutil.copytree(Path(ready.wallets) / wallet, own)
        shutil.copy(own / "hotkeys" / "default", own / "hotkeys" / "my-hotkey")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ZIPCAST_", "BT_"))}
    return kept | {
        "ZIPCAST_HTTP" if http else "ZIPCAST_SERVERS": ready.http if http else ready.nats,
        "ZIPCAST_SIGNER": ready.signer,
        "ZIPCAST_NETWORK": ready.network,
        "ZIPCAST_NETUID": str(ready.netuid),
        "ZIPCAST_WALLET_PATH": str(folder / "wallets"),
        "PYTHONPATH": str(folder),
        "PYTHONUNBUFFERED": "1",
    }


@asynccontextmanager
async def running(
    program: list[str], variables: dict[str, str], output: Path, folder: Path | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a program that does not end by itself, and kill it afterwards. Its output goes to a file."""
    with output.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            *program,
            cwd=folder,
            env=variables,
            stdout=file,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)  # with everything that it started
        await process.wait()


def python(*arguments: str) -> list[str]:
    return [sys.executable, *arguments]
