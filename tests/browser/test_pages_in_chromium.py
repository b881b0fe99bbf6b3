"""Tests the bridge's pages in a real browser: they render, load nothing from other hosts, and log no error.

Needs Debian's chromium and nodejs, which `make test-browser` installs; without them these tests fail. A
picture of each page is stored in `.artefacts/`.
"""

import asyncio
import itertools
import json
import re
import shlex
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, Request, async_playwright, expect

from devstack.options import StackOptions
from devstack.programs import REPOSITORY
from devstack.stack import Stack
from tests.support.described_bridge import NOW, application, blocks
from tests.support.fakes import MINER_HOTKEY, SIGNER_HOTKEY
from tests.support.operator_view import until
from tests.support.people import keypair, legacy
from tests.support.processes import GENEROUS
from zipcast.client.local_stack import Ready
from zipcast.protocol import btauth, signed_texts

pytestmark = pytest.mark.long

ARTEFACTS = REPOSITORY / ".artefacts"
CHROMIUM = "/usr/bin/chromium"
QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
expect.set_options(timeout=60_000)  # a busy machine draws a page slowly
PHONE = {"width": 360, "height": 780}
EPOCH_SECONDS = 20


@dataclass
class Watched:
    """A page, its requests to other servers, and its errors."""

    page: Page
    origin: str
    elsewhere: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def note(self, request: Request) -> None:
        told = urlsplit(request.url)
        if told.scheme in {"http", "https", "ws", "wss"} and f"{told.scheme}://{told.netloc}" != self.origin:
            self.elsewhere.append(request.url)

    async def keep(self, name: str) -> None:
        ARTEFACTS.mkdir(exist_ok=True)
        await self.page.screenshot(path=ARTEFACTS / f"{name}.png")
        assert (ARTEFACTS / f"{name}.png").stat().st_size > 5_000


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shown(tmp_path_factory) -> AsyncIterator[Ready]:
    """Run a stack whose epochs are long enough to look at the pages."""
    state = tmp_path_factory.mktemp("browser") / "state"
    settings = GENEROUS | {"NATS_DASHBOARD_URL": "https://dashboard.example.org/nats"}
    options = StackOptions(epoch_seconds=EPOCH_SECONDS, state=state, settings=settings)
    async with Stack.running(options) as stack:
        yield stack.ready


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield browser
        await browser.close()


@asynccontextmanager
async def watched(browser: Browser, address: str, **how: object) -> AsyncIterator[Watched]:
    """Yield the page when it has loaded. At the end, check that it requested nothing from other servers."""
    context = await browser.new_context(**how)  # type: ignore[arg-type]
    page = await context.new_page()
    told = urlsplit(address)
    watch = Watched(page, f"{told.scheme}://{told.netloc}")
    page.on("request", watch.note)
    page.on("console", lambda one: one.type == "error" and watch.complaints.append(one.text))
    page.on("pageerror", lambda one: watch.complaints.append(str(one)))
    await page.goto(address, wait_until="load")
    yield watch
    assert watch.elsewhere == []
    assert watch.complaints == []
    await context.close()


async def test_swagger_ui_renders_and_a_request_tried_there_works(shown: Ready, browser: Browser) -> None:
    signed = legacy(keypair(shown, "miner-1"), signed_texts.CURRENT_COMMITMENT)
    async with watched(browser, f"{shown.http}/docs") as watch:
        page = watch.page
        operation = page.locator(".opblock", has_text="The running epoch").first
        await operation.locator("button.opblock-summary-control").click()
        await operation.get_by_role("button", name="Try it out").click()
        for name, value in signed.items():
            await operation.locator(f'tr[data-param-name="{name}"] input').fill(value)
        await operation.get_by_role("button", name="Execute").click()
        answer = operation.locator(".live-responses-table")
        await expect(answer.locator("tbody .response-col_status").first).to_contain_text("200")
        await expect(answer).to_contain_text("submissionDeadline")
        await watch.keep("docs")


