"""Tests the real SDK of Bittensor over a real websocket, against a node that replies correctly and in every
wrong way."""

import asyncio

import pytest
import pytest_asyncio

from schedulers.registry.chain import MAX_ANSWER_BYTES, ChainRegistry
from schedulers.registry.chain_process import public_endpoints
from schedulers.registry.source import RegistryUnreadableError
from tests.support.chain.metadata import ChainNeuron
from tests.support.chain.sdk import sdk_environment
from tests.support.chain.stand_in import Mood, StandInChain
from tests.support.fakes import MINER_HOTKEY, VALIDATOR_HOTKEY, hotkey_of, keypair, neuron
from tests.support.processes import wait_until
from zipcast.protocol.messages.registry import RegisteredNeuron

pytestmark = pytest.mark.long

COLDKEY = hotkey_of(keypair("Coldkey"))
# Larger than 2**53, where a float would round.
PATIENT_SECONDS = 60
STAKE = 1_234_567_890_123_456_789
GARBAGE = [Mood.MISSHAPEN, Mood.UNDECODABLE, Mood.SCALARS, Mood.BYTES]


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch):
    for name, value in sdk_environment(tmp_path).items():
        monkeypatch.setenv(name, value)


@pytest_asyncio.fixture(loop_scope="session")
async def chain():
    async with StandInChain.running() as chain:
        chain.neurons = (
            ChainNeuron(MINER_HOTKEY, COLDKEY, alpha_rao=1),
            ChainNeuron("", ""),
            ChainNeuron(VALIDATOR_HOTKEY, COLDKEY, permit=True, alpha_rao=STAKE),
        )
        yield chain


def registry(
    *chains: StandInChain, netuid: int = 46, deadline_seconds: float = PATIENT_SECONDS
) -> ChainRegistry:
    return ChainRegistry("test", netuid, tuple(chain.endpoint for chain in chains), deadline_seconds)


async def refusal(source: ChainRegistry) -> RegistryUnreadableError:
    """Return why a reading failed. Then report it to the source, as its reader does."""
    with pytest.raises(RegistryUnreadableError) as refused:
        await source.read()
    await source.distrust()
    return refused.value


async def test_neurons_come_with_their_keys_permits_and_stakes_to_the_rao(chain: StandInChain):
    source = registry(chain)
    reading = await source.read()
    await source.close()
    assert reading.block_number == 1000
    # A uid without a neuron is left out.
    assert reading.neurons == (
        neuron(MINER_HOTKEY, rao=1, uid=0),
        RegisteredNeuron(
            uid=2, hotkey=VALIDATOR_HOTKEY, coldkey=COLDKEY, validator_permit=True, alpha_stake_rao=STAKE
        ),
    )


async def test_one_connection_is_held_across_many_readings(chain: StandInChain):
    source = registry(chain)
    blocks = [(await source.read()).block_number for _ in range(30)]
    assert blocks == list(range(1000, 1030))
    assert (chain.opened, chain.held) == (1, 1)
    await source.close()
    await wait_until(lambda: chain.held == 0)


async def test_what_changes_on_chain_is_read_next_time(chain: StandInChain):
    source = registry(chain)
    await source.read()
    chain.neurons = (ChainNeuron(VALIDATOR_HOTKEY, COLDKEY),)
    assert [n.hotkey for n in (await source.read()).neurons] == [VALIDATOR_HOTKEY]
    await source.close()


async def test_a_slow_node_is_waited_for(chain: StandInChain):
    chain.slowness_seconds = 0.2
    source = registry(chain)
    assert len((await source.read()).neurons) == 2
    await source.close()


@pytest.mark.parametrize(
    ("mood", "connected"),
    [(mood, True) for mood in (Mood.SILENT, Mood.FAULTY, *GARBAGE)]
    + [(mood, False) for mood in (Mood.SILENT, Mood.FAULTY, Mood.BYTES)],
)
async def test_a_node_that_fails_is_given_up_and_read_again_once_it_is_well(
    chain: StandInChain, mood: Mood, connected: bool
):
    source = registry(chain)
    if connected:
        await source.read()
    chain.mood, source.deadline_seconds = mood, 1
    await refusal(source)
    chain.mood, source.deadline_seconds = Mood.WELL, PATIENT_SECONDS
    assert len((await source.read()).neurons) == 2
    await wait_until(lambda: chain.held == 1)
    assert chain.opened == 2
    await source.close()


async def test_a_silent_node_leaves_no_connection_behind(chain: StandInChain):
    chain.mood = Mood.SILENT
    source = registry(chain, deadline_seconds=0.3)
    for _ in range(3):
        assert "TimeoutError" in str(await refusal(source))
    await wait_until(lambda: chain.held == 0)


