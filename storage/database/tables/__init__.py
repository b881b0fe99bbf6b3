"""The PostgreSQL tables (design: data model). Rows live here and in repositories, nowhere else.

Owns table shapes and constraint names; the migrations under `migrations/` bring a real
database to this shape, and `devstack.check_migrations` refuses a difference between the two.
No relationships are declared: every read says what it loads.
"""

from storage.database.tables.base import SCHEMA, SEARCH_PATH, SHA256_RULE, ZIPCODE_RULE, Base
from storage.database.tables.epochs import (
    Epoch,
    EpochAssignment,
    EpochHoneypots,
    EpochInputs,
    EpochMessage,
    PendingEpoch,
)
from storage.database.tables.locks import ReportLock, SchedulerLock
from storage.database.tables.registry import RegistrySnapshot
from storage.database.tables.requests import AdminCommand, CredentialIssuance, LegacyOptOut, RequestRefusal
from storage.database.tables.results import (
    MinerSignal,
    MinerSubmission,
    UploadManifest,
    UploadSeal,
    ValidationAudit,
    ValidatorResult,
)
from storage.database.tables.zipcodes import (
    PublishedZipcode,
    RetiredHoneypot,
    Zipcode,
    ZipcodeColumns,
    ZipcodeHoneypot,
    ZipcodeImport,
    ZipcodeRevision,
)

__all__ = [
    "SCHEMA",
    "SEARCH_PATH",
    "SHA256_RULE",
    "ZIPCODE_RULE",
    "AdminCommand",
    "Base",
    "CredentialIssuance",
    "Epoch",
    "EpochAssignment",
    "EpochHoneypots",
    "EpochInputs",
    "EpochMessage",
    "LegacyOptOut",
    "MinerSignal",
    "MinerSubmission",
    "PendingEpoch",
    "PublishedZipcode",
    "RegistrySnapshot",
    "ReportLock",
    "RequestRefusal",
    "RetiredHoneypot",
    "SchedulerLock",
    "UploadManifest",
    "UploadSeal",
    "ValidationAudit",
    "ValidatorResult",
    "Zipcode",
    "ZipcodeColumns",
    "ZipcodeHoneypot",
    "ZipcodeImport",
    "ZipcodeRevision",
]
