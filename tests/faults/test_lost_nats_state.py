"""Tests that registry and epochs continue if nats-server loses everything that it stored."""

import asyncio
import json
import shutil

import nats.errors
import pytest

from devstack.options import StackOptions
from devstack.stack import Stack
from tests.faults.observer import Observer
from tests.support.people import keypair, raw_connection
from tests.support.processes import wait_until
from zipcast.protocol.hotkeys import Keypair

pytestmark = pytest.mark.long


async def refused_in_the_end(stack: Stack, signer: Keypair) -> None:
    """Wait until the callout has read the registry without that hotkey."""
    for _ in range(50):
        try:
            connection = await raw_connection(stack.ready, signer)
        except nats.errors.AuthorizationError:
            return
        await connection.close()
        await asyncio.sleep(0.2)
    pytest.fail("a hotkey that has left the registry is still admitted")


async def watching(stack: Stack) -> Observer:
    """Return an observer that is connected."""
    observer = Observer(stack.ready)
    for _ in range(100):
        try:
            await observer.watch("miner-2")
            break
        except (nats.errors.Error, OSError):
            continue  # the callout has not reconnected yet
    return observer


async def test_a_stream_that_nats_server_cannot_restore_is_created_again(tmp_path):
    """This happens if nats-server is killed between writing a stream's description and its checksum."""
    async with Stack.running(StackOptions(epoch_seconds=3, state=tmp_path / "state")) as stack:
        supervisor = stack.servers.supervisor
        await supervisor.take_down("nats")
        (checksum,) = stack.servers.state.nats.rglob("EPOCHS/meta.sum")
        checksum.write_text("0" * 16)
        await supervisor.bring_up("nats")
        observer = await watching(stack)
        await wait_until(lambda: len(observer.heard) >= 2)
        observer.check()
        await observer.close()


async def test_who_leaves_the_registry_after_that_is_refused_and_epochs_are_published(tmp_path):
    async with Stack.running(StackOptions(epoch_seconds=3, state=tmp_path / "state")) as stack:
        state, supervisor = stack.servers.state, stack.servers.supervisor
        await supervisor.take_down("nats")
        shutil.rmtree(state.nats)
        state.nats.mkdir()
        await supervisor.bring_up("nats")
        leaving = keypair(stack.ready, "miner-1")
        registry = json.loads(state.registry.read_text())
        state.registry.write_text(
            json.dumps([neuron for neuron in registry if neuron["hotkey"] != leaving.ss58_address])
        )
        observer = await watching(stack)
        await wait_until(lambda: len(observer.heard) >= 2)
        await refused_in_the_end(stack, leaving)
        observer.check()
        await observer.close()
