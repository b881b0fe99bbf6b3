"""Tests that `/openapi.json` is complete, that its examples match its schemas, and that the code in its guide
works."""

import re
from collections.abc import Iterator
from itertools import chain
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from openapi_spec_validator import validate

from tests.contract.golden import golden
from tests.support.described_bridge import NOW, application, blocks
from tests.support.fakes import MINER, MINER_HOTKEY, SIGNER_HOTKEY
from zipcast.protocol import btauth, signed_texts
from zipcast.protocol.errors import ERRORS
from zipcast.protocol.verbs import VERBS, Verb

IDENTITY = {"hotkey": MINER_HOTKEY, "timestamp": NOW, "signature": "0" * 128}
PATHS = {verb: f"{one.http.method} {one.http.path} " for verb, one in VERBS.items() if one.http is not None}
GOLDEN = {
    Verb.EPOCH_CURRENT: ("current-reply",),
    Verb.EPOCH_VALIDATION: ("epoch-reply-running", "epoch-reply-revealed"),
    Verb.EPOCH_POOL: ("epoch-pool-reply",),
    Verb.VALIDATOR_CONSENSUS: ("consensus-reply",),
    Verb.VALIDATOR_RESULTS: ("results-reply",),
    Verb.MINER_STATUS: ("status-reply",),
    Verb.S3_VALIDATOR_UPLOAD: ("validator-upload-reply", "validator-upload-reply-without-sts"),
    Verb.S3_FOLDER_ACCESS: ("folder-access-reply",),
    Verb.S3_VALIDATOR_ACCESS: ("validator-access-reply",),
    Verb.S3_MINER_ACCESS: ("miner-access-reply",),
    Verb.AUTH_LEGACY: ("legacy-choice-reply",),
    Verb.EPOCH_GENERATE: ("admin-reply-epoch", "admin-reply-queued", "admin-reply-failed"),
    Verb.TARGET_OVERRIDE: ("admin-reply-override",),
    Verb.CONNECTIONS_LIST: ("admin-reply-connections",),
    Verb.CONNECTIONS_KICK: ("admin-reply-kick",),
    Verb.COMMANDS_LIST: ("admin-commands-reply",),
}
SENT = {
    Verb.VALIDATOR_RESULTS: "request-results",
    Verb.MINER_STATUS: "request-status",
    Verb.S3_VALIDATOR_UPLOAD: "request-validator-upload",
    Verb.S3_VALIDATOR_ACCESS: "request-validator-access",
    Verb.S3_MINER_ACCESS: "request-miner-access",
    Verb.AUTH_LEGACY: "request-legacy-choice",
    Verb.EPOCH_GENERATE: "request-admin-epoch-generate",
    Verb.TARGET_OVERRIDE: "request-admin-target-override",
    Verb.CONNECTIONS_KICK: "request-admin-connections-kick",
}


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    return application().openapi()


def test_it_links_to_the_documentation_of_the_operator(told: dict[str, Any]):
    assert told["externalDocs"]["url"] == "https://docs.example.org/"


