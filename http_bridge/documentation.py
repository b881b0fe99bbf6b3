"""Describes the bridge's endpoints, so that FastAPI can write `/openapi.json`.

Endpoints take a plain request and return finished bytes, so FastAPI cannot derive the descriptions. The
descriptions of signed requests come from `VERBS`, those of public requests from the caller.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import reduce
from importlib.metadata import version
from operator import or_
from typing import Any, Literal

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, Field, create_model
from pydantic.json_schema import models_json_schema
from starlette.responses import Response

from access.rate_limits import Rule, Rules
from http_bridge.assets import STATIC
from http_bridge.documented_roles import EVERYONE, amount, section_of, sections
from service.correlation import HTTP_HEADER
from zipcast.protocol import btauth
from zipcast.protocol.errors import ERRORS, ErrorCode, ServiceError
from zipcast.protocol.messages.base import EmptyRequest, ErrorReply, LegacyIdentity, WireModel, error_body
from zipcast.protocol.verbs import ANY_REQUEST, VERBS, Verb, VerbSpec

Schema = dict[str, Any]
Endpoint = Callable[..., Awaitable[Response]]

JSON, FORM, EVENTS = "application/json", "application/x-www-form-urlencoded", "text/event-stream"
REF_TEMPLATE = "#/components/schemas/{model}"
_GUIDE = STATIC / "guide.md"
SIGNING_HEADERS = {
    btauth.HEADER_VERSION: "Always 1.",
    btauth.HEADER_HOTKEY: "Hotkey that signs, SS58.",
    btauth.HEADER_RECEIVER: "Hotkey of the service that signs the epochs.",
    btauth.HEADER_NONCE: "Time of signing, Unix nanoseconds.",
    btauth.HEADER_SIGNATURE: "sr25519 signature over the eight lines, hex.",
}
_TEXT: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_REQUEST_ID = {HTTP_HEADER: {"description": "Id of the request, which the logs also have.", "schema": _TEXT}}
_RETRY_AFTER = {"Retry-After": {"description": "Seconds to wait.", "schema": _COUNT}}
_CACHED = {
    "ETag": {"description": "Tag of these bytes; send it as If-None-Match.", "schema": _TEXT},
    "Age": {
        "description": "Seconds since the epoch was last confirmed; 0 unless NATS and PostgreSQL are both "
        "down.",
        "schema": _COUNT,
    },
    "Cache-Control": {"description": "Always `private`.", "schema": _TEXT},
}
_NOT_MODIFIED = {"description": "The client already has these bytes.", "headers": _REQUEST_ID | _CACHED}
_EVENT = 'id: 17\ndata: {"epochId":"2026-11-22T04-00-00","payload":"…","signer":"…","signature":"…"}\n\n'
_STREAM = {
    "description": "Each epoch is an event. `id` is its sequence number; `data` is one line of JSON with "
    "`epochId`, `payload`, `signer` and `signature` as in `proof`. An event of the type `sealed` is the next "
    "epoch, sealed; it has no id. The stream begins with the running "
    "epoch, or, with `Last-Event-ID`, with all epochs after that event. A comment every 15 s keeps the "
    "connection open. Sign a new request to reconnect. The stream ends when the hotkey leaves the subnet.",
    "headers": _REQUEST_ID,
    "content": {EVENTS: {"schema": _TEXT, "example": _EVENT}},
}
_HEADERS_READ = {
    Verb.EPOCH_CURRENT: ("If-None-Match", "ETag of a reply that the client already has."),
    Verb.EPOCH_STREAM: ("Last-Event-ID", "Id of the last event that the client received."),
}


def add_verb(app: FastAPI, verb: Verb, endpoint: Endpoint, rules: Rules) -> None:
    """Route the verb's method and path to the endpoint, described by its entry in `VERBS` and its limit."""
    spec = VERBS[verb]
    http = spec.http
    if http is None:
        raise ValueError(f"{verb} has no endpoint over HTTP")
    by_headers: dict[str, list[str]] = {name: [] for name in SIGNING_HEADERS}
    more: Schema = {"security": [{}, by_headers] if spec.commitments else [by_headers]}
    if http.method == "GET":
        more["parameters"] = _parameters(verb, spec)
    else:
        more["requestBody"] = _body(spec)
    responses = _responses(spec.http_replies or (spec.reply,), spec.errors)
    if verb is Verb.EPOCH_STREAM:
        responses[200] = _STREAM
    if verb is Verb.EPOCH_CURRENT:
        responses[200]["headers"] = _REQUEST_ID | _CACHED
        responses[304] = _NOT_MODIFIED
    app.add_api_route(
        http.path,
        endpoint,
        methods=[http.method],
        name=verb,
        operation_id=verb,
        tags=[section_of(verb)],
        summary=spec.title,
        description=_text(spec, rules.by_verb.get(verb)),
        responses=responses,
        response_class=Response,
        response_model=None,
        openapi_extra=more,
    )


