"""Tests that the pages for readers contain only code that tests run (`tests/support/readers.py`), or that is
shown as a file."""

import pytest

from documentation.pages import REPOSITORY, code_blocks, hand_written, with_includes
from documentation.reference import EXAMPLES

FOLLOWED = ("miner", "validator", "operator", "other-languages")
"""The pages that tests/integration/test_programs_of_users.py follows, besides `moving`."""
WITHOUT_CODE = ("index", "concepts", "faq", "upload-paths")


@pytest.mark.parametrize("page", FOLLOWED)
def test_each_block_is_run_or_shows_a_file(page: str) -> None:
    shown = {(REPOSITORY / "examples" / name).read_text() for name in ("curl.sh", "node/miner.js")}
    for language, title, code in code_blocks(with_includes(f"docs/{page}.md")):
        is_command = language == "sh" and not title
        is_file = language == "python" and title.endswith(".py")
        assert is_command or is_file or code in shown, code


@pytest.mark.parametrize("page", WITHOUT_CODE)
def test_other_pages_have_no_block(page: str) -> None:
    assert code_blocks(with_includes(f"docs/{page}.md")) == []


def test_links_are_moved_to_the_pages_of_the_site() -> None:
    pages = hand_written()
    assert "](index.md)" in pages["contributing.md"]  # was README.md
    assert "](operations/logs.md)" in pages["contributing.md"]
    assert "](reference/settings.md)" in pages["http-contract.md"]  # was .env.example
    assert "](../http-contract.md)" in pages["operations/cut-over.md"]


def test_every_example_is_on_the_page_of_examples() -> None:
    folder = REPOSITORY / "examples"
    programs = {*folder.glob("*.*"), *folder.glob("node/*.js")}
    assert {path.relative_to(folder).as_posix() for path in programs} == set(EXAMPLES)
