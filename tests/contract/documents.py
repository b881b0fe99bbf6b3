"""Makes the documents of the contract from fixed values, with the code of the product.

The values are invented, and the keys are public development keys. Nothing here depends on the time, on chance
or on a server. sr25519 signatures are random, so a constant replaces each signature.
"""

import json
from collections.abc import AsyncIterator, Iterable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from access.rate_limits import Rules
from access.requests import Caller
from access.requests import Proof as SignedRequest
from broker_service.responder.presigned_lists import Lister
from broker_service.responder.sts_sessions import Sessions
from broker_service.responder.upload_access import Issuer
from broker_service.responder.validator_reads import Reader
from broker_service.responder.validator_results import reply_of
from devstack.beacon_relay import stand_in_signature
from http_bridge import formats_reply
from http_bridge.current_reply import CurrentReply
from http_bridge.epoch_reply import epoch_body
from http_bridge.health import HealthcheckReply, RunningEpoch
from http_bridge.rate_limits_reply import rate_limits
from http_bridge.statistics import StatisticsReply, statistics_reply
from service.epoch_results import summary_of
from service.settings import LimitSettings
from storage.database.epochs import StoredEpoch
from storage.database.honeypots import OpenedHoneypot, Revelation
from storage.database.manifests import SealedObject
from storage.database.results import RecordedResult
from storage.database.statistics import Rules as StatisticsRules
from storage.database.statistics import StartedEpoch, Statistics, ZipcodeCounts
from tests.support.fakes import (
    EPOCH_ID,
    MINER_HOTKEY,
    RAO,
    SIGNER_HOTKEY,
    START_AT,
    STRANGER_HOTKEY,
    VALIDATOR_HOTKEY,
    FakeClock,
    FakeCurrent,
    FakeObjectStore,
    FakeRecord,
    FakeRequest,
    neuron,
    snapshot,
)
from zipcast.protocol.beacon import QUICKNET, BeaconRounds
from zipcast.protocol.calendar import EpochInterval
from zipcast.protocol.envelope import UnverifiedEnvelope, VerifiedEpoch
from zipcast.protocol.errors import ERRORS, ServiceError
from zipcast.protocol.hotkeys import parse_hotkey
from zipcast.protocol.messages.access import (
    FileToUpload,
    LegacyChoiceReply,
    LegacyChoiceRequest,
    MinerUploadRequest,
    MinerUploadsRequest,
    ValidatorReadRequest,
    ValidatorUploadRequest,
)
from zipcast.protocol.messages.admin import (
    AdminCommandReply,
    CommandsGetRequest,
    CommandsListReply,
    CommandsListRequest,
    CommandState,
    ConnectionsKickRequest,
    ConnectionsListRequest,
    ConnectionsOutcome,
    EpochGenerateRequest,
    EpochOutcome,
    EpochRegenerateRequest,
    FailedOutcome,
    KickOutcome,
    ListedConnection,
    Outcome,
    OverrideOutcome,
    RecordedCommand,
    TargetOverrideRequest,
)
from zipcast.protocol.messages.base import WireModel, error_body
from zipcast.protocol.messages.epochs import (
    AssignedZipcode,
    EpochBeacon,
    EpochDraft,
    EpochMessage,
    EpochMetadata,
    Proof,
)
from zipcast.protocol.messages.health import (
    HealthReply,
    HealthStatus,
    LastError,
    ProcessHealth,
    ServiceHealth,
)
from zipcast.protocol.messages.history import EndedEpoch, EndedEpochReply, EndedEpochsReply
from zipcast.protocol.messages.legacy import (
    FOLDER_STRUCTURE,
    FolderAccessRequest,
    MinerAccessRequest,
    ValidatorAccessRequest,
)
from zipcast.protocol.messages.pools import (
    EpochPoolReply,
    EpochPoolRequest,
    PoolDetail,
    PoolRow,
    ShownHoneypot,
    ShownSignal,
)
from zipcast.protocol.messages.results import (
    AuditRow,
    ConsensusReply,
    ConsensusRequest,
    Coverage,
    ReportedFile,
    ResultsReply,
    ResultsRequest,
    TopMiner,
)
from zipcast.protocol.messages.service import ServiceDescription
from zipcast.protocol.messages.status import EpochGetRequest, StatusReply, StatusRequest, ZipcodeProgress
from zipcast.selection.committed_inputs import ALGORITHM_VERSION, SelectionInputs
from zipcast.selection.honeypots import HoneypotSettings
from zipcast.selection.model import Candidate, MarketTier, SelectionSettings