def add_public(
    app: FastAPI,
    path: str,
    endpoint: Endpoint,
    *,
    title: str,
    text: str,
    reply: type[WireModel],
    errors: Iterable[ErrorCode] = (),
    query: type[WireModel] | None = None,
    is_reply_when_unavailable: bool = False,
) -> None:
    """Route a GET without a signature to the endpoint. `query` is a model of its parameters. With
    `is_reply_when_unavailable`, the body of a reply with status 503 also follows the model `reply`."""
    responses = _responses((reply,), ANY_REQUEST | frozenset(errors))
    if is_reply_when_unavailable:
        headers = _REQUEST_ID | _RETRY_AFTER
        responses[503] = {
            "model": reply,
            "description": "The service cannot serve requests.",
            "headers": headers,
        }
    app.add_api_route(
        path,
        endpoint,
        methods=["GET"],
        tags=[EVERYONE],
        summary=title,
        description=text,
        responses=responses,
        response_class=Response,
        response_model=None,
        openapi_extra=None if query is None else {"parameters": _of_query(query)},
    )


def describe(app: FastAPI, rules: Rules) -> None:
    """Make the application use this description, which is built at the first request."""

    def openapi() -> Schema:
        if app.openapi_schema is None:
            app.openapi_schema = _openapi(app, rules)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _openapi(app: FastAPI, rules: Rules) -> Schema:
    found = get_openapi(
        title=app.title,
        external_docs=app.openapi_external_docs,
        version=version("zipcast"),
        description=_GUIDE.read_text(),
        license_info={"name": "MIT", "identifier": "MIT"},
        servers=[{"url": "/"}],
        tags=sections(rules),
        routes=app.routes,
    )
    for methods in found["paths"].values():
        for operation in methods.values():
            _forget_framework_errors(operation["responses"])
    components = found["components"]
    for name in ("HTTPValidationError", "ValidationError"):
        del components["schemas"][name]
    components["schemas"] = schemas(_bodies(), "validation") | components["schemas"]
    components["securitySchemes"] = {
        name: {"type": "apiKey", "in": "header", "name": name, "description": f"btauth/1. {text}"}
        for name, text in SIGNING_HEADERS.items()
    }
    return found


def _forget_framework_errors(responses: Schema) -> None:
    """Remove the errors that FastAPI describes for every parameter, because the bridge reads parameters
    itself."""
    refused = responses.get("422")
    if refused is not None and "HTTPValidationError" in str(refused):
        del responses["422"]


def schemas(models: Iterable[type[BaseModel]], mode: Literal["validation", "serialization"]) -> Schema:
    """Return the JSON schemas of the models and of all models that they contain, by name."""
    _, found = models_json_schema([(model, mode) for model in models], ref_template=REF_TEMPLATE)
    return dict(found["$defs"])


def refusals(codes: Iterable[ErrorCode]) -> str:
    """Return one line of Markdown per code: what it means and what to do."""
    return "\n".join(f"- `{code}`: {ERRORS[code].meaning} {ERRORS[code].remedy}" for code in sorted(codes))


def error_example(code: ErrorCode) -> Schema:
    """Return an example of the body of this error."""
    wait = 2 if ERRORS[code].retryable else None
    return error_body(ServiceError(code, ERRORS[code].meaning, retry_after_seconds=wait))


