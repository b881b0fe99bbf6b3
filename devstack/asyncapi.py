"""`python -m devstack.asyncapi` writes what the bridge serves at `/asyncapi.json`.

Owns how NATS is described: FastStream tells the responder's subscriptions, by a broker that never connects;
fields, errors and examples are those of HTTP's description. The file is kept, since the bridge may not
import the responder; a test holds it equal. The bridge's own subjects are left out: they are nobody else's.
"""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_type_hints

from faststream.nats import NatsBroker, NatsResponse
from faststream.specification import AsyncAPI

from broker_service.responder import handlers
from broker_service.responder.admin_handlers import register_admin
from devstack.programs import REPOSITORY
from http_bridge import schemas
from http_bridge.operations import ANY, OF_AN_EPOCH, OPERATIONS, Operation
from http_bridge.schemas import Schema
from zipcast import btauth, subjects
from zipcast.envelope import HEADER_EPOCH, HEADER_SIGNATURE, HEADER_SIGNER
from zipcast.errors import ERRORS, ErrorCode
from zipcast.messages import (
    HEADER_ERROR,
    HEADER_REQUEST_ID,
    EpochMessage,
    MinerListRequest,
    MinerUploadRequest,
    ValidatorReadRequest,
    WireModel,
)
from zipcast.status_messages import EpochGetRequest
from zipcast.subjects import Verb

STATIC = REPOSITORY / "http_bridge" / "static"
FILE = STATIC / "asyncapi.json"
_ANY_HOTKEY = ".*."
_FILES = frozenset({ErrorCode.CREDENTIALS_UNAVAILABLE})

# What is asked over NATS alone.
_HERE: dict[Verb | None, Operation] = {
    Verb.S3_MINER_UPLOAD: Operation(
        "Upload a miner's files of one epoch",
        Verb.S3_MINER_UPLOAD,
        MinerUploadRequest,
        ("miner-upload-reply",),
        "request-miner-upload-of-an-epoch",
        OF_AN_EPOCH | _FILES | {ErrorCode.NO_CURRENT_EPOCH, ErrorCode.EPOCH_NOT_OPEN},
    ),
    Verb.S3_VALIDATOR_READ: Operation(
        "Read what was uploaded for an ended epoch",
        Verb.S3_VALIDATOR_READ,
        ValidatorReadRequest,
        ("validator-read-reply",),
        "request-validator-read",
        OF_AN_EPOCH | _FILES | {ErrorCode.EPOCH_NOT_ENDED, ErrorCode.ARCHIVED},
    ),
    Verb.S3_MINER_LIST: Operation("List uploads as they are", Verb.S3_MINER_LIST, MinerListRequest),
    Verb.EPOCH_GET: Operation(
        "The signed bytes of an epoch that has started",
        Verb.EPOCH_GET,
        EpochGetRequest,
        ("epoch-message",),
        "request-epoch-get",
        OF_AN_EPOCH,
    ),
}
# What cannot happen on a hotkey's own subject.
_NOT_HERE = frozenset({ErrorCode.LEGACY_REFUSED})


def document() -> Any:
    """The whole description, without a connection."""
    broker = _broker()
    told = json.loads(
        AsyncAPI(broker, title="Zipcast", version=version("zipcast")).to_specification().to_json()
    )
    return _plain(_Writer(broker, told).document())


def _plain(told: Any) -> Any:
    """Of a discriminator AsyncAPI takes the property's name alone."""
    if isinstance(told, list):
        return [_plain(one) for one in told]
    if not isinstance(told, dict):
        return told
    return {
        name: one["propertyName"] if name == "discriminator" and isinstance(one, dict) else _plain(one)
        for name, one in told.items()
    }


def text() -> str:
    """As the file has it."""
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


def _broker() -> NatsBroker:
    """The responder's, with its handlers and nothing behind them."""
    broker, nothing = NatsBroker(logger=None), Any
    handlers.register(broker, *[nothing] * 3)  # type: ignore[arg-type]
    handlers.register_lists(broker, nothing)  # type: ignore[arg-type]
    handlers.register_reports(broker, nothing, nothing)  # type: ignore[arg-type]
    handlers.register_results(broker, nothing, nothing)  # type: ignore[arg-type]
    handlers.register_pools(broker, nothing)  # type: ignore[arg-type]
    handlers.register_choices(broker, *[nothing] * 3)  # type: ignore[arg-type]
    register_admin(broker, nothing)  # type: ignore[arg-type]
    return broker


