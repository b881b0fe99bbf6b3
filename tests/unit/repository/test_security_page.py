"""Tests that `docs/security.md` names an existing test for each threat, and that each attack is listed."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "security.md").read_text()
NAMED = re.findall(r"`(tests/[a-z_/]+\.py)::(test_[a-z0-9_]+)`", PAGE)
THREATS = [line for line in PAGE.splitlines() if line.startswith("| ")][1:]


def test_each_test_that_the_page_names_is_there() -> None:
    missing = [
        f"{file}::{name}"
        for file, name in NAMED
        if not (ROOT / file).exists() or f"def {name}(" not in (ROOT / file).read_text()
    ]
    assert len(NAMED) > 40
    assert missing == []


def test_each_threat_names_a_test() -> None:
    assert len(THREATS) > 20
    assert [line for line in THREATS if "::test_" not in line.split("|")[4]] == []


def test_each_file_of_attacks_is_named() -> None:
    files = {path.name for path in (ROOT / "tests" / "security").glob("test_*.py")}
    assert files == {Path(file).name for file, _ in NAMED if file.startswith("tests/security/")}


def test_each_file_that_stops_something_is_there() -> None:
    stopping = re.findall(r"`((?:zipcast|service|storage|broker_service|http_bridge)/[a-z_/.]+)`", PAGE)
    assert stopping
    assert [path for path in stopping if not (ROOT / path).exists()] == []
