"""Tests that `docs/errors.md` has every code of `zipcast.protocol.errors` with its texts, and nothing
else."""

from pathlib import Path

from zipcast.protocol.errors import ERRORS

PAGE = Path(__file__).parents[3] / "docs" / "errors.md"


def test_the_page_and_the_table_in_the_code_are_one() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    assert rows == [
        f"| `{code}` | {of.status} | {of.meaning} | {of.remedy} | {'yes' if of.retryable else ''} |"
        for code, of in ERRORS.items()
    ]
