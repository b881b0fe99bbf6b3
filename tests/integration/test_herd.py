"""Tests forty clients of the SDK that work in step; `python -m bench.herd` runs two hundred."""

from pathlib import Path

import pytest

from bench.herd import measure

MINERS, VALIDATORS, EPOCHS = 30, 10, 2


@pytest.mark.long
async def test_no_caller_sees_a_failure_when_all_clients_work_in_step(tmp_path: Path):
    outcome = await measure(MINERS, VALIDATORS, EPOCHS, 10, tmp_path / "state")
    assert outcome.failures == []
    assert outcome.missing() == []
    assert {name: len(seconds) for name, seconds in outcome.seconds.items()} == {
        "join": MINERS + VALIDATORS,
        "upload": MINERS * EPOCHS,
        "status": MINERS * EPOCHS,
        "list": VALIDATORS * EPOCHS,
        "download": VALIDATORS * EPOCHS,
        "report": VALIDATORS * EPOCHS,
    }