async def test_redoc_renders(shown: Ready, browser: Browser) -> None:
    async with watched(browser, f"{shown.http}/redoc") as watch:
        await expect(watch.page.get_by_role("heading", name="The running epoch").first).to_be_visible()
        await expect(watch.page.get_by_role("heading", name="How to sign a request").first).to_be_visible()
        await watch.keep("redoc")


async def test_the_page_of_subjects_renders(shown: Ready, browser: Browser) -> None:
    async with watched(browser, f"{shown.http}/asyncapi") as watch:
        page = watch.page
        await expect(page.get_by_role("heading", name="Zipcast").first).to_be_visible()
        for text in ("zipcast.v1.{hotkey}.s3.miner-upload", "Upload a miner's files of one epoch"):
            await expect(page.get_by_text(text).first).to_be_attached()
        # Markdown is rendered: the errors are a list, not text with back-ticks.
        await expect(page.locator("li code", has_text="epoch_not_open").first).to_be_attached()
        await watch.keep("asyncapi")


async def test_operations_are_shown_live(shown: Ready, browser: Browser) -> None:
    address = f"{shown.internal['http_bridge']}/ops"
    async with watched(browser, address, viewport=PHONE, device_scale_factor=2) as watch:
        page = watch.page
        await expect(page.locator("#countdown")).to_have_text(re.compile(r"^0:00:[0-9]{2}$"))
        epoch = page.locator("#epoch")
        running = await epoch.inner_text()
        await expect(epoch).not_to_have_text(running, use_inner_text=True, timeout=2_000 * EPOCH_SECONDS)
        await expect(page.locator("#recent")).to_contain_text(running, timeout=20_000)
        await expect(page.locator("#services")).to_contain_text("object_store")
        await expect(page.locator("#processes")).to_contain_text("schedulers")
        await expect(page.locator("#nats")).to_contain_text("slow consumers")
        await expect(page.locator("#now")).to_contain_text("subscribers on NATS")
        link = page.locator("#links a", has_text="NATS dashboard")
        await expect(link).to_have_attribute("href", "https://dashboard.example.org/nats")
        public = page.locator("#links a", has_text="Public page")
        await expect(public).to_have_attribute("href", f"{shown.http}/")


# Returns texts whose contrast with their background is below WCAG's 4.5 to 1.
_PALE = """() => {
  const rgb = (colour) => colour.match(/[0-9.]+/g).map(Number);
  const luminance = (colour) => rgb(colour).slice(0, 3).map((one) => one / 255)
    .map((one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4))
    .reduce((sum, one, at) => sum + one * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = (one) => {
    const colour = getComputedStyle(one).backgroundColor;
    return rgb(colour)[3] === 0 ? behind(one.parentElement) : colour;
  };
  return [...document.querySelectorAll("body *")]
    .filter((one) => one.checkVisibility())
    .filter((one) => [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
    .filter((one) => {
      const [a, b] = [luminance(getComputedStyle(one).color), luminance(behind(one))];
      return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) < 4.5;
    }).map((one) => one.outerHTML);
}"""
# Returns how many pixels of a canvas have this colour.
_PIXELS = """(canvas, [red, green, blue]) => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let found = 0;
  for (let at = 0; at < data.length; at += 4)
    found += data[at] === red && data[at + 1] === green && data[at + 2] === blue && data[at + 3] === 255;
  return found;
}"""


async def _shows(canvas: Locator, colour: list[int]) -> bool:
    """Return whether bars of this colour are drawn on the canvas."""
    pixels: int = await canvas.evaluate(_PIXELS, colour)
    return pixels > 50


BACKGROUNDS = {"light": "rgb(244, 246, 248)", "dark": "rgb(13, 17, 23)"}
BARS = {"light": [11, 95, 192], "dark": [108, 176, 255]}


