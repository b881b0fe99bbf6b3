"""What the description says of each endpoint beyond its path and its reply's model: who signs what, what is
sent, which errors it gives, and which golden document shows it.

Owns that table. What follows from who may ask is taken from the rules that the doorkeeper goes by; a test
demands an entry for every endpoint.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType

from http_bridge.admin import PATH as ADMIN_PATH
from runtime.identity import NAMING_A_COLDKEY, VALIDATORS_ONLY
from runtime.legacy_rules import LEGACY_RULES
from zipcast import admin_messages as admin
from zipcast import auth
from zipcast.errors import ErrorCode
from zipcast.legacy_messages import FolderAccessRequest, MinerAccessRequest, ValidatorAccessRequest
from zipcast.messages import LegacyChoiceRequest, ValidatorUploadRequest, WireModel
from zipcast.result_messages import ResultsRequest
from zipcast.status_messages import StatusRequest
from zipcast.subjects import ADMIN_VERBS, MINTING_VERBS, Verb

E = ErrorCode
ANY = frozenset({E.MALFORMED_REQUEST, E.RATE_LIMITED, E.INTERNAL})
SIGNED = frozenset(
    {
        *(E.MALFORMED_AUTH, E.MALFORMED_HOTKEY, E.BAD_SIGNATURE, E.STALE_REQUEST, E.WRONG_RECEIVER),
        *(E.PAYLOAD_TOO_LARGE, E.REGISTRY_UNAVAILABLE),
    }
)
OF_AN_EPOCH = frozenset({E.MALFORMED_EPOCH_ID, E.EPOCH_NOT_FOUND, E.SERVICE_UNAVAILABLE})
MINTED = frozenset({E.REQUEST_REUSED, E.SERVICE_UNAVAILABLE})


@dataclass(frozen=True, slots=True)
class Operation:
    """`verb`: what its signature is for, None where nobody signs. `examples`: golden documents of its reply.
    `ignored`: fields that clients send and nobody reads. `query`: parameters beyond the identity."""

    summary: str
    verb: Verb | None = None
    request: type[WireModel] | None = None
    examples: tuple[str, ...] = ()
    sent: str | None = None
    own_errors: frozenset[ErrorCode] = frozenset()
    ignored: tuple[str, ...] = ()
    query: tuple[str, ...] = ()
    commitments: tuple[str, ...] = ()

    @property
    def errors(self) -> frozenset[ErrorCode]:
        """Every code it can give."""
        return ANY | self.own_errors | frozenset(_of_the_sender(self.verb))


def _of_the_sender(verb: Verb | None) -> Iterator[ErrorCode]:
    """What a sender can be refused for, before anything is done."""
    if verb is None:
        return
    yield from SIGNED
    yield E.ADMIN_REQUIRED if verb in ADMIN_VERBS else E.NOT_REGISTERED
    if verb in LEGACY_RULES:
        yield E.LEGACY_REFUSED
    if verb in VALIDATORS_ONLY:
        yield E.VALIDATOR_REQUIRED
    if verb in NAMING_A_COLDKEY:
        yield E.COLDKEY_MISMATCH
    if verb in MINTING_VERBS:
        yield from MINTED


_API, _ASSIGNMENTS = "/api/v1", "/api/v1/zipcode-assignments"
_EPOCHS = f"{_API}/epochs"

_READS = {
    ("GET", f"{_ASSIGNMENTS}/current"): Operation(
        "The running epoch",
        Verb.EPOCH_CURRENT,
        examples=("current-reply",),
        own_errors=frozenset({E.NO_CURRENT_EPOCH}),
        commitments=(auth.CURRENT_COMMITMENT,),
    ),
    ("GET", f"{_ASSIGNMENTS}/epoch/{{epoch_id}}"): Operation(
        "One epoch, for validators",
        Verb.EPOCH_VALIDATION,
        examples=("epoch-reply-running", "epoch-reply-revealed"),
        own_errors=OF_AN_EPOCH | {E.ARCHIVED},
        commitments=(auth.VALIDATION_COMMITMENT,),
    ),
    ("GET", f"{_ASSIGNMENTS}/stats"): Operation(
        "Public numbers", examples=("stats-reply",), own_errors=frozenset({E.SERVICE_UNAVAILABLE})
    ),
    ("GET", _EPOCHS): Operation(
        "Epochs that have ended",
        examples=("ended-epochs-reply",),
        own_errors=frozenset({E.MALFORMED_EPOCH_ID, E.SERVICE_UNAVAILABLE}),
        query=("limit", "before"),
    ),
    ("GET", f"{_EPOCHS}/stream"): Operation(
        "Epochs as they start, as server-sent events",
        Verb.EPOCH_STREAM,
        commitments=(auth.STREAM_COMMITMENT,),
    ),
    ("GET", f"{_EPOCHS}/{{epoch_id}}"): Operation(
        "One epoch that has ended", examples=("ended-epoch-reply",), own_errors=OF_AN_EPOCH
    ),
    ("GET", f"{_EPOCHS}/{{epoch_id}}/pool"): Operation(
        "What an epoch was chosen from",
        Verb.EPOCH_POOL,
        examples=("epoch-pool-reply",),
        own_errors=OF_AN_EPOCH | {E.ARCHIVED, E.NOT_YET_REVEALED},
        query=("after",),
    ),
    ("GET", f"{_API}/validation-results/{{epoch_id}}"): Operation(
        "What validators found in an epoch",
        Verb.VALIDATOR_CONSENSUS,
        examples=("consensus-reply",),
        own_errors=OF_AN_EPOCH | {E.EPOCH_NOT_ENDED, E.ARCHIVED},
        query=("offset",),
    ),
    ("GET", "/commitment-formats"): Operation("What to sign for what", examples=("commitment-formats",)),
    ("GET", "/structure-info"): Operation("Where files go", examples=("structure-info",)),
    ("GET", "/rate-limits"): Operation("Limits in force", examples=("rate-limits",)),
    ("GET", "/healthcheck"): Operation("How everything is", examples=("healthcheck-reply",)),
    ("GET", "/health/live"): Operation("Whether the process answers"),
    ("GET", "/health/ready"): Operation(
        "Whether assignments can be served",
        own_errors=frozenset({E.REGISTRY_UNAVAILABLE, E.SERVICE_UNAVAILABLE}),
    ),
}
_WRITES = {
    ("POST", f"{_API}/validation-results"): Operation(
        "Report what a validator found",
        Verb.VALIDATOR_RESULTS,
        ResultsRequest,
        examples=("results-reply",),
        sent="request-results",
        own_errors=OF_AN_EPOCH
        | {E.EPOCH_NOT_ENDED, E.ARCHIVED, E.FILE_MISMATCH, E.CHECKSUM_REQUIRED, E.REQUEST_UNDER_WAY}
        | {E.CREDENTIALS_UNAVAILABLE},
    ),
    ("POST", f"{_ASSIGNMENTS}/status"): Operation(
        "Report on an epoch",
        Verb.MINER_STATUS,
        StatusRequest,
        examples=("status-reply",),
        sent="request-status",
        own_errors=OF_AN_EPOCH | {E.ARCHIVED, E.NONCE_MISMATCH, E.REQUEST_REUSED},
        commitments=(auth.STATUS_COMMITMENT, auth.MINER_STATUS_COMMITMENT),
    ),
    ("POST", f"{_API}/s3-access/validator-upload"): Operation(
        "Upload a validator's results",
        Verb.S3_VALIDATOR_UPLOAD,
        ValidatorUploadRequest,
        examples=("validator-upload-reply", "validator-upload-reply-without-sts"),
        sent="request-validator-upload",
        own_errors=OF_AN_EPOCH | {E.CREDENTIALS_UNAVAILABLE},
        ignored=("purpose", "estimatedDataSizeMb", "retentionDays"),
        commitments=(auth.VALIDATOR_UPLOAD_COMMITMENT,),
    ),
    ("POST", "/get-folder-access"): Operation(
        "Upload a miner's files",
        Verb.S3_FOLDER_ACCESS,
        FolderAccessRequest,
        examples=("folder-access-reply",),
        sent="request-folder-access",
        ignored=("expiry",),
        commitments=(auth.FOLDER_ACCESS_COMMITMENT,),
    ),
    ("POST", "/get-validator-access"): Operation(
        "List all that miners uploaded",
        Verb.S3_VALIDATOR_ACCESS,
        ValidatorAccessRequest,
        examples=("validator-access-reply",),
        sent="request-validator-access",
        commitments=(auth.VALIDATOR_ACCESS_COMMITMENT,),
    ),
    ("POST", "/get-miner-specific-access"): Operation(
        "List one miner's uploads",
        Verb.S3_MINER_ACCESS,
        MinerAccessRequest,
        examples=("miner-access-reply",),
        sent="request-miner-access",
        commitments=(auth.MINER_ACCESS_COMMITMENT,),
    ),
    ("POST", f"{_API}/auth/legacy"): Operation(
        "Accept or refuse legacy commitments",
        Verb.AUTH_LEGACY,
        LegacyChoiceRequest,
        examples=("legacy-choice-reply",),
        sent="request-legacy-choice",
        own_errors=frozenset({E.SERVICE_UNAVAILABLE}),
    ),
}


def _admin(
    verb: Verb, request: type[WireModel], replies: tuple[str, ...], *errors: ErrorCode
) -> dict[tuple[str, str], Operation]:
    operation = Operation(
        f"Admin: {verb}",
        verb,
        request,
        examples=replies,
        sent=f"request-admin-{verb.replace('.', '-')}",
        own_errors=frozenset({E.SERVICE_UNAVAILABLE, *errors}),
    )
    return {("POST", f"{ADMIN_PATH}/{verb}"): operation}


_QUEUED = (E.REQUEST_REUSED, E.REQUEST_UNDER_WAY)
_DONE = ("admin-reply-epoch", "admin-reply-queued", "admin-reply-failed")
_ADMIN = (
    _admin(Verb.EPOCH_GENERATE, admin.EpochGenerateRequest, _DONE, *_QUEUED)
    | _admin(Verb.EPOCH_REGENERATE, admin.EpochRegenerateRequest, _DONE, *_QUEUED)
    | _admin(Verb.TARGET_OVERRIDE, admin.TargetOverrideRequest, ("admin-reply-override",), *_QUEUED)
    | _admin(Verb.CONNECTIONS_LIST, admin.ConnectionsListRequest, ("admin-reply-connections",), *_QUEUED)
    | _admin(Verb.CONNECTIONS_KICK, admin.ConnectionsKickRequest, ("admin-reply-kick",), *_QUEUED)
    | _admin(Verb.COMMANDS_LIST, admin.CommandsListRequest, ("admin-commands-reply",))
    | _admin(Verb.COMMANDS_GET, admin.CommandsGetRequest, _DONE, E.COMMAND_NOT_FOUND)
)

OPERATIONS = MappingProxyType(_READS | _WRITES | _ADMIN)
"""By method and path."""
