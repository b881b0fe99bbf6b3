"""Shows the operator what the next epoch assigns: `zipcast epoch preview`.

The command sends no request. It reads the scheduler's settings, including the secret for the seeds, and its
database. It reveals nothing that someone with these secrets could not compute anyway. Before an epoch is
drawn, no one can know its zipcodes, so the command shows only when the draw takes place.
"""

import asyncio
import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from operator_cli.config import EnvFiles, read_settings
from operator_cli.database import database_faults
from zipcast.cli.console import fail, out

if TYPE_CHECKING:
    from schedulers.epochs.preview import Preview
    from schedulers.settings import SchedulerSettings


def show_preview(
    env_file: EnvFiles = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the preview as JSON.")] = False,
) -> None:
    """Show what the next epoch assigns. Needs the scheduler's settings and secrets; exit status 1 if the
    epoch could not be prepared."""
    shown = _preview(env_file)
    if as_json:
        sys.stdout.write(_document(shown))
    else:
        _show(shown)


def _preview(env_files: list[Path] | None) -> "Preview":
    from schedulers.epochs.preparation import MessageTooLargeError
    from schedulers.epochs.seed_secrets import UnknownSecretError
    from schedulers.epochs.target_override import NothingImportedError
    from schedulers.settings import SchedulerSettings
    from zipcast.selection.model import PoolTooSmallError

    settings = read_settings(SchedulerSettings, env_files)
    try:
        # Log lines must not mix with the output of the command.
        with database_faults(), redirect_stdout(sys.stderr):
            return asyncio.run(_ask(settings))
    except (PoolTooSmallError, NothingImportedError, UnknownSecretError, MessageTooLargeError) as error:
        fail(f"the next epoch cannot be prepared: {error}")


async def _ask(settings: "SchedulerSettings") -> "Preview":
    from schedulers.epochs.preview import preview_next
    from schedulers.wiring import make_preparer
    from storage.database.engine import open_engine

    url = settings.database_url.get_secret_value()
    database = open_engine(url, application_name="zipcast-operator", pool_size=2)
    try:
        return await preview_next(make_preparer(settings, database))
    finally:
        await database.dispose()


def _document(shown: "Preview") -> str:
    document = {
        "prepared": shown.message is not None,
        "epochId": shown.epoch_id,
        "targetListings": shown.target_listings,
        "drawnAt": None if shown.drawn_at is None else shown.drawn_at.isoformat(),
        "relaxedCooldown": shown.relaxed_cooldown,
        "relaxedAgeDays": shown.relaxed_age_days,
        "message": None if shown.message is None else json.loads(shown.message.to_bytes()),
    }
    return json.dumps(document) + "\n"


def _show(shown: "Preview") -> None:
    message = shown.message
    if message is None:
        line = (
            f"{shown.epoch_id}: {shown.target_listings} listings, drawn at {shown.drawn_at}. "
            "Its zipcodes cannot be known before."
        )
        out.print(line, soft_wrap=True)
        return
    table = Table("zipcode", "state", "tier", "listings", "city", box=None, pad_edge=False)
    for one in message.zipcodes:
        table.add_row(one.zipcode, one.state, str(one.market_tier), str(one.expected_listings), one.city)
    out.print(table)
    total = message.metadata.total_expected_listings
    relaxed = f"; cooldown relaxed for {len(shown.relaxed_cooldown)}" if shown.relaxed_cooldown else ""
    if shown.relaxed_age_days:
        relaxed += f"; data up to {shown.relaxed_age_days} days older than the limit"
    line = f"{message.epoch_id}: {len(message.zipcodes)} zipcodes, {total} listings (prepared{relaxed})"
    out.print(line, soft_wrap=True)
    out.print("Keep this secret until the epoch starts.", style="dim")
