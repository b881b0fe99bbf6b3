"""Tests `zipcast epoch preview`: it shows what preparing would give, writes nothing, and needs the
secrets."""

import asyncio
import json
from dataclasses import replace

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine
from typer.testing import CliRunner, Result

from devstack.logins import login_url
from devstack.servers import Servers
from storage.database.tables import Epoch, EpochInputs
from tests.support.scheduling import FIRST, preparer, running_epoch
from zipcast.cli.app import app
from zipcast.cli.errors import Status
from zipcast.protocol.calendar import EpochCalendar
from zipcast.protocol.messages.epochs import EpochMessage

SIGNER_SEED = "01" * 32
# The command prepares the next epoch by the clock. With epochs of a day, it hardly ever starts during a test.
DAYS = EpochCalendar(86_400)


def environment(url: str, **changes: str) -> dict[str, str]:
    return {
        "DATABASE_URL": url,
        "NATS_URL": "nats://127.0.0.1:1",  # no server listens there, and none is needed
        "BT_NETWORK": "local",
        "ZIPCAST_ENVIRONMENT": "development",
        "EPOCH_DURATION_SECONDS": str(DAYS.epoch_seconds),
        "SCHEDULERS_NATS_SEED": "x",
        "SCHEDULERS_SYS_NATS_SEED": "x",
        "SCHEDULERS_SIGNER_SEED": SIGNER_SEED,
        "ZIPCODE_SECRET_KEY": FIRST.keys["1"].decode(),
        "COLUMNS": "200",
        **changes,
    }


async def run(url: str, *options: str, **changes: str) -> Result:
    arguments = ["epoch", "preview", *options]
    return await asyncio.to_thread(CliRunner().invoke, app, arguments, env=environment(url, **changes))


async def rows(database: AsyncEngine) -> list[int]:
    async with database.connect() as connection:
        return [
            (await connection.execute(select(func.count()).select_from(table))).scalar_one()
            for table in (Epoch, EpochInputs)
        ]


async def test_a_preview_shows_nothing_before_the_draw_and_then_what_is_prepared(
    servers: Servers, database, database_url: str
):
    url = login_url(servers.state, database_url, "schedulers")
    interval = DAYS.after(await running_epoch(DAYS))
    dry = json.loads((await run(url, "--json")).stdout)
    assert await rows(database) == [0, 0]
    assert dry == {
        "prepared": False,
        "epochId": interval.epoch_id,
        "targetListings": preparer(database).settings.target_listings,
        "drawnAt": dry["drawnAt"],
        "relaxedCooldown": [],
        "relaxedAgeDays": 0,
        "message": None,
    }
    assert "drawn at" in (await run(url)).stdout
    maker = replace(preparer(database), calendar=DAYS)
    stored = await maker.prepare(interval)
    message = EpochMessage.model_validate_json(stored.envelope.payload)
    prepared = await run(url, "--json")
    assert json.loads(prepared.stdout) == {
        "prepared": True,
        "epochId": interval.epoch_id,
        "targetListings": message.target_listings,
        "drawnAt": None,
        "relaxedCooldown": [],
        "relaxedAgeDays": 0,
        "message": json.loads(stored.envelope.payload),
    }
    readable = await run(url)
    assert f"{interval.epoch_id}: {len(message.zipcodes)} zipcodes" in readable.stdout
    assert message.zipcodes[0].zipcode in readable.stdout


@pytest.mark.long
@pytest.mark.parametrize(
    ("process", "changes", "line"),
    [
        ("http_bridge", {}, "the database failed: permission denied"),
        ("responder", {}, "the database failed: permission denied"),
        ("schedulers", {"TARGET_LISTINGS": "1"}, "the next epoch cannot be prepared: "),
        ("schedulers", {"ZIPCODE_SECRET_KEY": ""}, "ZIPCODE_SECRET_KEY: must be set"),
    ],
)
async def test_who_has_not_the_schedulers_rights_and_secrets_sees_nothing(
    servers: Servers, database, database_url: str, process: str, changes: dict[str, str], line: str
):
    refused = await run(login_url(servers.state, database_url, process), "--json", **changes)
    assert refused.exit_code in {Status.FAILED, Status.USAGE, Status.UNAVAILABLE}
    assert json.loads(refused.stdout)["message"].startswith(line)
    assert refused.stderr == ""
