"""Tests which request ids are accepted, and what every log line of a request has."""

import re

import pytest
from structlog.contextvars import get_contextvars

from service.correlation import concerning_epoch, correlated, correlation_id, follow_epochs

FRESH = re.compile(r"[0-9a-f]{32}")


@pytest.mark.parametrize("given", ["a", "request-1", "A_b-9", "x" * 64])
def test_a_plain_token_is_taken_over(given: str) -> None:
    assert correlation_id(given) == given


@pytest.mark.parametrize(
    "given", [None, "", "x" * 65, "a b", "a\n", "a\r\nX: y", '"', "é", "١", "a.b", "../x", "${x}", "{}"]
)
def test_anything_else_is_replaced_by_a_fresh_id(given: str | None) -> None:
    first, second = correlation_id(given), correlation_id(given)
    assert FRESH.fullmatch(first)
    assert first != second


def test_the_id_is_bound_while_the_request_lasts_and_not_longer() -> None:
    with correlated("request-1"):
        assert get_contextvars()["correlation_id"] == "request-1"
    assert "correlation_id" not in get_contextvars()


def test_a_line_about_an_epoch_is_followed_by_the_epochs_id_unless_it_belongs_to_a_request() -> None:
    assert follow_epochs(None, "info", {"epoch_id": "e"}) == {"epoch_id": "e", "correlation_id": "e"}
    asked = {"epoch_id": "e", "correlation_id": "r"}
    assert follow_epochs(None, "info", dict(asked)) == asked
    assert follow_epochs(None, "info", {"event": "ready"}) == {"event": "ready"}
    with concerning_epoch("e"):
        assert get_contextvars()["epoch_id"] == "e"
