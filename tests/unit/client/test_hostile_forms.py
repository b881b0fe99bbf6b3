"""Tests that forms and URLs of a hostile responder lead to the documented errors of the SDK."""

import base64
import json
from pathlib import Path

import pytest

from zipcast.client.transfers import post_file
from zipcast.errors import TransferError

NOWHERE = "http://127.0.0.1:99999/bucket"


def policy(expiration: object) -> str:
    return base64.b64encode(json.dumps({"expiration": expiration}).encode()).decode()


@pytest.mark.parametrize(
    "fields",
    [
        {"policy": policy("2099-01-01T00:00:00")},
        {"key": "a", "policy": policy("2099-01-01T00:00:00")},
        {"key": "a", "policy": policy(7)},
        {"key": "a", "policy": base64.b64encode(b"[" * 100_000).decode()},
        {"key": "a", "policy": "no base64"},
        {"key": "a"},
    ],
)
async def test_a_form_that_makes_no_sense_is_an_upload_error(tmp_path: Path, fields: dict[str, str]) -> None:
    file = tmp_path / "listings.json"
    file.write_text("[]")
    with pytest.raises(TransferError):
        await post_file(NOWHERE, fields, "listings.json", file)
