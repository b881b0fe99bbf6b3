"""Writes `/asyncapi.json`: the NATS subjects, their requests and their replies.

Everything is derived from `VERBS` and the wire models. The subjects of the bridge are left out, because only
the bridge can use them.
"""

from importlib.metadata import version
from importlib.resources import files
from typing import Any

from http_bridge.documentation import SIGNING_HEADERS, Schema, error_example, refusals, schemas
from zipcast.protocol import subjects
from zipcast.protocol.envelope import HEADER_EPOCH, HEADER_SIGNATURE, HEADER_SIGNER
from zipcast.protocol.errors import ErrorCode
from zipcast.protocol.messages.base import HEADER_ERROR, HEADER_REQUEST_ID, ErrorReply
from zipcast.protocol.messages.epochs import EpochMessage
from zipcast.protocol.verbs import VERBS, Verb, VerbSpec

_ABOUT = files("http_bridge") / "static" / "subjects.md"
_EPOCH_HEADERS = {
    HEADER_SIGNER: "Hotkey that signed, SS58.",
    HEADER_SIGNATURE: "sr25519 signature over the payload's bytes, hex.",
    HEADER_EPOCH: "The epoch's id.",
}
_ERROR_HEADERS = {HEADER_ERROR: "The error code.", HEADER_REQUEST_ID: "Id of the request."}
# Errors that cannot occur over NATS: legacy signatures are accepted only over HTTP.
_OVER_HTTP_ONLY = frozenset({ErrorCode.LEGACY_REFUSED})


def _ref(kind: str, name: str) -> Schema:
    return {"$ref": f"#/components/{kind}/{name}"}


_ANNOUNCED = {
    "draft": (subjects.DRAFT, "Signed drafts of epochs that no message promised, before their rounds exist."),
    "sealed": (subjects.SEALED, "Sealed epochs, sent when they are drawn. Each can be opened at its start."),
}
"""Subject and description of each message that is sent before an epoch starts, by name of the channel."""


def _announced() -> tuple[Schema, Schema, Schema]:
    """Return the channels, operations and messages of drafts and sealed epochs."""
    channels: Schema = {}
    operations: Schema = {}
    messages: Schema = {}
    for name, (address, description) in _ANNOUNCED.items():
        title = name.capitalize()
        channels[name] = {
            "address": address,
            "description": description,
            "messages": {title: _ref("messages", title)},
        }
        operations[name] = {
            "action": "send",
            "channel": {"$ref": f"#/channels/{name}"},
            "summary": description,
            "messages": [{"$ref": f"#/channels/{name}/messages/{title}"}],
        }
        messages[title] = {"title": title, "payload": _ref("schemas", "Proof")}
    return channels, operations, messages


def document() -> Schema:
    """Return the AsyncAPI 3 document."""
    over_nats = {verb: spec for verb, spec in sorted(VERBS.items()) if spec.over_nats}
    channels, operations, messages = _epochs()
    for parts, announced in zip((channels, operations, messages), _announced(), strict=True):
        parts.update(announced)
    for verb, spec in over_nats.items():
        channels |= _channels(verb, spec)
        operations[verb] = _operation(verb, spec)
        messages |= _messages(verb, spec)
    requests = schemas({spec.request for spec in over_nats.values()}, "validation")
    replies = schemas({spec.reply for spec in over_nats.values()}, "serialization")
    errors = schemas({ErrorReply}, "validation")
    found: Schema = {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Zipcast",
            "version": version("zipcast"),
            "description": _ABOUT.read_text(),
            "license": {"name": "MIT"},
        },
        "defaultContentType": "application/json",
        "servers": {"nats": {"host": "nats.example.org:4222", "protocol": "nats"}},
        "channels": channels,
        "operations": operations,
        "components": {
            "messages": messages,
            "schemas": dict(sorted((requests | replies | errors).items())),
        },
    }
    plain: Schema = _with_plain_discriminators(found)
    return plain


