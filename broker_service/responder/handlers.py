"""Handles requests, with one short handler per verb. The gate has verified the sender."""

from faststream.nats import NatsBroker, NatsResponse

from access.legacy_authentication import named_miner
from access.opt_outs import LegacyOptOuts
from broker_service.responder.current_request import this_request
from broker_service.responder.database import Record
from broker_service.responder.incoming_messages import MAX_AT_ONCE
from broker_service.responder.presigned_lists import Lister
from broker_service.responder.status_reports import Reports
from broker_service.responder.upload_access import Issuer
from broker_service.responder.validator_reads import Reader
from broker_service.responder.validator_results import ResultsDesk
from service.current_epoch import CurrentEpoch
from service.epoch_pools import EpochPools
from service.epoch_results import EpochResultsReader
from service.probes import Probes
from service.process_status import ProcessStatus
from service.sealed_epochs import SealedEpochs
from zipcast.clock import Clock
from zipcast.protocol.messages.access import (
    LegacyChoiceReply,
    LegacyChoiceRequest,
    MinerListReply,
    MinerListRequest,
    MinerUploadReply,
    MinerUploadRequest,
    MinerUploadsReply,
    MinerUploadsRequest,
    ValidatorReadReply,
    ValidatorReadRequest,
    ValidatorUploadReply,
    ValidatorUploadRequest,
)
from zipcast.protocol.messages.epochs import SealedEpochReply
from zipcast.protocol.messages.health import HealthReply
from zipcast.protocol.messages.legacy import (
    FolderAccessReply,
    FolderAccessRequest,
    MinerAccessReply,
    MinerAccessRequest,
    ValidatorAccessReply,
    ValidatorAccessRequest,
)
from zipcast.protocol.messages.pools import EpochPoolReply, EpochPoolRequest
from zipcast.protocol.messages.results import ConsensusReply, ConsensusRequest, ResultsReply, ResultsRequest
from zipcast.protocol.messages.status import EpochGetRequest, StatusReply, StatusRequest
from zipcast.protocol.subjects import BRIDGE_HEALTH, RESPONDER_QUEUE, bridge_request, requests
from zipcast.protocol.verbs import Verb


def register(broker: NatsBroker, current: CurrentEpoch, issuer: Issuer, reader: Reader) -> None:
    """Subscribe to the verbs of epochs, uploads and reads, in the responder's queue group."""

    @broker.subscriber(requests(Verb.EPOCH_CURRENT), RESPONDER_QUEUE)
    async def epoch_current() -> NatsResponse:
        envelope = (await current.awaited()).envelope
        return NatsResponse(envelope.payload, headers=envelope.headers())

    @broker.subscriber(requests(Verb.S3_MINER_UPLOAD), RESPONDER_QUEUE, max_workers=MAX_AT_ONCE)
    @broker.subscriber(bridge_request(Verb.S3_MINER_UPLOAD), RESPONDER_QUEUE, max_workers=MAX_AT_ONCE)
    async def miner_upload(body: MinerUploadRequest) -> MinerUploadReply:
        return await issuer.miner_upload(this_request(), body)

    @broker.subscriber(requests(Verb.S3_VALIDATOR_UPLOAD), RESPONDER_QUEUE, max_workers=MAX_AT_ONCE)
    @broker.subscriber(bridge_request(Verb.S3_VALIDATOR_UPLOAD), RESPONDER_QUEUE, max_workers=MAX_AT_ONCE)
    async def validator_upload(body: ValidatorUploadRequest) -> ValidatorUploadReply:
        return await issuer.validator_upload(this_request(), body)

    @broker.subscriber(bridge_request(Verb.S3_FOLDER_ACCESS), RESPONDER_QUEUE, max_workers=MAX_AT_ONCE)
    async def folder_access(body: FolderAccessRequest) -> FolderAccessReply:
        return await issuer.folder_access(this_request())

    @broker.subscriber(requests(Verb.S3_VALIDATOR_READ), RESPONDER_QUEUE, max_workers=MAX_AT_ONCE)
    @broker.subscriber(bridge_request(Verb.S3_VALIDATOR_READ), RESPONDER_QUEUE, max_workers=MAX_AT_ONCE)
    async def validator_read(body: ValidatorReadRequest) -> ValidatorReadReply:
        return await reader.objects(this_request(), body)

    @broker.subscriber(requests(Verb.MINER_UPLOADS), RESPONDER_QUEUE, max_workers=MAX_AT_ONCE)
    async def miner_uploads(body: MinerUploadsRequest) -> MinerUploadsReply:
        return await reader.own_uploads(this_request().caller.hotkey, body)