@pytest.mark.parametrize("name", ["home", "ops"])
async def test_a_page_fits_every_screen_and_theme(shown: Ready, browser: Browser, name: str) -> None:
    """Change the theme and the width while the page is open; the plots are drawn again."""
    address = f"{shown.http}/" if name == "home" else f"{shown.internal['http_bridge']}/ops"
    async with watched(browser, address) as watch:
        page = watch.page
        countdown = page.locator("#countdown")
        await expect(countdown).to_have_text(re.compile(r"^0:00:[0-9]{2}$"))
        seen = await countdown.inner_text()
        await expect(page.locator("#recent td").first).to_be_visible()
        plot, canvas = page.locator("#lateness .uplot"), page.locator("#lateness canvas")
        for scheme, width in itertools.product(("light", "dark"), (1280, 390)):
            await page.emulate_media(color_scheme=scheme)
            await page.set_viewport_size({"width": width, "height": 900})
            await expect(page.locator("body")).to_have_css("background-color", BACKGROUNDS[scheme])
            # The page draws its plots again some frames later. Playwright's `wait_for_function` would need
            # `eval`, which the page's content security policy forbids.
            await until(lambda: plot.evaluate("one => one.offsetWidth < window.innerWidth"))
            await until(partial(_shows, canvas, BARS[scheme]))
            assert await page.evaluate(_PALE) == []
            assert await page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
            await watch.keep(f"{name}-{scheme}-{width}")
        await expect(countdown).not_to_have_text(seen)


async def test_the_command_of_the_public_page_verifies_the_epoch(shown: Ready, browser: Browser) -> None:
    async with watched(browser, f"{shown.http}/") as watch:
        await expect(watch.page.locator("#choice option").first).to_be_attached()
        chosen = await watch.page.locator("#choice").input_value()
        command = (await watch.page.locator("#command").inner_text()).replace("\\\n", "")
    program, *arguments = shlex.split(command)
    assert program == "zipcast"
    run = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("zipcast"), *arguments, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await run.communicate()
    assert run.returncode == 0, output
    # The first epoch of the stack is promised by a draft only, so the verdict on it is "weak".
    assert re.match(
        f"{chosen}  (holds|weak).*: signature, order, counts, beacon, seed, nonce", output.decode()
    )


async def test_the_dashboard_of_nats_shows_connections_and_streams(shown: Ready, browser: Browser) -> None:
    async with watched(browser, shown.dashboard, viewport={"width": 1280, "height": 900}) as watch:
        page = watch.page
        await expect(page.get_by_text("zipcast-schedulers").first).to_be_visible()
        await page.get_by_role("link", name="JetStream").click()
        await expect(page).to_have_url(f"{shown.dashboard}jetstream")
        await page.reload()
        await page.get_by_role("link", name="STREAMS").click()
        await expect(page.get_by_text("EPOCHS").first).to_be_visible()
        await watch.keep("nats-dashboard")


async def test_the_guide_s_javascript_names_the_text_that_is_signed() -> None:
    script = (
        blocks(application().openapi(), "javascript")
        + f"""
(async () => {{
  const text = await btauthText("POST", "/x?y=1", "{{}}", 17n, "{MINER_HOTKEY}", "{SIGNER_HOTKEY}");
  const pair = {{ address: "{MINER_HOTKEY}", sign: () => new Uint8Array([1, 171]) }};
  console.log(JSON.stringify([commitment({NOW}), text, String(parameters(pair, {NOW}))]));
}})();
"""
    )
    run = await asyncio.create_subprocess_exec(
        "node", "-e", script, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await run.communicate()
    assert run.returncode == 0, errors.decode()
    commitment, text, query = json.loads(output)
    assert commitment == signed_texts.CURRENT_COMMITMENT.format(timestamp=NOW)
    wanted = btauth.signed_text(
        method="POST", path="/x?y=1", body=b"{}", nonce_ns=17, hotkey=MINER_HOTKEY, receiver=SIGNER_HOTKEY
    )
    assert text.encode() == wanted
    assert query == f"hotkey={MINER_HOTKEY}&timestamp={NOW}&signature=01ab"
