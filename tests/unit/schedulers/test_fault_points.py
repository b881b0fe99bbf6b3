"""Tests fault points: without an armed one nothing happens, and only one of several replicas dies."""

import signal
from pathlib import Path

import pytest

from schedulers.epochs.fault_points import NO_FAULTS, FaultPoint
from tests.support import fault_points
from tests.support.fault_points import ArmedFaultPoints


@pytest.fixture
def kills(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the signals that would have ended this process."""
    sent: list[int] = []
    monkeypatch.setattr(fault_points.os, "kill", lambda _, number: sent.append(number))
    return sent


def test_unarmed_no_point_does_anything(kills: list[int], tmp_path: Path) -> None:
    for points in (NO_FAULTS, ArmedFaultPoints(tmp_path / "fault_point")):
        for point in FaultPoint:
            points.reached(point)
    assert kills == []


@pytest.mark.parametrize("armed", FaultPoint)
def test_the_armed_point_kills_whoever_reaches_it_first(
    kills: list[int], tmp_path: Path, armed: FaultPoint
) -> None:
    file = tmp_path / "fault_point"
    file.write_text(armed)
    replicas = ArmedFaultPoints(file), ArmedFaultPoints(file)
    for point in set(FaultPoint) - {armed}:
        replicas[0].reached(point)
    assert kills == []
    for replica in replicas:
        replica.reached(armed)
    assert kills == [signal.SIGKILL]
    assert not file.exists()
    assert file.with_suffix(".reached").exists()
