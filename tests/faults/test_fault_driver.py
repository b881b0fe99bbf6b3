"""Tests the stack with the fault driver. A failure names the seed of the plan, and the command that repeats
it."""

from pathlib import Path

import pytest

from tests.faults.driver import drive, replay, say, verdict
from tests.faults.plan import make_plan

LONG_SEED = 1
# In this plan, PostgreSQL, nats-server and a scheduler are killed around one start.
SHORT_SEED = 48


async def assert_all_held(seed: int, epochs: int, faults: int, state: Path) -> None:
    say(replay(seed, epochs, faults))
    outcome = await drive(make_plan(seed, epochs, faults), epochs, state, say)
    say("\n".join(verdict(outcome)))
    assert outcome.broken == [], replay(seed, epochs, faults)
    assert len(outcome.inflicted) == faults


@pytest.mark.long
@pytest.mark.timeout(500)
async def test_two_dozen_epochs_survive_ten_faults(tmp_path: Path):
    await assert_all_held(LONG_SEED, 24, 10, tmp_path / "state")


@pytest.mark.long
async def test_eight_epochs_survive_four_faults(tmp_path: Path):
    await assert_all_held(SHORT_SEED, 8, 4, tmp_path / "state")
