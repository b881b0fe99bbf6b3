"""Tests that the cost of the public page does not grow with the number of visitors."""

import asyncio
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from fastapi import FastAPI

from http_bridge.cached_replies import Remembered
from http_bridge.public_page import KEPT_SECONDS, PublicPage, add_public_page
from tests.contract.documents import service_description
from tests.support.fakes import FakeClock
from zipcast.protocol.messages.health import HealthStatus


class Counted:
    """Health and epochs that count how often they are read."""

    def __init__(self) -> None:
        self.process_status = SimpleNamespace(clock=FakeClock())
        self.reads = 0

    async def reply(self) -> SimpleNamespace:
        self.reads += 1
        await asyncio.sleep(0)
        now = datetime(2026, 11, 22, tzinfo=UTC)
        return SimpleNamespace(timestamp=now, status=HealthStatus.DEGRADED, services={})

    async def newest(self) -> tuple[()]:
        self.reads += 1
        return ()

    def running_or_none(self) -> None:
        return None


async def test_data_is_collected_once_for_all_who_ask_in_two_seconds():
    parts = cast(Any, Counted())
    app = FastAPI()
    add_public_page(app, PublicPage(parts, parts, parts, service_description()))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://bridge") as http:
        answers = await asyncio.gather(*(http.get("/page.json") for _ in range(100)))
        assert {answer.text for answer in answers} == {answers[0].text}
        assert answers[0].json()["epoch"] is None
        assert parts.reads == 2
        await parts.process_status.clock.sleep(KEPT_SECONDS)
        await http.get("/page.json")
    assert parts.reads == 4


async def test_an_error_is_not_kept():
    made = 0

    async def make() -> int:
        nonlocal made
        made += 1
        if made == 1:
            raise ValueError("first")
        return made

    value = Remembered(make, FakeClock(), 60)
    with pytest.raises(ValueError, match="first"):
        await value.value()
    assert await value.value() == await value.value() == 2
