"""Defines the commands of miners and validators: `watch`, `current`, `upload`, `uploads`, `download`."""

import asyncio
import hashlib
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Annotated, TypeVar

import httpx
import nats.errors
import typer
from rich.table import Table
from rich.text import Text

from zipcast.cli.command import command, command_error, well_formed
from zipcast.cli.console import echo_json, err, fail, out, show_table
from zipcast.cli.errors import Status
from zipcast.cli.session import Session
from zipcast.client.client import ReceivedEpoch, ZipcastClient
from zipcast.client.http import open_client
from zipcast.client.requests import PageTokens, Requests
from zipcast.client.retries import Retries
from zipcast.client.transfers import TIMEOUT_SECONDS
from zipcast.client.transfers import download as download_file
from zipcast.client.uploader import PreparedUpload, Role, Uploader
from zipcast.clock import SystemClock
from zipcast.errors import TooLargeError, TooLateError, TooSmallError, TransferError
from zipcast.protocol.envelope import VerifiedEpoch
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.messages.access import CountedUpload, MinerUploadReply, ReadableObject
from zipcast.protocol.messages.epochs import EpochMessage

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]

SILENCE_SECONDS = 10.0
"""The time in seconds that `watch` waits for the running epoch before it prints why there is none."""
SAID_AGAIN_SECONDS = 60.0
_HOPELESS = {ErrorCode.NOT_REGISTERED, ErrorCode.WRONG_RECEIVER}
"""Errors that trying again cannot solve."""
POLL_SECONDS = 0.05
BOUNDARY_SECONDS = 1.0
RETRY_SECONDS = 60.0
"""The longest time in seconds for which a failed upload is repeated."""
MAX_NAME_LENGTH = 80
_MINER = re.compile(r"hotkey=([1-9A-HJ-NP-Za-km-z]{48})/")
_UNSAFE_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+")

Reply = TypeVar("Reply")


@command
async def watch(
    session: Session,
    count: Annotated[int | None, typer.Option(min=1, help="Stop after this many epochs.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the signed payload, one line per epoch.")
    ] = False,
) -> None:
    """Show the running epoch, then every later epoch as it starts."""
    async with session.client() as client:
        showing = asyncio.create_task(_show_epochs(client, count, as_json))
        explaining = asyncio.create_task(_explain_silence(client))
        try:
            await asyncio.wait({showing, explaining}, return_when=asyncio.FIRST_COMPLETED)
            await (showing if showing.done() else explaining)
        finally:
            for task in (showing, explaining):
                task.cancel()
            await asyncio.wait({showing, explaining})


async def _show_epochs(client: ZipcastClient, count: int | None, as_json: bool) -> None:
    seen = 0
    async for received in client.epochs():
        _show_received(received, as_json)
        seen += 1
        if seen == count:
            return


async def _explain_silence(client: ZipcastClient) -> None:
    """While the running epoch is unknown, print the reason on standard error. Raises the reason if waiting
    cannot help."""
    while True:
        await asyncio.sleep(SILENCE_SECONDS)
        if client.is_informed:
            continue
        try:
            await client.current()
        except ServiceError as error:
            if error.code in _HOPELESS:
                raise
            reason = command_error(error)
        except (nats.errors.Error, OSError) as error:
            reason = command_error(error)
        else:
            continue
        err.print(f"waiting for the running epoch: {reason.line}", style="yellow", soft_wrap=True)
        await asyncio.sleep(SAID_AGAIN_SECONDS)


def _show_received(received: ReceivedEpoch, as_json: bool) -> None:
    message = received.epoch.message
    if message.next_signer is not None:
        err.print(
            f"the signer will change: add {message.next_signer} to the signers that you trust", soft_wrap=True
        )
    if as_json:
        echo_json(received.epoch.envelope.payload)
        return
    out.print(received_line(received, out.width if out.is_terminal else None), soft_wrap=True)


def received_line(received: ReceivedEpoch, width: int | None) -> Text:
    """Return the line of `watch` about an epoch. On a terminal, details that do not fit into `width` are left
    out."""
    message = received.epoch.message
    late = f"{received.milliseconds_after_start:.0f} ms after its start"
    how = {"push": late, "request": "running already", "seal": f"opened from its seal {late}"}[received.via]
    sha256 = hashlib.sha256(received.epoch.envelope.payload).hexdigest()
    counts = f"{message.metadata.zipcode_count} zipcodes, {message.metadata.total_expected_listings} listings"
    line = Text(message.epoch_id, "bold").append(f"  {counts}  ", "not bold")
    line.append("verified", "not bold green").append(f", {how}", "not bold")
    for detail in (f", until {message.epoch_end:%H:%M:%S} UTC", f", sha256 {sha256[:16]}"):
        if width is None or len(line) + len(detail) <= width:
            line.append(detail, "not bold")
    return line


