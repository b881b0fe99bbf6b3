"""Lists every request of the protocol: who may send it, how, and what the reply is.

`VERBS` has one entry per verb. Subjects, permissions, limits, checks, `/commitment-formats`, `/rate-limits`,
OpenAPI and AsyncAPI are derived from these entries. To add a verb, add an entry here, a handler in
`broker_service.responder.handlers` (for admins, `admin_handlers`), and a test. CONTRIBUTING.md lists all
files.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Literal, get_args

from zipcast.protocol.errors import ErrorCode as E
from zipcast.protocol.messages import admin
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
from zipcast.protocol.messages.admin import AdminCommand
from zipcast.protocol.messages.assignments import (
    CurrentAssignmentReply,
    EpochAssignmentReply,
    RevealedEpochReply,
)
from zipcast.protocol.messages.base import EmptyRequest, WireModel
from zipcast.protocol.messages.epochs import EpochMessage, SealedEpochReply
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
from zipcast.protocol.signed_texts import (
    API_WINDOW,
    CURRENT_COMMITMENT,
    FOLDER_ACCESS_COMMITMENT,
    GET_WINDOW,
    MINER_ACCESS_COMMITMENT,
    MINER_STATUS_COMMITMENT,
    SEALED_COMMITMENT,
    STATUS_COMMITMENT,
    STREAM_COMMITMENT,
    VALIDATION_COMMITMENT,
    VALIDATOR_ACCESS_COMMITMENT,
    VALIDATOR_UPLOAD_COMMITMENT,
    Window,
)


class Verb(StrEnum):
    """A kind of request; the last two tokens of a request subject."""

    EPOCH_CURRENT = "epoch.current"
    EPOCH_GET = "epoch.get"
    EPOCH_POOL = "epoch.pool"
    EPOCH_STREAM = "epoch.stream"
    EPOCH_SEALED = "epoch.sealed"
    EPOCH_VALIDATION = "epoch.validation"
    S3_MINER_UPLOAD = "s3.miner-upload"
    S3_VALIDATOR_UPLOAD = "s3.validator-upload"
    S3_VALIDATOR_READ = "s3.validator-read"
    S3_MINER_LIST = "s3.miner-list"
    S3_FOLDER_ACCESS = "s3.folder-access"
    S3_VALIDATOR_ACCESS = "s3.validator-access"
    S3_MINER_ACCESS = "s3.miner-access"
    MINER_STATUS = "miner.status"
    MINER_UPLOADS = "miner.uploads"
    VALIDATOR_RESULTS = "validator.results"
    VALIDATOR_CONSENSUS = "validator.consensus"
    AUTH_LEGACY = "auth.legacy"
    EPOCH_GENERATE = "epoch.generate"
    EPOCH_REGENERATE = "epoch.regenerate"
    TARGET_OVERRIDE = "target.override"
    CONNECTIONS_LIST = "connections.list"
    CONNECTIONS_KICK = "connections.kick"
    COMMANDS_LIST = "commands.list"
    COMMANDS_GET = "commands.get"


class Asker(StrEnum):
    """The hotkeys that may make a request."""

    HOTKEY = "hotkey"
    """Any hotkey that is registered on the subnet."""
    VALIDATOR = "validator"
    """A registered hotkey with a validator permit and enough stake."""
    ADMIN = "admin"
    """A hotkey in the service's list of admins, registered or not."""