SIGNATURE = "5a" * 64
COMMAND_ID = "6f1c2b9e-3d4a-4c5b-8e7f-0a1b2c3d4e5f"
MIDWAY = START_AT + timedelta(hours=1, microseconds=250_000)
AFTERWARDS = START_AT + timedelta(hours=5)
MINER = Caller(MINER_HOTKEY, "miner", "request-1", "nats")
VALIDATOR = Caller(VALIDATOR_HOTKEY, "validator", "request-2", "nats")


def epoch_message() -> EpochMessage:
    return EpochMessage(
        network="test",
        netuid=46,
        epoch_id=EPOCH_ID,
        epoch_start=START_AT,
        epoch_end=START_AT + timedelta(hours=4),
        nonce="01" * 32,
        target_listings=2_000,
        tolerance_percent=10,
        submission_deadline=START_AT + timedelta(hours=4),
        zipcodes=(
            AssignedZipcode(
                zipcode="07030",
                expected_listings=810,
                state="NJ",
                city="Hoboken",
                county="Hudson County",
                market_tier=MarketTier.PREMIUM,
                geographic_region="Northeast",
            ),
            AssignedZipcode(
                zipcode="19104",
                expected_listings=1_150,
                state="PA",
                city='Saint "Mary\'s" – Ñ',
                county="Philadelphia County",
                market_tier=MarketTier.EMERGING,
                geographic_region="Northeast",
            ),
        ),
        metadata=EpochMetadata(
            total_expected_listings=1_960,
            zipcode_count=2,
            algorithm_version=ALGORITHM_VERSION,
            seed_commitment="02" * 32,
        ),
        previous_epoch_id="2026-11-22T00-00-00",
        seed_commitment="02" * 32,
        next_seed_commitment="03" * 32,
        next_inputs_hash="04" * 32,
        revealed_seed="05" * 32,
        candidate_pool_hash="06" * 32,
        beacon=EpochBeacon(chain=QUICKNET.name, round=1000, signature=stand_in_signature(0), fallback=False),
        issued_at=START_AT - timedelta(minutes=5),
    )


def epoch_draft() -> EpochDraft:
    message = epoch_message()
    return EpochDraft(
        network=message.network,
        netuid=message.netuid,
        epoch_id=message.epoch_id,
        inputs_hash="07" * 32,
        seed_commitment=message.seed_commitment,
        chain=QUICKNET.name,
        round=1000,
        issued_at=START_AT - timedelta(minutes=5),
    )


def current_reply() -> bytes:
    message = epoch_message()
    envelope = UnverifiedEnvelope(message.to_bytes(), SIGNER_HOTKEY, SIGNATURE, message.epoch_id)
    return CurrentReply.of(VerifiedEpoch(message, envelope)).plain.body


def issuer(store: FakeObjectStore) -> Issuer:
    clock, current = FakeClock(MIDWAY), FakeCurrent(epoch_message())
    return Issuer(store, Sessions(store, clock), FakeRecord(), current, clock, "miners", "validators")


def asked_by(caller: Caller, at: datetime = MIDWAY) -> FakeRequest:
    return FakeRequest(caller, FakeClock(at))


def sealed_object() -> SealedObject:
    return SealedObject(
        hotkey=MINER_HOTKEY,
        object_key=f"data/hotkey={MINER_HOTKEY}/epoch={EPOCH_ID}/listings.json",
        version_id="v1",
        size_bytes=4_096,
        etag="9e107d9d372bb6826bd81d3542a419d6",
        stored_at=START_AT + timedelta(hours=2),
    )


def reader() -> Reader:
    store, clock = FakeObjectStore(), FakeClock(AFTERWARDS)
    return Reader(store, FakeRecord([sealed_object()]), Sessions(store, clock), clock, "miners")


async def miner_uploads_reply() -> WireModel:
    return await reader().own_uploads(parse_hotkey(MINER_HOTKEY), MinerUploadsRequest(epoch_id=EPOCH_ID))


async def read_reply() -> WireModel:
    return await reader().objects(
        asked_by(VALIDATOR, AFTERWARDS),
        ValidatorReadRequest(epoch_id=EPOCH_ID, miner_hotkey=MINER_HOTKEY, with_credentials=True),
    )


