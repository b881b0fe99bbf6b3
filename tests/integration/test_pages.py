"""Tests that the pages of the bridge load nothing from other servers, and show nothing of a pending epoch."""

import json
import re
from collections.abc import Iterator

import httpx
import psycopg
import pytest
from starlette.requests import Request

from http_bridge.nats_monitor import NatsMonitor
from http_bridge.recent_epochs import KEPT_SECONDS, RecentEpochs
from storage.database.engine import open_engine
from tests.support.fakes import FakeClock
from tests.support.operator_view import until
from tests.support.unopened import Unopened, unopened
from zipcast.client.local_stack import Ready
from zipcast.protocol.verbs import ADMIN_VERBS

# Nothing listens on the port "discard".
NOWHERE = "127.0.0.1:9"
_LOADED = re.compile(r"""(?:src|href|spec-url)=["']([^"']+)["']|url: ?["']([^"']+)["']""")


@pytest.mark.parametrize("page", ["/", "/docs", "/redoc", "/asyncapi"])
async def test_a_page_loads_from_the_bridge_alone(http: httpx.AsyncClient, page: str):
    answer = await http.get(page)
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert re.match("default-src '(self|none)';", policy)
    assert "https://" not in policy
    loaded = [one or other for one, other in _LOADED.findall(answer.text)]
    assert len(loaded) >= 3
    for address in loaded:
        assert address.startswith("/"), address
        assert (await http.get(address)).status_code == 200, address


async def test_the_description_holds_every_endpoint(http: httpx.AsyncClient):
    told = (await http.get("/openapi.json")).json()
    assert set(told["paths"]) == {
        *("/api/v1/zipcode-assignments/current", "/api/v1/zipcode-assignments/stats"),
        *("/api/v1/s3-access/validator-upload", "/get-folder-access", "/api/v1/auth/legacy"),
        *("/api/v1/s3-access/miner-upload", "/api/v1/s3-access/validator-read"),
        *("/get-validator-access", "/get-miner-specific-access"),
        *("/api/v1/zipcode-assignments/epoch/{epoch_id}", "/api/v1/zipcode-assignments/status"),
        *("/healthcheck", "/health/live", "/health/ready", "/commitment-formats", "/structure-info"),
        *("/.well-known/zipcast.json", "/rate-limits", "/api/v1/epochs", "/api/v1/epochs/{epoch_id}"),
        *("/api/v1/epochs/{epoch_id}/pool", "/api/v1/epochs/stream", "/api/v1/epochs/sealed"),
        "/api/v1/beacon/{round_number}",
        *("/api/v1/validation-results", "/api/v1/validation-results/{epoch_id}"),
        *(f"/api/v1/admin/{verb}" for verb in ADMIN_VERBS),
    }
    stats = told["paths"]["/api/v1/zipcode-assignments/stats"]["get"]["responses"]["200"]
    assert "StatisticsReply" in str(stats)


async def test_an_asset_that_is_not_there_has_the_one_error_shape(http: httpx.AsyncClient):
    answer = await http.get("/assets/docs/../../secret")
    assert (answer.status_code, answer.json()["error"]) == (404, "not_found")


@pytest.mark.parametrize("asked", ["bytes=a-b", "bytes=99999999-", "bytes=0-3"])
async def test_assets_come_whole_whatever_range_is_asked_for(http: httpx.AsyncClient, asked: str):
    whole = await http.get("/assets/docs/swagger-ui.css")
    part = await http.get("/assets/docs/swagger-ui.css", headers={"Range": asked})
    assert (part.status_code, part.content) == (200, whole.content)


async def test_the_operations_page_is_internal_and_tells_how_things_are(
    http: httpx.AsyncClient, ready: Ready
):
    async with httpx.AsyncClient(base_url=ready.internal["http_bridge"]) as internal:
        page = await internal.get("/ops")
        assert page.headers["content-type"].startswith("text/html")
        assert "default-src 'self'" in page.headers["content-security-policy"]
        loaded = re.findall(r'(?:src|href)="(/[^"]+)"', page.text)
        assert len(loaded) >= 4
        for path in loaded:
            assert (await internal.get(path)).status_code == 200, path
        told = (await internal.get("/ops.json")).json()
        assert (await internal.get("/ops.css")).status_code == 404
    assert set(told["services"]) >= {"database", "nats", "object_store", "metagraph"}
    assert told["nats"]["slow consumers"] == 0
    assert told["neurons"] > 0
    processes = {one["name"]: one["replicas"] for one in told["processes"]}
    assert processes == {"schedulers": 1, "responder": 1, "callout": 1, "http_bridge": 1}
    assert told["subscribers"] >= 0
    assert told["public"] == ready.http
    assert (await http.get("/ops")).status_code == 404
    assert (await http.get("/ops.json")).status_code == 404


async def test_the_dashboard_of_nats_is_internal_and_passes_on_three_pages(
    http: httpx.AsyncClient, ready: Ready
):
    async with httpx.AsyncClient(base_url=ready.dashboard) as dashboard:
        page = await dashboard.get("")
        assert "'unsafe-inline'" not in page.headers["content-security-policy"].split("style-src")[0]
        for path in re.findall(r'(?:src|href)="(/[^"]+)"', page.text):
            assert (await dashboard.get(f"{ready.internal['http_bridge']}{path}")).status_code == 200, path
        config = (await dashboard.get("config.json")).json()
        for name, field in (
            ("varz", "max_payload"),
            ("connz", "num_connections"),
            ("jsz", "streams"),
        ):
            shown = (await dashboard.get(config["server"]["url"] + name)).json()
            assert shown[field] > 0
        assert (await dashboard.get("proxy/connz?limit=3")).json()["limit"] == 3
        for other in ("proxy/subsz", "proxy/", "proxy/varz/..", "LICENSE", "../../nothing"):
            assert (await dashboard.get(other)).status_code == 404, other
        assert (await dashboard.post("proxy/varz")).status_code == 405
    for path in ("/ops/nats/", "/ops/nats/proxy/varz", "/ops/assets/page.css"):
        assert (await http.get(path)).status_code == 404


