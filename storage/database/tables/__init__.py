"""Defines the PostgreSQL tables and the names of their constraints (docs/architecture.md, "Tables").

Only the package `storage` uses these classes. The migrations in `migrations/` create the tables, and
`devstack.check_migrations` finds differences between the two. No relationships are declared, so every query
states what it loads.
"""

from storage.database.tables.base import SCHEMA, SEARCH_PATH, SHA256_RULE, ZIPCODE_RULE, Base
from storage.database.tables.epochs import (
    BeaconRound,
    Epoch,
    EpochAssignment,
    EpochDraft,
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
    "BeaconRound",
    "CredentialIssuance",
    "Epoch",
    "EpochAssignment",
    "EpochDraft",
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
