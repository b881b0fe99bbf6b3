"""Tests the internal listener's pages without a socket."""

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from service import internal_listener
from service.process_status import ProcessStatus
from tests.support.fakes import FakeClock


class Connection:
    """A NATS connection in the state that the test sets."""

    is_connected = is_reconnecting = is_closed = False


@pytest.fixture
def process_status() -> ProcessStatus:
    return ProcessStatus("callout", FakeClock())


@pytest_asyncio.fixture
async def http(process_status: ProcessStatus) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(internal_listener.application(process_status))
    async with httpx.AsyncClient(transport=transport, base_url="http://internal") as http:
        yield http


async def told(http: httpx.AsyncClient) -> tuple[int, str, dict[str, str]]:
    answer = await http.get("/health")
    return answer.status_code, answer.json()["status"], answer.json()["connections"]


async def test_a_process_is_well_once_ready_and_degraded_without_nats(
    http: httpx.AsyncClient, process_status: ProcessStatus
) -> None:
    connection = Connection()
    process_status.watch("callout", connection)  # type: ignore[arg-type]
    assert await told(http) == (503, "unhealthy", {"callout": "connecting"})
    connection.is_connected = process_status.serving = True
    assert await told(http) == (200, "ok", {"callout": "connected"})
    assert 'zipcast_nats_connected{user="callout"} 1.0' in (await http.get("/metrics")).text
    connection.is_connected, connection.is_reconnecting = False, True
    assert await told(http) == (200, "degraded", {"callout": "reconnecting"})
    connection.is_closed = True
    assert await told(http) == (200, "degraded", {"callout": "closed"})
    process_status.serving = False
    assert (await told(http))[:2] == (503, "unhealthy")
    assert (await http.get("/health/live")).status_code == 200


async def test_nothing_is_cached_and_metrics_are_plain_text(http: httpx.AsyncClient) -> None:
    for path in ("/metrics", "/health", "/health/live"):
        assert (await http.get(path)).headers["cache-control"] == "no-store"
    assert (await http.get("/metrics")).headers["content-type"] == internal_listener.EXPOSITION