async def test_a_reading_that_is_cancelled_leaves_no_connection_behind(chain: StandInChain):
    chain.mood = Mood.SILENT
    source = registry(chain)
    reading = asyncio.create_task(source.read())
    await wait_until(lambda: chain.unanswered == 1)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await wait_until(lambda: chain.held == 0)


@pytest.mark.parametrize("size", [8 * MAX_ANSWER_BYTES, 64 * MAX_ANSWER_BYTES])
async def test_an_answer_that_would_fill_the_memory_is_refused(chain: StandInChain, size: int):
    """The reply is small on the wire, because nodes compress it. The next reading works as if nothing had
    happened."""
    source = registry(chain)
    assert len((await source.read()).neurons) == 2
    chain.mood, chain.bomb_bytes, source.deadline_seconds = Mood.BOMB, size, 3
    await refusal(source)
    chain.mood, source.deadline_seconds = Mood.WELL, PATIENT_SECONDS
    assert len((await source.read()).neurons) == 2
    await source.close()


async def test_a_node_that_is_too_busy_says_when_to_come_back(chain: StandInChain):
    chain.mood = Mood.BUSY
    source = registry(chain)
    busy = await refusal(source)
    assert "429" in str(busy)
    assert busy.retry_after_seconds == 7
    assert (chain.opened, chain.refused) == (0, 1)


async def test_a_chain_that_refuses_connections_is_read_once_it_takes_them(chain: StandInChain):
    source = registry(chain)
    await chain.stop()
    await refusal(source)
    await chain.start()
    assert len((await source.read()).neurons) == 2
    await source.close()


async def read_by_the_next(source: ChainRegistry) -> None:
    """The SDK hangs if it sends a request before it has noticed that the node is gone. The reader
    continues."""
    source.deadline_seconds = 5
    try:
        reading = await source.read()
    except RegistryUnreadableError:
        await source.distrust()
        source.deadline_seconds = PATIENT_SECONDS
        reading = await source.read()
    assert len(reading.neurons) == 2


async def test_a_chain_that_restarts_between_two_readings_is_read_by_the_next_at_the_latest(
    chain: StandInChain,
):
    source = registry(chain)
    await source.read()
    await chain.stop()
    await chain.start()
    await read_by_the_next(source)
    assert chain.held == 1
    await source.close()


async def test_a_chain_that_restarts_in_the_middle_of_a_reading_is_read_by_the_next_at_the_latest(
    chain: StandInChain,
):
    source = registry(chain)
    await source.read()
    chain.mood, source.deadline_seconds = Mood.SILENT, 2
    reading = asyncio.create_task(source.read())
    await wait_until(lambda: chain.unanswered)
    await chain.stop()
    chain.mood = Mood.WELL
    await chain.start()
    try:
        assert len((await reading).neurons) == 2
    except RegistryUnreadableError:
        # The SDK's background task ends if a node closes the connection in the middle of a request.
        await source.distrust()
        source.deadline_seconds = PATIENT_SECONDS
        assert len((await source.read()).neurons) == 2
    await source.close()


@pytest.mark.parametrize("neurons", [None, ()], ids=["no-such-subnet", "nobody-registered"])
async def test_an_absent_or_empty_subnet_is_refused_by_name(chain: StandInChain, neurons):
    source = registry(chain, netuid=7 if neurons is None else 46)
    chain.neurons = chain.neurons if neurons is None else neurons
    assert "check NET_UID and BT_NETWORK" in str(await refusal(source))


async def test_a_hotkey_that_stands_twice_makes_the_answer_garbage(chain: StandInChain):
    chain.neurons = (ChainNeuron(MINER_HOTKEY, COLDKEY), ChainNeuron(MINER_HOTKEY, COLDKEY, permit=True))
    assert "twice" in str(await refusal(registry(chain)))


async def test_the_next_endpoint_is_used_while_the_first_is_dead_and_the_first_again(chain: StandInChain):
    async with StandInChain.running() as fallback:
        fallback.neurons, fallback.block = chain.neurons, 5000
        source = registry(chain, fallback, deadline_seconds=20)  # each refusal takes this long
        assert (await source.read()).block_number == 1000
        await chain.stop()
        await refusal(source)
        assert [(await source.read()).block_number for _ in range(3)] == [5000, 5001, 5002]
        await chain.start()
        await fallback.stop()
        await refusal(source)
        assert (await source.read()).block_number == 1001
        assert (chain.opened, chain.held, fallback.opened) == (2, 1, 1)
        await source.close()


async def test_an_unknown_network_without_endpoints_is_named():
    with pytest.raises(RegistryUnreadableError, match="BT_CHAIN_ENDPOINTS"):
        await ChainRegistry("atlantis", 46, (), 1).read()


def test_the_sdks_own_endpoints_are_used_where_none_are_named():
    endpoints = public_endpoints("finney")
    assert len(endpoints) > 1
    assert all(endpoint.startswith("wss://") for endpoint in endpoints)