@dataclass(frozen=True, slots=True)
class HttpEndpoint:
    """The endpoint of a verb over HTTP. If `is_forwarded`, the bridge forwards the request to the responder;
    otherwise it replies itself. `query` lists parameters besides the legacy identity."""

    method: Literal["GET", "POST"]
    path: str
    is_forwarded: bool = True
    query: tuple[str, ...] = ()
    ignored_fields: tuple[str, ...] = ()
    """Fields that existing clients send and that the service ignores."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit on the requests of one hotkey within any `window`. `setting` names the setting that has the
    number. Verbs with the same `name` share one limit."""

    name: str
    setting: str
    window: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class VerbSpec:
    """The definition of one verb.

    `over_nats` is whether hotkeys can send it on their own subject. `commitments` are the legacy texts: a
    client may sign one of them instead of using `btauth/1`. `window` is the accepted age of their timestamps.
    With `names_coldkey`, the body names a coldkey, which must own the hotkey. If `mints` is true, the reply
    grants access to a bucket. `own_errors` lists codes in addition to those that follow from the other
    fields."""

    title: str
    text: str
    who: Asker
    request: type[WireModel]
    reply: type[WireModel]
    http_replies: tuple[type[WireModel], ...] = ()
    http: HttpEndpoint | None = None
    over_nats: bool = True
    commitments: tuple[str, ...] = ()
    window: Window = API_WINDOW
    names_coldkey: bool = False
    mints: bool = False
    limit: Limit | None = None
    max_body_bytes: int = 8 * 1024
    own_errors: frozenset[E] = frozenset()

    @property
    def is_forwarded(self) -> bool:
        """Return whether the bridge forwards requests of this verb to the responder."""
        return self.http is not None and self.http.is_forwarded

    @property
    def errors(self) -> frozenset[E]:
        """Return every code with which the verb can be refused."""
        return ANY_REQUEST | self.own_errors | frozenset(self._errors_of_sender())

    def _errors_of_sender(self) -> Iterator[E]:
        yield from SIGNED_REQUEST
        yield E.ADMIN_REQUIRED if self.who is Asker.ADMIN else E.NOT_REGISTERED
        if self.commitments:
            yield E.LEGACY_REFUSED
        if self.who is Asker.VALIDATOR:
            yield E.VALIDATOR_REQUIRED
        if self.names_coldkey:
            yield E.COLDKEY_MISMATCH
        if self.mints:
            yield from (E.REQUEST_REUSED, E.SERVICE_UNAVAILABLE)


ANY_REQUEST = frozenset({E.MALFORMED_REQUEST, E.RATE_LIMITED, E.INTERNAL})
SIGNED_REQUEST = frozenset(
    {
        *(E.MALFORMED_AUTH, E.MALFORMED_HOTKEY, E.BAD_SIGNATURE, E.STALE_REQUEST, E.WRONG_RECEIVER),
        *(E.PAYLOAD_TOO_LARGE, E.REGISTRY_UNAVAILABLE),
    }
)
OF_AN_EPOCH = frozenset({E.MALFORMED_EPOCH_ID, E.EPOCH_NOT_FOUND, E.SERVICE_UNAVAILABLE})

_MINUTE, _HOUR, _DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
_OF_MINERS = "daily_limit_per_miner"
_READING = Limit("validator-read", "daily_limit_per_validator", _DAY)
# The largest sizes of reports, which must fit into a NATS message of at most 256 KB including headers.
_STATUS_BYTES, _RESULTS_BYTES = 160 * 1024, 240 * 1024
_API = "/api/v1"
_ASSIGNMENTS = f"{_API}/zipcode-assignments"

