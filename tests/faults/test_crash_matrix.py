"""Runs a fifth of the crash matrix in docs/reliability.md; `make crash-matrix` runs all of it."""

from pathlib import Path

import pytest

from tests.faults.crash_matrix import run_matrix, say
from tests.faults.matrix import all_cells


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_whatever_dies_at_whatever_step_every_epoch_is_out_once_and_none_early(tmp_path: Path):
    found = await run_matrix(all_cells()[::5], tmp_path, say)
    assert {str(cell): sentences for cell, sentences in found.items() if sentences} == {}
