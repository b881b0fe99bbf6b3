"""Serves Swagger UI, ReDoc and the AsyncAPI viewer, with all their assets.

The policy of each page forbids browsers to load anything from other sites, such as ReDoc's logo.
"""

import json
from functools import cache
from importlib.resources import files

from fastapi import FastAPI
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from http_bridge import asyncapi
from http_bridge.assets import STATIC, Asset, AssetFolder
from http_bridge.documentation import JSON, Schema

OPENAPI = "/openapi.json"
ASYNCAPI = "/asyncapi.json"
ASSETS, ASYNCAPI_ASSETS = "/assets/docs", "/assets/asyncapi"
# The logo that ReDoc's script would load from its maker's site. It is replaced by an empty image.
_LOGO = b"https://cdn.redoc.ly/redoc/logo-mini.svg"
_NO_LOGO = b"data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg'/%3E"
# The Content-Security-Policy of both pages. They start with an inline script, and ReDoc's search runs in a
# worker made from a blob.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; worker-src blob:; frame-ancestors 'none'"
)
# The list of schemas at the end of the page is long, so it is closed at first.
_SWAGGER = {"defaultModelsExpandDepth": 0, "filter": True}
ASYNCAPI_POLICY = "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'"


def add_pages(app: FastAPI) -> None:
    """Add `/docs` and `/redoc`, which show `/openapi.json`, and `/asyncapi`, which shows `/asyncapi.json`."""
    documentation = AssetFolder.of(files("fastapi_offline") / "static")
    redoc_script = documentation.assets["redoc.standalone.js"].plain.replace(_LOGO, _NO_LOGO)
    scripts = {**documentation.assets, "redoc.standalone.js": Asset.of(redoc_script, "text/javascript")}
    app.mount(ASSETS, AssetFolder(scripts))
    app.mount(ASYNCAPI_ASSETS, AssetFolder.of(files("asyncapi_viewer") / "static"))
    _add_descriptions(app)

    @app.get("/docs", include_in_schema=False)
    async def swagger_ui() -> Response:
        return _guarded(
            get_swagger_ui_html(
                openapi_url=OPENAPI,
                title=app.title,
                swagger_js_url=f"{ASSETS}/swagger-ui-bundle.js",
                swagger_css_url=f"{ASSETS}/swagger-ui.css",
                swagger_favicon_url=f"{ASSETS}/favicon.png",
                swagger_ui_parameters=_SWAGGER,
            )
        )

    @app.get("/redoc", include_in_schema=False)
    async def redoc() -> Response:
        return _guarded(
            get_redoc_html(
                openapi_url=OPENAPI,
                title=app.title,
                redoc_js_url=f"{ASSETS}/redoc.standalone.js",
                redoc_favicon_url=f"{ASSETS}/favicon.png",
                with_google_fonts=False,
            )
        )


def _add_descriptions(app: FastAPI) -> None:
    page = (STATIC / "asyncapi.html").read_text()

    @cache
    def endpoints() -> Asset:
        """Return the OpenAPI document, which is made at the first request, when all endpoints have been
        added."""
        return _json(app.openapi())

    @cache
    def subjects() -> Asset:
        return _json(asyncapi.document())

    @app.get(OPENAPI, include_in_schema=False)
    async def openapi_json(request: Request) -> Response:
        return endpoints().response(request)

    @app.get("/asyncapi", include_in_schema=False)
    async def asyncapi_page() -> Response:
        return HTMLResponse(page, headers={"Content-Security-Policy": ASYNCAPI_POLICY})

    @app.get(ASYNCAPI, include_in_schema=False)
    async def asyncapi_json(request: Request) -> Response:
        return subjects().response(request)


def _json(document: Schema) -> Asset:
    return Asset.of(json.dumps(document, separators=(",", ":")).encode(), JSON)


def _guarded(page: HTMLResponse) -> Response:
    page.headers["Content-Security-Policy"] = POLICY
    return page
