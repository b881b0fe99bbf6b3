"""Tests that the responder's FastStream broker is built without a warning, with our own connection."""

import inspect

from faststream.nats import NatsBroker
from pydantic import SecretStr

from broker_service.responder.__main__ import make_broker
from service.lifecycle import Lifecycle
from service.nats_client import HardenedClient
from service.nats_connection import Link


class _Opened(Link):
    """A connection that needs no server."""

    async def open(self) -> None:
        pass


def link() -> Link:
    return _Opened("nats://localhost:1", "responder", SecretStr("seed"), Lifecycle(None), HardenedClient())


async def test_it_is_built_without_a_warning_and_uses_our_connection(recwarn):
    ours = link()
    broker = make_broker(lambda message, context: None, ours)  # type: ignore[arg-type, return-value]
    await broker.connect()
    assert broker.connection is ours.connection
    assert broker.config.connection_state.connection is ours.connection
    assert [str(warning.message) for warning in recwarn] == []


def test_the_method_that_is_overridden_is_there():
    """`_connect` is a private name of FastStream. The test above fails if another method connects."""
    assert inspect.iscoroutinefunction(NatsBroker._connect)
    assert inspect.signature(NatsBroker._connect).parameters.keys() == {"self"}
