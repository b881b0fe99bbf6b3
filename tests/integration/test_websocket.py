"""Tests NATS over WebSocket: the same proof, rights and epochs as over TCP."""

import nats.errors
import pytest

from tests.support.people import keypair, trust_of
from zipcast.client.client import ZipcastClient
from zipcast.client.connection import InsecureServerError, Server
from zipcast.client.local_stack import Ready
from zipcast.protocol.hotkeys import Keypair


async def test_a_miner_behind_a_strict_firewall_hears_epochs_and_asks_as_any_other(ready: Ready):
    async with ZipcastClient([ready.websocket], keypair(ready, "miner-1"), trust_of(ready)) as client:
        via = []
        async for received in client.epochs():
            via.append(received.via)
            if "push" in via:
                break
        grant = await client.miner_upload(received.epoch.message.epoch_id)
    assert grant.epoch_id == received.epoch.message.epoch_id


async def test_a_stranger_is_refused_there_too(ready: Ready):
    stranger = Keypair.create_from_uri("//Stranger")
    with pytest.raises(nats.errors.AuthorizationError):
        async with ZipcastClient([ready.websocket], stranger, trust_of(ready)):
            pytest.fail("let in")


def test_plain_text_is_for_loopback_only_and_the_audience_is_the_name_that_tls_verified():
    assert Server.parse("wss://nats.example.org").audience == "nats.example.org"
    assert Server.parse("ws://127.0.0.1:8080").audience == "loopback"
    with pytest.raises(InsecureServerError, match="wss://"):
        Server.parse("ws://nats.example.org")
