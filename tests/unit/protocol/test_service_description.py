"""Tests the service's description of itself, which `zipcast profile add` shows beside the signers."""

import json

import pytest
from pydantic import ValidationError

from tests.support.signed_epochs import SIGNER
from zipcast.protocol.messages.service import ServiceDescription

DESCRIPTION: dict[str, object] = {
    "success": True,
    "network": "finney",
    "netuid": 46,
    "signers": [SIGNER.ss58_address],
    "servers": ["tls://nats.example.org:4222", "wss://nats.example.org"],
    "http": "https://bridge.example.org",
}


def read(**changes: object) -> ServiceDescription:
    return ServiceDescription.model_validate_json(json.dumps(DESCRIPTION | changes))


def test_an_honest_description_is_read() -> None:
    assert read().network == "finney"
    assert read(http=None, servers=[]).servers == ()


@pytest.mark.parametrize(
    "text", ["x\nsigner: 5Good", "x\n", "\n" * 60, "x y", "x\x1b[2J", "x\u202e", "x\u00a0y"]
)
@pytest.mark.parametrize("field", ["network", "servers", "http"])
def test_no_text_of_it_can_look_like_another_line(field: str, text: str) -> None:
    """Otherwise a hostile bridge could print another signer than the one that is stored."""
    with pytest.raises(ValidationError):
        read(**{field: [f"tls://{text}"] if field == "servers" else text})