def _epochs() -> tuple[Schema, Schema, Schema]:
    """Return the channel, operation and message of epochs."""
    channel = {
        "address": subjects.EPOCH,
        "description": "Every epoch, signed, at its start; all clients receive the same bytes.",
        "messages": {"EpochMessage": _ref("messages", "EpochMessage")},
    }
    operation = {
        "action": "send",
        "channel": {"$ref": "#/channels/epoch"},
        "summary": "An epoch starts",
        "messages": [{"$ref": "#/channels/epoch/messages/EpochMessage"}],
    }
    message = {
        "title": "EpochMessage",
        "headers": _headers(_EPOCH_HEADERS),
        "payload": _ref("schemas", "EpochMessage"),
    }
    return {"epoch": channel}, {"epoch": operation}, {"EpochMessage": message}


def _names(verb: Verb, spec: VerbSpec) -> tuple[str, str, str]:
    """Return the names of the request, the reply and the error message."""
    return (
        f"{verb}.request",
        "EpochMessage" if spec.reply is EpochMessage else f"{verb}.reply",
        f"{verb}.error",
    )


def _channels(verb: Verb, spec: VerbSpec) -> Schema:
    asks, answers, refuses = _names(verb, spec)
    return {
        verb: {
            "address": subjects.requests(verb).replace("*", "{hotkey}"),
            "description": spec.text,
            "parameters": {
                "hotkey": {"description": "Hotkey of the sender; no other hotkey can use its subjects."}
            },
            "messages": {asks: _ref("messages", asks)},
            "bindings": {"nats": {"queue": subjects.RESPONDER_QUEUE}},
        },
        f"{verb}.reply": {
            "address": None,
            "description": "The reply subject, which must begin with `_INBOX.{hotkey}`.",
            "messages": {name: _ref("messages", name) for name in (answers, refuses)},
        },
    }


def _operation(verb: Verb, spec: VerbSpec) -> Schema:
    asks, answers, refuses = _names(verb, spec)
    reply = f"#/channels/{verb}.reply"
    return {
        "action": "receive",
        "summary": spec.title,
        "channel": {"$ref": f"#/channels/{verb}"},
        "messages": [{"$ref": f"#/channels/{verb}/messages/{asks}"}],
        "reply": {
            "channel": {"$ref": reply},
            "messages": [{"$ref": f"{reply}/messages/{name}"} for name in (answers, refuses)],
        },
    }


def _messages(verb: Verb, spec: VerbSpec) -> Schema:
    """Return the messages of a verb. Each verb has its own error message, because the codes differ."""
    asks, answers, refuses = _names(verb, spec)
    codes = sorted(spec.errors - _OVER_HTTP_ONLY)
    stated = {"type": "object", "properties": {"error": {"enum": [str(code) for code in codes]}}}
    found = {
        asks: {
            "title": asks,
            "headers": _headers(SIGNING_HEADERS),
            "payload": _ref("schemas", spec.request.__name__),
        },
        refuses: {
            "title": refuses,
            "description": refusals(codes),
            "headers": _headers(_ERROR_HEADERS),
            "payload": {"allOf": [_ref("schemas", "ErrorReply"), stated]},
            "examples": [{"name": str(code), "payload": error_example(code)} for code in codes],
        },
    }
    if answers != "EpochMessage":
        found[answers] = {"title": answers, "payload": _ref("schemas", spec.reply.__name__)}
    return found


def _with_plain_discriminators(part: Any) -> Any:
    """Replace each discriminator by the name of its property, because AsyncAPI knows no other form."""
    if isinstance(part, list):
        return [_with_plain_discriminators(one) for one in part]
    if not isinstance(part, dict):
        return part
    return {
        name: one["propertyName"]
        if name == "discriminator" and isinstance(one, dict)
        else _with_plain_discriminators(one)
        for name, one in part.items()
    }


def _headers(texts: dict[str, str]) -> Schema:
    properties = {name: {"type": "string", "description": text} for name, text in texts.items()}
    return {"type": "object", "properties": properties, "required": list(texts)}
