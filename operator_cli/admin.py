"""Defines the commands of `zipcast admin …`, which send admin requests over NATS, signed with an admin's
wallet.

This module owns options and output.
"""

from collections.abc import Callable
from typing import Annotated

import typer
from rich.table import Table

from operator_cli.admin_client import AdminClient
from zipcast.cli.command import Work, with_options_of
from zipcast.cli.console import echo_json, fail, out
from zipcast.cli.errors import Status
from zipcast.cli.session import Session, resolve
from zipcast.protocol.messages.admin import (
    AdminCommand,
    AdminCommandReply,
    CommandsListReply,
    ConnectionsKickRequest,
    ConnectionsListRequest,
    ConnectionsOutcome,
    EpochGenerateRequest,
    EpochOutcome,
    EpochRegenerateRequest,
    FailedOutcome,
    KickOutcome,
    ListedConnection,
    OverrideOutcome,
    TargetOverrideRequest,
)


def admin_command(work: Work) -> Callable[..., None]:
    """Turn `work`, whose first parameter is a Session, into a command; the local stack's admin is the
    default."""
    return with_options_of(resolve, work, admins=True)


EpochArgument = Annotated[str, typer.Argument(metavar="EPOCH", show_default=False)]
HotkeyArgument = Annotated[str, typer.Argument(metavar="HOTKEY", show_default=False)]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the reply as JSON.")]


@admin_command
async def generate(
    session: Session,
    epoch: Annotated[str | None, typer.Argument(metavar="EPOCH", show_default=False)] = None,
    as_json: JsonOption = False,
) -> None:
    """Prepare the running epoch now if it is missing, otherwise the next one."""
    await _do(session, EpochGenerateRequest(epoch_id=epoch), as_json)


@admin_command
async def regenerate(session: Session, epoch: EpochArgument, as_json: JsonOption = False) -> None:
    """Select and sign an epoch again; always refused, because a drawn epoch is sealed."""
    await _do(session, EpochRegenerateRequest(epoch_id=epoch), as_json)


@admin_command
async def override(
    session: Session,
    epoch: EpochArgument,
    target_listings: Annotated[int, typer.Argument(min=1, max=1_000_000, show_default=False)],
    as_json: JsonOption = False,
) -> None:
    """Set another target for one epoch whose inputs are not committed yet."""
    await _do(session, TargetOverrideRequest(epoch_id=epoch, target_listings=target_listings), as_json)


@admin_command
async def connections(
    session: Session,
    whom: Annotated[str | None, typer.Argument(metavar="HOTKEY", show_default=False)] = None,
    offset: Annotated[int, typer.Option(min=0, help="Skip this many connections, oldest first.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """List connections to NATS, oldest first, at most 500 at a time."""
    await _do(session, ConnectionsListRequest(hotkey=whom, offset=offset), as_json)


@admin_command
async def kick(session: Session, whom: HotkeyArgument, as_json: JsonOption = False) -> None:
    """Close all NATS connections of a hotkey. It may connect again at once."""
    await _do(session, ConnectionsKickRequest(hotkey=whom), as_json)


@admin_command
async def commands(
    session: Session,
    command_id: Annotated[str | None, typer.Argument(metavar="ID", show_default=False)] = None,
    as_json: JsonOption = False,
) -> None:
    """List the newest commands of all admins, or show one command and its outcome."""
    async with AdminClient(session.servers, session.keypair(), session.trust) as client:
        if command_id is not None:
            _show(await client.command(command_id), as_json)
            return
        found = await client.commands()
    if as_json:
        echo_json(found.to_bytes())
    else:
        out.print(_commands_table(found))


async def _do(session: Session, command: AdminCommand, as_json: bool) -> None:
    async with AdminClient(session.servers, session.keypair(), session.trust) as client:
        _show(await client.do(command), as_json)


def _show(reply: AdminCommandReply, as_json: bool) -> None:
    if as_json:
        echo_json(reply.to_bytes())
    else:
        _describe(reply)
    if isinstance(reply.outcome, FailedOutcome):
        if as_json:
            raise typer.Exit(Status.FAILED)
        fail(f"failed: {reply.outcome.reason}", code="command_failed")


def _describe(reply: AdminCommandReply) -> None:
    match reply.outcome:
        case None:
            line = f"queued; to see the outcome: zipcast admin commands {reply.command_id}"
        case EpochOutcome(epoch_id=epoch_id, changed=changed):
            line = f"{epoch_id}: done" if changed else f"{epoch_id}: nothing to do, because this epoch exists"
        case OverrideOutcome(epoch_id=epoch_id, target_listings=target):
            line = f"{epoch_id}: target {target}"
        case KickOutcome(kicked=kicked):
            line = f"kicked: {kicked}"
        case ConnectionsOutcome() as page:
            out.print(_connections_table(page.connections))
            more = "" if page.next_offset is None else f"; next page: --offset {page.next_offset}"
            line = f"{page.total} in all{more}"
        case FailedOutcome():
            return
    out.print(line, soft_wrap=True)


def _connections_table(connections: tuple[ListedConnection, ...]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("hotkey", "address", "since", "in", "out"):
        table.add_column(heading, no_wrap=heading == "hotkey")
    for one in connections:
        counts = (str(one.messages_in), str(one.messages_out))
        table.add_row(one.hotkey, one.address, f"{one.since:%Y-%m-%dT%H:%M:%SZ}", *counts)
    return table


def _commands_table(found: CommandsListReply) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("id", "requested at", "command", "state", "arguments", "requested by"):
        table.add_column(heading, overflow="fold")
    for one in found.commands:
        about = " ".join(f"{name}={value}" for name, value in one.arguments.items() if value is not None)
        at = f"{one.requested_at:%Y-%m-%dT%H:%M:%SZ}"
        state = one.state if one.reason is None else f"{one.state}: {one.reason}"
        table.add_row(one.command_id, at, one.command, state, about, one.hotkey)
    return table