_EPOCHS = {
    Verb.EPOCH_CURRENT: VerbSpec(
        title="The running epoch",
        text="Returns the running epoch: the signed bytes and headers exactly as they were published.",
        who=Asker.HOTKEY,
        request=EmptyRequest,
        reply=EpochMessage,
        http_replies=(CurrentAssignmentReply,),
        http=HttpEndpoint("GET", f"{_ASSIGNMENTS}/current", is_forwarded=False),
        commitments=(CURRENT_COMMITMENT,),
        limit=Limit("current", "limit_current_per_minute", _MINUTE),
        own_errors=frozenset({E.NO_CURRENT_EPOCH}),
    ),
    Verb.EPOCH_GET: VerbSpec(
        title="The signed bytes of an epoch that has started",
        text="Returns an epoch that has started: the signed bytes and headers exactly as they were "
        "published.",
        who=Asker.HOTKEY,
        request=EpochGetRequest,
        reply=EpochMessage,
        limit=Limit("epoch-get", "limit_status_per_hour", _HOUR),
        own_errors=OF_AN_EPOCH,
    ),
    Verb.EPOCH_STREAM: VerbSpec(
        title="Epochs as they start, as server-sent events",
        text="Sends each epoch as a server-sent event when it starts. With `Last-Event-ID`, the epochs "
        "after that event come first.",
        who=Asker.HOTKEY,
        request=EmptyRequest,
        reply=EpochMessage,
        http=HttpEndpoint("GET", f"{_API}/epochs/stream", is_forwarded=False),
        over_nats=False,
        commitments=(STREAM_COMMITMENT,),
        limit=Limit("stream", "limit_current_per_minute", _MINUTE),
    ),
    Verb.EPOCH_SEALED: VerbSpec(
        title="The next epoch, sealed",
        text="Returns the newest sealed epoch that has not ended. It can be opened from its start on, with "
        "its round of drand's beacon.",
        who=Asker.HOTKEY,
        request=EmptyRequest,
        reply=SealedEpochReply,
        http=HttpEndpoint("GET", f"{_API}/epochs/sealed", is_forwarded=False),
        commitments=(SEALED_COMMITMENT,),
        limit=Limit("sealed", "limit_current_per_minute", _MINUTE),
        own_errors=frozenset({E.NO_SEALED_EPOCH}),
    ),
    Verb.EPOCH_VALIDATION: VerbSpec(
        title="One epoch, for validators",
        text="Returns an epoch that has started, for validators. One epoch after its end, the reply has "
        "its seed and honeypots.",
        who=Asker.VALIDATOR,
        request=EmptyRequest,
        reply=EpochAssignmentReply,
        http_replies=(EpochAssignmentReply, RevealedEpochReply),
        http=HttpEndpoint("GET", f"{_ASSIGNMENTS}/epoch/{{epoch_id}}", is_forwarded=False),
        over_nats=False,
        commitments=(VALIDATION_COMMITMENT,),
        limit=Limit("epoch", "limit_epoch_per_hour", _HOUR),
        own_errors=OF_AN_EPOCH | {E.ARCHIVED},
    ),
    Verb.EPOCH_POOL: VerbSpec(
        title="The pool of an epoch",
        text="Returns one page of the pool from which an epoch was selected, one epoch after its end.",
        who=Asker.VALIDATOR,
        request=EpochPoolRequest,
        reply=EpochPoolReply,
        http=HttpEndpoint("GET", f"{_API}/epochs/{{epoch_id}}/pool", is_forwarded=False, query=("after",)),
        limit=Limit("epoch-pool", "limit_pool_per_hour", _HOUR),
        own_errors=OF_AN_EPOCH | {E.ARCHIVED, E.NOT_YET_REVEALED},
    ),
}
_UPLOADS = {
    Verb.S3_MINER_UPLOAD: VerbSpec(
        title="Upload a miner's files of one epoch",
        text="Returns a form that uploads to the caller's folder of one epoch, until the epoch's deadline.",
        who=Asker.HOTKEY,
        request=MinerUploadRequest,
        reply=MinerUploadReply,
        http=HttpEndpoint("POST", f"{_API}/s3-access/miner-upload"),
        mints=True,
        limit=Limit("miner-upload", _OF_MINERS, _DAY),
        own_errors=OF_AN_EPOCH | {E.CREDENTIALS_UNAVAILABLE, E.NO_CURRENT_EPOCH, E.EPOCH_NOT_OPEN},
    ),
    Verb.S3_FOLDER_ACCESS: VerbSpec(
        title="Upload a miner's files",
        text="Returns a form that uploads anywhere in the miner's folder, for 24 hours.",
        who=Asker.HOTKEY,
        request=FolderAccessRequest,
        reply=FolderAccessReply,
        http=HttpEndpoint("POST", "/get-folder-access", ignored_fields=("expiry",)),
        over_nats=False,
        commitments=(FOLDER_ACCESS_COMMITMENT,),
        window=GET_WINDOW,
        names_coldkey=True,
        mints=True,
        limit=Limit("folder-access", _OF_MINERS, _DAY),
    ),
    Verb.S3_VALIDATOR_UPLOAD: VerbSpec(
        title="Upload a validator's results",
        text="Returns a form and session credentials for the validator's folder of one epoch, for four "
        "hours.",
        who=Asker.VALIDATOR,
        request=ValidatorUploadRequest,
        reply=ValidatorUploadReply,
        http=HttpEndpoint(
            "POST",
            f"{_API}/s3-access/validator-upload",
            ignored_fields=("purpose", "estimatedDataSizeMb", "retentionDays"),
        ),
        commitments=(VALIDATOR_UPLOAD_COMMITMENT,),
        mints=True,
        limit=Limit("validator-upload", "limit_upload_per_hour", _HOUR),
        own_errors=OF_AN_EPOCH | {E.CREDENTIALS_UNAVAILABLE},
    ),
}
_READS = {
    Verb.S3_VALIDATOR_READ: VerbSpec(
        title="Read the uploads of an ended epoch",
        text="Returns one page of the uploads of an ended epoch, of one miner or of all, each with a "
        "presigned GET.",
        who=Asker.VALIDATOR,
        request=ValidatorReadRequest,
        reply=ValidatorReadReply,
        http=HttpEndpoint("POST", f"{_API}/s3-access/validator-read"),
        mints=True,
        limit=_READING,
        own_errors=OF_AN_EPOCH | {E.CREDENTIALS_UNAVAILABLE, E.EPOCH_NOT_ENDED, E.ARCHIVED},
    ),
    Verb.S3_MINER_LIST: VerbSpec(
        title="List a miner's current uploads",
        text="Returns a presigned list of one miner's folder for an ended epoch, as the folder is now.",
        who=Asker.VALIDATOR,
        request=MinerListRequest,
        reply=MinerListReply,
        mints=True,
        limit=_READING,
        own_errors=OF_AN_EPOCH | {E.EPOCH_NOT_ENDED},
    ),
    Verb.S3_VALIDATOR_ACCESS: VerbSpec(
        title="List all miners' uploads",
        text="Returns presigned lists of all miners' uploads, valid for 24 hours.",
        who=Asker.VALIDATOR,
        request=ValidatorAccessRequest,
        reply=ValidatorAccessReply,
        http=HttpEndpoint("POST", "/get-validator-access"),
        over_nats=False,
        commitments=(VALIDATOR_ACCESS_COMMITMENT,),
        window=GET_WINDOW,
        mints=True,
        limit=_READING,
    ),
    Verb.S3_MINER_ACCESS: VerbSpec(
        title="List one miner's uploads",
        text="Returns a presigned list of one miner's uploads, valid for 24 hours.",
        who=Asker.VALIDATOR,
        request=MinerAccessRequest,
        reply=MinerAccessReply,
        http=HttpEndpoint("POST", "/get-miner-specific-access"),
        over_nats=False,
        commitments=(MINER_ACCESS_COMMITMENT,),
        window=GET_WINDOW,
        mints=True,
        limit=_READING,
    ),
}
_REPORTS = {
    Verb.MINER_STATUS: VerbSpec(
        title="Report on an epoch",
        text="Stores a miner's status report on an epoch. Of several reports, the one signed last is kept.",
        who=Asker.HOTKEY,
        request=StatusRequest,
        reply=StatusReply,
        http=HttpEndpoint("POST", f"{_ASSIGNMENTS}/status"),
        commitments=(STATUS_COMMITMENT, MINER_STATUS_COMMITMENT),
        limit=Limit("status", "limit_status_per_hour", _HOUR),
        max_body_bytes=_STATUS_BYTES,
        own_errors=OF_AN_EPOCH | {E.ARCHIVED, E.NONCE_MISMATCH, E.REQUEST_REUSED},
    ),
    Verb.MINER_UPLOADS: VerbSpec(
        title="The caller's uploads that count for an ended epoch",
        text="Returns one page of the caller's own uploads in the manifest of an ended epoch.",
        who=Asker.HOTKEY,
        request=MinerUploadsRequest,
        reply=MinerUploadsReply,
        limit=Limit("miner-uploads", "limit_status_per_hour", _HOUR),
        own_errors=OF_AN_EPOCH | {E.EPOCH_NOT_ENDED, E.ARCHIVED},
    ),
    Verb.VALIDATOR_RESULTS: VerbSpec(
        title="Report a validator's results",
        text="Checks the files of a validator's report on an ended epoch and stores it. It replaces an "
        "earlier report.",
        who=Asker.VALIDATOR,
        request=ResultsRequest,
        reply=ResultsReply,
        http=HttpEndpoint("POST", f"{_API}/validation-results"),
        limit=Limit("results", "limit_results_per_hour", _HOUR),
        max_body_bytes=_RESULTS_BYTES,
        own_errors=OF_AN_EPOCH
        | {E.EPOCH_NOT_ENDED, E.ARCHIVED, E.FILE_MISMATCH, E.CHECKSUM_REQUIRED, E.REQUEST_UNDER_WAY}
        | {E.CREDENTIALS_UNAVAILABLE},
    ),
    Verb.VALIDATOR_CONSENSUS: VerbSpec(
        title="Validators' results of an epoch",
        text="Returns one page of validators' reports on a revealed epoch, with their consensus. Before "
        "the epoch is revealed, it returns the caller's own reports, over NATS only.",
        who=Asker.VALIDATOR,
        request=ConsensusRequest,
        reply=ConsensusReply,
        http=HttpEndpoint(
            "GET", f"{_API}/validation-results/{{epoch_id}}", is_forwarded=False, query=("offset",)
        ),
        limit=Limit("consensus", "limit_consensus_per_hour", _HOUR),
        own_errors=OF_AN_EPOCH | {E.EPOCH_NOT_ENDED, E.ARCHIVED},
    ),
    Verb.AUTH_LEGACY: VerbSpec(
        title="Accept or refuse legacy signatures",
        text="Sets whether legacy signatures are accepted for the caller. It takes effect within two "
        "seconds.",
        who=Asker.HOTKEY,
        request=LegacyChoiceRequest,
        reply=LegacyChoiceReply,
        http=HttpEndpoint("POST", f"{_API}/auth/legacy"),
        limit=Limit("legacy-choice", "limit_status_per_hour", _HOUR),
        own_errors=frozenset({E.SERVICE_UNAVAILABLE}),
    ),
}


