"""Tests the running bridge against its own description, with thousands of cases made by schemathesis.

No case may cause a fault of the service, or a reply that is not described. No forbidden request may be
accepted.
"""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from devstack.options import StackOptions
from devstack.programs import REPOSITORY
from devstack.stack import Stack
from tests.support.long_epochs import amid_an_epoch
from tests.support.processes import GENEROUS

pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]

LIMIT_SECONDS = 300
EXAMPLES_PER_ENDPOINT = 40
HERE = Path(__file__).parent
MORE = dict.fromkeys(("LIMIT_EPOCH_PER_HOUR", "LIMIT_STATUS_PER_HOUR", "LIMIT_POOL_PER_HOUR"), "1000000")


@pytest_asyncio.fixture(loop_scope="session")
async def patient(tmp_path: Path) -> AsyncIterator[Stack]:
    """Run a stack whose epochs are longer than the test, and whose limits no case reaches."""
    options = StackOptions(epoch_seconds=14_400, state=tmp_path / "state", settings=GENEROUS | MORE)
    async with amid_an_epoch(options) as stack:
        yield stack


async def test_the_bridge_is_what_it_says_of_itself(patient: Stack, tmp_path: Path) -> None:
    ready = tmp_path / "ready.json"
    patient.ready.write(ready)
    environment = {
        "SCHEMATHESIS_HOOKS": "tests.contract.signing_hooks",
        "ZIPCAST_READY": str(ready),
        "PYTHONPATH": str(REPOSITORY),
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
    }
    log = tmp_path / "schemathesis.log"
    with log.open("wb") as output:
        run = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(HERE / "schemathesis.toml")),
            *("run", "--checks", "all", "--phases", "examples,coverage,fuzzing", "--workers", "1"),
            *("--max-examples", str(EXAMPLES_PER_ENDPOINT), "--request-timeout", "10", "--no-shrink"),
            *("--continue-on-failure", "--warnings", "off", "--no-color"),
            f"{patient.ready.http}/openapi.json",
            cwd=tmp_path,
            env=environment,
            stdout=output,
            stderr=output,
        )
        try:
            async with asyncio.timeout(LIMIT_SECONDS):
                await run.wait()
        finally:
            if run.returncode is None:
                run.kill()
                await run.wait()
    told = log.read_text()
    assert run.returncode == 0, told[-20_000:]
    (cases,) = re.findall(r"([0-9]+) generated", told)
    assert int(cases) > 2_000, told[-3_000:]
