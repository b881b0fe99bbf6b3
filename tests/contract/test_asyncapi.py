"""Tests that `/asyncapi.json` is valid and complete, and that the responder subscribes to what it
describes."""

import json
from pathlib import Path
from typing import Any, cast, get_type_hints

import pytest
from faststream.nats import NatsBroker, NatsResponse
from jsonschema import Draft7Validator, Draft202012Validator
from jsonschema.exceptions import best_match

from broker_service.responder import handlers
from broker_service.responder.admin_handlers import register_admin
from http_bridge import asyncapi
from zipcast.protocol import subjects
from zipcast.protocol.errors import ErrorCode
from zipcast.protocol.messages.base import EmptyRequest
from zipcast.protocol.messages.epochs import EpochMessage
from zipcast.protocol.verbs import ADMIN_VERBS, VALIDATOR_VERBS, VERBS, Verb

# The schema is that of the AsyncAPI Initiative's @asyncapi/specs 6.11.1, Apache-2.0.
SCHEMA = Path(__file__).parent / "asyncapi-3.0.0.schema.json"


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    return asyncapi.document()


def test_the_responder_subscribes_to_every_verb_with_its_models() -> None:
    broker, nothing = NatsBroker(logger=None), cast(Any, None)
    handlers.register(broker, nothing, nothing, nothing)
    handlers.register_lists(broker, nothing)
    handlers.register_reports(broker, nothing, nothing)
    handlers.register_results(broker, nothing, nothing)
    handlers.register_epochs(broker, nothing, nothing)
    handlers.register_choices(broker, nothing, nothing, nothing)
    register_admin(broker, nothing)
    found = set()
    for subscriber in broker.subscribers:
        subject = cast(Any, subscriber).subject.broker_address
        bridged = subject.startswith(subjects.BRIDGE_REQUEST_PREFIX)
        verb = subjects.parse_bridge_request(subject) if bridged else Verb(subject.partition(".*.")[2])
        hints = get_type_hints(cast(Any, subscriber).calls[0].handler._original_call)
        reply = EpochMessage if hints["return"] is NatsResponse else hints["return"]
        assert reply is VERBS[verb].reply, verb
        assert hints.get("body", EmptyRequest) is VERBS[verb].request, verb
        found.add((verb, bridged))
    assert found == {(verb, False) for verb, one in VERBS.items() if one.over_nats} | {
        (verb, True) for verb, one in VERBS.items() if one.is_forwarded
    }


def test_it_is_valid(told: dict[str, Any]) -> None:
    fault = best_match(Draft7Validator(json.loads(SCHEMA.read_text())).iter_errors(told))
    assert fault is None, (fault.message, list(fault.path))


def test_every_subject_is_described_with_its_body_reply_and_errors(told: dict[str, Any]) -> None:
    verbs = VALIDATOR_VERBS | ADMIN_VERBS
    assert set(told["operations"]) == {"epoch", "draft", "sealed", *verbs}
    addresses = {channel["address"] for channel in told["channels"].values() if channel["address"]}
    assert addresses == {
        subjects.EPOCH,
        subjects.DRAFT,
        subjects.SEALED,
        *(subjects.requests(verb).replace("*", "{hotkey}") for verb in verbs),
    }
    for verb in verbs:
        operation = told["operations"][verb]
        answers = [one["$ref"].rpartition("/")[2] for one in operation["reply"]["messages"]]
        assert answers[1] == f"{verb}.error"
        for name in (f"{verb}.request", *answers):
            assert told["components"]["messages"][name]["payload"], name
        (_, stated) = told["components"]["messages"][answers[1]]["payload"]["allOf"]
        codes = set(stated["properties"]["error"]["enum"])
        assert {ErrorCode.BAD_SIGNATURE, ErrorCode.RATE_LIMITED, ErrorCode.INTERNAL} <= codes
        assert (ErrorCode.ADMIN_REQUIRED in codes) == (verb in ADMIN_VERBS)


def test_the_epoch_is_described_with_what_signs_it(told: dict[str, Any]) -> None:
    message = told["components"]["messages"]["EpochMessage"]
    assert set(message["headers"]["required"]) == {"Zipcast-Signer", "Zipcast-Signature", "Zipcast-Epoch"}
    fields = told["components"]["schemas"]["EpochMessage"]["properties"]
    assert {"nonce", "seedCommitment", "zipcodes", "submissionDeadline"} <= set(fields)
    assert told["operations"]["epoch"]["action"] == "send"


def test_every_field_has_a_meaning_and_every_example_is_valid(told: dict[str, Any]) -> None:
    for name, schema in told["components"]["schemas"].items():
        for field, one in schema.get("properties", {}).items():
            assert one["description"], (name, field)
    seen = 0
    for name, message in told["components"]["messages"].items():
        for example in message.get("examples", ()):
            judge = Draft202012Validator({**message["payload"], "components": told["components"]})
            fault = best_match(judge.iter_errors(example["payload"]))
            assert fault is None, (name, fault.message)
            seen += 1
    assert seen > 100


def test_the_bridge_s_own_subjects_are_nobody_else_s(told: dict[str, Any]) -> None:
    assert subjects.BRIDGE_REQUEST_PREFIX not in json.dumps(told)
    assert Verb.S3_FOLDER_ACCESS not in told["operations"]