def _admin(
    verb: Verb,
    text: str,
    request: type[WireModel],
    *own_errors: E,
    reply: type[WireModel] = admin.AdminCommandReply,
) -> VerbSpec:
    return VerbSpec(
        title=f"Admin: {verb}",
        text=text,
        who=Asker.ADMIN,
        request=request,
        reply=reply,
        http=HttpEndpoint("POST", f"{_API}/admin/{verb}"),
        own_errors=frozenset({E.SERVICE_UNAVAILABLE, *own_errors}),
    )


_QUEUED = (E.REQUEST_REUSED, E.REQUEST_UNDER_WAY)
_ADMIN = {
    Verb.EPOCH_GENERATE: _admin(
        Verb.EPOCH_GENERATE,
        "Prepare the running epoch if it is missing, otherwise the next one.",
        admin.EpochGenerateRequest,
        *_QUEUED,
    ),
    Verb.EPOCH_REGENERATE: _admin(
        Verb.EPOCH_REGENERATE,
        "Select and sign an epoch again. This is always refused, because a drawn epoch is sealed.",
        admin.EpochRegenerateRequest,
        *_QUEUED,
        E.EPOCH_SEALED,
    ),
    Verb.TARGET_OVERRIDE: _admin(
        Verb.TARGET_OVERRIDE,
        "Set another target for one epoch whose inputs are not committed yet.",
        admin.TargetOverrideRequest,
        *_QUEUED,
    ),
    Verb.CONNECTIONS_LIST: _admin(
        Verb.CONNECTIONS_LIST,
        "List the NATS connections of all hotkeys or of one.",
        admin.ConnectionsListRequest,
        *_QUEUED,
    ),
    Verb.CONNECTIONS_KICK: _admin(
        Verb.CONNECTIONS_KICK,
        "Close all NATS connections of a hotkey.",
        admin.ConnectionsKickRequest,
        *_QUEUED,
    ),
    Verb.COMMANDS_LIST: _admin(
        Verb.COMMANDS_LIST,
        "List the newest commands of all admins.",
        admin.CommandsListRequest,
        reply=admin.CommandsListReply,
    ),
    Verb.COMMANDS_GET: _admin(
        Verb.COMMANDS_GET,
        "Show one command and its outcome.",
        admin.CommandsGetRequest,
        E.COMMAND_NOT_FOUND,
    ),
}

VERBS = MappingProxyType(_EPOCHS | _UPLOADS | _READS | _REPORTS | _ADMIN)


def _over_nats(*askers: Asker) -> frozenset[Verb]:
    return frozenset(verb for verb, spec in VERBS.items() if spec.over_nats and spec.who in askers)


MINER_VERBS = _over_nats(Asker.HOTKEY)
"""Verbs that every registered hotkey may use over NATS."""
VALIDATOR_VERBS = _over_nats(Asker.HOTKEY, Asker.VALIDATOR)
ADMIN_VERBS = _over_nats(Asker.ADMIN)
"""Verbs of admins. Their subjects have a separate prefix."""

# The verb of each admin command that a scheduler carries out; COMMANDS is the reverse.
VERB_OF: Mapping[type[AdminCommand], Verb] = MappingProxyType(
    {spec.request: verb for verb, spec in VERBS.items() if spec.request in get_args(AdminCommand)}  # type: ignore[misc]
)
COMMANDS: Mapping[Verb, type[AdminCommand]] = MappingProxyType({verb: kind for kind, verb in VERB_OF.items()})