def epoch_reply(now: datetime) -> bytes:
    """Return the reply of `GET …/epoch/{id}`, for a running epoch or with its seed."""
    message = epoch_message()
    envelope = UnverifiedEnvelope(message.to_bytes(), SIGNER_HOTKEY, SIGNATURE, message.epoch_id)
    interval = EpochInterval(message.epoch_start, message.epoch_end)
    revealed = Revelation("05" * 32, (OpenedHoneypot("07030", 31, 810, "06" * 32, discarded=False),))
    is_revealed = now >= START_AT + timedelta(hours=8)
    stored = StoredEpoch(interval, "active", envelope, START_AT)
    return epoch_body(stored, revealed if is_revealed else None, now)


def pool_reply() -> EpochPoolReply:
    """Return the first of two pages."""
    one = Candidate(
        zipcode="07030",
        state="NJ",
        city="Hoboken",
        county="Hudson County",
        market_tier=MarketTier.PREMIUM,
        geographic_region="Northeast",
        expected_listings=31,
        population=None,
        base_weight=1.25,
        last_scraped_at=START_AT - timedelta(days=1, microseconds=1),
        last_assigned_at=None,
    )
    inputs = SelectionInputs(
        *(EPOCH_ID, 7, "1", ("2026-11-22T00-00-00",), SelectionSettings(), HoneypotSettings()),
        beacon=BeaconRounds("quicknet", 34172182, 34169812, timedelta(seconds=90), "down"),
        zipcodes_sha256="08" * 32,
    )
    details = {"late": False, "zipcodes": [{"zipcode": "07030", "reportedListings": 800, "threshold": 50}]}
    return EpochPoolReply(
        epoch_id=EPOCH_ID,
        detail=PoolDetail(
            inputs=inputs.to_bytes().decode(),
            seed="05" * 32,
            relaxed_age_days=2,
            relaxed_cooldown=("19104",),
            honeypots=(
                ShownHoneypot(
                    zipcode="07030",
                    real_listings=31,
                    published_listings=810,
                    salt="09" * 32,
                    discarded=False,
                ),
            ),
            signals=(
                ShownSignal(
                    hotkey=MINER_HOTKEY, kind="honeypot_hit", details=details, computed_at=AFTERWARDS
                ),
            ),
        ),
        candidates=(PoolRow.of(one, "0a" * 32),),
        next_after="07030",
    )


def ended_epoch() -> EndedEpochReply:
    message = epoch_message()
    return EndedEpochReply(
        epoch_id=message.epoch_id,
        epoch_start=message.epoch_start,
        epoch_end=message.epoch_end,
        status="COMPLETED",
        late_seconds=0.004,
        seed="05" * 32,
        seed_commitment=message.seed_commitment,
        beacon=message.beacon_kind,
        proof=Proof(payload=message.to_bytes().decode(), signer=SIGNER_HOTKEY, signature=SIGNATURE),
    )


def ended_epochs() -> EndedEpochsReply:
    """Return the first of several pages."""
    one = EndedEpoch.model_validate(ended_epoch().model_dump())
    return EndedEpochsReply(epochs=(one,), next_before=one.epoch_id)


def requests() -> Iterable[tuple[str, WireModel]]:
    yield "request-miner-upload", MinerUploadRequest()
    yield "request-miner-upload-of-an-epoch", MinerUploadRequest(epoch_id=EPOCH_ID)
    yield "request-miner-uploads", MinerUploadsRequest(epoch_id=EPOCH_ID)
    yield "request-validator-upload", ValidatorUploadRequest(epoch_id=EPOCH_ID)
    yield "request-epoch-get", EpochGetRequest(epoch_id=EPOCH_ID)
    yield "request-epoch-pool", EpochPoolRequest(epoch_id=EPOCH_ID, after="07030")
    yield "request-results", results_request()
    yield "request-consensus", ConsensusRequest(epoch_id=EPOCH_ID, offset=3)
    yield "request-legacy-choice", LegacyChoiceRequest(accepted=False)
    yield "request-folder-access", FolderAccessRequest(coldkey=SIGNER_HOTKEY)
    yield "request-validator-access", ValidatorAccessRequest()
    yield "request-miner-access", MinerAccessRequest(miner_hotkey=MINER_HOTKEY)
    yield (
        "request-status",
        StatusRequest(
            epoch_id=EPOCH_ID,
            nonce="01" * 32,
            status="COMPLETED",
            listings_scraped=1960,
            zipcodes_completed=(
                ZipcodeProgress(zipcode="07001", listings_scraped=1960, completed_at=MIDWAY),
            ),
            s3_upload_complete=True,
            s3_upload_timestamp=MIDWAY,
        ),
    )
    yield (
        "request-validator-read",
        ValidatorReadRequest(epoch_id=EPOCH_ID, miner_hotkey=MINER_HOTKEY, page_token="bmV4dA=="),
    )