def _text(spec: VerbSpec, rule: Rule | None) -> str:
    limit = "" if rule is None else f"\n\nLimit: {amount(rule)} and hotkey."
    if not spec.commitments:
        return f"{spec.text}\n\nThe request must be signed with `btauth/1`.{limit}"
    return f"{spec.text}\n\nLegacy clients sign {_signed_texts(spec)}.{limit}"


def _signed_texts(spec: VerbSpec) -> str:
    return " or ".join(f"`{text}`" for text in spec.commitments)


def _responses(replies: Sequence[type[WireModel]], codes: Iterable[ErrorCode]) -> dict[int | str, Any]:
    reply = reduce(or_, replies)
    found: dict[int | str, Any] = {200: {"model": reply, "headers": _REQUEST_ID}}
    for status in sorted({ERRORS[code].status for code in codes}):
        stated = sorted(code for code in codes if ERRORS[code].status == status)
        examples = {str(code): {"value": error_example(code)} for code in stated}
        found[status] = {
            "model": ErrorReply,
            "description": refusals(stated),
            "headers": _REQUEST_ID | (_RETRY_AFTER if status in {429, 503} else {}),
            "content": {JSON: {"schema": _stating(status, stated), "examples": examples}},
        }
    return found


def _stating(status: int, codes: Iterable[ErrorCode]) -> Schema:
    """Return a schema that restricts `error` and `code`; FastAPI adds the model's schema."""
    return {"properties": {"error": {"enum": [str(code) for code in codes]}, "code": {"const": status}}}


def _bodies() -> list[type[BaseModel]]:
    """Return the models of all request bodies."""
    specs = [spec for spec in VERBS.values() if spec.http is not None and spec.http.method == "POST"]
    return [spec.request for spec in specs] + [_legacy_body(spec) for spec in specs if spec.commitments]


def _legacy_body(spec: VerbSpec) -> type[BaseModel]:
    """Return the model of a body that contains a legacy identity."""
    ignored: dict[str, Any] = {
        name: (Any, Field(default=None, description="Accepted and ignored."))
        for name in (spec.http.ignored_fields if spec.http is not None else ())
    }
    return create_model(
        f"Legacy{spec.request.__name__}",
        __base__=(LegacyIdentity, spec.request),
        __doc__=f"{spec.request.__doc__ or ''}\n\nSigned: {_signed_texts(spec)}.",
        **ignored,
    )


def _body(spec: VerbSpec) -> Schema:
    name = spec.request.__name__
    own, legacy = _ref(name), _ref(f"Legacy{name}")
    needed = any(field.is_required() for field in spec.request.model_fields.values())
    if not spec.commitments:
        return {"required": needed, "content": {JSON: {"schema": own}}}
    content = {JSON: {"schema": {"anyOf": [legacy, own]}}}
    if all("array" not in str(one) for one in spec.request.model_json_schema()["properties"].values()):
        content[FORM] = {"schema": legacy}
    return {"required": needed, "content": content}


def _parameters(verb: Verb, spec: VerbSpec) -> list[Schema]:
    identity = _of_query(LegacyIdentity) if spec.commitments else []
    for one in identity:
        one["description"] += " Not needed with `X-Bittensor-*`."
    named = spec.http.query if spec.http is not None else ()
    own = [one for one in _of_query(spec.request) if one["name"] in named]
    header = _HEADERS_READ.get(verb)
    if header is not None:
        own.append({"name": header[0], "in": "header", "description": header[1], "schema": _TEXT})
    return identity + own


def _of_query(model: type[WireModel]) -> list[Schema]:
    """Return the model's fields as parameters of a query, none of which is required."""
    if model is EmptyRequest:
        return []
    return [
        {"name": name, "in": "query", "description": schema["description"], "schema": schema}
        for name, schema in model.model_json_schema()["properties"].items()
    ]


def _ref(name: str) -> Schema:
    return {"$ref": REF_TEMPLATE.format(model=name)}
