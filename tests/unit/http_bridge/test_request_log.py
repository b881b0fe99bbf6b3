"""Tests what the bridge logs of each request, and the id of the request."""

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI
from starlette.requests import ClientDisconnect, Request
from structlog.contextvars import get_contextvars
from structlog.testing import capture_logs

from access.rate_limits import Limits
from http_bridge import errors, request_log
from http_bridge.metrics import BridgeMetrics
from http_bridge.middleware import front
from http_bridge.request_log import Access, correlation_of
from service.process_status import ProcessStatus
from service.settings import LimitSettings
from tests.support.fakes import FakeClock
from zipcast.protocol.errors import ErrorCode, ServiceError


def application(clock: FakeClock) -> FastAPI:
    app = FastAPI()
    errors.install(app, clock)

    @app.get("/things/{name}")
    async def thing(name: str, request: Request) -> dict[str, object]:
        await clock.sleep(0.25)
        return {"bound": get_contextvars()["correlation_id"], "given": correlation_of(request.scope)}

    @app.get("/refused")
    async def refused() -> None:
        raise ServiceError(ErrorCode.EPOCH_NOT_OPEN, "Too late.")

    @app.get("/faulty")
    async def faulty() -> None:
        raise KeyError("hunter2")

    @app.get("/gone")
    async def gone() -> None:
        raise ClientDisconnect

    return app


@pytest.fixture
def process_status() -> ProcessStatus:
    return ProcessStatus("http_bridge", FakeClock())


@pytest_asyncio.fixture
async def http(
    process_status: ProcessStatus, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[httpx.AsyncClient]:
    for module in (request_log, errors):  # a logger that was used before keeps its configuration
        monkeypatch.setattr(module, "log", module.logs.logger())
    clock = FakeClock()
    inner = front(application(clock), Limits.of(LimitSettings(), clock), clock, ["https://app.example.org"])
    app = Access(inner, BridgeMetrics(process_status.registry), clock)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://bridge") as http:
        yield http


def counted(process_status: ProcessStatus) -> list[str]:
    exposed = process_status.exposition().decode().splitlines()
    return [line.partition("{")[2] for line in exposed if line.startswith("zipcast_http_requests_total{")]


async def test_a_clients_id_is_kept_bound_and_returned(http: httpx.AsyncClient) -> None:
    answer = await http.get("/things/a", headers={"X-Request-Id": "request-1"})
    assert answer.json() == {"bound": "request-1", "given": "request-1"}
    assert answer.headers["x-request-id"] == "request-1"
    assert "correlation_id" not in get_contextvars()


@pytest.mark.parametrize(
    ("path", "status"), [("/refused", 409), ("/nothing", 404), ("/faulty", 500), ("/things/a", 200)]
)
async def test_every_reply_names_its_request(http: httpx.AsyncClient, path: str, status: int) -> None:
    answer = await http.get(path, headers={"X-Request-Id": "not a token"})
    assert answer.status_code == status
    identity = answer.headers["x-request-id"]
    assert identity.isalnum()
    # The id is not in the body, because equal refusals have equal bytes.
    assert status == 200 or identity not in answer.text


async def test_each_request_is_one_line_without_its_query(http: httpx.AsyncClient) -> None:
    with capture_logs() as lines:
        await http.get("/things/a?signature=5a5a", headers={"Authorization": "5a5a"})
    assert lines == [
        {
            "event": "http_request",
            "module": "test_request_log",
            "log_level": "info",
            "method": "GET",
            "path": "/things/a",
            "status": 200,
            "milliseconds": 250.0,
            "client": "127.0.0.1",
        }
    ]


async def test_requests_are_counted_by_pattern_and_result_so_that_strangers_add_no_label(
    http: httpx.AsyncClient, process_status: ProcessStatus
) -> None:
    paths = ("/things/a", "/things/b", "/refused", "/nothing", "/x", "/faulty", "/gone")
    for path in paths:
        await http.get(path)
    await http.post("/things/a")
    assert sorted(counted(process_status)) == [
        'result="cut_off",route="/gone"} 1.0',
        'result="epoch_not_open",route="/refused"} 1.0',
        'result="internal_error",route="/faulty"} 1.0',
        'result="method_not_allowed",route="/things/{name}"} 1.0',
        'result="not_found",route="other"} 2.0',
        'result="ok",route="/things/{name}"} 2.0',
    ]


async def test_a_fault_is_logged_once_and_a_client_that_went_away_is_none(http: httpx.AsyncClient) -> None:
    with capture_logs() as lines:
        await http.get("/faulty")
        await http.get("/gone")
    assert [line["event"] for line in lines] == ["request_failed", "http_request", "http_request"]
    assert [line.get("status") for line in lines[1:]] == [500, 499]


async def test_a_long_method_makes_no_long_line(http: httpx.AsyncClient) -> None:
    """Otherwise a stranger could fill the log with refused requests."""
    with capture_logs() as lines:
        await http.request("X" * 15_000, "/things/a")
    assert [line["method"] for line in lines if line["event"] == "http_request"] == ["X" * 16]
