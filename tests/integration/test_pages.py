"""Tests that the documentation pages of the bridge load nothing from other servers."""

import re

import httpx
import pytest

from zipcast.client.local_stack import Ready
from zipcast.protocol.verbs import ADMIN_VERBS

_LOADED = re.compile(r"""(?:src|href|spec-url)=["']([^"']+)["']|url: ?["']([^"']+)["']""")


@pytest.mark.parametrize("page", ["/docs", "/redoc", "/asyncapi"])
async def test_a_page_loads_from_the_bridge_alone(http: httpx.AsyncClient, page: str):
    answer = await http.get(page)
    assert answer.status_code == 200
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert "https://" not in answer.headers["content-security-policy"]
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
        *("/get-validator-access", "/get-miner-specific-access"),
        *("/api/v1/zipcode-assignments/epoch/{epoch_id}", "/api/v1/zipcode-assignments/status"),
        *("/healthcheck", "/health/live", "/health/ready", "/commitment-formats", "/structure-info"),
        *("/rate-limits", "/api/v1/epochs", "/api/v1/epochs/{epoch_id}"),
        *("/api/v1/epochs/{epoch_id}/pool", "/api/v1/epochs/stream"),
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
        for name in re.findall(r'(?:src|href)="([a-z.]+)"', page.text):
            assert (await internal.get(f"/{name}")).status_code == 200, name
        told = (await internal.get("/ops.json")).json()
        assert (await internal.get("/ops.css")).status_code == 404
    assert set(told["services"]) >= {"database", "nats", "object_store", "metagraph"}
    assert told["nats"]["slow consumers"] == 0
    assert told["neurons"] > 0
    assert (await http.get("/ops")).status_code == 404
    assert (await http.get("/ops.json")).status_code == 404
