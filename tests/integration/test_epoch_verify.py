"""Tests that `zipcast epoch verify` finds every change that the service made to its own epochs afterwards,
from every source.

The changes are made in PostgreSQL with the service's own signing key, so that bridge and responder serve them
unsuspectingly. This is what an operator could do who regrets an epoch.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import psycopg
import pytest
import pytest_asyncio
from typer.testing import CliRunner

from devstack.first_data import SAMPLE_ZIPCODES
from devstack.options import StackOptions
from devstack.stack import Stack
from tests.support.people import client
from tests.support.processes import GENEROUS
from zipcast.cli.app import app
from zipcast.cli.errors import Status
from zipcast.protocol import envelope
from zipcast.protocol.hotkeys import Keypair
from zipcast.protocol.messages.epochs import EpochMessage

pytestmark = pytest.mark.long

EPOCHS = 12
Record = psycopg.AsyncConnection[tuple[Any, ...]]
Bend = Callable[[Record, str, Keypair], Coroutine[None, None, None]]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def bent(tmp_path_factory) -> AsyncIterator[Stack]:
    folder = tmp_path_factory.mktemp("bent")
    some = folder / "zipcodes.csv"
    header, *rows = SAMPLE_ZIPCODES.read_text().splitlines()
    some.write_text("\n".join([header, *rows[::5]]))
    # With this target, there is nearly always a honeypot that fits.
    settings = {**GENEROUS, "HONEYPOT_PROBABILITY": "1", "TARGET_LISTINGS": "10000"}
    options = StackOptions(epoch_seconds=4, zipcodes=some, state=folder / "state", settings=settings)
    async with Stack.running(options) as stack:
        yield stack


async def fetch(record: Record, query: str, *values: object) -> tuple[Any, ...]:
    row = await (await record.execute(query, values)).fetchone()
    assert row is not None
    return row


def message_bent(change: Callable[[dict[str, Any]], None]) -> Bend:
    """Replace the message in force by another one with a valid signature."""

    async def bend(record: Record, epoch_id: str, signer: Keypair) -> None:
        query = """select payload from epoch_messages join epochs using (epoch_id, message_sha256)
            where epoch_id = %s"""
        told = json.loads((await fetch(record, query, epoch_id))[0])
        change(told)
        sealed = envelope.seal(EpochMessage.model_validate(told), signer)  # type: ignore[arg-type]
        await record.execute(
            "insert into epoch_messages values (%s, encode(sha256(%s), 'hex'), %s, %s, %s, now())",
            (epoch_id, sealed.payload, sealed.payload, sealed.signer, sealed.signature),
        )
        await record.execute(
            "update epochs set message_sha256 = encode(sha256(%s), 'hex') where epoch_id = %s",
            (sealed.payload, epoch_id),
        )

    return bend


def record_bent(statement: str) -> Bend:
    async def bend(record: Record, epoch_id: str, signer: Keypair) -> None:
        changed = await record.execute(statement, {"id": epoch_id})
        assert changed.rowcount > 0

    return bend


def another_zipcode(told: dict[str, Any]) -> None:
    told["zipcodes"][-1]["zipcode"] = "99999"


def another_count(told: dict[str, Any]) -> None:
    told["zipcodes"][0]["expectedListings"] += 1


def another_order(told: dict[str, Any]) -> None:
    told["zipcodes"][0], told["zipcodes"][1] = told["zipcodes"][1], told["zipcodes"][0]


def replaced(field: str) -> Callable[[dict[str, Any]], None]:
    return lambda told: told.update({field: "00" * 32})


def another_predecessor(told: dict[str, Any]) -> None:
    told["previousEpochId"] = "2020-01-01T00-00-00"


# Each change, and the check that finds it. Each is made to one epoch.
BENDS: tuple[tuple[str, Bend, str], ...] = (
    ("pool", message_bent(replaced("candidatePoolHash")), "pool"),
    ("nonce", message_bent(replaced("nonce")), "nonce"),
    ("seed", record_bent("update epochs set seed = repeat('0', 64) where epoch_id = %(id)s"), "seed"),
    (
        "inputs",
        record_bent(
            "update epoch_inputs set inputs = inputs || ' '::bytea, "
            "inputs_sha256 = encode(sha256(inputs || ' '::bytea), 'hex') where epoch_id = %(id)s"
        ),
        "inputs",
    ),
    ("decoys", record_bent("update epoch_honeypots set content = '[]' where epoch_id = %(id)s"), "selection"),
    ("order", message_bent(another_order), "order"),
    ("revealed seed", message_bent(replaced("revealedSeed")), "chain"),
    ("zipcode", message_bent(another_zipcode), "nonce"),
    ("count", message_bent(another_count), "selection"),
    (
        "signature",
        record_bent("update epoch_messages set signature = repeat('5a', 64) where epoch_id = %(id)s"),
        "signature",
    ),
)


async def revealed_epochs(stack: Stack) -> list[str]:
    """Return enough revealed epochs, oldest first."""
    async with client(stack.ready, "miner-8") as connected:
        async for _ in connected.epochs():
            async with await psycopg.AsyncConnection.connect(stack.ready.postgres) as record:
                query = "select epoch_id from epochs where epoch_is_revealed(epoch_id) order by epoch_id"
                found = [epoch_id for (epoch_id,) in await (await record.execute(query)).fetchall()]
            if len(found) >= EPOCHS:
                return found
    raise AssertionError("the client ended")


async def run(stack: Stack, *arguments: str):
    options = ["--ready", str(stack.servers.state.ready), "--wallet", "validator-1", "--most", "100"]
    return await asyncio.to_thread(
        CliRunner().invoke, app, ["epoch", *arguments, *options], env={"COLUMNS": "300"}
    )


def told_of(output: str) -> dict[str, str]:
    """Return what the command says about each epoch."""
    lines = [line.partition("  ") for line in output.splitlines()]
    return {epoch_id: verdict for epoch_id, _, verdict in lines}


async def test_whatever_was_bent_is_found_out_from_every_source(bent: Stack, tmp_path: Path):
    epochs = await revealed_epochs(bent)
    straight = await run(bent, "verify", "--all", "--from", "nats")
    assert straight.exit_code == 0, straight.output
    assert (
        straight.output.count(
            "holds: signature, order, counts, beacon, seed, nonce, chain, promise, inputs, "
        )
        >= EPOCHS - 2
    )
    assert "history, pool, selection, honeypots" in straight.output
    signer = Keypair.create_from_seed(
        bytes.fromhex(bent.servers.keys["schedulers"]["SCHEDULERS_SIGNER_SEED"])
    )
    chosen = dict(zip((name for name, _, _ in BENDS), epochs[2:], strict=False))
    async with await psycopg.AsyncConnection.connect(bent.ready.postgres) as record:
        for name, bend, _ in BENDS:
            await bend(record, chosen[name], signer)
    kept = tmp_path / "epochs.json"
    exported = await run(bent, "export", str(kept), "--all", "--from", "http")
    assert exported.exit_code == 0, exported.output
    for source in ("http", "nats", str(kept)):
        checked = await run(bent, "verify", "--all", "--from", source)
        assert checked.exit_code == Status.NOT_VERIFIED, checked.output
        told = told_of(checked.output)
        for name, _, check in BENDS:
            faults = told[chosen[name]].partition("; not checked")[0]
            assert f"{check}: " in faults, (source, name, told[chosen[name]])
        assert told[epochs[1]].startswith("holds: "), checked.output
    one = await run(bent, "verify", chosen["nonce"], "--from", "nats")
    assert one.exit_code == Status.NOT_VERIFIED
    assert "nonce: " in one.output
    fine = await run(bent, "verify", epochs[1], "--from", "nats")
    assert fine.exit_code == 0, fine.output
