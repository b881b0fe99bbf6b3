"""What miners and validators run: `watch`, `current`, `upload`."""

import asyncio
import json
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import nats.errors
import typer
from rich.console import Console
from rich.table import Table

from zipcast.cli import session
from zipcast.cli.session import DEFAULT_READY, Session
from zipcast.client import ReceivedEpoch
from zipcast.envelope import EnvelopeError
from zipcast.errors import ServiceError
from zipcast.messages import EpochMessage
from zipcast.uploads import UploadError, post_file
from zipcast.wallets import WalletError

out = Console()
err = Console(stderr=True)


def run(command: Coroutine[Any, Any, None]) -> None:
    """Run a command; what can go wrong becomes one line and exit status 1."""
    try:
        asyncio.run(command)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except ServiceError as error:
        _fail(f"{error.code}: {error.message}")
    except (EnvelopeError, UploadError, WalletError, ValueError, OSError) as error:
        _fail(str(error))
    except nats.errors.AuthorizationError:
        _fail("refused: this hotkey is not registered, or the service does not know it yet")
    except (TimeoutError, nats.errors.Error) as error:
        _fail(f"NATS does not answer ({type(error).__name__}); is the service running?")


def _fail(message: str) -> None:
    err.print(message, style="red", highlight=False, markup=False, soft_wrap=True)
    raise typer.Exit(1)


def watch(
    ready: session.ReadyOption = DEFAULT_READY,
    nats: session.NatsOption = None,
    signers: session.SignerOption = None,
    network: session.NetworkOption = None,
    netuid: session.NetuidOption = None,
    wallet_path: session.WalletsOption = None,
    wallet: session.WalletOption = None,
    hotkey: session.HotkeyOption = "default",
    count: Annotated[int | None, typer.Option(min=1, help="Stop after so many epochs.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The signed payload, one line an epoch.")] = False,
) -> None:
    """Show the running epoch, then each next one as it starts."""
    chosen = session.resolve(
        ready,
        nats=nats,
        signers=signers,
        network=network,
        netuid=netuid,
        wallets=wallet_path,
        wallet=wallet,
        hotkey=hotkey,
    )
    run(_watch(chosen, count, as_json))


async def _watch(chosen: Session, count: int | None, as_json: bool) -> None:
    seen = 0
    async with chosen.client() as client:
        async for received in client.epochs():
            _show_received(received, as_json)
            seen += 1
            if seen == count:
                return


def _show_received(received: ReceivedEpoch, as_json: bool) -> None:
    if as_json:
        typer.echo(received.epoch.envelope.payload.decode())
        return
    message = received.epoch.message
    how = (
        f"{received.milliseconds_after_start:.0f} ms after its start"
        if received.via == "push"
        else "running already"
    )
    out.print(
        f"[bold]{message.epoch_id}[/bold]  {message.metadata.zipcode_count} zipcodes, "
        f"{message.metadata.total_expected_listings} listings, until {message.epoch_end:%H:%M:%S} UTC  "
        f"[green]verified[/green], {how}",
        highlight=False,
        soft_wrap=True,
    )


def current(
    ready: session.ReadyOption = DEFAULT_READY,
    nats: session.NatsOption = None,
    signers: session.SignerOption = None,
    network: session.NetworkOption = None,
    netuid: session.NetuidOption = None,
    wallet_path: session.WalletsOption = None,
    wallet: session.WalletOption = None,
    hotkey: session.HotkeyOption = "default",
    as_json: Annotated[bool, typer.Option("--json", help="The signed payload as it travelled.")] = False,
) -> None:
    """Show the running epoch and its zipcodes."""
    chosen = session.resolve(
        ready,
        nats=nats,
        signers=signers,
        network=network,
        netuid=netuid,
        wallets=wallet_path,
        wallet=wallet,
        hotkey=hotkey,
    )
    run(_current(chosen, as_json))


async def _current(chosen: Session, as_json: bool) -> None:
    async with chosen.client() as client:
        epoch = await client.current()
    if as_json:
        typer.echo(epoch.envelope.payload.decode())
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


def upload(
    files: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, readable=True)],
    ready: session.ReadyOption = DEFAULT_READY,
    nats: session.NatsOption = None,
    signers: session.SignerOption = None,
    network: session.NetworkOption = None,
    netuid: session.NetuidOption = None,
    wallet_path: session.WalletsOption = None,
    wallet: session.WalletOption = None,
    hotkey: session.HotkeyOption = "default",
    validator: Annotated[
        bool, typer.Option("--validator", help="To the validators' bucket, as a validator.")
    ] = False,
    epoch: Annotated[str | None, typer.Option(help="Epoch id; default: the running one.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Bucket and keys as JSON.")] = False,
) -> None:
    """Upload files to the folder that this hotkey has for one epoch."""
    chosen = session.resolve(
        ready,
        nats=nats,
        signers=signers,
        network=network,
        netuid=netuid,
        wallets=wallet_path,
        wallet=wallet,
        hotkey=hotkey,
    )
    run(_upload(chosen, files, validator, epoch, as_json))


async def _upload(
    chosen: Session, files: list[Path], validator: bool, epoch_id: str | None, as_json: bool
) -> None:
    async with chosen.client() as client:
        if validator:
            epoch_id = epoch_id or (await client.current()).message.epoch_id
            issued = await client.validator_upload(epoch_id)
            url, fields = issued.upload_url, issued.fields
        else:
            grant = await client.miner_upload(epoch_id)
            url, fields = grant.url, grant.fields
    keys = [await post_file(url, fields, file.name, file) for file in files]
    if as_json:
        typer.echo(json.dumps({"keys": keys}))
        return
    for key in keys:
        out.print(f"uploaded {key}", highlight=False, soft_wrap=True)
