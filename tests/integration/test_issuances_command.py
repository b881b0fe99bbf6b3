"""Tests `zipcast issuances` against a database with known rows."""

import asyncio
import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

from sqlalchemy import insert
from typer.testing import CliRunner

from storage.database.engine import open_engine
from storage.database.issuances import Issuance
from storage.database.tables import CredentialIssuance
from tests.support.fakes import MINER_HOTKEY, VALIDATOR_HOTKEY
from zipcast.cli.app import app


def issuance(hotkey: str, hours_ago: float, lasts_hours: float) -> Issuance:
    """Store an issuance. Each test runs the command within half an hour of this, which is the shortest
    validity."""
    issued_at = datetime.now(UTC) - timedelta(hours=hours_ago)
    return Issuance(
        issued_at=issued_at,
        expires_at=issued_at + timedelta(hours=lasts_hours),
        hotkey=hotkey,
        role="miner",
        kind="s3.miner-upload",
        bucket="miners",
        prefix=f"data/hotkey={hotkey}/",
        epoch_id=None,
        request_id=f"{hotkey[:4]}-{hours_ago}",
        source="nats",
        outcome=None,
    )


async def listed(database_url: str, *arguments: str) -> list[str]:
    """Return the ids of requests in the order of the command's output."""
    run = CliRunner().invoke
    command = ["issuances", "--database-url", database_url, "--json", *arguments]
    shown = await asyncio.to_thread(run, app, command)
    assert shown.exit_code == 0, shown.output
    return [one["requestId"] for one in json.loads(shown.stdout)["issuances"]]


async def test_an_operator_sees_who_was_issued_what_newest_first(database_url: str):
    engine = open_engine(database_url, application_name="test")
    old, new = issuance(MINER_HOTKEY, 30, 24), issuance(MINER_HOTKEY, 1, 4)
    other = issuance(VALIDATOR_HOTKEY, 2, 4)
    listing = issuance(MINER_HOTKEY, 2.4, 0.5)  # the form has expired, the URL of its list has not
    async with engine.begin() as connection:
        for one in (old, new, other, listing):
            # Access may be granted a day before or after the day in its signed text, but not two days.
            signed_on = min(datetime.now(UTC).date(), one.issued_at.date() + timedelta(days=1))
            signed = {"signed_on": signed_on, "request_key": one.request_id}
            row = asdict(one) | signed | {"body_sha256": "0" * 64}
            await connection.execute(insert(CredentialIssuance), [row])
    await engine.dispose()
    assert await listed(database_url) == [one.request_id for one in (new, other, listing, old)]
    assert await listed(database_url, "--hotkey", MINER_HOTKEY) == [
        one.request_id for one in (new, listing, old)
    ]
    assert await listed(database_url, "--valid") == [one.request_id for one in (new, other, listing)]
    assert await listed(database_url, "--hours", "1.5") == [new.request_id]
    assert await listed(database_url, "--limit", "1") == [new.request_id]
    run, plain = CliRunner().invoke, ["issuances", "--database-url", database_url]
    table = await asyncio.to_thread(run, app, plain, env={"COLUMNS": "60"})
    assert all(cell in table.output for cell in (MINER_HOTKEY, new.prefix, new.request_id))
    assert (await asyncio.to_thread(run, app, [*plain, "--hotkey", "x"])).exit_code == 2
