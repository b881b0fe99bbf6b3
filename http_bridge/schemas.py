"""Schemas of what travels over HTTP, from the models that read and write it.

Owns what the models alone do not say: that replies hold every field, both spellings of a request, its
identity fields, meanings from the glossary, and examples from the golden documents.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import BaseModel, create_model
from pydantic.alias_generators import to_camel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from http_bridge import glossary
from http_bridge.current_reply import ASSIGNMENT_FIELDS
from zipcast.errors import ErrorCode
from zipcast.messages import EpochMessage, LegacyIdentity, Proof, Sha256Hex, WireModel, ZipcodeText
from zipcast.pool_messages import PoolRow

Schema = dict[str, Any]
TEMPLATE = "#/components/schemas/{model}"
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class Alive(WireModel):
    """The process answers."""

    status: Literal["ok"]


class ErrorReply(WireModel):
    """Every error, at every endpoint."""

    success: Literal[False]
    error: ErrorCode
    message: str
    code: int
    detail: str
    retry_after: int | None = None
    server_time: float | None = None


class _Assignment(WireModel):
    """An epoch as it is told over HTTP."""

    success: Literal[True] = True


# The assignment is the message's own fields, which are not written down again.
_FIELDS: dict[str, Any] = {
    name: (field.annotation, field)
    for name, field in EpochMessage.model_fields.items()
    if name in ASSIGNMENT_FIELDS
} | {"proof": (Proof, ...)}
CurrentAssignmentReply = create_model(
    "CurrentAssignmentReply", __base__=_Assignment, __doc__="The running epoch.", **_FIELDS
)


class EpochAssignmentReply(CurrentAssignmentReply):
    """An epoch whose seed is not revealed yet."""

    status: Literal["ACTIVE", "COMPLETED", "ARCHIVED"]


class RevealedEpochReply(EpochAssignmentReply):
    """One epoch after its end: with its seed and its decoys."""

    honeypots: tuple[ZipcodeText, ...]
    seed: Sha256Hex


class _Complete(GenerateJsonSchema):
    """A reply holds every field, also one that has a default."""

    def field_is_required(self, field: Any, total: bool) -> bool:
        return True


def of_replies(models: Iterable[type[BaseModel]]) -> dict[str, Schema]:
    """By name, with those they are made of. Raises KeyError for a field that nobody has described."""
    complete = _definitions(models, "serialization", _Complete)
    return complete | _definitions([ErrorReply], "validation", GenerateJsonSchema)


def of_requests(models: Iterable[type[BaseModel]]) -> dict[str, Schema]:
    """As `of_replies`; a field may be sent in either spelling."""
    found = _definitions([*models, LegacyIdentity], "validation", GenerateJsonSchema)
    for schema in found.values():
        _take_both_spellings(schema)
    return found


def legacy(own: Schema, identity: Schema, commitments: Iterable[str], ignored: Iterable[str]) -> Schema:
    """A body that carries its own identity."""
    unread = {name: {"description": "Taken, and not read."} for name in ignored}
    texts = " or ".join(f"`{text}`" for text in commitments)
    return own | {
        "title": f"Legacy{own['title']}",
        "description": f"{own.get('description', '')}\n\nSigned: {texts}.".strip(),
        "properties": identity["properties"] | own.get("properties", {}) | unread,
        "required": [*identity["required"], *own.get("required", ())],
    }


def add_examples(schemas: dict[str, Schema], schema: Schema, document: Any) -> None:
    """Give each property that the document shows an example, unless it has one."""
    target = _resolved(schemas, schema, document)
    if isinstance(document, list):
        for one in document[:1]:
            add_examples(schemas, target.get("items", {}), one)
    if not isinstance(document, dict):
        return
    for name, value in document.items():
        told = target.get("properties", {}).get(name)
        if told is not None:
            told.setdefault("examples", [value])
            add_examples(schemas, told, value)
        elif isinstance(others := target.get("additionalProperties"), dict):
            add_examples(schemas, others, value)


def _resolved(schemas: dict[str, Schema], schema: Schema, document: Any) -> Schema:
    """The schema itself, past references; of several the one that has the document's kind or fields."""
    if "$ref" in schema:
        return _resolved(schemas, schemas[schema["$ref"].rpartition("/")[2]], document)
    for several in ("anyOf", "oneOf"):
        for one in schema.get(several, ()):
            found = _resolved(schemas, one, document)
            if _fits(found, document):
                return found
    return schema


def _fits(schema: Schema, document: Any) -> bool:
    if isinstance(document, dict):
        kind = schema.get("properties", {}).get("kind", {}).get("const")
        return schema.get("type") == "object" and kind in {None, document.get("kind")}
    return isinstance(document, list) and schema.get("type") == "array"


def _definitions(
    models: Iterable[type[BaseModel]], mode: Literal["validation", "serialization"], generator: Any
) -> dict[str, Schema]:
    _, top = models_json_schema(
        [(model, mode) for model in models], ref_template=TEMPLATE, schema_generator=generator
    )
    found: dict[str, Schema] = top["$defs"]
    for name, schema in found.items():
        _describe(name, schema)
    return found


def _describe(model: str, schema: Schema) -> None:
    """Meanings in, pydantic's made-up titles out. The only list with places of its own is the pool's row."""
    for name, told in schema.get("properties", {}).items():
        told.pop("title", None)
        told["description"] = glossary.meaning(model, name)
    for name, told in zip(PoolRow._fields, schema.get("prefixItems", ()), strict=False):
        told["title"] = to_camel(name)
        told["description"] = glossary.meaning(model, told["title"])


def other_spelling(name: str) -> str:
    """`epochId` of `epoch_id`, and the other way round; the name itself where there is only one."""
    return to_camel(name) if "_" in name else _HUMP.sub("_", name).lower()


def _take_both_spellings(schema: Schema) -> None:
    properties: Mapping[str, Schema] = dict(schema.get("properties", {}))
    two = {name: other for name in properties if (other := other_spelling(name)) != name}
    required = schema.get("required", [])
    for name, other in two.items():
        schema["properties"][other] = properties[name] | {"description": f"Other spelling of `{name}`."}
    either = [
        {"anyOf": [{"required": [name]}, {"required": [two[name]]}]} for name in required if name in two
    ]
    if either:
        schema["allOf"] = either
    schema["required"] = [name for name in required if name not in two]
