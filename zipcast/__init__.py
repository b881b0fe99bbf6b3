"""The SDK of Zipcast: it delivers verified epochs as they start, and sends the requests of miners and
validators.

These are the public names. Each is imported when it is first used, so that `import zipcast` is fast. The
folders: `protocol` (what clients and service agree on), `selection` (which zipcodes an epoch assigns),
`verification` (checking what was published), `client` (this SDK) and `cli` (the command). Nothing here
imports the service.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zipcast.client.client import ZipcastClient
    from zipcast.client.connection import CertificateError, InsecureServerError, RefusedError
    from zipcast.client.received_epochs import ReceivedEpoch
    from zipcast.client.signed_requests import ConnectionLostError
    from zipcast.client.transfers import (
        TooLargeError,
        TooLateError,
        UploadError,
        download,
        post_file,
        reported_file,
    )
    from zipcast.client.wallets import WalletError, load_hotkey
    from zipcast.protocol.envelope import EnvelopeError, Trust, VerifiedEpoch
    from zipcast.protocol.errors import ErrorCode, ServiceError
    from zipcast.protocol.hotkeys import Hotkey, MalformedHotkeyError, parse_hotkey
    from zipcast.protocol.messages.epochs import AssignedZipcode, EpochMessage
    from zipcast.protocol.messages.results import AuditRow, ResultsRequest, TopMiner
    from zipcast.protocol.messages.status import StatusRequest

_MODULES = {
    "zipcast.client.client": ("ZipcastClient",),
    "zipcast.client.connection": (
        "CertificateError",
        "InsecureServerError",
        "RefusedError",
    ),
    "zipcast.client.received_epochs": ("ReceivedEpoch",),
    "zipcast.client.signed_requests": ("ConnectionLostError",),
    "zipcast.client.transfers": (
        "TooLargeError",
        "TooLateError",
        "UploadError",
        "download",
        "post_file",
        "reported_file",
    ),
    "zipcast.client.wallets": (
        "WalletError",
        "load_hotkey",
    ),
    "zipcast.protocol.envelope": (
        "EnvelopeError",
        "Trust",
        "VerifiedEpoch",
    ),
    "zipcast.protocol.errors": (
        "ErrorCode",
        "ServiceError",
    ),
    "zipcast.protocol.hotkeys": (
        "Hotkey",
        "MalformedHotkeyError",
        "parse_hotkey",
    ),
    "zipcast.protocol.messages.epochs": (
        "AssignedZipcode",
        "EpochMessage",
    ),
    "zipcast.protocol.messages.results": (
        "AuditRow",
        "ResultsRequest",
        "TopMiner",
    ),
    "zipcast.protocol.messages.status": ("StatusRequest",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "AssignedZipcode",
    "AuditRow",
    "CertificateError",
    "ConnectionLostError",
    "EnvelopeError",
    "EpochMessage",
    "ErrorCode",
    "Hotkey",
    "InsecureServerError",
    "MalformedHotkeyError",
    "ReceivedEpoch",
    "RefusedError",
    "ResultsRequest",
    "ServiceError",
    "StatusRequest",
    "TooLargeError",
    "TooLateError",
    "TopMiner",
    "Trust",
    "UploadError",
    "VerifiedEpoch",
    "WalletError",
    "ZipcastClient",
    "download",
    "load_hotkey",
    "parse_hotkey",
    "post_file",
    "reported_file",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'zipcast' has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return __all__
