"""Defines the errors of the SDK. Every public method raises only these, and OSError for files of the caller.

    ZipcastError                   code, message, remedy, request_id, retry_after
    ├── ServiceError               the service refused the request; `code` is one of `ErrorCode`
    │   └── NotRegisteredError     the hotkey is not registered on the subnet, or no longer
    ├── UnavailableError           the service cannot be reached, or does not reply
    │   ├── RefusedError           the server refused the hotkey and did not say why
    │   ├── CertificateError       the server's certificate is not valid
    │   │   └── WrongHostNameError the certificate belongs to another host name
    │   └── ClosedError            the client was closed
    ├── EnvelopeError              a received epoch failed verification
    │   ├── WrongSignerError       the signer is not trusted
    │   ├── EquivocationError      the service signed two different messages for one epoch
    │   ├── WrongNetworkError      the epoch is of another network
    │   └── WrongNetuidError       the epoch is of another subnet
    ├── TransferError              the object store refused a file, or does not reply
    │   ├── TooLateError           the deadline has passed
    │   ├── TooLargeError          the file is larger than the limit
    │   ├── TooSmallError          the file is smaller than the limit
    │   └── DamagedFileError       the downloaded file has another size or checksum than the upload
    └── SettingsError              an argument or an environment variable is missing or wrong
        └── WalletError            the hotkey cannot be read

The codes of `ServiceError` and their remedies are in `zipcast.protocol.errors`, because the service uses them
too. `retry_after` is set on every error for which another attempt may succeed.
"""

from zipcast.protocol.envelope import (
    EnvelopeError,
    EquivocationError,
    WrongNetuidError,
    WrongNetworkError,
    WrongSignerError,
)
from zipcast.protocol.errors import ErrorCode, ServiceError, ZipcastError

__all__ = [
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
]


class NotRegisteredError(ServiceError):
    """The hotkey is not registered on the subnet, or no longer."""

    def __init__(self, message: str) -> None:
        super().__init__(ErrorCode.NOT_REGISTERED, message)


class UnavailableError(ZipcastError):
    """The service cannot be reached, or does not reply."""

    code = "unavailable"
    remedy = "Check the address and the network. If they are right, try again later."


class RefusedError(UnavailableError):
    """The server refused the hotkey. It does not say why, so the message names the possible causes."""

    code = "refused"
    remedy = "Check registration, network, netuid and host name, in this order."


class CertificateError(UnavailableError):
    """The server's certificate is not valid. Nothing was signed or sent."""

    code = "certificate_refused"
    remedy = "Correct the address. If it is right, tell the operator what is wrong with the certificate."


class WrongHostNameError(CertificateError):
    """The server's certificate belongs to another host name. Nothing was signed or sent."""

    code = "wrong_host_name"
    remedy = "Use the host name that the operator publishes."


class ClosedError(UnavailableError):
    """The client was closed, or was never opened."""

    code = "closed"
    remedy = "Use the client inside of its `with` block."


class TransferError(ZipcastError):
    """The object store refused the request or did not reply. `status` is its HTTP status, or None."""

    code = "transfer_failed"
    remedy = "Read the store's code in the message. If there is none, try again later."

    def __init__(self, message: str, status: int | None = None, *, retry_after: float | None = None) -> None:
        super().__init__(message, retry_after=retry_after)
        self.status = status


class TooLateError(TransferError):
    """The file was not stored before the deadline, so it does not count."""

    code = "too_late"
    remedy = "Continue with the next epoch."


class TooLargeError(TransferError):
    """A file or object is larger than the limit that the message states. No part of it was kept."""

    code = "too_large"
    remedy = "Split the file, or raise the limit if it is your own."


class TooSmallError(TransferError):
    """The file is smaller than the limit that the message states. Nothing was sent."""

    code = "too_small"
    remedy = "Put more data into one file."


class DamagedFileError(TransferError):
    """The downloaded file has another size or checksum than the upload. It was deleted."""

    code = "damaged_file"
    remedy = "Download it again. If that fails too, tell the operator."


class SettingsError(ZipcastError):
    """An argument or an environment variable is missing or wrong. The message names it."""

    code = "settings"
    remedy = "Correct the argument or variable that the message names."


class WalletError(SettingsError):
    """The hotkey does not exist or cannot be read. The message never contains key material."""

    code = "wallet"
    remedy = "Check the wallet's path, name and hotkey."

    def __init__(self, message: str, remedy: str = remedy) -> None:
        super().__init__(message)
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}. {self.remedy}"
