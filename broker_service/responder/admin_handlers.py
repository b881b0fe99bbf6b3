"""Handles admin requests, one handler per verb. The gate has verified that the sender is an admin."""

from collections.abc import Awaitable, Callable
from typing import Any

from faststream.nats import NatsBroker

from broker_service.responder.admin import AdminDesk
from broker_service.responder.current_request import this_request
from zipcast.protocol.messages.admin import (
    AdminCommand,
    AdminCommandReply,
    CommandsGetRequest,
    CommandsListReply,
    CommandsListRequest,
)
from zipcast.protocol.subjects import RESPONDER_QUEUE, bridge_request, requests
from zipcast.protocol.verbs import COMMANDS, Verb

# This many requests are handled at once: more than one, because each may wait some seconds for its outcome.
AT_ONCE = 4


def register_admin(broker: NatsBroker, desk: AdminDesk) -> None:
    """Subscribe to every admin verb, from NATS and from the bridge, in the responder's queue group."""

    async def commands_list(body: CommandsListRequest) -> CommandsListReply:
        return await desk.newest()

    async def commands_get(body: CommandsGetRequest) -> AdminCommandReply:
        return await desk.get(body)

    _subscribe(broker, Verb.COMMANDS_LIST, commands_list)
    _subscribe(broker, Verb.COMMANDS_GET, commands_get)
    for verb, kind in COMMANDS.items():
        _subscribe(broker, verb, _queueing(desk, verb, kind), max_workers=AT_ONCE)


def _queueing(
    desk: AdminDesk, verb: Verb, kind: type[AdminCommand]
) -> Callable[[AdminCommand], Awaitable[AdminCommandReply]]:
    async def command(body: kind) -> AdminCommandReply:  # type: ignore[valid-type]
        return await desk.command(verb, this_request().admission, body)

    return command


def _subscribe(
    broker: NatsBroker, verb: Verb, handler: Callable[[Any], object], max_workers: int = 1
) -> None:
    for subject in (bridge_request(verb), requests(verb)):
        broker.subscriber(subject, RESPONDER_QUEUE, max_workers=max_workers)(handler)
