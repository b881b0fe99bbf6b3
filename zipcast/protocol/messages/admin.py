"""Wire models of admin requests, of their states and their outcomes.

About an epoch that has not started, they contain only its id.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StrictInt, StringConstraints

from zipcast.protocol.calendar import parse_epoch_id
from zipcast.protocol.errors import ErrorCode
from zipcast.protocol.hotkeys import parse_hotkey
from zipcast.protocol.messages.base import EpochId, HotkeyText, Success, WireModel, WireTime
from zipcast.selection.model import MAX_TARGET_LISTINGS

CONNECTIONS_PER_PAGE = 500
COMMANDS_LISTED = 50

CommandId = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"),
    Field(description="UUID of the command.", examples=["6f1c2b9e-3d4a-4c5b-8e7f-0a1b2c3d4e5f"]),
]
CommandState = Literal["queued", "done", "failed"]


def _checked_epoch_id(text: str) -> str:
    parse_epoch_id(text)
    return text


NamedHotkey = Annotated[str, StringConstraints(max_length=64), AfterValidator(parse_hotkey)]
NamedEpoch = Annotated[EpochId, AfterValidator(_checked_epoch_id)]


class EpochRegenerateRequest(WireModel):
    """Select and sign an epoch again. This is refused, because an epoch is sealed when it is drawn."""

    epoch_id: NamedEpoch


class EpochGenerateRequest(WireModel):
    """Prepare the running epoch if it is missing, otherwise the next one. No other epoch can be prepared."""

    epoch_id: NamedEpoch | None = Field(
        default=None, description="Start of the epoch, UTC, as YYYY-MM-DDTHH-MM-SS; ids sort by time."
    )


class TargetOverrideRequest(WireModel):
    """Set another target for one epoch whose inputs are not committed yet."""

    epoch_id: NamedEpoch
    target_listings: StrictInt = Field(
        ge=1, le=MAX_TARGET_LISTINGS, description="Target for the sum of listings of the epoch's zipcodes."
    )


class ConnectionsListRequest(WireModel):
    """List the NATS connections of all hotkeys, or of one hotkey, oldest first, skipping `offset` of them."""

    hotkey: NamedHotkey | None = Field(default=None, description="Hotkey, SS58 with prefix 42.")
    offset: StrictInt = Field(
        default=0, ge=0, le=1_000_000, description="How many connections to skip, oldest first.", examples=[0]
    )


class ConnectionsKickRequest(WireModel):
    """Close all connections of a hotkey. It may connect again at once."""

    hotkey: NamedHotkey = Field(description="Hotkey, SS58 with prefix 42.")


AdminCommand = (
    EpochGenerateRequest
    | EpochRegenerateRequest
    | TargetOverrideRequest
    | ConnectionsListRequest
    | ConnectionsKickRequest
)


class CommandsListRequest(WireModel):
    """List the newest commands of all admins."""


class CommandsGetRequest(WireModel):
    command_id: CommandId


class FailedOutcome(WireModel):
    kind: Literal["failed"] = Field(default="failed", description="Kind of the outcome.")
    reason: str = Field(description="Why it failed.")
    error: ErrorCode | None = Field(default=None, description="Code of the reason, if it has one.")


class EpochOutcome(WireModel):
    """The outcome of preparing or signing an epoch. `changed` is false if there was nothing to do."""

    kind: Literal["epoch"] = Field(default="epoch", description="Kind of the outcome.")
    epoch_id: EpochId
    changed: bool = Field(
        description="Whether the command changed anything; false if there was nothing to do."
    )


class OverrideOutcome(WireModel):
    kind: Literal["override"] = Field(default="override", description="Kind of the outcome.")
    epoch_id: EpochId
    target_listings: int = Field(description="Target for the sum of listings of the epoch's zipcodes.")


class ListedConnection(WireModel):
    """One connection. As in nats-server's counts, `messages_in` came from the client."""

    hotkey: HotkeyText
    address: str = Field(description="IP address of the client.", examples=["192.0.2.7"])
    since: WireTime = Field(description="Time of connecting, UTC.")
    messages_in: int = Field(description="Messages that came from the client.", examples=[3])
    messages_out: int = Field(description="Messages that went to the client.", examples=[40])


class ConnectionsOutcome(WireModel):
    """One page of connections. `next_offset` is set if there is another page."""

    kind: Literal["connections"] = Field(default="connections", description="Kind of the outcome.")
    total: int = Field(description="Number of connections on all pages.", examples=[501])
    connections: tuple[ListedConnection, ...] = Field(
        description="The connections of this page, oldest first."
    )
    next_offset: int | None = Field(description="Pass it as `offset` for the next page; null on the last.")


class KickOutcome(WireModel):
    """The number of connections that were closed. Their clients may connect again at once."""

    kind: Literal["kick"] = Field(default="kick", description="Kind of the outcome.")
    hotkey: HotkeyText
    kicked: int = Field(description="Number of connections that were closed.", examples=[2])


Outcome = Annotated[
    FailedOutcome | EpochOutcome | OverrideOutcome | ConnectionsOutcome | KickOutcome,
    Field(discriminator="kind"),
]


class AdminCommandReply(WireModel):
    """The state of a command. `outcome` is null while the command is queued."""

    success: Success = True
    command_id: CommandId
    command: str = Field(description="Name of the command.", examples=["epoch.generate"])
    state: CommandState = Field(description="queued, done or failed.", examples=["done"])
    requested_at: WireTime = Field(description="When the command was requested, UTC.")
    finished_at: WireTime | None = Field(
        description="When it was done or failed, UTC; null while it is queued."
    )
    outcome: Outcome | None = Field(description="The outcome; null while the command is queued.")


class RecordedCommand(WireModel):
    """One command of the list. `reason` is set if it failed."""

    command_id: CommandId
    hotkey: HotkeyText
    command: str = Field(description="Name of the command.", examples=["target.override"])
    arguments: dict[str, Any] = Field(description="Arguments of the command.")
    state: CommandState = Field(description="queued, done or failed.", examples=["done"])
    requested_at: WireTime = Field(description="When the command was requested, UTC.")
    finished_at: WireTime | None = Field(
        description="When it was done or failed, UTC; null while it is queued."
    )
    reason: str | None = Field(description="Why it failed.")


class CommandsListReply(WireModel):
    """The newest commands of all admins, newest first."""

    success: Success = True
    commands: tuple[RecordedCommand, ...] = Field(
        description="The newest commands of all admins, newest first."
    )
