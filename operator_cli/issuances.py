"""Defines `zipcast issuances`, which lists issued credentials from the database."""

import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from operator_cli.database import DatabaseOption, chosen_database, run_on_database
from zipcast.cli.console import echo_json, show_table
from zipcast.cli.session import DEFAULT_READY, ReadyOption
from zipcast.protocol.hotkeys import MalformedHotkeyError, parse_hotkey

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from storage.database.issuances import Issuance

MAX_HOURS = 100_000  # eleven years; issuances are kept for at most ten years


def list_issuances(
    hotkey: Annotated[str | None, typer.Option(help="Show only those issued to this hotkey.")] = None,
    hours: Annotated[
        float | None,
        typer.Option(min=0, max=MAX_HOURS, help="Show only those issued in this many past hours."),
    ] = None,
    valid: Annotated[bool, typer.Option("--valid", help="Show only those that have not expired.")] = False,
    limit: Annotated[
        int, typer.Option(min=1, max=10_000, help="Show at most this many, newest first.")
    ] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    database_url: DatabaseOption = None,
    ready: ReadyOption = DEFAULT_READY,
) -> None:
    """List issued credentials: the hotkey, the prefix, the expiry, and the address of the request."""
    if hotkey is not None:
        try:
            parse_hotkey(hotkey)
        except MalformedHotkeyError as error:
            raise typer.BadParameter(f"hotkey {error}", param_hint="--hotkey") from None
    if hours is not None and math.isnan(hours):
        raise typer.BadParameter("hours must be a number", param_hint="--hours")
    now = datetime.now(UTC)
    since = None if hours is None else now - timedelta(hours=hours)

    async def read(engine: "AsyncEngine") -> "list[Issuance]":
        from storage.database.issuances import newest_issuances

        async with engine.connect() as connection:
            return await newest_issuances(
                connection, hotkey=hotkey, since=since, valid_at=now if valid else None, limit=limit
            )

    found = run_on_database(chosen_database(database_url, ready), read)
    if as_json:
        echo_json({"issuances": [_as_json(issuance) for issuance in found]})
        return
    table = Table(
        "issued", "until", "hotkey", "kind", "prefix", "from", "request", "failed", box=None, pad_edge=False
    )
    for issuance in found:
        shown = _as_json(issuance)
        table.add_row(*(str(shown[name] or "") for name in _SHOWN))
    show_table(table)


_SHOWN = ("issuedAt", "expiresAt", "hotkey", "kind", "prefix", "source", "requestId", "outcome")


def _as_json(issuance: "Issuance") -> dict[str, str | None]:
    return {
        "issuedAt": f"{issuance.issued_at:%Y-%m-%dT%H:%M:%SZ}",
        "expiresAt": f"{issuance.expires_at:%Y-%m-%dT%H:%M:%SZ}",
        "hotkey": issuance.hotkey,
        "role": issuance.role,
        "kind": issuance.kind,
        "bucket": issuance.bucket,
        "prefix": issuance.prefix,
        "epochId": issuance.epoch_id,
        "requestId": issuance.request_id,
        "source": issuance.source,
        "outcome": issuance.outcome,
    }
