"""Tests the documentation site: it builds without a warning, loads nothing from other hosts, all its links
lead somewhere, and every page fits a phone."""

import asyncio
import re
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright

from devstack.programs import REPOSITORY

pytestmark = pytest.mark.long

ARTEFACTS = REPOSITORY / ".artefacts"
WIDTHS = (390, 1280)
# Attributes with which a page makes a browser load something.
LOADING = {("script", "src"), ("img", "src"), ("source", "src"), ("iframe", "src"), ("link", "href")}
SHOWN = ("index.html", "miner/index.html", "concepts/index.html", "reference/sdk/index.html")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site once for all tests."""
    folder = tmp_path_factory.mktemp("documentation") / "site"
    command = [sys.executable, "-m", "documentation", str(folder)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Warning" not in done.stdout + done.stderr
    return folder


class Links(HTMLParser):
    """Collects a page's anchors, its links, and what it loads."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: set[str] = set()
        self.loaded: set[str] = set()
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value is None:
                continue
            if name == "id":
                self.anchors.add(value)
            if tag == "a" and name == "href":
                self.links.add(value)
            if (tag, name) in LOADING:
                self.loaded.add(value)


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Links]:
    return {page: Links(page) for page in site.rglob("*.html")}


def test_every_page_of_the_repository_is_on_the_site(pages: dict[Path, Links], site: Path) -> None:
    written = {
        path.relative_to(REPOSITORY / "docs").with_suffix("") for path in (REPOSITORY / "docs").rglob("*.md")
    }
    shown = {page.parent.relative_to(site) for page in pages} | {Path("index")}
    assert written <= shown
    assert {
        Path("reference") / one for one in ("sdk", "command", "http", "nats", "messages", "settings")
    } <= shown


def test_every_page_is_in_the_navigation(pages: dict[Path, Links], site: Path) -> None:
    linked = {(site / "index.html").parent / link for link in pages[site / "index.html"].links}
    reached = {(link / "index.html").resolve() for link in linked}
    assert {page.resolve() for page in pages} - reached - {(site / "404.html").resolve()} == set()


def test_nothing_is_loaded_from_other_hosts(pages: dict[Path, Links], site: Path) -> None:
    foreign = {
        (page.name, url) for page, links in pages.items() for url in links.loaded if urlsplit(url).netloc
    }
    assert foreign == set()
    for style in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*['\"]?(https?:)?//", style.read_text()), style


def test_links_and_anchors_lead_somewhere(pages: dict[Path, Links], site: Path) -> None:
    broken = []
    for page, links in pages.items():
        if page.name == "404.html":  # This page is shown at any address, so its links begin at the root.
            continue
        for link in links.links:
            address, anchor = urldefrag(link)
            if urlsplit(address).scheme:
                continue
            target = (page.parent / unquote(address)).resolve() if address else page
            target = target / "index.html" if target.is_dir() else target
            found = pages.get(target)
            if (found is None and not target.is_file()) or (
                found and anchor and unquote(anchor) not in found.anchors
            ):
                broken.append((page.relative_to(site).as_posix(), link))
    assert broken == []


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """Serve the site, and yield its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=arguments)
        yield browser
        await browser.close()


@pytest.mark.parametrize("width", WIDTHS)
async def test_pages_fit_and_log_no_error(
    pages: dict[Path, Links], site: Path, address: str, browser: Browser, width: int
) -> None:
    """In the wide window, open only the pages whose pictures are kept, because a narrow page is the harder
    case."""
    context = await browser.new_context(viewport={"width": width, "height": 900})
    page = await context.new_page()
    elsewhere, errors, wide = [], [], []
    page.on("request", lambda one: one.url.startswith(("http:", "https:")) and elsewhere.append(one.url))
    page.on("console", lambda one: one.type == "error" and errors.append(one.text))
    page.on("pageerror", lambda one: errors.append(str(one)))
    await asyncio.to_thread(ARTEFACTS.mkdir, exist_ok=True)
    names = [one.relative_to(site).as_posix() for one in pages if one.name == "index.html"]
    for name in sorted(names) if width == min(WIDTHS) else SHOWN:
        await page.goto(f"{address}/{name}", wait_until="load")
        if await page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
            wide.append(name)
        if name in SHOWN:
            await page.screenshot(path=ARTEFACTS / f"site-{name.replace('/', '-')}-{width}.png")
    await context.close()
    assert wide == []
    assert errors == []
    assert [url for url in elsewhere if not url.startswith(address)] == []
