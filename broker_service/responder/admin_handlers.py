"""The responder's handlers of admin requests, one per verb. The gate has proven that an admin asks."""

from faststream.nats import NatsBroker

from broker_service.responder.admin import AdminDesk
from broker_service.responder.proven import this_request
from zipcast.admin_messages import (
    AdminCommandReply,
    CommandsGetRequest,
    CommandsListReply,
    CommandsListRequest,
    ConnectionsKickRequest,
    ConnectionsListRequest,
    EpochGenerateRequest,
    EpochRegenerateRequest,
    TargetOverrideRequest,
)
from zipcast.subjects import RESPONDER_QUEUE, Verb, bridge_request, requests

# Each may wait some seconds for its outcome.
AT_ONCE = 4


def register_admin(broker: NatsBroker, desk: AdminDesk) -> None:
    """Subscribe every admin verb at both doors, as one of the responder's queue group."""
    _register_commands(broker, desk)
    _register_connections(broker, desk)

    @broker.subscriber(requests(Verb.COMMANDS_LIST), RESPONDER_QUEUE)
    @broker.subscriber(bridge_request(Verb.COMMANDS_LIST), RESPONDER_QUEUE)
    async def commands_list(body: CommandsListRequest) -> CommandsListReply:
        """The newest commands of all admins."""
        return await desk.newest()

    @broker.subscriber(requests(Verb.COMMANDS_GET), RESPONDER_QUEUE)
    @broker.subscriber(bridge_request(Verb.COMMANDS_GET), RESPONDER_QUEUE)
    async def commands_get(body: CommandsGetRequest) -> AdminCommandReply:
        """One command and what it came to."""
        return await desk.get(body)


def _register_commands(broker: NatsBroker, desk: AdminDesk) -> None:
    @broker.subscriber(requests(Verb.EPOCH_GENERATE), RESPONDER_QUEUE, max_workers=AT_ONCE)
    @broker.subscriber(bridge_request(Verb.EPOCH_GENERATE), RESPONDER_QUEUE, max_workers=AT_ONCE)
    async def epoch_generate(body: EpochGenerateRequest) -> AdminCommandReply:
        """Prepare the running epoch if it is missing, else the next one."""
        return await desk.command(Verb.EPOCH_GENERATE, this_request().admission, body)

    @broker.subscriber(requests(Verb.EPOCH_REGENERATE), RESPONDER_QUEUE, max_workers=AT_ONCE)
    @broker.subscriber(bridge_request(Verb.EPOCH_REGENERATE), RESPONDER_QUEUE, max_workers=AT_ONCE)
    async def epoch_regenerate(body: EpochRegenerateRequest) -> AdminCommandReply:
        """Make the message of an epoch that has not started anew, from its committed inputs."""
        return await desk.command(Verb.EPOCH_REGENERATE, this_request().admission, body)

    @broker.subscriber(requests(Verb.TARGET_OVERRIDE), RESPONDER_QUEUE, max_workers=AT_ONCE)
    @broker.subscriber(bridge_request(Verb.TARGET_OVERRIDE), RESPONDER_QUEUE, max_workers=AT_ONCE)
    async def target_override(body: TargetOverrideRequest) -> AdminCommandReply:
        """Another target for one epoch that is not committed to yet."""
        return await desk.command(Verb.TARGET_OVERRIDE, this_request().admission, body)


def _register_connections(broker: NatsBroker, desk: AdminDesk) -> None:
    @broker.subscriber(requests(Verb.CONNECTIONS_LIST), RESPONDER_QUEUE, max_workers=AT_ONCE)
    @broker.subscriber(bridge_request(Verb.CONNECTIONS_LIST), RESPONDER_QUEUE, max_workers=AT_ONCE)
    async def connections_list(body: ConnectionsListRequest) -> AdminCommandReply:
        """Who is connected to NATS, of all hotkeys or of one."""
        return await desk.command(Verb.CONNECTIONS_LIST, this_request().admission, body)

    @broker.subscriber(requests(Verb.CONNECTIONS_KICK), RESPONDER_QUEUE, max_workers=AT_ONCE)
    @broker.subscriber(bridge_request(Verb.CONNECTIONS_KICK), RESPONDER_QUEUE, max_workers=AT_ONCE)
    async def connections_kick(body: ConnectionsKickRequest) -> AdminCommandReply:
        """End all connections of a hotkey."""
        return await desk.command(Verb.CONNECTIONS_KICK, this_request().admission, body)
