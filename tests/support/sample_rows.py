"""Reads the rows of the sample data like an import."""

from datetime import UTC, datetime
from functools import cache

from sample_data.make_zipcodes import (
    CSV_OUTPUT,
)
from storage.zipcode_files.file import ZipcodeFile
from storage.zipcode_files.row_rules import RowRules, check_rows

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@cache
def sample_outcomes(path=CSV_OUTPUT):
    with ZipcodeFile(path) as file:
        return list(check_rows(file.rows(), RowRules(NOW)))
