"""Shows the operator what the next epoch assigns: `zipcast epoch next --preview`.

The command sends no request. It reads the scheduler's settings, including the secret for the seeds, and its
database. It reveals nothing that the owner of these could not compute anyway.
"""

import asyncio
import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from zipcast.cli.config import read_env_files
from zipcast.cli.console import fail, out
from zipcast.cli.database import database_faults, server_packages

if TYPE_CHECKING:
    from schedulers.preview import Preview
    from schedulers.settings import SchedulerSettings


def show_preview(env_files: list[Path] | None, *, as_json: bool) -> None:
    """Print the next epoch. Exit with status 1 if it cannot be prepared."""
    shown = _preview(env_files)
    if as_json:
        sys.stdout.write(_document(shown))
    else:
        _show(shown)


def _preview(env_files: list[Path] | None) -> "Preview":
    with server_packages():
        from runtime.settings import load
        from schedulers.prepare import MessageTooLargeError
        from schedulers.seed_secrets import UnknownSecretError
        from schedulers.settings import SchedulerSettings
        from schedulers.target_override import NothingImportedError
        from zipcast.selection import PoolTooSmallError
    read_env_files(env_files)
    settings = load(SchedulerSettings)
    try:
        # Log lines must not mix with the output of the command.
        with database_faults(), redirect_stdout(sys.stderr):
            return asyncio.run(_ask(settings))
    except (PoolTooSmallError, NothingImportedError, UnknownSecretError, MessageTooLargeError) as error:
        fail(f"the next epoch cannot be prepared: {error}")


async def _ask(settings: "SchedulerSettings") -> "Preview":
    from schedulers.preview import preview_next
    from schedulers.wiring import make_preparer
    from storage.database import open_engine

    url = settings.database_url.get_secret_value()
    database = open_engine(url, application_name="zipcast-operator", pool_size=2)
    try:
        return await preview_next(make_preparer(settings, database))
    finally:
        await database.dispose()


def _document(shown: "Preview") -> str:
    document = {
        "prepared": shown.is_prepared,
        "relaxedCooldown": shown.relaxed_cooldown,
        "relaxedAgeDays": shown.relaxed_age_days,
        "message": json.loads(shown.message.to_bytes()),
    }
    return json.dumps(document) + "\n"


def _show(shown: "Preview") -> None:
    message = shown.message
    table = Table("zipcode", "state", "tier", "listings", "city", box=None, pad_edge=False)
    for one in message.zipcodes:
        table.add_row(one.zipcode, one.state, str(one.market_tier), str(one.expected_listings), one.city)
    out.print(table)
    total = message.metadata.total_expected_listings
    kind = "prepared" if shown.is_prepared else "not prepared yet: a dry run with the data of now"
    relaxed = f"; cooldown relaxed for {len(shown.relaxed_cooldown)}" if shown.relaxed_cooldown else ""
    if shown.relaxed_age_days:
        relaxed += f"; data up to {shown.relaxed_age_days} days older than the limit"
    line = f"{message.epoch_id}: {len(message.zipcodes)} zipcodes, {total} listings ({kind}{relaxed})"
    out.print(line, soft_wrap=True)
    out.print("Keep this secret until the epoch starts.", style="dim")
