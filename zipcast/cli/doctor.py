"""Defines `zipcast doctor`, which checks every step between this machine and an upload, and says what to do
about problems."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Annotated
from urllib.parse import urlsplit

import httpx
import nats.errors
import typer
from rich.text import Text

from zipcast.cli.client_commands import running_epoch, upload_form
from zipcast.cli.command import ASK_DOCTOR, command, command_error
from zipcast.cli.console import echo_json, out
from zipcast.cli.errors import Status
from zipcast.cli.session import HttpOption, Session
from zipcast.client.client import ZipcastClient
from zipcast.client.connection import Server
from zipcast.client.http import HTTP_FAULTS, open_client
from zipcast.client.profiles import ProfileError
from zipcast.errors import TransferError, WalletError
from zipcast.protocol.envelope import EnvelopeError
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.hotkeys import Keypair

TIMEOUT_SECONDS = 5.0
EPOCH_TIMEOUT_SECONDS = 15.0
MAX_CLOCK_ERROR_SECONDS = 3.0
"""The largest difference of the clocks in seconds that counts as correct. HTTP states the time in whole
seconds. A signature is valid for 10 seconds."""
MAX_INFO_BYTES = 64 * 1024
_PORTS = {"nats": 4222, "tls": 4222, "ws": 80, "wss": 443}
_LAST_STEPS = ("key", "connection", "registered", "subscription", "epoch", "role", "upload")
"""The steps that need those before them."""
_COLOURS = {"ok": "green", "skipped": "yellow", "failed": "red"}
_ERRORS = (
    ServiceError,
    EnvelopeError,
    TransferError,
    WalletError,
    ProfileError,
    nats.errors.Error,
    httpx.HTTPError,
    ValueError,
    OSError,
)


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check. `state` is ok, skipped or failed."""

    name: str
    state: str
    message: str
    remedy: str = ""


@command
async def doctor(
    session: Session,
    upload: Annotated[
        bool,
        typer.Option(help="Also request an upload form, which counts against the limit, and store nothing."),
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the checks as JSON.")] = False,
    http: HttpOption = None,
) -> None:
    """Check every step from this machine to an upload, and say what to do.

    Exit status 1 if a check fails. Nothing is uploaded."""
    checks = await _examine(session, http or session.http, upload, show=not as_json)
    skipped = _not_reached(checks, upload=upload)
    if skipped is not None:
        checks.append(skipped)
        if not as_json:
            _show(skipped)
    if as_json:
        echo_json(
            {
                "checks": [
                    {
                        "name": one.name,
                        "state": one.state,
                        "message": one.message,
                        "remedy": one.remedy or None,
                    }
                    for one in checks
                ]
            }
        )
    if any(one.state == "failed" for one in checks):
        raise typer.Exit(Status.FAILED)


async def _examine(session: Session, http: str | None, upload: bool, *, show: bool) -> list[Check]:
    done: list[Check] = []
    async for check in _checks(session, http, upload):
        done.append(check)
        if show:
            _show(check)
    return done


def _not_reached(checks: list[Check], *, upload: bool) -> Check | None:
    """Return one check that names the steps that were not tried, because an earlier step failed."""
    tried = {one.name for one in checks}
    names = [name for name in _LAST_STEPS if name not in tried and (upload or name != "upload")]
    if not names:
        return None
    return Check("later steps", "skipped", f"{', '.join(names)}: they need the failed step")


def _show(check: Check) -> None:
    out.print(
        Text(f"{check.state:8}", _COLOURS[check.state]), f"{check.name:13} {check.message}", soft_wrap=True
    )
    if check.remedy:
        out.print(f"{'':9}{'':13} → {check.remedy}", soft_wrap=True)


async def _checks(session: Session, http: str | None, upload: bool) -> AsyncIterator[Check]:
    usable = True
    for url in session.servers:
        async for check in _server_checks(url):
            usable = usable and check.name != "address"
            yield check
    yield await _attempt("clock", lambda: _clock(http))
    keys: list[Keypair] = []
    yield await _attempt("key", lambda: _key(session, keys))
    if not keys or not usable:
        return
    client = ZipcastClient(session.servers, keys[0], session.trust)
    connection = await _attempt("connection", lambda: _connect(client))
    yield connection
    if connection.state != "ok":
        return
    try:
        yield Check("registered", "ok", f"the hotkey may connect to subnet {session.trust.netuid}")
        yield Check("subscription", "ok", "subscribed to epochs")
        epoch_ids: list[str] = []
        yield await _attempt("epoch", lambda: _epoch(client, epoch_ids))
        if not epoch_ids:
            return
        roles: list[str] = []
        yield await _attempt("role", lambda: _role(client, epoch_ids[0], roles))
        if upload and roles:
            yield await _attempt("upload", lambda: _upload(client, epoch_ids[0], roles[0]))
    finally:
        await client.__aexit__(None, None, None)


async def _attempt(name: str, work: Callable[[], Awaitable[str | Check]]) -> Check:
    """Run `work` and return its check: ok with the text that `work` returns, or failed with the error that it
    raises."""
    try:
        done = await work()
    except _ERRORS as error:
        shown = command_error(error)
        return Check(name, "failed", shown.message, shown.remedy.removesuffix(f"; {ASK_DOCTOR}"))
    return done if isinstance(done, Check) else Check(name, "ok", done)


async def _server_checks(url: str) -> AsyncIterator[Check]:
    try:
        Server.parse(url)
    except ValueError as error:
        yield Check("address", "failed", str(error), "Correct --nats or the profile.")
        return
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    addresses = await _attempt("dns", lambda: _resolved(host))
    yield addresses
    if addresses.state != "ok":
        return
    reached = await _attempt("tcp", lambda: _reach(host, port))
    yield reached
    if reached.state == "ok" and parts.scheme in {"tls", "wss"}:
        yield await _attempt("tls", lambda: _handshake(host, port, after_info=parts.scheme == "tls"))


async def _resolved(host: str) -> str | Check:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None)
    except OSError as error:
        remedy = "Check the name for typing errors, and this machine's DNS."
        return Check("dns", "failed", f"{host} has no address: {error.strerror or error}", remedy)
    return f"{host} is {', '.join(sorted({str(one[4][0]) for one in found}))}"