@command
async def current(
    session: Session,
    as_json: Annotated[bool, typer.Option("--json", help="Print the signed payload.")] = False,
) -> None:
    """Show the running epoch and its zipcodes."""
    async with session.client() as client:
        epoch = await running_epoch(client)
    if as_json:
        echo_json(epoch.envelope.payload)
    else:
        show_table(_table(epoch.message))


async def running_epoch(client: ZipcastClient) -> VerifiedEpoch:
    """Return the running epoch. The client requests the epoch when it has connected. If this fails, request
    the epoch once more to learn the reason. Raises the errors of `ZipcastClient.current`."""
    first = asyncio.ensure_future(anext(client.epochs()))
    try:
        while not first.done():
            await asyncio.wait({first}, timeout=POLL_SECONDS)
            if not first.done() and client.unanswered_questions:
                return await client.current()
        return first.result().epoch
    finally:
        first.cancel()


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
        raise typer.BadParameter(
            f"two files have the same name, so one would replace the other: {twice}. Rename one"
        )
    return files


@command
async def upload(
    session: Session,
    files: Annotated[
        list[Path],
        typer.Argument(
            exists=True,
            dir_okay=False,
            readable=True,
            callback=require_distinct_names,
            show_default=False,
            help="Files to upload.",
        ),
    ],
    validator: Annotated[bool, typer.Option("--validator", help="Upload to the validators' bucket.")] = False,
    epoch: Annotated[
        str | None, typer.Option(callback=well_formed, help="Epoch id. Default: the running epoch.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the object keys as JSON.")] = False,
) -> None:
    """Upload files to this hotkey's folder for one epoch. Each file keeps its name, without its path."""
    role: Role = "validator" if validator else "miner"
    keys: list[str] = []
    async with session.client() as client, uploading(client) as uploader:
        epoch_id = epoch or (await running_epoch(client)).message.epoch_id
        try:
            prepared = await prepared_uploads(uploader, epoch_id, role, files)
        except TooLateError:
            if epoch is not None:
                raise
            await asyncio.sleep(BOUNDARY_SECONDS)  # one epoch has just ended, and the next starts now
            epoch_id = (await running_epoch(client)).message.epoch_id
            prepared = await prepared_uploads(uploader, epoch_id, role, files)
        for one in prepared:
            keys.append((await uploader.send(one)).key)
            if not as_json:
                out.print(f"uploaded {keys[-1]}", soft_wrap=True)
    if as_json:
        echo_json({"keys": keys})


@asynccontextmanager
async def uploading(client: ZipcastClient) -> AsyncIterator[Uploader]:
    """Provide an uploader that requests access with this client."""
    async with AsyncExitStack() as opened:

        async def ask(request: Callable[[Requests], Awaitable[Reply]]) -> Reply:
            return await request(client)

        async def http_for(url: str) -> httpx.AsyncClient:
            return await opened.enter_async_context(open_client(url, TIMEOUT_SECONDS))

        yield Uploader(ask, http_for, client.service_time, Retries(SystemClock(), RETRY_SECONDS))


async def upload_form(client: ZipcastClient, epoch_id: str | None) -> MinerUploadReply:
    """Return a miner's upload form, by default for the running epoch. Raises ServiceError and
    nats.errors.Error."""
    try:
        return await client.miner_upload(epoch_id)
    except ServiceError as error:
        if error.code is not ErrorCode.EPOCH_NOT_OPEN or epoch_id is not None:
            raise
        await asyncio.sleep(BOUNDARY_SECONDS)  # one epoch has just ended, and the next starts now
        return await client.miner_upload()


async def prepared_uploads(
    uploader: Uploader, epoch_id: str, role: Role, files: list[Path]
) -> list[PreparedUpload]:
    """Prepare all files. End the command before anything is sent if the store would refuse a file because of
    its size."""
    try:
        return [await uploader.prepare(epoch_id, role, file, file.name) for file in files]
    except (TooLargeError, TooSmallError) as error:
        fail(
            error.message,
            Status.USAGE,
            code="file_size",
            remedy=f"Nothing was uploaded. {error.remedy}",
        )


