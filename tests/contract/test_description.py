"""`/openapi.json` is complete, and what it shows is what it says; its guide's code does what it claims."""

import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from fastapi import FastAPI
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from openapi_spec_validator import validate

from http_bridge import glossary, schemas
from http_bridge.app import Bridge, build
from http_bridge.operations import OPERATIONS
from runtime.limits import Rules
from runtime.settings import LimitSettings
from tests.contract.test_golden import golden
from tests.unit.fakes import MINER, MINER_HOTKEY, SIGNER_HOTKEY, FakeClock
from zipcast import auth, btauth
from zipcast.errors import ERRORS
from zipcast.messages import WireModel

NOW = 1_795_320_000


def application() -> FastAPI:
    """With nothing behind its endpoints: none of them is asked."""
    parts = {
        "doorkeeper": SimpleNamespace(clock=FakeClock()),
        "limits": SimpleNamespace(rules=Rules.of(LimitSettings())),
        "forwarded": None,
        "health": None,
    }
    return build(cast(Bridge, SimpleNamespace(**parts)))


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    return application().openapi()


def operations(told: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in told["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def contents(told: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every body, sent or answered, that is JSON or a form."""
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


def test_every_endpoint_is_in_the_table_and_no_others(told: dict[str, Any]) -> None:
    assert {name for name, _ in operations(told)} == {f"{method} {path}" for method, path in OPERATIONS}
    for name, operation in operations(told):
        assert operation["summary"] and operation["description"], name


# What no golden document shows with all its fields.
UNSEEN = {"ErrorReply", "Alive"}


def test_every_field_has_a_meaning_and_an_example(told: dict[str, Any]) -> None:
    missing = []
    for name, schema in told["components"]["schemas"].items():
        for field, one in schema.get("properties", {}).items():
            assert one["description"].endswith("."), (name, field)
            elsewhere = one["description"].startswith(("Other spelling", "Taken, and not read"))
            if "examples" not in one and not elsewhere and name not in UNSEEN:
                missing.append((name, field))
    assert missing == []


def test_every_example_is_what_its_schema_says(told: dict[str, Any]) -> None:
    seen = 0
    for name, content in contents(told):
        shown = list(content.get("examples", {}).values())
        shown += [{"value": content["example"]}] if "example" in content else []
        for one in shown:
            value = one["value"] if "value" in one else golden("errors")[one["$ref"].rpartition("/")[2]]
            fault = best_match(judge(told, content["schema"]).iter_errors(value))
            assert fault is None, (name, fault.message, list(fault.path))
            seen += 1
        if name.endswith("request"):
            assert shown, name
    assert seen > 200


def test_every_error_is_told_with_its_status_and_its_headers(told: dict[str, Any]) -> None:
    for (method, path), operation in OPERATIONS.items():
        responses = told["paths"][path][method.lower()]["responses"]
        for code in operation.errors:
            refusal = responses[str(ERRORS[code].status)]
            if path != "/healthcheck" or ERRORS[code].status != 503:
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


def test_both_spellings_that_are_described_are_read() -> None:
    asked = {operation.request for operation in OPERATIONS.values() if operation.request is not None}
    for model in asked:
        for name in model.model_json_schema()["properties"] if model.model_fields else ():
            assert {name, schemas.other_spelling(name)} & set(model.model_fields), (model, name)
    body = {"minerHotkey": MINER_HOTKEY}
    model = next(one for one in asked if one.__name__ == "MinerAccessRequest")
    assert model.model_validate(body).miner_hotkey == MINER_HOTKEY


def test_no_meaning_is_left_over() -> None:
    """Of a model that is gone, say."""
    used = set()
    for model in _all_models(WireModel):
        for name, field in model.model_fields.items():
            known = str(field.alias or name)
            used |= {known, f"{model.__name__}.{known}"}
    used |= {"PoolRow.state", "population", "baseWeight", "lastScrapedAt", "lastAssignedAt"}
    used |= {"commitment"}
    assert [name for name in glossary.names() if name not in used] == []


def _all_models(model: type[WireModel]) -> Iterator[type[WireModel]]:
    for one in model.__subclasses__():
        yield one
        yield from _all_models(one)


def blocks(told: dict[str, Any], language: str) -> str:
    return "\n".join(re.findall(rf"```{language}\n(.*?)```", told["info"]["description"], re.S))


def test_the_guide_signs_what_is_accepted(told: dict[str, Any]) -> None:
    guide: dict[str, Any] = {}
    exec(compile(blocks(told, "python"), "guide.md", "exec"), guide)  # noqa: S102 - our own page
    sent = guide["parameters"](MINER, NOW)
    request = auth.parse_commitment(sent["hotkey"], sent["timestamp"], sent["signature"])
    assert auth.verify_commitment(request, [auth.current_commitment(NOW)])[0] == MINER_HOTKEY
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
        assert auth.CURRENT_COMMITMENT in text, language