async def _reach(host: str, port: int) -> str | Check:
    began = time.monotonic()
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            _, writer = await asyncio.open_connection(host, port)
    except OSError as error:
        remedy = (
            "Check the port, that the service runs, and that no firewall blocks it. NATS over WebSocket "
            "(wss://) passes most firewalls."
        )
        reason = error.strerror or type(error).__name__
        return Check("tcp", "failed", f"{host}:{port} cannot be reached: {reason}", remedy)
    writer.close()
    return f"{host}:{port} replies after {1000 * (time.monotonic() - began):.0f} ms"


async def _handshake(host: str, port: int, *, after_info: bool) -> str | Check:
    """Check the certificate. nats-server starts TLS after its first line."""
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            reader, writer = await asyncio.open_connection(host, port, limit=MAX_INFO_BYTES)
            if after_info:
                await reader.readline()
            await writer.start_tls(ssl.create_default_context(), server_hostname=host)
            certificate = writer.get_extra_info("peercert") or {}
    except ssl.SSLCertVerificationError as error:
        remedy = "Use the host name that the operator published, and check this machine's clock."
        return Check("tls", "failed", f"the certificate was refused: {error.verify_message}", remedy)
    except (OSError, ValueError) as error:
        remedy = "Check the port: it may not be nats-server's, or a proxy may intercept the connection."
        return Check("tls", "failed", f"no TLS at {host}:{port}: {type(error).__name__}", remedy)
    finally:
        if writer is not None:
            writer.close()
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(1):
                    await writer.wait_closed()
    return f"the certificate of {host} is valid until {certificate.get('notAfter', 'an unknown time')}"


async def _clock(http: str | None) -> str | Check:
    if http is None:
        return Check("clock", "skipped", "the time is unknown without the bridge's address (--http)")
    before = datetime.now(UTC)
    try:
        # Read the head alone, because a hostile bridge could send a body without end.
        async with (
            asyncio.timeout(2 * TIMEOUT_SECONDS),
            open_client(http, TIMEOUT_SECONDS) as client,
            client.stream("GET", f"{http.rstrip('/')}/health/live") as answer,
        ):
            date = answer.headers.get("Date", "")
    except HTTP_FAULTS as error:
        remedy = "Check --http or the profile. Only HTTP clients need the bridge."
        return Check("clock", "skipped", f"{http} does not reply: {type(error).__name__}", remedy)
    after = datetime.now(UTC)
    try:
        stated = parsedate_to_datetime(date).astimezone(UTC)
    except (ValueError, OverflowError):
        return Check("clock", "skipped", f"{http} does not state the time")
    seconds = (before + (after - before) / 2 - stated).total_seconds() - 0.5
    if abs(seconds) > MAX_CLOCK_ERROR_SECONDS + (after - before).total_seconds():
        remedy = "Set the clock, for example with `timedatectl set-ntp true`."
        return Check(
            "clock", "failed", f"this machine's clock differs by {seconds:+.0f} s from the bridge's", remedy
        )
    return "this machine's clock agrees with the bridge's"


async def _key(session: Session, keys: list[Keypair]) -> str:
    keypair = await asyncio.to_thread(session.keypair)
    keys.append(keypair)
    return f"{session.wallet}/{session.hotkey} is {keypair.ss58_address}"


async def _connect(client: ZipcastClient) -> str:
    began = time.monotonic()
    await client.__aenter__()
    return f"connected in {1000 * (time.monotonic() - began):.0f} ms"


async def _epoch(client: ZipcastClient, found: list[str]) -> str:
    async with asyncio.timeout(EPOCH_TIMEOUT_SECONDS):
        message = (await running_epoch(client)).message
    found.append(message.epoch_id)
    return f"{message.epoch_id} runs until {message.epoch_end:%H:%M:%S} UTC, signature verified"


async def _role(client: ZipcastClient, epoch_id: str, roles: list[str]) -> str:
    """Return the hotkey's role. It is found with a request that only validators may send, and that the
    service refuses to them because the epoch has not ended."""
    role = "validator"
    try:
        await client.results(epoch_id)
    except ServiceError as error:
        if error.code is ErrorCode.VALIDATOR_REQUIRED:
            role = "miner"
        elif error.code not in {ErrorCode.EPOCH_NOT_ENDED, ErrorCode.NOT_YET_REVEALED}:
            raise
    roles.append(role)
    return role if role == "validator" else "miner: no validator permit, or too little stake"


async def _upload(client: ZipcastClient, epoch_id: str, role: str) -> str:
    """Request a form and reach the object store, without storing anything."""
    if role == "validator":
        url = (await client.validator_upload(epoch_id)).upload_url
    else:
        url = (await upload_form(client, None)).url
    async with open_client(url, TIMEOUT_SECONDS) as http:
        answer = await http.head(url)
    if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
        raise TransferError(f"the object store replied with HTTP status {answer.status_code}")
    return f"a form was issued, and {urlsplit(url).hostname} replies"