def results_request() -> ResultsRequest:
    prefix = f"validators/{VALIDATOR_HOTKEY}/epoch={EPOCH_ID}/"
    return ResultsRequest(
        epoch_id=EPOCH_ID,
        started_at=START_AT + timedelta(hours=4, minutes=2),
        duration_seconds=1_800.5,
        miners_evaluated=12,
        top_miners=(
            TopMiner(hotkey=MINER_HOTKEY, score=0.975),
            TopMiner(hotkey=STRANGER_HOTKEY, score=0.5),
        ),
        listings_validated=640,
        files=(ReportedFile(key=f"{prefix}results.json", size_bytes=4_096, sha256="0a" * 32),),
        audit=(
            AuditRow(
                miner_hotkey=MINER_HOTKEY,
                zipcode="07030",
                type="spot_check",
                result="partial",
                score=0.75,
                listings_checked=20,
                issues=("five of twenty were sold in another year",),
            ),
        ),
    )


def results_reply() -> ResultsReply:
    """Return the reply as the service makes it from the database."""
    request = results_request()
    (file,) = request.files
    found = {"key": file.key, "size_bytes": 4_096, "sha256": file.sha256}
    recorded = recorded_result(
        VALIDATOR_HOTKEY,
        request,
        files=[found | {"version_id": "v1", "checked_by": "checksum"}],
        earlier=1,
    )
    return reply_of(
        EPOCH_ID, recorded, SignedRequest(recorded.request_key or "", AFTERWARDS, recorded.body_sha256)
    )


def recorded_result(hotkey: str, request: ResultsRequest, **changed: Any) -> RecordedResult:
    values: dict[str, Any] = {
        "id": UUID(COMMAND_ID),
        "hotkey": hotkey,
        "alpha_stake_rao": 1_000 * RAO,
        "reported_at": AFTERWARDS,
        "received_at": AFTERWARDS,
        "superseded_at": None,
        "is_late": False,
        "duration_seconds": request.duration_seconds,
        "miners_evaluated": request.miners_evaluated,
        "listings_validated": request.listings_validated,
        "top_3_miners": [one.model_dump(mode="json") for one in request.top_miners],
        "files": [],
        "body_sha256": "0b" * 32,
        "request_key": "btauth:1",
        "audit_rows": len(request.audit),
        "earlier": 0,
    }
    return RecordedResult(**values | changed)


def consensus_reply() -> ConsensusReply:
    """Return the first of two pages about two validators who rate one miner alike."""
    one, other = results_request(), results_request().model_copy(update={"top_miners": one_miner()})
    found = [
        recorded_result(VALIDATOR_HOTKEY, one),
        recorded_result(STRANGER_HOTKEY, other, alpha_stake_rao=3_000 * RAO),
    ]
    signal = ShownSignal(
        hotkey=MINER_HOTKEY,
        kind="nonce_failures",
        details={"refusals": 3, "suppressed": 0},
        computed_at=AFTERWARDS,
    )
    coverage = Coverage(
        validators_reported=2,
        validators=3,
        stake_share=0.8,
        miners_audited=1,
        miners=4,
        zipcodes_audited=1,
        zipcodes=2,
    )
    summary, told = summary_of(found, coverage)
    return ConsensusReply(
        epoch_id=EPOCH_ID,
        revealed=True,
        consensus=summary,
        reports=tuple(told),
        signals=(signal,),
        next_offset=3,
    )


def one_miner() -> tuple[TopMiner, ...]:
    return (TopMiner(hotkey=MINER_HOTKEY, score=12.5),)


def status_reply() -> StatusReply:
    return StatusReply(message="Recorded.", epoch_id=EPOCH_ID, status="COMPLETED", timestamp=MIDWAY)


def errors() -> dict[str, object]:
    """Return one error body for each code; retryable ones have a `retryAfter`."""
    return {
        str(code): error_body(
            ServiceError(code, meaning.meaning, retry_after_seconds=5),
            server_time=MIDWAY,
        )
        for code, meaning in ERRORS.items()
    }