def operations(told: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in told["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def contents(told: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the content of every body, of requests and replies, that is JSON or a form."""
    for name, operation in operations(told):
        bodies = {"request": operation.get("requestBody", {}), **operation["responses"]}
        for what, body in bodies.items():
            for media, content in body.get("content", {}).items():
                if media != "text/event-stream":
                    yield f"{name} {what}", content


def judge(told: dict[str, Any], schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator(
        {**schema, "components": told["components"]}, format_checker=Draft202012Validator.FORMAT_CHECKER
    )


def test_it_is_a_valid_description(told: dict[str, Any]) -> None:
    validate(told)


def test_every_request_over_http_is_described(told: dict[str, Any]) -> None:
    described = {name for name, _ in operations(told)}
    assert {f"{one.http.method} {one.http.path}" for one in VERBS.values() if one.http} < described
    for name, operation in operations(told):
        assert operation["summary"] and operation["description"], name


def test_every_field_has_a_meaning(told: dict[str, Any]) -> None:
    missing = [
        (name, field)
        for name, schema in told["components"]["schemas"].items()
        for field, one in schema.get("properties", {}).items()
        if not one.get("description", "").endswith(".")
    ]
    assert missing == []


def test_every_example_is_what_its_schema_says(told: dict[str, Any]) -> None:
    seen = 0
    for name, content in contents(told):
        for one in content.get("examples", {}).values():
            fault = best_match(judge(told, content["schema"]).iter_errors(one["value"]))
            assert fault is None, (name, fault.message, list(fault.path))
            seen += 1
    for name, schema in told["components"]["schemas"].items():
        for field, one in schema.get("properties", {}).items():
            for example in one.get("examples", ()):
                fault = best_match(judge(told, one).iter_errors(example))
                assert fault is None, (name, field, fault.message)
                seen += 1
    assert seen > 400


def test_golden_documents_are_what_is_described(told: dict[str, Any]) -> None:
    seen = set()
    for name, content in contents(told):
        verb = next((verb for verb, path in PATHS.items() if name.startswith(path)), None)
        if verb is None:
            continue
        valid = judge(told, content["schema"])
        for document in GOLDEN.get(verb, ()) if name.endswith(" 200") else ():
            fault = best_match(valid.iter_errors(golden(document)))
            assert fault is None, (name, fault.message, list(fault.path))
            seen.add(document)
        if name.endswith(" request") and verb in SENT:
            sent = golden(SENT[verb])
            is_form = "anyOf" not in content["schema"] and VERBS[verb].commitments
            assert valid.is_valid(sent | IDENTITY) and (is_form or valid.is_valid(sent)), name
            seen.add(SENT[verb])
    assert seen == {*SENT.values(), *chain.from_iterable(GOLDEN.values())}


def test_every_error_is_told_with_its_status_and_its_headers(told: dict[str, Any]) -> None:
    for spec in VERBS.values():
        if spec.http is None:
            continue
        responses = told["paths"][spec.http.path][spec.http.method.lower()]["responses"]
        for code in spec.errors:
            refusal = responses[str(ERRORS[code].status)]
            assert f"`{code}`" in refusal["description"]
            assert str(code) in refusal["content"]["application/json"]["examples"]
            assert ("Retry-After" in refusal["headers"]) == ERRORS[code].retryable
    for name, operation in operations(told):
        for response in operation["responses"].values():
            assert "X-Request-Id" in response["headers"], name


def test_a_reply_that_lacks_a_field_is_not_what_is_described(told: dict[str, Any]) -> None:
    reply = golden("current-reply")
    schema = {"$ref": "#/components/schemas/CurrentAssignmentReply"}
    assert judge(told, schema).is_valid(reply)
    for name in reply:
        assert not judge(told, schema).is_valid({key: one for key, one in reply.items() if key != name})


def test_the_guide_signs_what_is_accepted(told: dict[str, Any]) -> None:
    guide: dict[str, Any] = {}
    exec(compile(blocks(told, "python"), "guide.md", "exec"), guide)  # noqa: S102 - our own page
    sent = guide["parameters"](MINER, NOW)
    request = signed_texts.parse_commitment(sent["hotkey"], sent["timestamp"], sent["signature"])
    assert (
        signed_texts.verify_commitment(request, [signed_texts.CURRENT_COMMITMENT.format(timestamp=NOW)])[0]
        == MINER_HOTKEY
    )
    body = b'{"accepted":false}'
    headers = guide["btauth_headers"](MINER, "POST", "/api/v1/auth/legacy", body, NOW * 10**9, SIGNER_HOTKEY)
    verified = btauth.verify(
        btauth.parse(headers),
        method="POST",
        path="/api/v1/auth/legacy",
        body=body,
        receivers=frozenset({SIGNER_HOTKEY}),
    )
    assert verified.hotkey == MINER_HOTKEY


def test_the_guide_names_the_text_in_every_language(told: dict[str, Any]) -> None:
    for language in ("python", "bash", "javascript"):
        text = re.sub(r"\$?\{timestamp\}|\$NOW", "{timestamp}", blocks(told, language))
        assert signed_texts.CURRENT_COMMITMENT in text, language
