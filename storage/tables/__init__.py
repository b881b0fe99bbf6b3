"""The PostgreSQL tables (design: data model). Rows live here and in repositories, nowhere else.

Owns table shapes and constraint names; the migrations under `migrations/` bring a real
database to this shape, and `devstack.check_migrations` refuses a difference between the two.
No relationships are declared: every read says what it loads.
"""

from storage.tables.base import SHA256_RULE, ZIPCODE_RULE, Base
from storage.tables.epochs import Epoch, EpochAssignment, EpochHoneypot, EpochInputs, EpochMessage
from storage.tables.registry import RegistrySnapshot
from storage.tables.requests import (
    AdminCommand,
    CredentialIssuance,
    LegacyOptOut,
    RequestClaim,
    RequestRefusal,
)
from storage.tables.results import (
    MinerSignal,
    MinerSubmission,
    UploadManifest,
    ValidationAudit,
    ValidatorResult,
)
from storage.tables.zipcodes import (
    PublishedZipcode,
    RetiredHoneypot,
    Zipcode,
    ZipcodeColumns,
    ZipcodeHoneypot,
    ZipcodeImport,
    ZipcodeRevision,
)

__all__ = [
    "SHA256_RULE",
    "ZIPCODE_RULE",
    "AdminCommand",
    "Base",
    "CredentialIssuance",
    "Epoch",
    "EpochAssignment",
    "EpochHoneypot",
    "EpochInputs",
    "EpochMessage",
    "LegacyOptOut",
    "MinerSignal",
    "MinerSubmission",
    "PublishedZipcode",
    "RegistrySnapshot",
    "RequestClaim",
    "RequestRefusal",
    "RetiredHoneypot",
    "UploadManifest",
    "ValidationAudit",
    "ValidatorResult",
    "Zipcode",
    "ZipcodeColumns",
    "ZipcodeHoneypot",
    "ZipcodeImport",
    "ZipcodeRevision",
]