def healthcheck_reply() -> HealthcheckReply:
    well = ServiceHealth(
        status=HealthStatus.OK, latency_ms=1.25, last_error=None, since=START_AT, note="limits are in memory"
    )
    ill = ServiceHealth(
        status=HealthStatus.UNHEALTHY, latency_ms=2000, last_error="no answer within 2 s", since=MIDWAY
    )
    return HealthcheckReply(
        status=HealthStatus.DEGRADED,
        timestamp=MIDWAY,
        uptime=12.5,
        version="0.1.0",
        folder_structure=FOLDER_STRUCTURE,
        services={"rate_limit_store": well, "broker": ill},
        current_epoch=RunningEpoch(id=EPOCH_ID, start_time=START_AT, end_time=START_AT + timedelta(hours=4)),
        features={"currentAssignment": True},
    )


def health_reply() -> HealthReply:
    well = ServiceHealth(status=HealthStatus.OK, latency_ms=1.25, last_error=None, since=START_AT)
    responder = ProcessHealth(
        process="responder",
        status=HealthStatus.OK,
        uptime=12.5,
        counts={"requests": 3},
        problems={"request_failed": 1},
        last_error=LastError(action="request_failed", at=MIDWAY, error="KeyError"),
        connections={"responder": "connected"},
    )
    return HealthReply(services={"object_store": well, "validator_bucket": well}, process=responder)


def stats_reply() -> StatisticsReply:
    before = EpochInterval(START_AT - timedelta(hours=4), START_AT)
    running = EpochInterval(START_AT, START_AT + timedelta(hours=4))
    known = Statistics(
        recent=(
            StartedEpoch(running, "active", 2, 2_000, 1_960, 3, 1, running.start_at),
            StartedEpoch(before, "missed", 0, None, None, 0, 0, None),
        ),
        rules=StatisticsRules(2_000, 10, 200, 3_000, timedelta(hours=24), ("NJ", "PA"), timedelta(days=30)),
        zipcodes=ZipcodeCounts(900, 850, 700, {"NJ": 350, "PA": 500}, {"PREMIUM": 350, "EMERGING": 500}),
    )
    return statistics_reply(known, MIDWAY)


def admin_requests() -> Iterable[tuple[str, WireModel]]:
    yield "request-admin-epoch-generate", EpochGenerateRequest()
    yield "request-admin-epoch-regenerate", EpochRegenerateRequest(epoch_id=EPOCH_ID)
    yield "request-admin-target-override", TargetOverrideRequest(epoch_id=EPOCH_ID, target_listings=4_000)
    yield "request-admin-commands-list", CommandsListRequest()
    yield "request-admin-connections-list", ConnectionsListRequest()
    yield "request-admin-connections-kick", ConnectionsKickRequest(hotkey=MINER_HOTKEY)
    yield "request-admin-commands-get", CommandsGetRequest(command_id=COMMAND_ID)


def admin_replies() -> Iterable[tuple[str, WireModel]]:
    """Return one reply for each outcome."""
    connection = ListedConnection(
        hotkey=MINER_HOTKEY, address="192.0.2.7", since=START_AT, messages_in=3, messages_out=40
    )
    outcomes: dict[str, Outcome | None] = {
        "queued": None,
        "failed": FailedOutcome(reason="only epoch 2026-11-22T08-00-00 can be generated now"),
        "epoch": EpochOutcome(epoch_id=EPOCH_ID, changed=True),
        "override": OverrideOutcome(epoch_id=EPOCH_ID, target_listings=4_000),
        "connections": ConnectionsOutcome(total=501, connections=(connection,), next_offset=500),
        "kick": KickOutcome(hotkey=MINER_HOTKEY, kicked=2),
    }
    for name, outcome in outcomes.items():
        state: CommandState = "queued" if outcome is None else "failed" if name == "failed" else "done"
        yield (
            f"admin-reply-{name}",
            AdminCommandReply(
                command_id=COMMAND_ID,
                command="epoch.generate",
                state=state,
                requested_at=START_AT,
                finished_at=None if outcome is None else MIDWAY,
                outcome=outcome,
            ),
        )
    command = RecordedCommand(
        command_id=COMMAND_ID,
        hotkey=MINER_HOTKEY,
        command="target.override",
        arguments={"epochId": EPOCH_ID, "targetListings": 4_000},
        state="done",
        requested_at=START_AT,
        finished_at=MIDWAY,
        reason=None,
    )
    yield "admin-commands-reply", CommandsListReply(commands=(command,))


