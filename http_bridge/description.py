"""`/openapi.json`: what the application's endpoints take and answer, put together once.

Owns how it is put together: from the application's routes, the table of operations, the models' schemas, the
golden documents as examples, and the guide in `static/guide.md`. Endpoints take a bare request and answer
with ready-made bytes, so the framework itself knows nothing of them.
"""

import json
from collections.abc import Iterator
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import BaseModel

from http_bridge import schemas
from http_bridge.operations import OPERATIONS, Operation
from http_bridge.schemas import Schema
from runtime.correlation import HTTP_HEADER
from runtime.legacy_rules import LEGACY_RULES
from zipcast import btauth
from zipcast.errors import ERRORS, ErrorCode
from zipcast.messages import WireModel
from zipcast.result_messages import MOST_MINERS

JSON, FORM, EVENTS = "application/json", "application/x-www-form-urlencoded", "text/event-stream"
_STATIC = files("http_bridge") / "static"
_EPOCH_ID = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}-[0-9]{2}-[0-9]{2}$"
_SIGNING_HEADERS = {
    btauth.HEADER_VERSION: "Always 1.",
    btauth.HEADER_HOTKEY: "Hotkey that signs, SS58.",
    btauth.HEADER_RECEIVER: "Hotkey that signs the epochs.",
    btauth.HEADER_NONCE: "When it is signed, Unix nanoseconds.",
    btauth.HEADER_SIGNATURE: "sr25519 signature over the eight lines, hex.",
}
_QUERY: dict[str, Schema] = {
    "hotkey": {"type": "string", "minLength": 1, "description": "Hotkey that signs, SS58."},
    "timestamp": {
        "type": "string",
        "pattern": "^[1-9][0-9]{0,10}$",
        "description": "When it is signed, Unix seconds.",
    },
    "signature": {
        "type": "string",
        "pattern": "^(0x)?[0-9a-f]{128}$",
        "description": "sr25519 signature, lower-case hex, with or without 0x.",
    },
    "limit": {
        "type": "integer",
        "minimum": 1,
        "maximum": 100,
        "default": 20,
        "description": "Epochs a page.",
    },
    "before": {
        "type": "string",
        "pattern": _EPOCH_ID,
        "description": "Only epochs that began before this one.",
    },
    "after": {"type": "string", "pattern": "^[0-9]{5}$", "description": "`nextAfter` of the page before."},
    "offset": {
        "type": "integer",
        "minimum": 0,
        "maximum": MOST_MINERS,
        "default": 0,
        "description": "`nextOffset` of the page before.",
    },
}
_IDENTITY = ("hotkey", "timestamp", "signature")
_EVENT = 'id: 17\ndata: {"epochId":"2026-11-22T04-00-00","payload":"…","signer":"…","signature":"…"}\n\n'
_STREAM = (
    "Each epoch is an event: `id` is its sequence, `data` one line of JSON with `epochId`, and "
    "`payload`, `signer` and `signature` as in `proof`. The running epoch comes at once; with "
    "`Last-Event-ID`, all after that one. A comment every 15 s keeps the connection. Sign afresh to "
    "reconnect. It ends when the hotkey leaves the subnet."
)
_REQUEST_ID: Schema = {"description": "Id of the request, in our logs as well.", "schema": {"type": "string"}}
_RETRY_AFTER: Schema = {
    "description": "Seconds to wait.",
    "schema": {"type": "integer", "minimum": 1},
}
_CACHED: dict[str, Schema] = {
    "ETag": {"description": "Of these bytes; send it as If-None-Match.", "schema": {"type": "string"}},
    "Age": {
        "description": "Seconds since memory was last confirmed; 0 unless NATS and PostgreSQL are both away.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "Cache-Control": {"description": "Always `private`.", "schema": {"type": "string"}},
}


def describe(app: FastAPI) -> None:
    """Let the application answer with this description, made when it is first asked for."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = description(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def description(app: FastAPI) -> dict[str, Any]:
    """The document. Raises KeyError for an endpoint or a field that nobody has described."""
    writer = _Writer.of([(route, _operation(route)) for route in _routes(app)])
    return {
        "openapi": "3.1.0",
        "info": {
            "title": app.title,
            "version": version("zipcast"),
            "description": (_STATIC / "guide.md").read_text(),
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "paths": writer.paths(),
        "components": {
            "schemas": dict(sorted(writer.schemas.items())),
            "examples": {code: {"value": body} for code, body in writer.examples["errors"].items()},
            "securitySchemes": {
                name: {"type": "apiKey", "in": "header", "name": name, "description": f"btauth/1. {told}"}
                for name, told in _SIGNING_HEADERS.items()
            },
        },
    }


def reply_models(app: FastAPI) -> list[type[BaseModel]]:
    """Of every endpoint that says what it answers with."""
    return [model for route in _routes(app) for model in _reply_models(route)]


def _routes(app: FastAPI) -> Iterator[APIRoute]:
    for route in app.routes:
        if isinstance(route, APIRoute) and route.include_in_schema:
            yield route


def _operation(route: APIRoute) -> Operation:
    return OPERATIONS[_method(route), route.path]


def _method(route: APIRoute) -> str:
    """Each endpoint has one."""
    return next(iter(route.methods or ()))


def _reply_models(route: APIRoute) -> tuple[type[BaseModel], ...]:
    told = route.responses.get(200, {}).get("model", route.response_model)
    several = getattr(told, "__args__", (told,))
    return tuple(one for one in several if isinstance(one, type) and issubclass(one, BaseModel))


class _Writer:
    """The endpoints' entries, over one set of schemas."""

    def __init__(self, told: list[tuple[APIRoute, Operation]], found: dict[str, Schema]) -> None:
        self._told = told
        self.schemas = found
        self.examples: dict[str, Any] = json.loads((_STATIC / "examples.json").read_text())

    @classmethod
    def of(cls, told: list[tuple[APIRoute, Operation]]) -> "_Writer":
        replies = [model for route, _ in told for model in _reply_models(route)]
        asked = [operation.request for _, operation in told if operation.request is not None]
        return cls(told, schemas.of_requests(asked) | schemas.of_replies(replies))

    def paths(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for route, operation in self._told:
            found.setdefault(route.path, {})[_method(route).lower()] = self._entry(route, operation)
        return found

    def _entry(self, route: APIRoute, operation: Operation) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "operationId": route.name if operation.verb is None else str(operation.verb),
            "summary": operation.summary,
            "description": _text(route, operation),
            "parameters": _parameters(route, operation),
            "responses": self._responses(route, operation),
        }
        if operation.request is not None:
            entry["requestBody"] = self._body(operation, operation.request)
        if operation.verb is not None:
            by_headers: dict[str, list[str]] = {name: [] for name in _SIGNING_HEADERS}
            entry["security"] = [{}, by_headers] if operation.verb in LEGACY_RULES else [by_headers]
        return entry

    def _body(self, operation: Operation, request: type[WireModel]) -> dict[str, Any]:
        own, shown = self.schemas[request.__name__], self.examples[str(operation.sent)]
        schemas.add_examples(self.schemas, own, shown)
        if operation.verb not in LEGACY_RULES:
            content = {JSON: {"schema": _ref(request.__name__), "example": shown}}
            return {"required": _needs_a_body(own), "content": content}
        identity = self.schemas["LegacyIdentity"]
        schemas.add_examples(self.schemas, identity, self.examples["identity"])
        name = f"Legacy{request.__name__}"
        self.schemas[name] = schemas.legacy(own, identity, operation.commitments, operation.ignored)
        signed = self.examples["identity"] | shown
        either = {"anyOf": [_ref(name), _ref(request.__name__)]}
        content = {JSON: {"schema": either, "example": signed}}
        if not any(isinstance(value, list) for value in shown.values()):
            content[FORM] = {"schema": _ref(name), "example": signed}
        return {"required": _needs_a_body(own), "content": content}

    def _responses(self, route: APIRoute, operation: Operation) -> dict[str, Any]:
        found = {"200": self._success(route, operation)}
        if route.path.endswith("/current"):
            found["200"]["headers"] |= _CACHED
            headers = {HTTP_HEADER: _REQUEST_ID, **_CACHED}
            found["304"] = {"description": "The client has these bytes already.", "headers": headers}
        if route.path == "/healthcheck":
            found["503"] = found["200"] | {"description": "The assignment cannot be served."}
        for status in sorted({ERRORS[code].status for code in operation.errors}):
            codes = sorted(code for code in operation.errors if ERRORS[code].status == status)
            found[str(status)] = self._refusal(status, codes)
        return found

    def _success(self, route: APIRoute, operation: Operation) -> dict[str, Any]:
        headers = {HTTP_HEADER: _REQUEST_ID}
        if route.path.endswith("/stream"):
            content: dict[str, Any] = {EVENTS: {"schema": {"type": "string"}, "example": _EVENT}}
            return {"description": _STREAM, "headers": headers, "content": content}
        models = [model.__name__ for model in _reply_models(route)]
        schema = _ref(models[0]) if len(models) == 1 else {"anyOf": [_ref(name) for name in models]}
        content = {"schema": schema}
        shown = {name: {"value": self.examples[name]} for name in operation.examples}
        for one in shown.values():
            for name in models:
                schemas.add_examples(self.schemas, self.schemas[name], one["value"])
        if shown:
            content["examples"] = shown
        return {"description": operation.summary + ".", "headers": headers, "content": {JSON: content}}

    def _refusal(self, status: int, codes: list[ErrorCode]) -> dict[str, Any]:
        headers = {HTTP_HEADER: _REQUEST_ID}
        if status in {429, 503}:
            headers["Retry-After"] = _RETRY_AFTER
        lines = [f"- `{code}`: {ERRORS[code].meaning} {ERRORS[code].remedy}" for code in codes]
        stated = {"properties": {"error": {"enum": [str(code) for code in codes]}, "code": {"const": status}}}
        content = {
            "schema": {"allOf": [_ref("ErrorReply"), stated]},
            "examples": {str(code): {"$ref": f"#/components/examples/{code}"} for code in codes},
        }
        return {"description": "\n".join(lines), "headers": headers, "content": {JSON: content}}


def _needs_a_body(schema: Schema) -> bool:
    """An empty one is read as an object without fields."""
    return bool(schema.get("required") or schema.get("allOf"))


def _ref(name: str) -> Schema:
    return {"$ref": schemas.TEMPLATE.format(model=name)}


def _text(route: APIRoute, operation: Operation) -> str:
    parts = [route.description]
    if operation.commitments:
        texts = " or ".join(f"`{text}`" for text in operation.commitments)
        parts.append(f"Legacy clients sign {texts}.")
    elif operation.verb is not None:
        parts.append("Signed with `btauth/1` only.")
    return "\n\n".join(parts)


def _parameters(route: APIRoute, operation: Operation) -> list[dict[str, Any]]:
    found = [
        _parameter("path", name, {"type": "string", "pattern": _EPOCH_ID, "description": "Id of the epoch."})
        for name in route.param_convertors
    ]
    if _method(route) == "GET" and operation.verb in LEGACY_RULES:
        found += [_parameter("query", name, _QUERY[name]) for name in _IDENTITY]
    found += [_parameter("query", name, _QUERY[name]) for name in operation.query]
    if route.path.endswith("/current"):
        told = {"type": "string", "description": "ETag of a reply that is held."}
        found.append(_parameter("header", "If-None-Match", told))
    if route.path.endswith("/stream"):
        told = {"type": "string", "pattern": "^[0-9]{1,18}$", "description": "Id of the last event seen."}
        found.append(_parameter("header", "Last-Event-ID", told))
    return found


def _parameter(place: str, name: str, schema: Schema) -> dict[str, Any]:
    told = dict(schema)
    text = told.pop("description")
    if name in _IDENTITY:
        text += " Not needed with `X-Bittensor-*`."
    return {"name": name, "in": place, "required": place == "path", "description": text, "schema": told}