def register_lists(broker: NatsBroker, lister: Lister) -> None:
    """Subscribe to the verbs of live lists. The legacy ones come only from the bridge."""

    @broker.subscriber(requests(Verb.S3_MINER_LIST), RESPONDER_QUEUE, max_workers=MAX_AT_ONCE)
    async def miner_list(body: MinerListRequest) -> MinerListReply:
        miner = named_miner(body.model_dump())
        return await lister.miner_list(this_request(), miner, body.epoch_id, body.start_after)

    @broker.subscriber(bridge_request(Verb.S3_VALIDATOR_ACCESS), RESPONDER_QUEUE, max_workers=MAX_AT_ONCE)
    async def validator_access(body: ValidatorAccessRequest) -> ValidatorAccessReply:
        return await lister.validator_access(this_request(), body.start_after)

    @broker.subscriber(bridge_request(Verb.S3_MINER_ACCESS), RESPONDER_QUEUE, max_workers=MAX_AT_ONCE)
    async def miner_access(body: MinerAccessRequest) -> MinerAccessReply:
        miner = named_miner(body.model_dump())
        return await lister.miner_access(this_request(), miner, body.start_after)


def register_reports(broker: NatsBroker, reports: Reports, record: Record) -> None:
    """Subscribe to miners' reports, and to requests for the signed bytes of earlier epochs."""

    @broker.subscriber(requests(Verb.MINER_STATUS), RESPONDER_QUEUE, max_workers=MAX_AT_ONCE)
    @broker.subscriber(bridge_request(Verb.MINER_STATUS), RESPONDER_QUEUE, max_workers=MAX_AT_ONCE)
    async def status(body: StatusRequest) -> StatusReply:
        request = this_request()
        return await reports.status(request.caller, request.proof, body)

    @broker.subscriber(requests(Verb.EPOCH_GET), RESPONDER_QUEUE, max_workers=MAX_AT_ONCE)
    async def epoch_get(body: EpochGetRequest) -> NatsResponse:
        envelope = (await record.started(body.epoch_id)).envelope
        return NatsResponse(envelope.payload, headers=envelope.headers())


def register_results(broker: NatsBroker, desk: ResultsDesk, results: EpochResultsReader) -> None:
    """Subscribe to validators' reports, and to requests for results."""

    @broker.subscriber(requests(Verb.VALIDATOR_RESULTS), RESPONDER_QUEUE, max_workers=MAX_AT_ONCE)
    @broker.subscriber(bridge_request(Verb.VALIDATOR_RESULTS), RESPONDER_QUEUE, max_workers=MAX_AT_ONCE)
    async def validator_results(body: ResultsRequest) -> ResultsReply:
        request = this_request()
        return await desk.report(request.caller, request.proof, body)

    @broker.subscriber(requests(Verb.VALIDATOR_CONSENSUS), RESPONDER_QUEUE, max_workers=MAX_AT_ONCE)
    async def validator_consensus(body: ConsensusRequest) -> ConsensusReply:
        request = this_request()
        return await results.page(request.caller.hotkey, body)


def register_epochs(broker: NatsBroker, pools: EpochPools, sealed: SealedEpochs) -> None:
    """Subscribe to requests for pools and for the newest sealed epoch."""

    @broker.subscriber(requests(Verb.EPOCH_POOL), RESPONDER_QUEUE, max_workers=MAX_AT_ONCE)
    async def epoch_pool(body: EpochPoolRequest) -> EpochPoolReply:
        return await pools.page(body)

    @broker.subscriber(requests(Verb.EPOCH_SEALED), RESPONDER_QUEUE)
    async def epoch_sealed() -> SealedEpochReply:
        return sealed.reply()


def register_choices(broker: NatsBroker, record: Record, opted_out: LegacyOptOuts, clock: Clock) -> None:
    """Subscribe to hotkeys' choices about legacy signatures."""

    @broker.subscriber(requests(Verb.AUTH_LEGACY), RESPONDER_QUEUE)
    @broker.subscriber(bridge_request(Verb.AUTH_LEGACY), RESPONDER_QUEUE)
    async def legacy(body: LegacyChoiceRequest) -> LegacyChoiceReply:
        request = this_request()
        await record.legacy_choice(request.caller, accepted=body.accepted, now=clock.now())
        await opted_out.read()
        return LegacyChoiceReply(hotkey=request.caller.hotkey, accepted=body.accepted)


def register_health(broker: NatsBroker, probes: Probes, process_status: ProcessStatus) -> None:
    """Subscribe to the bridge's health requests about the object store and this process."""

    @broker.subscriber(BRIDGE_HEALTH, RESPONDER_QUEUE, max_workers=MAX_AT_ONCE)
    async def health() -> HealthReply:
        """Return the health of the two buckets, as seen from here, and of this process."""
        return HealthReply(services=await probes.services(), process=process_status.health())
