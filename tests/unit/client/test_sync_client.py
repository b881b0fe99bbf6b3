"""Tests that the client without asyncio has everything that the other one has."""

import inspect

import pytest

import zipcast
from zipcast import ClosedError, SyncZipcast, Zipcast
from zipcast.protocol.hotkeys import Keypair

KEY = Keypair.create_from_uri("//Miner")


def public(kind: type) -> dict[str, inspect.Signature]:
    return {
        name: inspect.signature(method)
        for name, method in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_")
    }


def test_both_have_the_same_methods_with_the_same_parameters():
    sync, other = public(SyncZipcast), public(Zipcast)
    assert sync.keys() == other.keys()
    for name, signature in other.items():
        assert sync[name].parameters == signature.parameters, name
    connecting = (inspect.signature(one).parameters for one in (zipcast.connect, zipcast.connect_sync))
    assert len({tuple(parameters.values()) for parameters in connecting}) == 1


def test_a_client_that_is_not_open_says_so():
    client = zipcast.connect_sync(
        "nats://127.0.0.1:4222", wallet=KEY, signer=KEY.ss58_address, netuid=46, network="test"
    )
    with pytest.raises(ClosedError):
        client.current()
