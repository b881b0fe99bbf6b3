"""Checks the model of publishing, `publishing.pml`, with the model checker Spin.

Every interleaving of the model is correct. Without any one of its safeguards, some interleaving is not, so
the model detects such a fault. Needs Debian's spin and gcc, which `make test-browser` installs.
"""

import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

MODEL = Path(__file__).with_name("publishing.pml")
NO_FAULTS = {"CRASHES": 0, "LOST_ACKNOWLEDGEMENTS": 0, "DELAYS": 0, "RESTORES": 0}


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def violation(folder: Path, faults: dict[str, int], *without: str) -> str | None:
    """Return the steps that lead to a violation, or None if Spin has tried everything and found none."""
    definitions = [f"-D{name}={value}" for name, value in (NO_FAULTS | faults).items()]
    definitions += [f"-DWITHOUT_{name}" for name in without]
    (folder / MODEL.name).write_text(MODEL.read_text())
    run(folder, "spin", *definitions, "-a", MODEL.name)
    run(folder, "cc", "-O1", "-w", "-DSAFETY", "-DCOLLAPSE", "-o", "checker", "pan.c")
    report = run(folder, "./checker", "-m100000")
    assert "max search depth too small" not in report
    if "errors: 0" in report:
        assert "Search not completed" not in report
        return None
    return run(folder, "spin", *definitions, "-t", MODEL.name)


@pytest.mark.parametrize(
    "faults",
    [
        {"CRASHES": 2},
        {"CRASHES": 1, "LOST_ACKNOWLEDGEMENTS": 1},
        {"LOST_ACKNOWLEDGEMENTS": 1, "DELAYS": 1},
        {"DELAYS": 2},
        {"CRASHES": 1, "RESTORES": 1, "EPOCHS": 2},
        {"DELAYS": 1, "RESTORES": 1, "EPOCHS": 2},
    ],
    ids=lambda faults: "-".join(faults).lower(),
)
def test_every_interleaving_is_correct(tmp_path: Path, faults: dict[str, int]):
    assert violation(tmp_path, faults) is None


@pytest.mark.parametrize(
    ("without", "faults", "failed"),
    [
        (["START_GATE"], {}, "now>="),
        (["MESSAGE_IDS", "EXPECTED_LAST_MESSAGE"], {"EPOCHS": 2}, "newest_delivered<epoch"),
        (["EXPECTED_EMPTY_STREAM"], {"DELAYS": 3}, "newest_delivered<epoch"),
        (["SENDING_AGAIN"], {"DELAYS": 2}, "state[epoch]==2"),
        (["SETTLING"], {"DELAYS": 1}, "state[epoch]==3"),
        (["PUBLISHING_BEFORE_MARKING"], {"CRASHES": 1, "EPOCHS": 2}, "state[epoch]==3"),
        (["ADOPTION"], {"RESTORES": 1, "EPOCHS": 2}, "state[epoch]==2"),
        (["READING_SEALED"], {"RESTORES": 1, "EPOCHS": 2}, "sealed[epoch]"),
        (["RUNNING_SEALED_EPOCH"], {"RESTORES": 1, "CRASHES": 1, "EPOCHS": 2}, "delays>0"),
    ],
    ids=lambda value: "-".join(value).lower() if isinstance(value, list) else "",
)
def test_a_missing_safeguard_is_noticed(
    tmp_path: Path, without: list[str], faults: dict[str, int], failed: str
):
    steps = violation(tmp_path, faults, *without)
    assert steps is not None
    assertion = next(line for line in steps.splitlines() if "text of failed assertion" in line)
    assert failed in assertion