def strings(told: object) -> Iterator[str]:
    if isinstance(told, dict):
        told = [*told, *told.values()]
    if isinstance(told, list):
        for one in told:
            yield from strings(one)
    elif isinstance(told, str):
        yield told


def shown_of(pending: Unopened, text: str) -> set[str]:
    """Return what the JSON text shows of a pending epoch. Zipcodes are strings, so numbers do not count."""
    words = {word for one in strings(json.loads(text)) for word in re.findall(r"[0-9a-zA-Z]+", one)}
    secrets = {pending.epoch_id, pending.nonce, pending.seed, pending.signature, pending.message_sha256}
    return {one for one in secrets if one in text} | words.intersection(pending.zipcodes)


async def test_no_page_shows_a_pending_epoch(http: httpx.AsyncClient, ready: Ready):
    """Everyone can compute the id of the next epoch, but its content is secret."""
    read: list[tuple[Unopened, list[str]]] = []

    async def read_while_pending() -> bool:
        pending = await unopened(record, 1)
        if pending is None:
            return False
        pages = [(await http.get("/page.json")).text, (await internal.get("/ops.json")).text]
        if (still := await unopened(record)) is not None and still.epoch_id == pending.epoch_id:
            read.append((pending, pages))
        return bool(read)

    async with (
        await psycopg.AsyncConnection.connect(ready.postgres, autocommit=True) as record,
        httpx.AsyncClient(base_url=ready.internal["http_bridge"]) as internal,
    ):
        await until(read_while_pending)
    ((pending, pages),) = read
    assert len(pending.zipcodes) > 1
    assert shown_of(pending, json.dumps(pending.message)) >= {pending.nonce, *pending.zipcodes}
    for page in pages:
        assert '"epoch":{"epochId"' in page
        assert shown_of(pending, page) == set()
    assert "zipcodes" in json.loads(pages[0])["epoch"]
    assert isinstance(json.loads(pages[0])["epoch"]["zipcodes"], int)


async def some_ended(http: httpx.AsyncClient) -> None:
    """Wait until an epoch has ended."""

    async def any_ended() -> bool:
        return bool((await http.get("/page.json")).json()["recent"])

    await until(any_ended)


async def test_the_public_page_can_be_cached_and_tells_states_without_errors(http: httpx.AsyncClient):
    await some_ended(http)
    page = await http.get("/")
    assert page.headers["cache-control"] == "public, max-age=60"
    assert (await http.get("/", headers={"If-None-Match": page.headers["etag"]})).status_code == 304
    assert (await http.head("/")).status_code == 200
    data = await http.get("/page.json")
    assert data.headers["cache-control"] == "public, max-age=2"
    told = data.json()
    assert set(told["services"].values()) <= {"ok", "degraded", "unhealthy"}
    assert set(told["services"]) >= {"database", "nats"}
    starts = [one["epochId"] for one in told["recent"]]
    assert starts == sorted(starts, reverse=True)
    assert set(told["recent"][0]) == {"epochId", "status", "lateMs", "beacon"}


async def test_the_documentation_has_a_section_per_role_with_limits(http: httpx.AsyncClient):
    told = (await http.get("/openapi.json")).json()
    sections = [tag["name"] for tag in told["tags"]]
    assert (sections[0], sections[-1]) == ("Miners and validators", "Admins")
    operations = [one for methods in told["paths"].values() for one in methods.values()]
    assert {tag for one in operations for tag in one["tags"]} == set(sections)
    assert all(len(one["tags"]) == 1 for one in operations)
    limits = {one["name"]: one["amount"] for one in (await http.get("/rate-limits")).json()["limits"]}
    current = told["paths"]["/api/v1/zipcode-assignments/current"]["get"]["description"]
    assert f"Limit: {limits['current']} requests per minute and hotkey." in current
    everyone = next(tag["description"] for tag in told["tags"] if tag["name"] == "Everyone")
    assert f"Limit: {limits['address']} requests per minute and client address" in everyone
    assert '"defaultModelsExpandDepth": 0' in (await http.get("/docs")).text


async def test_epochs_that_were_read_are_shown_while_the_database_is_away(
    ready: Ready, http: httpx.AsyncClient
):
    await some_ended(http)
    clock = FakeClock()
    there, away = (
        open_engine(url, application_name="test") for url in (ready.postgres, f"postgresql://x:x@{NOWHERE}/x")
    )
    recent = RecentEpochs(away, clock)
    assert await recent.newest() == ()
    recent.database = there
    await clock.sleep(KEPT_SECONDS)
    read = await recent.newest()
    assert read[0].late_ms is not None
    recent.database = away
    await clock.sleep(KEPT_SECONDS)
    assert await recent.newest() == read
    await there.dispose()


async def test_the_operations_page_says_when_nats_server_does_not_respond():
    monitor = NatsMonitor(f"http://{NOWHERE}")
    facts = await monitor.facts()
    assert facts.server == {"state": "does not respond (ConnectError)"}
    assert facts.subscribers is None
    request = Request({"type": "http", "query_string": b"", "headers": []})
    assert (await monitor.passed_on(request, "varz")).status_code == 502