@command
async def uploads(
    session: Session,
    epoch: Annotated[
        str | None,
        typer.Argument(
            callback=well_formed,
            show_default=False,
            help="An epoch that has ended. Default: the previous one.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show which of this hotkey's uploads count for an ended epoch.

    A file that is not listed was stored too late, or outside the folder of the epoch."""
    found: list[CountedUpload] = []
    async with session.client() as client:
        if epoch is None:
            epoch = (await running_epoch(client)).message.previous_epoch_id
        if epoch is None:
            fail(
                "no epoch has ended yet",
                Status.REFUSED,
                code="epoch_not_found",
                remedy="Try again after the end of the running epoch.",
            )
        token: str | None = None
        tokens = PageTokens()
        while True:
            page = await client.miner_uploads(epoch, token)
            found += page.objects
            token = tokens.following(page.next_page_token, page.objects)
            if token is None:
                break
    if as_json:
        echo_json({"epochId": epoch, "files": [json.loads(one.to_bytes()) for one in found]})
        return
    for one in found:
        out.print(f"{one.last_modified:%H:%M:%S}  {one.size:>12}  {one.key}", soft_wrap=True)
    count = "1 file counts" if len(found) == 1 else f"{len(found)} files count"
    out.print(f"{epoch}: {count}", soft_wrap=True)


@command
async def download(
    session: Session,
    epoch: Annotated[
        str, typer.Argument(callback=well_formed, help="An epoch that has ended.", show_default=False)
    ],
    miner: Annotated[str | None, typer.Option(help="Only this miner's files: its hotkey.")] = None,
    to: Annotated[
        Path, typer.Option(file_okay=False, help="Folder for the files, one subfolder per epoch and miner.")
    ] = Path("downloads"),
    as_json: Annotated[
        bool, typer.Option("--json", help="Print key, size and path of each file as JSON.")
    ] = False,
) -> None:
    """Download the miners' files that count for an epoch, with a validator's hotkey.

    Size and checksum of each file are checked. A file that cannot be read is named, and the exit status is 3.
    An interrupted download continues, and files that are complete in the folder are not downloaded again."""
    saved: list[dict[str, object]] = []
    failed: list[dict[str, object]] = []
    async with session.client() as client:
        async for found in _uploads(client, epoch, miner):
            path = to / epoch / local_name(found.key)
            if not (path.is_file() and path.stat().st_size == found.size):
                path.parent.mkdir(parents=True, exist_ok=True)
                try:
                    await download_file(found.url, path, size_bytes=found.size, etag=found.etag)
                except TransferError as error:
                    if error.retry_after is not None:
                        raise
                    # A miner can store a file that nobody can read. The others' files are still needed.
                    err.print(f"{found.key}: {error}", soft_wrap=True)
                    failed.append({"key": found.key, "error": str(error)})
                    continue
            saved.append({"key": found.key, "size": found.size, "etag": found.etag, "path": str(path)})
            if not as_json:
                out.print(f"{path}  {found.size} bytes", soft_wrap=True)
    if as_json:
        echo_json({"epochId": epoch, "files": saved, "failed": failed})
    elif not saved:
        out.print("no uploads")
    if failed:
        raise typer.Exit(Status.REFUSED)


async def _uploads(client: ZipcastClient, epoch_id: str, miner: str | None) -> AsyncIterator[ReadableObject]:
    """Yield every file of the epoch's manifest, page by page."""
    token: str | None = None
    tokens = PageTokens()
    while True:
        page = await client.validator_read(epoch_id, miner, token)
        for found in page.objects:
            yield found
        token = tokens.following(page.next_page_token, page.objects)
        if token is None:
            return


def local_name(key: str) -> Path:
    """Return the relative path for an object: MINER/HASH-NAME. Miners choose the keys. Therefore only
    letters, digits, dots, underscores and hyphens of the name are kept, and the hash of the key makes the
    path unique."""
    miner = _MINER.search(key)
    folder = "unknown" if miner is None else miner[1]
    name = _UNSAFE_IN_NAMES.sub("_", key.rpartition("/")[2])[-MAX_NAME_LENGTH:]
    return Path(folder) / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}-{name}"
