"""The fault driver's runs. A failure names the plan's seed and the command that replays it."""

from pathlib import Path

import pytest

from tests.faults.driver import drive, replay, say, verdict
from tests.faults.plan import make_plan

SEED = 1


async def assert_all_held(seed: int, epochs: int, faults: int, state: Path) -> None:
    say(replay(seed, epochs, faults))
    outcome = await drive(make_plan(seed, epochs, faults), epochs, state, say)
    say("\n".join(verdict(outcome)))
    assert outcome.broken == [], replay(seed, epochs, faults)
    assert len(outcome.inflicted) == faults


@pytest.mark.long
@pytest.mark.timeout(500)
async def test_a_hundred_epochs_survive_forty_faults(tmp_path: Path):
    await assert_all_held(SEED, 100, 40, tmp_path / "state")


@pytest.mark.timeout(120)
async def test_ten_epochs_survive_four_faults(tmp_path: Path):
    await assert_all_held(SEED, 10, 4, tmp_path / "state")
