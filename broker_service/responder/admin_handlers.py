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
from zipcast.protocol.verbs import Verb
from zipcast.subjects import RESPONDER_QUEUE, bridge_request, requests

# Each may wait some seconds for its outcome.
AT_ONCE = 4


def register_admin(broker: NatsBroker, desk: AdminDesk) -> None:
    """Subscribe every admin verb at both doors, as one of the responder's queue group."""
    _register_commands(broker, desk)
    _register_connections(broker, desk)

    @broker.subscriber(requests(Verb.COMMANDS_LIST), RESPONDER_QUEUE)
    @broker.subscriber(bridge_request(Verb.COMMANDS_LIST), RESPONDER_QUEUE)
    async def commands_list(body: CommandsListRequest) -> CommandsListReply:
        return await desk.newest()

    @broker.subscriber(requests(Verb.COMMANDS_GET), RESPONDER_QUEUE)
    @broker.subscriber(bridge_request(Verb.COMMANDS_GET), RESPONDER_QUEUE)
    async def commands_get(body: CommandsGetRequest) -> AdminCommandReply:
        return await desk.get(body)


def _register_commands(broker: NatsBroker, desk: AdminDesk) -> None:
    @broker.subscriber(requests(Verb.EPOCH_GENERATE), RESPONDER_QUEUE, max_workers=AT_ONCE)
    @broker.subscriber(bridge_request(Verb.EPOCH_GENERATE), RESPONDER_QUEUE, max_workers=AT_ONCE)
    async def epoch_generate(body: EpochGenerateRequest) -> AdminCommandReply:
        return await desk.command(Verb.EPOCH_GENERATE, this_request().admission, body)

    @broker.subscriber(requests(Verb.EPOCH_REGENERATE), RESPONDER_QUEUE, max_workers=AT_ONCE)
    @broker.subscriber(bridge_request(Verb.EPOCH_REGENERATE), RESPONDER_QUEUE, max_workers=AT_ONCE)
    async def epoch_regenerate(body: EpochRegenerateRequest) -> AdminCommandReply:
        return await desk.command(Verb.EPOCH_REGENERATE, this_request().admission, body)

    @broker.subscriber(requests(Verb.TARGET_OVERRIDE), RESPONDER_QUEUE, max_workers=AT_ONCE)
    @broker.subscriber(bridge_request(Verb.TARGET_OVERRIDE), RESPONDER_QUEUE, max_workers=AT_ONCE)
    async def target_override(body: TargetOverrideRequest) -> AdminCommandReply:
        return await desk.command(Verb.TARGET_OVERRIDE, this_request().admission, body)


def _register_connections(broker: NatsBroker, desk: AdminDesk) -> None:
    @broker.subscriber(requests(Verb.CONNECTIONS_LIST), RESPONDER_QUEUE, max_workers=AT_ONCE)
    @broker.subscriber(bridge_request(Verb.CONNECTIONS_LIST), RESPONDER_QUEUE, max_workers=AT_ONCE)
    async def connections_list(body: ConnectionsListRequest) -> AdminCommandReply:
        return await desk.command(Verb.CONNECTIONS_LIST, this_request().admission, body)

    @broker.subscriber(requests(Verb.CONNECTIONS_KICK), RESPONDER_QUEUE, max_workers=AT_ONCE)
    @broker.subscriber(bridge_request(Verb.CONNECTIONS_KICK), RESPONDER_QUEUE, max_workers=AT_ONCE)
    async def connections_kick(body: ConnectionsKickRequest) -> AdminCommandReply:
        return await desk.command(Verb.CONNECTIONS_KICK, this_request().admission, body)
