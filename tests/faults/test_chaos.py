"""Tests that endpoints reply during outages as docs/reliability.md says, part by part, under load."""

from pathlib import Path

import pytest

from tests.faults.chaos import BEGIN, END, rendered, run

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_every_endpoint_answers_an_outage_as_the_page_says_and_never_with_a_fault():
    table, seen = await run(lambda _: None)
    shown = PAGE.read_text().partition(BEGIN)[2].partition(END)[0].strip().split("\n")
    assert rendered(table) == shown
    assert not [
        answer for answers in table.values() for answer in answers.values() if answer.startswith("500")
    ]
    assert not [answer for answer in seen if answer[:3] not in {"200", "503"}], seen
