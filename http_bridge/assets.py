"""Serves files that do not change while the bridge runs. They are compressed once, not for each request."""

import gzip
import hashlib
import mimetypes
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from http_bridge.current_reply import accepts_gzip, is_known

STATIC = files("http_bridge") / "static"
_CACHED = "public, max-age=3600"


@dataclass(frozen=True, slots=True)
class Asset:
    """One file. `compressed` is None if compressing does not help, as for pictures."""

    plain: bytes
    compressed: bytes | None
    media_type: str
    etag: str

    @classmethod
    def of(cls, content: bytes, media_type: str) -> "Asset":
        compressed = gzip.compress(content, mtime=0)
        etag = hashlib.sha256(content).hexdigest()[:32]
        smaller = compressed if len(compressed) < len(content) * 0.9 else None
        return cls(content, smaller, media_type, etag)

    def response(self, request: Request, cache_control: str = _CACHED) -> Response:
        """Return the file, compressed if the client accepts that, or 304 if the client already has it."""
        use_gzip = self.compressed is not None and accepts_gzip(request.headers.get("accept-encoding", ""))
        etag = f'"{self.etag}-gzip"' if use_gzip else f'"{self.etag}"'
        headers = {"Cache-Control": cache_control, "ETag": etag, "Vary": "Accept-Encoding"}
        if is_known(request.headers.get("if-none-match"), etag):
            return Response(status_code=304, headers=headers)
        if use_gzip and self.compressed is not None:
            return Response(
                self.compressed, media_type=self.media_type, headers=headers | {"Content-Encoding": "gzip"}
            )
        return Response(self.plain, media_type=self.media_type, headers=headers)


@dataclass(frozen=True, slots=True)
class AssetFolder:
    """An application that serves assets by their path below its mount point."""

    assets: Mapping[str, Asset]

    @classmethod
    def of(cls, folder: Traversable) -> "AssetFolder":
        return cls({path: Asset.of(content, _media_type(path)) for path, content in _files(folder)})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Reply with one asset. Raises HTTPException with 405 for a method other than GET, and with 404 for
        an unknown path."""
        if scope["method"] != "GET":
            raise HTTPException(405)
        path = scope["path"].removeprefix(scope.get("root_path", "")).lstrip("/")
        asset = self.assets.get(path)
        if asset is None:
            raise HTTPException(404)
        await asset.response(Request(scope, receive))(scope, receive, send)


def page_assets() -> AssetFolder:
    """Return the scripts and styles of our own pages, with the library for plots."""
    own, plots = (AssetFolder.of(STATIC / folder).assets for folder in ("own", "vendored/uplot"))
    return AssetFolder({**own, **plots})


def _media_type(path: str) -> str:
    return mimetypes.guess_type(path)[0] or "application/octet-stream"


def _files(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _files(entry, f"{prefix}{entry.name}/")
        else:
            yield prefix + entry.name, entry.read_bytes()
