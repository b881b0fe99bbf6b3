"""Tests addresses of relays to which no request can be sent."""

import pytest

from zipcast.client.relays import RelayFailure, Relays, relay_addresses
from zipcast.protocol.beacon import LOCAL_CHAIN, QUICKNET, Chain

UNUSABLE = ["https://127.0.0.1:99999", "https://[::1", "https://127.0.0.1:0", "https://", "https://host/?a=b"]
RAISING = ["https://127.0.0.1:99999", "https://[::1", "https://127.0.0.1:1/\x00"]
"""Addresses for which the HTTP library raises an error that is not its own HTTPError."""


@pytest.mark.parametrize("address", UNUSABLE)
@pytest.mark.parametrize("chain", [QUICKNET, LOCAL_CHAIN], ids=lambda one: one.name)
def test_an_address_that_cannot_be_asked_is_refused_as_a_setting(address: str, chain: Chain) -> None:
    with pytest.raises(ValueError, match="relay"):
        relay_addresses([address], chain)


@pytest.mark.parametrize("port", ["", ":443", ":65535"])
@pytest.mark.parametrize("path", ["", "/", "/api/v1/beacon"])
def test_usable_addresses_are_kept(port: str, path: str) -> None:
    address = f"https://relay.example.org{port}{path}"
    assert address.rstrip("/") in relay_addresses([address], QUICKNET)


@pytest.mark.parametrize("address", RAISING)
async def test_an_unusable_address_is_a_relay_that_cannot_be_reached(address: str) -> None:
    """If it raised an error, no other relay would be used, and no epoch could be drawn."""
    failures: list[RelayFailure] = []
    relays = Relays(
        (address, address),
        QUICKNET,
        hedge_seconds=0.0,
        timeout_seconds=1.0,
        on_failure=lambda _, failure: failures.append(failure),
    )
    assert await relays.signature(1000) is None
    assert failures == [RelayFailure.UNREACHABLE] * 2
