"""Tests `make demo`."""

import subprocess
import sys
from pathlib import Path

import pytest

from devstack.programs import REPOSITORY

pytestmark = pytest.mark.long


def test_the_demonstration_passes_and_says_what_it_saw() -> None:
    shown = subprocess.run(
        [Path(sys.executable).with_name("zipcast"), "demo"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "demo passed: 30 of 30 epochs received and verified" in shown.stdout
    assert "6 of 6 reads, 6 of 6 reports, 24 of 24 uploads" in shown.stdout
