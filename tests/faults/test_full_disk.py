"""Tests a disk that is full and is freed again: health reports it, and then epochs continue by themselves.

Needs root, to mount a small disk.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from nats.errors import Error as NatsError

from devstack.options import StackOptions
from devstack.stack import Stack
from devstack.state import State
from tests.faults.evidence import read_stream
from tests.support.operator_view import until
from tests.support.processes import GENEROUS
from zipcast.protocol.calendar import parse_epoch_id

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(400),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a disk"),
]
EPOCH_SECONDS = 6


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """Mount a small disk at that folder."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=700", "tmpfs", str(folder)], check=True
    )
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Write until the disk is full."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        size = 1 << 20
        while size:
            try:
                file.write(bytes(size))
            except OSError:
                size //= 2
    return filler


async def health(stack: Stack) -> dict[str, object]:
    async with httpx.AsyncClient(base_url=stack.ready.http, timeout=10) as http:
        return (await http.get("/healthcheck")).json()


async def own_status(stack: Stack, process: str) -> str:
    async with httpx.AsyncClient(base_url=stack.ready.internal[process], timeout=10) as internal:
        return str((await internal.get("/health")).json()["status"])


async def all_is_well(stack: Stack) -> bool:
    try:
        return (await health(stack))["status"] == "ok" and await own_status(stack, "schedulers") == "ok"
    except httpx.HTTPError:
        return False


@pytest.mark.parametrize(("part", "megabytes"), [("nats", 24), ("postgres", 160)])
async def test_epochs_return_by_themselves_when_a_full_disk_is_freed(
    tmp_path: Path, part: str, megabytes: int
):
    state = State(tmp_path / "state")
    state.create()
    folder = {"nats": state.nats, "postgres": state.postgres}[part]
    with small_disk(folder, megabytes):
        options = StackOptions(epoch_seconds=EPOCH_SECONDS, state=tmp_path / "state", settings=GENEROUS)
        async with Stack.running(options) as stack:
            await until(lambda: all_is_well(stack), 60)
            filler = fill(folder)

            async def is_told() -> bool:
                try:
                    told = await health(stack)
                    own = await own_status(stack, "schedulers")
                except httpx.HTTPError:
                    return False
                return told["status"] != "ok" and own != "ok"

            await until(is_told, 90)
            filler.unlink()
            freed_at = datetime.now(UTC)

            async def three_are_out_since() -> bool:
                try:
                    stored = await read_stream(stack.servers)
                except (NatsError, OSError):
                    return False
                return len([one for one in stored if parse_epoch_id(one.envelope.epoch_id) > freed_at]) >= 3

            await until(three_are_out_since, 150)
            await until(lambda: all_is_well(stack), 60)
            ids = [one.envelope.epoch_id for one in await read_stream(stack.servers)]
            assert ids == sorted(set(ids))