class _Writer:
    """FastStream's document with what it does not know: replies, errors, signatures, and the epochs."""

    def __init__(self, broker: NatsBroker, told: dict[str, Any]) -> None:
        self._told = told
        self._operations: dict[Verb | None, Operation] = {
            **{one.verb: one for one in OPERATIONS.values()},
            **_HERE,
        }
        self._replies = dict(_handled(broker))
        self._examples = json.loads((STATIC / "examples.json").read_text())
        asked = [one.request for one in self._operations.values() if one.request is not None]
        models: list[type[WireModel]] = [EpochMessage, *self._replies.values()]
        self._schemas = schemas.of_requests(asked) | schemas.of_replies(models)
        self._messages: dict[str, Any] = {}
        self._channels: dict[str, Any] = {}
        self._done: dict[str, Any] = {}

    def document(self) -> dict[str, Any]:
        self._epochs()
        for channel in sorted(self._told["channels"].values(), key=lambda one: one["address"]):
            if _ANY_HOTKEY in channel["address"]:
                self._request(channel)
        return {
            "asyncapi": self._told["asyncapi"],
            "info": {
                **self._told["info"],
                "description": (STATIC / "subjects.md").read_text(),
                "license": {"name": "MIT"},
            },
            "defaultContentType": "application/json",
            "servers": {"nats": {"host": "nats.example.org:4222", "protocol": "nats"}},
            "channels": self._channels,
            "operations": self._done,
            "components": {"messages": self._messages, "schemas": dict(sorted(self._schemas.items()))},
        }

    def _epochs(self) -> None:
        told = {
            HEADER_SIGNER: "Hotkey that signed, SS58.",
            HEADER_SIGNATURE: "sr25519 signature over the payload's bytes, hex.",
            HEADER_EPOCH: "The epoch's id.",
        }
        self._message("EpochMessage", EpochMessage, "epoch-message", _headers(told))
        self._channels["epoch"] = {
            "address": subjects.EPOCH,
            "description": "Every epoch at its start, signed; the same bytes for everybody.",
            "messages": {"EpochMessage": _ref("messages", "EpochMessage")},
        }
        self._done["epoch"] = {
            "action": "send",
            "channel": {"$ref": "#/channels/epoch"},
            "summary": "An epoch begins",
            "messages": [{"$ref": "#/channels/epoch/messages/EpochMessage"}],
        }

    def _request(self, channel: dict[str, Any]) -> None:
        verb = Verb(channel["address"].partition(_ANY_HOTKEY)[2])
        operation = self._operations[verb]
        request, reply = operation.request, self._replies[verb]
        asks = f"{verb}.request"
        if request is None:
            self._messages[asks] = {
                "title": asks,
                "headers": _signed(),
                "payload": {"type": "object", "description": "An empty object."},
            }
        else:
            self._message(asks, request, operation.sent, _signed())
        answers = "EpochMessage" if reply is EpochMessage else f"{verb}.reply"
        if reply is not EpochMessage:
            self._message(answers, reply, next(iter(operation.examples), None))
        refuses = self._refusal(verb, operation)
        self._channels[verb] = {
            "address": channel["address"].replace(_ANY_HOTKEY, ".{hotkey}."),
            "description": channel["description"],
            "parameters": {"hotkey": {"description": "Hotkey that asks; its subjects are its own."}},
            "messages": {asks: _ref("messages", asks)},
            "bindings": {"nats": {"queue": subjects.RESPONDER_QUEUE}},
        }
        self._channels[f"{verb}.reply"] = {
            "address": None,
            "description": "The reply subject, which must lie under `_INBOX.{hotkey}`.",
            "messages": {name: _ref("messages", name) for name in (answers, refuses)},
        }
        self._done[verb] = {
            "action": "receive",
            "summary": operation.summary,
            "channel": {"$ref": f"#/channels/{verb}"},
            "messages": [{"$ref": f"#/channels/{verb}/messages/{asks}"}],
            "reply": {
                "channel": {"$ref": f"#/channels/{verb}.reply"},
                "messages": [
                    {"$ref": f"#/channels/{verb}.reply/messages/{name}"} for name in (answers, refuses)
                ],
            },
        }

    def _refusal(self, verb: Verb, operation: Operation) -> str:
        """One message for each verb: which codes there are differs."""
        codes = sorted((ANY | operation.errors) - _NOT_HERE)
        name = f"{verb}.error"
        lines = [f"- `{code}`: {ERRORS[code].meaning} {ERRORS[code].remedy}" for code in codes]
        told = {HEADER_ERROR: "The code.", HEADER_REQUEST_ID: "Id of the request."}
        stated = {"type": "object", "properties": {"error": {"enum": [str(code) for code in codes]}}}
        self._messages[name] = {
            "title": name,
            "description": "\n".join(lines),
            "headers": _headers(told),
            "payload": {"allOf": [_ref("schemas", "ErrorReply"), stated]},
            "examples": [{"payload": self._examples["errors"][codes[0]]}],
        }
        return name

    def _message(
        self, name: str, model: type[WireModel], shown: str | None, headers: Schema | None = None
    ) -> None:
        told: dict[str, Any] = {"title": name, "payload": _ref("schemas", model.__name__)}
        if headers is not None:
            told["headers"] = headers
        if shown is not None:
            schemas.add_examples(self._schemas, self._schemas[model.__name__], self._examples[shown])
            told["examples"] = [{"payload": self._examples[shown]}]
        self._messages[name] = told


def _handled(broker: NatsBroker) -> "list[tuple[Verb, type[WireModel]]]":
    """What each verb's handler answers with; signed bytes are an epoch's message."""
    found = []
    for subscriber in broker.subscribers:
        subject = subscriber.subject.broker_address  # type: ignore[attr-defined]
        if _ANY_HOTKEY in subject:
            answer = get_type_hints(subscriber.calls[0].handler._original_call)["return"]
            model = EpochMessage if answer is NatsResponse else answer
            found.append((Verb(subject.partition(_ANY_HOTKEY)[2]), model))
    return found


def _signed() -> Schema:
    return _headers(
        {
            btauth.HEADER_VERSION: "Always 1.",
            btauth.HEADER_HOTKEY: "Hotkey that asks, SS58; the subject's own.",
            btauth.HEADER_RECEIVER: "Hotkey that signs the epochs.",
            btauth.HEADER_NONCE: "When it is signed, Unix nanoseconds.",
            btauth.HEADER_SIGNATURE: "sr25519 signature; method NATS, the subject as path.",
        }
    )


def _headers(told: dict[str, str]) -> Schema:
    properties = {name: {"type": "string", "description": text} for name, text in told.items()}
    return {"type": "object", "properties": properties, "required": list(told)}


def _ref(kind: str, name: str) -> Schema:
    return {"$ref": f"#/components/{kind}/{name}"}


def write(file: Path = FILE) -> None:
    file.write_text(text())


if __name__ == "__main__":
    write()
