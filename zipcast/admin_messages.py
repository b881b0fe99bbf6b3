"""Wire models of admin requests: what an admin may ask, what becomes of it, and what it came to.

Owns those shapes. Nothing of an epoch that has not started is in any of them but its id.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StrictInt, StringConstraints

from zipcast.calendar import parse_epoch_id
from zipcast.hotkeys import parse_hotkey
from zipcast.messages import EpochId, WireModel, WireTime
from zipcast.selection import MAX_TARGET_LISTINGS

CONNECTIONS_PER_PAGE = 500
COMMANDS_LISTED = 50

CommandId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
CommandState = Literal["queued", "done", "failed"]


def _checked_epoch_id(text: str) -> str:
    parse_epoch_id(text)
    return text


NamedHotkey = Annotated[str, StringConstraints(max_length=64), AfterValidator(parse_hotkey)]
NamedEpoch = Annotated[EpochId, AfterValidator(_checked_epoch_id)]


class EpochRegenerateRequest(WireModel):
    """Sign the message of an epoch that has not started anew, from the inputs it is committed to."""

    epoch_id: NamedEpoch


class EpochGenerateRequest(WireModel):
    """Prepare the running epoch if it is missing, else the next one; no other."""

    epoch_id: NamedEpoch | None = None


class TargetOverrideRequest(WireModel):
    """Another target for one epoch that is not committed to yet."""

    epoch_id: NamedEpoch
    target_listings: StrictInt = Field(ge=1, le=MAX_TARGET_LISTINGS)


class ConnectionsListRequest(WireModel):
    """From the `offset`-th on, oldest first."""

    hotkey: NamedHotkey | None = None
    offset: StrictInt = Field(default=0, ge=0, le=1_000_000)


class ConnectionsKickRequest(WireModel):
    hotkey: NamedHotkey


class CommandsListRequest(WireModel):
    """The newest commands of all admins."""


class CommandsGetRequest(WireModel):
    command_id: CommandId


class FailedOutcome(WireModel):
    kind: Literal["failed"] = "failed"
    reason: str


class EpochOutcome(WireModel):
    """`changed`: whether this command did it, or it was so before."""

    kind: Literal["epoch"] = "epoch"
    epoch_id: EpochId
    changed: bool


class OverrideOutcome(WireModel):
    kind: Literal["override"] = "override"
    epoch_id: EpochId
    target_listings: int


class ListedConnection(WireModel):
    """Messages are counted as nats-server does: `messages_in` came from the client."""

    hotkey: str
    address: str
    since: WireTime
    messages_in: int
    messages_out: int


class ConnectionsOutcome(WireModel):
    """One page; `next_offset` where there is another."""

    kind: Literal["connections"] = "connections"
    total: int
    connections: tuple[ListedConnection, ...]
    next_offset: int | None


class KickOutcome(WireModel):
    """How many connections there were to kick. Their clients may connect again at once."""

    kind: Literal["kick"] = "kick"
    hotkey: str
    kicked: int


Outcome = Annotated[
    FailedOutcome | EpochOutcome | OverrideOutcome | ConnectionsOutcome | KickOutcome,
    Field(discriminator="kind"),
]


class AdminCommandReply(WireModel):
    """`outcome` is null as long as the command is queued."""

    success: Literal[True] = True
    command_id: CommandId
    command: str
    state: CommandState
    requested_at: WireTime
    finished_at: WireTime | None
    outcome: Outcome | None


class RecordedCommand(WireModel):
    """One command of the list; `reason` where it failed."""

    command_id: CommandId
    hotkey: str
    command: str
    arguments: dict[str, Any]
    state: CommandState
    requested_at: WireTime
    finished_at: WireTime | None
    reason: str | None


class CommandsListReply(WireModel):
    """Newest first."""

    success: Literal[True] = True
    commands: tuple[RecordedCommand, ...]
