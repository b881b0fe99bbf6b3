"""Runs a second replica of a process of the running stack during a test."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from devstack.stack import Stack
from tests.support.processes import wait_until


@asynccontextmanager
async def replica(stack: Stack, name: str, folder: Path) -> AsyncIterator[Path]:
    """Run the replica until the block ends. Yields the path of its log once the replica is ready."""
    (part,) = (one for one in stack.parts if one.name == name)
    mark, log = folder / "ready", folder / f"{name}.log"
    environment = part.environment | {"READY_FILE": str(mark), "INTERNAL_PORT": "0"}
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *part.argv, cwd=part.folder, env=environment, stdout=out, stderr=out
        )
    try:
        await wait_until(lambda: mark.exists() or process.returncode is not None)
        assert process.returncode is None, log.read_text()
        yield log
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), 20)


def actions(log: Path) -> list[str]:
    whole, _, _ = log.read_text().rpartition("\n")
    return [json.loads(line)["action"] for line in whole.splitlines()]
