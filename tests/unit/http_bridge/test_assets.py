"""Tests that the bridge compresses each file only once."""

import gzip
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI

from http_bridge import assets, pages
from http_bridge.assets import Asset, AssetFolder

SCRIPT = b"const answer = 42;\n" * 200
GZIP, PLAIN = {"Accept-Encoding": "gzip"}, {"Accept-Encoding": "identity"}


@pytest_asyncio.fixture
async def http(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.js").write_bytes(SCRIPT)
    (tmp_path / "tiny.css").write_bytes(b"p{}")
    app = FastAPI()
    app.mount("/assets", AssetFolder.of(tmp_path))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://bridge") as http:
        yield http


async def test_a_file_comes_compressed_or_plain(http: httpx.AsyncClient) -> None:
    compressed, plain = [await http.get("/assets/deep/a.js", headers=one) for one in (GZIP, PLAIN)]
    assert compressed.content == plain.content == SCRIPT
    assert compressed.headers["content-encoding"] == "gzip"
    assert int(compressed.headers["content-length"]) < len(SCRIPT) / 2
    assert "content-encoding" not in plain.headers
    assert compressed.headers["etag"] != plain.headers["etag"]
    assert "javascript" in plain.headers["content-type"]


async def test_what_the_client_holds_is_not_sent_again(http: httpx.AsyncClient) -> None:
    for encoding in (GZIP, PLAIN):
        etag = (await http.get("/assets/deep/a.js", headers=encoding)).headers["etag"]
        again = await http.get("/assets/deep/a.js", headers=encoding | {"If-None-Match": etag})
        assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "path", ["a.js", "deep", "deep/", "", "../pyproject.toml", "deep/a.js/", "deep//a.js"]
)
async def test_only_files_are_there(http: httpx.AsyncClient, path: str) -> None:
    assert (await http.get(f"/assets/{path}")).status_code == 404


async def test_files_are_only_read(http: httpx.AsyncClient) -> None:
    assert (await http.post("/assets/deep/a.js")).status_code == 405


async def test_no_request_compresses_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    app = FastAPI(openapi_url=None)
    pages.add_pages(app)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://bridge") as http:
        paths = ("/assets/docs/swagger-ui-bundle.js", "/asyncapi.json")
        first = [await http.get(path, headers=GZIP) for path in paths]
        monkeypatch.setattr(assets.gzip, "compress", None)
        again = [await http.get(path, headers=GZIP) for path in paths]
    assert [one.content for one in again] == [one.content for one in first]
    assert {one.headers["content-encoding"] for one in again} == {"gzip"}


def test_what_does_not_shrink_is_not_compressed() -> None:
    picture = gzip.compress(bytes(range(256)) * 40)
    assert Asset.of(picture, "image/png").compressed is None
