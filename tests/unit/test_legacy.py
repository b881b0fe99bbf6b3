"""Tests `zipcast.legacy` with addresses and bridges that are unsafe."""

import json

import httpx
import pytest

from zipcast.errors import ErrorCode, ServiceError, SettingsError
from zipcast.legacy import LegacyClient, _parsed
from zipcast.protocol.hotkeys import Keypair

KEY = Keypair.create_from_uri("//Miner")


@pytest.mark.parametrize(
    "address",
    ["http://bridge.example.org", "http://127.0.0.1@bridge.example.org", "ftp://bridge.example.org", "", "x"],
)
def test_no_request_is_signed_for_an_unencrypted_connection(address: str):
    with pytest.raises(SettingsError):
        LegacyClient(address, KEY)


@pytest.mark.parametrize(
    "address", ["https://bridge.example.org/", "http://127.0.0.1:8000", "http://localhost:1"]
)
def test_encrypted_addresses_and_this_machine_are_accepted(address: str):
    assert LegacyClient(address, KEY).base_url == address.rstrip("/")


@pytest.mark.parametrize("retry_after", ["soon", [1], 10**400, -1, 1.5, {}])
def test_a_pause_that_is_none_is_an_unreadable_reply(retry_after: object):
    content = json.dumps({"error": "rate_limited", "message": "no", "retryAfter": retry_after}).encode()
    with pytest.raises(ServiceError) as refused:
        _parsed(httpx.Response(429), content)
    assert refused.value.code is ErrorCode.INTERNAL


def test_a_stated_pause_is_kept():
    content = json.dumps({"error": "rate_limited", "message": "no", "retryAfter": 3600}).encode()
    with pytest.raises(ServiceError) as refused:
        _parsed(httpx.Response(429), content)
    assert refused.value.retry_after == 3600
