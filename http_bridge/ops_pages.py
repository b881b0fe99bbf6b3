"""Serves `/ops` and the NATS dashboard `/ops/nats/` on the internal listener."""

import base64
import hashlib
import json
import re
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from http_bridge.assets import STATIC, Asset, AssetFolder, page_assets
from http_bridge.cached_replies import Remembered
from http_bridge.nats_monitor import DASHBOARD_READS, NatsMonitor
from http_bridge.ops import Ops
from service.process_status import Page

KEPT_SECONDS = 1.0
DASHBOARD = "ops/nats"
_DASHBOARD_CONFIG = {"server": {"name": "Zipcast", "url": "proxy/"}, "hideServerInput": True}
_INLINE_SCRIPT = re.compile(rb"<script>(.*?)</script>", re.S)


def ops_pages(ops: Ops) -> dict[str, Page]:
    """Return all pages, by path. Without a monitoring address, there is no NATS dashboard."""
    data = Remembered(lambda: _json(ops), ops.process_status.clock, KEPT_SECONDS)

    async def ops_json(_: Request) -> Response:
        return Response(await data.value(), media_type="application/json")

    pages = {f"ops/assets/{name}": _file(asset) for name, asset in page_assets().assets.items()}
    pages |= {"ops": _file(Asset.of((STATIC / "ops.html").read_bytes(), "text/html")), "ops.json": ops_json}
    return pages if ops.monitor is None else pages | _dashboard_pages(ops.monitor)


async def _json(ops: Ops) -> bytes:
    return (await ops.reply()).to_bytes()


def _dashboard_pages(monitor: NatsMonitor) -> dict[str, Page]:
    """Return the app's files and the monitoring pages that it reads."""
    files = AssetFolder.of(STATIC / "vendored" / "nats-dashboard").assets
    found = {path: _file(asset) for path, asset in files.items() if path.startswith("app/")}
    for name in ("index", "info", "connections", "jetstream"):
        page = files[f"{name}.html"]
        found[name] = _file(page, {"Content-Security-Policy": _policy(page.plain)})
    found[""] = found.pop("index")
    found["config.json"] = _file(Asset.of(json.dumps(_DASHBOARD_CONFIG).encode(), "application/json"))
    for name in DASHBOARD_READS:
        found[f"proxy/{name}"] = partial(monitor.passed_on, page=name)
    return {f"{DASHBOARD}/{path}": page for path, page in found.items()} | {DASHBOARD: found[""]}


def _policy(page: bytes) -> str:
    """Return a policy that allows exactly the inline scripts of this page."""
    digests = (hashlib.sha256(script).digest() for script in _INLINE_SCRIPT.findall(page))
    allowed = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return (
        f"default-src 'self'; script-src 'self' {allowed}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; frame-ancestors 'none'"
    )


def _file(asset: Asset, headers: dict[str, str] | None = None) -> Page:
    async def page(request: Request) -> Response:
        reply = asset.response(request, "no-cache")
        reply.headers.update(headers or {})
        return reply

    return page
