"""Tests the local system with the hotkeys of a network's chain, which a stand-in replaces."""

from pathlib import Path

import pytest

from devstack.options import StackOptions
from devstack.stack import Stack
from tests.support.chain.metadata import ChainNeuron
from tests.support.chain.sdk import sdk_environment
from tests.support.chain.stand_in import StandInChain
from tests.support.fakes import keypair as known
from tests.support.people import trust_of
from zipcast.client.client import ZipcastClient


@pytest.mark.long
async def test_a_hotkey_of_the_chain_reads_an_epoch(tmp_path: Path):
    signer = known("somebody on the chain")
    async with StandInChain.running(netuid=7) as chain:
        chain.neurons = (ChainNeuron(signer.ss58_address, signer.ss58_address, alpha_rao=1),)
        settings = {"BT_CHAIN_ENDPOINTS": chain.endpoint} | sdk_environment(tmp_path)
        options = StackOptions(
            epoch_seconds=60, state=tmp_path / "state", settings=settings, network="test", netuid=7
        )
        async with Stack.running(options) as stack:
            assert (stack.ready.network, stack.ready.netuid) == ("test", 7)
            async with ZipcastClient([stack.ready.nats], signer, trust_of(stack.ready)) as client:
                message = (await anext(client.epochs())).epoch.message
    assert (message.network, message.netuid) == ("test", 7)
