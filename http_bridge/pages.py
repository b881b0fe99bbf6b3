"""Swagger UI, ReDoc and the page of the NATS subjects, with all assets served by the bridge itself.

Owns the pages. The policy on each page keeps a browser from asking anybody else, such as ReDoc's own
logo, which its script would load from elsewhere.
"""

from importlib.resources import files

from fastapi import FastAPI
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

OPENAPI = "/openapi.json"
ASYNCAPI = "/asyncapi.json"
ASSETS, OWN_ASSETS = "/assets/docs", "/assets/own"
STATIC = files("http_bridge") / "static"
_LOGO = b"https://cdn.redoc.ly/redoc/logo-mini.svg"
# Both pages start by a line of inline script; ReDoc searches in a worker it makes itself.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; worker-src blob:; frame-ancestors 'none'"
)
OWN_POLICY = "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'"


class WholeFiles(StaticFiles):
    """Without ranges, whose errors would be in words of their own."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(name, value) for name, value in scope["headers"] if name != b"range"]
        await super().__call__({**scope, "headers": headers}, receive, send)


def add_pages(app: FastAPI) -> None:
    """`/docs` and `/redoc` over the application's `/openapi.json`; `/asyncapi` over the kept description."""
    _add_redoc_script(app)
    app.mount(ASSETS, WholeFiles(directory=str(files("fastapi_offline") / "static")))
    app.mount(OWN_ASSETS, WholeFiles(directory=str(STATIC / "own")))
    _add_asyncapi(app)

    @app.get("/docs", include_in_schema=False)
    async def swagger_ui() -> Response:
        return _guarded(
            get_swagger_ui_html(
                openapi_url=OPENAPI,
                title=app.title,
                swagger_js_url=f"{ASSETS}/swagger-ui-bundle.js",
                swagger_css_url=f"{ASSETS}/swagger-ui.css",
                swagger_favicon_url=f"{ASSETS}/favicon.png",
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


def _add_redoc_script(app: FastAPI) -> None:
    """ReDoc's own, with nothing where it would load its maker's logo from elsewhere."""
    script = (files("fastapi_offline") / "static" / "redoc.standalone.js").read_bytes()
    script = script.replace(_LOGO, b"data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg'/%3E")

    @app.get(f"{ASSETS}/redoc.standalone.js", include_in_schema=False)
    async def redoc_script() -> Response:
        return Response(script, media_type="text/javascript")


def _add_asyncapi(app: FastAPI) -> None:
    page, told = (STATIC / "asyncapi.html").read_text(), (STATIC / "asyncapi.json").read_bytes()

    @app.get("/asyncapi", include_in_schema=False)
    async def asyncapi() -> Response:
        return HTMLResponse(page, headers={"Content-Security-Policy": OWN_POLICY})

    @app.get(ASYNCAPI, include_in_schema=False)
    async def asyncapi_json() -> Response:
        return Response(told, media_type="application/json")


def _guarded(page: HTMLResponse) -> Response:
    page.headers["Content-Security-Policy"] = POLICY
    return page
