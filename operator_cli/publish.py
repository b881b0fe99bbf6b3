"""Publishes the running epoch by hand: `zipcast epoch publish`.

The command runs a scheduler in this process until the running epoch is published, and then stops it. A
scheduler that runs elsewhere does no harm: the first message of an epoch counts.
"""

import asyncio
import sys
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from operator_cli.config import EnvFiles, read_settings
from operator_cli.database import database_faults
from zipcast.cli.console import echo_json, fail, out
from zipcast.cli.errors import Status

if TYPE_CHECKING:
    from schedulers.settings import SchedulerSettings
    from service.lifecycle import Lifecycle
    from storage.database.epochs import StoredEpoch


def publish_running(
    env_file: EnvFiles = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds until the command gives up.")] = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Publish the running epoch while no scheduler runs.

    Needs the scheduler's settings and secrets: give all files with --env-file, which can be repeated, or with
    SECRETS_FILE."""
    from schedulers.settings import SchedulerSettings

    settings = read_settings(SchedulerSettings, env_file)
    # Log lines must not mix with the output of the command.
    with database_faults(), redirect_stdout(sys.stderr):
        _run_scheduler(settings, timeout)
        found = asyncio.run(_running(settings))
    if found is None or found.published_at is None:
        fail(
            "the running epoch is not published",
            Status.UNAVAILABLE,
            code="not_published",
            remedy="The last lines of the log above name the cause.",
        )
    if as_json:
        echo_json({"epochId": found.epoch_id, "publishedAt": found.published_at.isoformat()})
    else:
        out.print(f"{found.epoch_id} was published at {found.published_at:%H:%M:%S} UTC", soft_wrap=True)


def _run_scheduler(settings: "SchedulerSettings", timeout_seconds: float) -> None:
    """Run a scheduler until it has published the running epoch, at most for `timeout_seconds`."""
    from schedulers.__main__ import serve
    from service import lifecycle

    async def until_published(life: "Lifecycle") -> None:
        serving = asyncio.create_task(serve(own, life))
        started = asyncio.create_task(life.started.wait())
        await asyncio.wait({serving, started}, timeout=timeout_seconds, return_when=asyncio.FIRST_COMPLETED)
        started.cancel()
        life.stop()
        await serving

    with TemporaryDirectory(prefix="zipcast-") as folder:
        own = settings.model_copy(update={"ready_file": Path(folder) / "ready", "internal_port": 0})
        lifecycle.run("schedulers", own, until_published)


async def _running(settings: "SchedulerSettings") -> "StoredEpoch | None":
    """Return the running epoch from the database."""
    from storage.database import epochs
    from storage.database.engine import open_engine

    database = open_engine(
        settings.database_url.get_secret_value(), application_name="zipcast-operator", pool_size=1
    )
    try:
        async with database.connect() as connection:
            return await epochs.running_epoch(connection)
    finally:
        await database.dispose()