def service_description() -> ServiceDescription:
    return ServiceDescription(
        network="finney",
        netuid=46,
        signers=(parse_hotkey(SIGNER_HOTKEY),),
        servers=("tls://nats.example.org:4222",),
        http="https://bridge.example.org",
        documentation="https://docs.example.org",
    )


async def documents() -> AsyncIterator[tuple[str, bytes]]:
    """Return (name of the golden file, bytes as they are sent) of each document."""
    yield "epoch-message", epoch_message().to_bytes()
    first = epoch_message().model_copy(update={"previous_epoch_id": None, "revealed_seed": None})
    yield "epoch-message-first", first.to_bytes()
    draft = epoch_draft()
    yield "epoch-draft", draft.to_bytes()
    signed = Proof(payload=draft.to_bytes().decode(), signer=SIGNER_HOTKEY, signature=SIGNATURE)
    yield "epoch-message-drafted", first.model_copy(update={"draft": signed}).to_bytes()
    yield "current-reply", current_reply()
    store = FakeObjectStore()
    by_form = await issuer(store).miner_upload(asked_by(MINER), MinerUploadRequest())
    yield "miner-upload-reply", by_form.to_bytes()
    put = issuer(FakeObjectStore(takes_forms=False))
    file = FileToUpload(name="19103/listings.parquet", size_bytes=4096)
    by_put = await put.miner_upload(asked_by(MINER), MinerUploadRequest(file=file))
    yield "miner-upload-reply-put", by_put.to_bytes()
    with_sts = await issuer(store).validator_upload(
        asked_by(VALIDATOR), ValidatorUploadRequest(epoch_id=EPOCH_ID)
    )
    yield "validator-upload-reply", with_sts.to_bytes()
    without_sts = await issuer(FakeObjectStore(sts=False)).validator_upload(
        asked_by(VALIDATOR), ValidatorUploadRequest(epoch_id=EPOCH_ID)
    )
    yield "validator-upload-reply-without-sts", without_sts.to_bytes()
    yield "folder-access-reply", (await issuer(store).folder_access(asked_by(MINER))).to_bytes()
    lister = Lister(store, FakeRecord(), FakeClock(MIDWAY), "miners")
    yield "validator-access-reply", (await lister.validator_access(asked_by(VALIDATOR))).to_bytes()
    lists = await lister.miner_access(asked_by(VALIDATOR), parse_hotkey(MINER_HOTKEY))
    yield "miner-access-reply", lists.to_bytes()
    yield "epoch-reply-running", epoch_reply(MIDWAY)
    yield "epoch-reply-revealed", epoch_reply(START_AT + timedelta(hours=8))
    yield "epoch-pool-reply", pool_reply().to_bytes()
    yield "results-reply", results_reply().to_bytes()
    yield "consensus-reply", consensus_reply().to_bytes()
    yield "ended-epoch-reply", ended_epoch().to_bytes()
    yield "ended-epochs-reply", ended_epochs().to_bytes()
    yield "legacy-choice-reply", LegacyChoiceReply(hotkey=MINER_HOTKEY, accepted=False).to_bytes()
    yield "status-reply", status_reply().to_bytes()
    yield "rate-limits", rate_limits(Rules.of(LimitSettings())).to_bytes()
    yield "miner-uploads-reply", (await miner_uploads_reply()).to_bytes()
    yield "validator-read-reply", (await read_reply()).to_bytes()
    neurons = [neuron(MINER_HOTKEY), neuron(VALIDATOR_HOTKEY, permit=True, rao=1_000 * RAO, uid=1)]
    yield "healthcheck-reply", healthcheck_reply().to_bytes()
    yield "health-reply", health_reply().to_bytes()
    yield "stats-reply", stats_reply().to_bytes()
    yield "commitment-formats", formats_reply.commitment_formats().to_bytes()
    yield "service-description", service_description().to_bytes()
    yield "structure-info", formats_reply.structure_info().to_bytes()
    yield "registry-snapshot", snapshot(neurons).to_bytes()
    yield "errors", json.dumps(errors()).encode()
    for name, reply in admin_replies():
        yield name, reply.to_bytes()
    for name, request in (*requests(), *admin_requests()):
        yield name, request.to_bytes()
