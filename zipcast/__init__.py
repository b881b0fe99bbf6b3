"""The SDK of Zipcast: it receives and verifies epochs as they start, and sends the requests of miners and
validators.

    async with zipcast.connect("tls://nats.example.org:4222", wallet="my-wallet", ...) as zc:
        async for epoch in zc.epochs():
            ...

These are the public names. Each is imported when it is first used, so that `import zipcast` is fast. The
folders: `protocol` (what clients and service agree on), `selection` (which zipcodes an epoch assigns),
`verification` (checking what was published), `client` (this SDK) and `cli` (the command). `errors` shows the
tree of errors, `legacy` has the methods of the subnet's older client, and `testing` has a fake service for
your tests. Nothing here imports the service.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zipcast.client.async_client import Zipcast, connect
    from zipcast.client.epoch import Epoch
    from zipcast.client.files import Upload, UploadedFile
    from zipcast.client.sync_client import SyncZipcast, connect_sync
    from zipcast.client.wallets import load_hotkey
    from zipcast.errors import (
        CertificateError,
        ClosedError,
        DamagedFileError,
        EnvelopeError,
        EquivocationError,
        ErrorCode,
        NotRegisteredError,
        RefusedError,
        ServiceError,
        SettingsError,
        TooLargeError,
        TooLateError,
        TooSmallError,
        TransferError,
        UnavailableError,
        WalletError,
        WrongHostNameError,
        WrongNetuidError,
        WrongNetworkError,
        WrongSignerError,
        ZipcastError,
    )
    from zipcast.protocol.envelope import Trust, VerifiedEpoch
    from zipcast.protocol.hotkeys import Hotkey, Keypair, MalformedHotkeyError, parse_hotkey
    from zipcast.protocol.messages.epochs import AssignedZipcode, EpochMessage
    from zipcast.protocol.messages.results import AuditRow, EpochResults, ResultsReply
    from zipcast.protocol.messages.status import StatusReply, ZipcodeProgress

_MODULES = {
    "zipcast.client.async_client": (
        "Zipcast",
        "connect",
    ),
    "zipcast.client.sync_client": (
        "SyncZipcast",
        "connect_sync",
    ),
    "zipcast.client.epoch": ("Epoch",),
    "zipcast.client.files": (
        "Upload",
        "UploadedFile",
    ),
    "zipcast.client.wallets": ("load_hotkey",),
    "zipcast.errors": (
        "CertificateError",
        "ClosedError",
        "DamagedFileError",
        "EnvelopeError",
        "EquivocationError",
        "ErrorCode",
        "NotRegisteredError",
        "RefusedError",
        "ServiceError",
        "SettingsError",
        "TooLargeError",
        "TooLateError",
        "TooSmallError",
        "TransferError",
        "UnavailableError",
        "WalletError",
        "WrongHostNameError",
        "WrongNetuidError",
        "WrongNetworkError",
        "WrongSignerError",
        "ZipcastError",
    ),
    "zipcast.protocol.envelope": (
        "Trust",
        "VerifiedEpoch",
    ),
    "zipcast.protocol.hotkeys": (
        "Hotkey",
        "Keypair",
        "MalformedHotkeyError",
        "parse_hotkey",
    ),
    "zipcast.protocol.messages.epochs": (
        "AssignedZipcode",
        "EpochMessage",
    ),
    "zipcast.protocol.messages.results": (
        "AuditRow",
        "EpochResults",
        "ResultsReply",
    ),
    "zipcast.protocol.messages.status": (
        "StatusReply",
        "ZipcodeProgress",
    ),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "AssignedZipcode",
    "AuditRow",
    "CertificateError",
    "ClosedError",
    "DamagedFileError",
    "EnvelopeError",
    "Epoch",
    "EpochMessage",
    "EpochResults",
    "EquivocationError",
    "ErrorCode",
    "Hotkey",
    "Keypair",
    "MalformedHotkeyError",
    "NotRegisteredError",
    "RefusedError",
    "ResultsReply",
    "ServiceError",
    "SettingsError",
    "StatusReply",
    "SyncZipcast",
    "TooLargeError",
    "TooLateError",
    "TooSmallError",
    "TransferError",
    "Trust",
    "UnavailableError",
    "Upload",
    "UploadedFile",
    "VerifiedEpoch",
    "WalletError",
    "WrongHostNameError",
    "WrongNetuidError",
    "WrongNetworkError",
    "WrongSignerError",
    "Zipcast",
    "ZipcastError",
    "ZipcodeProgress",
    "connect",
    "connect_sync",
    "load_hotkey",
    "parse_hotkey",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'zipcast' has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return __all__
