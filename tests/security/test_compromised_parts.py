"""Tests which secrets and rights an intruder in one process has, and which it lacks."""

import json
from pathlib import Path

import nats
import pytest
import pytest_asyncio
from nats.aio.client import Client

from devstack.stack import Stack
from tests.support.folder_access import asked
from tests.support.people import keypair, raw_connection
from tests.support.processes import GENEROUS, wait_until
from zipcast.client.local_stack import Ready
from zipcast.protocol import subjects
from zipcast.protocol.messages.base import parse_error
from zipcast.protocol.verbs import Verb

# For each process, parts of the names of secrets that only other processes have.
FOREIGN = {
    "callout": ["AWS_", "S3_", "DATABASE_URL", "SEAL", "SCHEDULERS_", "RESPONDER_", "BRIDGE_"],
    "http_bridge": ["AWS_", "S3_", "SEAL", "SCHEDULERS_", "RESPONDER_", "CALLOUT_"],
    "responder": ["SCHEDULERS_", "CALLOUT_", "BRIDGE_"],
    "schedulers": ["AWS_", "S3_", "SEAL", "RESPONDER_", "CALLOUT_", "BRIDGE_"],
}


@pytest.mark.parametrize("process", FOREIGN)
def test_a_process_holds_no_key_of_another(ready: Ready, process: str):
    environment = Path(f"/proc/{ready.pids[process]}/environ").read_bytes().decode().split("\0")
    names = [line.partition("=")[0] for line in environment if line]
    assert "NATS_URL" in names
    # Variables that the tests set for every process, such as limits, give access to nothing.
    own = [name for name in names if name not in GENEROUS]
    assert not [name for name in own for part in FOREIGN[process] if name.startswith(part) or part in name]


@pytest_asyncio.fixture(loop_scope="session")
async def bridge(stack: Stack, ready: Ready):
    """Return a connection with the bridge's own key, and the list of its errors."""
    told: list[str] = []

    async def tell(error: Exception) -> None:
        told.append(str(error))

    connection = await nats.connect(
        ready.nats,
        nkeys_seed_str=stack.servers.keys["bridge"]["BRIDGE_NATS_SEED"],
        inbox_prefix=subjects.BRIDGE_INBOX,
        error_cb=tell,
    )
    yield connection, told
    await connection.close()


async def test_the_bridges_key_alone_mints_nothing(ready: Ready, bridge: tuple[Client, list[str]]):
    connection, _ = bridge
    victim = keypair(ready, "miner-1").ss58_address
    unsigned = {**asked(ready, "miner-1"), "signature": "ab" * 64}
    bodies = [b"{}", json.dumps(unsigned).encode(), json.dumps({"hotkey": victim}).encode()]
    for verb in (Verb.S3_FOLDER_ACCESS, Verb.S3_VALIDATOR_UPLOAD, Verb.AUTH_LEGACY):
        for body in bodies:
            answer = await connection.request(subjects.bridge_request(verb), body, timeout=5)
            assert parse_error(answer.data).status in {400, 401}


async def test_the_bridges_key_reaches_nothing_else(ready: Ready, bridge: tuple[Client, list[str]]):
    connection, told = bridge
    victim = keypair(ready, "miner-1").ss58_address
    forbidden = [
        subjects.EPOCH,
        subjects.EPOCH_INGEST,
        "$KV.registry.snapshot",
        "$JS.API.STREAM.PURGE.EPOCHS",
        "$SYS.REQ.SERVER.PING",
        f"zipcast.v1.{victim}.s3.miner-upload",
        f"_INBOX.{victim}.canary",
    ]
    for subject in forbidden:
        await connection.publish(subject, b"canary")
    for subject in ("_INBOX.>", f"_INBOX.{victim}.>", "zipcast.v1.*.*.*", ">"):
        await connection.subscribe(subject)
        forbidden.append(subject)
    await connection.flush()
    await wait_until(lambda: len(told) >= len(forbidden))
    for subject in forbidden:
        assert any(f'"{subject.lower()}"' in error.lower() for error in told), subject


async def test_the_responder_does_not_answer_the_bridge_into_a_clients_inbox(
    ready: Ready, bridge: tuple[Client, list[str]]
):
    connection, _ = bridge
    victim = keypair(ready, "miner-1")
    listening = await raw_connection(ready, victim)
    inbox = await listening.subscribe(f"_INBOX.{victim.ss58_address}.>")
    await listening.flush()
    for subject in (subjects.bridge_request(Verb.S3_FOLDER_ACCESS), subjects.BRIDGE_HEALTH):
        await connection.publish(subject, b"{}", reply=f"_INBOX.{victim.ss58_address}.canary")
    await connection.request(subjects.BRIDGE_HEALTH, b"{}", timeout=5)
    await listening.flush()
    assert inbox.pending_msgs == 0
    await listening.close()
