"""Defines the commands of miners and validators: `watch`, `current`, `upload`."""

import hashlib
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from zipcast.cli.command import command
from zipcast.cli.console import echo_json, err, out
from zipcast.cli.session import Session
from zipcast.client.client import ReceivedEpoch
from zipcast.client.transfers import post_file
from zipcast.protocol.messages.epochs import EpochMessage


@command
async def watch(
    session: Session,
    count: Annotated[int | None, typer.Option(min=1, help="Stop after this many epochs.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the signed payload, one line per epoch.")
    ] = False,
) -> None:
    """Show the running epoch, then every later epoch as it starts."""
    seen = 0
    async with session.client() as client:
        async for received in client.epochs():
            _show_received(received, as_json)
            seen += 1
            if seen == count:
                return


def _show_received(received: ReceivedEpoch, as_json: bool) -> None:
    message = received.epoch.message
    if message.next_signer is not None:
        err.print(f"the signer will change: add {message.next_signer} to the signers that you trust")
    if as_json:
        echo_json(received.epoch.envelope.payload)
        return
    how = (
        f"{received.milliseconds_after_start:.0f} ms after its start"
        if received.via == "push"
        else "already running"
    )
    sha256 = hashlib.sha256(received.epoch.envelope.payload).hexdigest()
    line = Text(message.epoch_id, "bold").append(
        f"  {message.metadata.zipcode_count} zipcodes, {message.metadata.total_expected_listings} listings, "
        f"until {message.epoch_end:%H:%M:%S} UTC  ",
        "not bold",
    )
    line.append("verified", "not bold green").append(f", {how}, sha256 {sha256[:16]}", "not bold")
    out.print(line, soft_wrap=True)


@command
async def current(
    session: Session,
    as_json: Annotated[bool, typer.Option("--json", help="Print the signed payload.")] = False,
) -> None:
    """Show the running epoch and its zipcodes."""
    async with session.client() as client:
        epoch = await client.current()
    if as_json:
        echo_json(epoch.envelope.payload)
    else:
        out.print(_table(epoch.message))


def _table(message: EpochMessage) -> Table:
    table = Table(
        title=f"Epoch {message.epoch_id}: {message.metadata.total_expected_listings} listings, "
        f"target {message.target_listings} ± {message.tolerance_percent} %",
        caption=f"nonce {message.nonce}\nuntil {message.epoch_end:%Y-%m-%d %H:%M:%S} UTC, signature verified",
    )
    for heading in ("zipcode", "state", "city", "county", "tier", "region"):
        table.add_column(heading)
    table.add_column("listings", justify="right")
    for item in message.zipcodes:
        cells = (item.zipcode, item.state, item.city, item.county, item.market_tier, item.geographic_region)
        table.add_row(*cells, str(item.expected_listings))
    return table


def require_distinct_names(files: list[Path]) -> list[Path]:
    names = Counter(file.name for file in files)
    if len(names) < len(files):
        twice = ", ".join(name for name, count in names.items() if count > 1)
        raise typer.BadParameter(f"two files have the same name, so one would replace the other: {twice}")
    return files


@command
async def upload(
    session: Session,
    files: Annotated[
        list[Path],
        typer.Argument(exists=True, dir_okay=False, readable=True, callback=require_distinct_names),
    ],
    validator: Annotated[bool, typer.Option("--validator", help="Upload to the validators' bucket.")] = False,
    epoch: Annotated[str | None, typer.Option(help="Epoch id. Default: the running epoch.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the object keys as JSON.")] = False,
) -> None:
    """Upload files to this hotkey's folder for one epoch. Each file keeps its name, without its path."""
    async with session.client() as client:
        deadline_at: datetime | None = None
        if validator:
            epoch_id = epoch or (await client.current()).message.epoch_id
            issued = await client.validator_upload(epoch_id, with_checksum=True)
            url, fields = issued.upload_url, issued.fields
        else:
            grant = await client.miner_upload(epoch)
            url, fields, deadline_at = grant.url, grant.fields, grant.expires_at
    # A validator's report names the SHA-256 of each file. If the store has it too, the service need not read
    # the file.
    keys: list[str] = []
    for file in files:
        key = await post_file(url, fields, file.name, file, with_checksum=validator, deadline_at=deadline_at)
        keys.append(key)
        if not as_json:
            out.print(f"uploaded {keys[-1]}", soft_wrap=True)
    if as_json:
        echo_json({"keys": keys})
