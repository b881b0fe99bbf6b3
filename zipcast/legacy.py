"""Provides the methods of the subnet's older HTTP client, so that existing miners and validators need to
change only an import:

    from zipcast.legacy import LegacyClient, create_api_client

Requests and replies are those of docs/http-contract.md; replies are dictionaries, as before. New programs
should use `zipcast.connect`, which verifies epochs and receives them at their start.
"""

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

import httpx

from zipcast.client.http import (
    HTTP_FAULTS,
    AnswerEncodingError,
    AnswerTooLargeError,
    BoundedBody,
    ProxySettingsError,
    is_loopback,
    open_sync_client,
)
from zipcast.errors import ErrorCode, ServiceError, SettingsError, UnavailableError, ZipcastError
from zipcast.protocol.hotkeys import Signer
from zipcast.protocol.messages.base import parse_error
from zipcast.protocol.signed_texts import (
    CURRENT_COMMITMENT,
    FOLDER_ACCESS_COMMITMENT,
    MINER_STATUS_COMMITMENT,
    VALIDATION_COMMITMENT,
    VALIDATOR_UPLOAD_COMMITMENT,
)

TIMEOUT_SECONDS = 30.0
WHOLE_REPLY_SECONDS = 60.0
"""The longest time in seconds from the head of a reply to its end, even if more data keeps arriving."""
MAX_REPLY_BYTES = 8 * 2**20
MAX_ATTEMPTS = 3
MAX_PAUSE_SECONDS = 60.0
REQUEST_ID_HEADER = "X-Request-Id"

log = logging.getLogger(__name__)
Reply = dict[str, Any]


class HasAddress(Protocol):
    """Anything with an SS58 address, such as a wallet's `coldkeypub`."""

    @property
    def ss58_address(self) -> str: ...


class LegacyClient:
    """Sends the requests of one hotkey to the HTTP bridge at `base_url`. `coldkey` is needed only for
    `get_s3_upload_credentials`.

    A request is sent up to MAX_ATTEMPTS times if another attempt may succeed. The methods raise ServiceError
    and UnavailableError, except `get_current_epoch_info`, `check_health` and `wait_for_epoch_completion`."""

    def __init__(
        self,
        base_url: str,
        hotkey: Signer,
        coldkey: HasAddress | None = None,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Prepare for requests. Raises SettingsError for an address that would send requests unencrypted,
        because anyone who sees such a request can use its signature for five minutes."""
        if not (base_url.startswith("https://") or is_loopback(base_url)):
            raise SettingsError(f"{base_url}: use https:// for anything but this machine")
        self.base_url = base_url.rstrip("/")
        self.hotkey = hotkey
        self.coldkey = coldkey
        self._sleep = sleep

    def get_current_zipcode_assignments(self) -> Reply:
        """Return the running epoch, with its zipcodes and nonce."""
        return self._get("/api/v1/zipcode-assignments/current", lambda: self._signed(CURRENT_COMMITMENT))

    def update_miner_status(
        self,
        epoch_id: str,
        nonce: str,
        status: str,
        listings_scraped: int | None = None,
        zipcodes_completed: Sequence[Mapping[str, Any]] | None = None,
        s3_upload_complete: bool = False,
        s3_upload_timestamp: str | None = None,
    ) -> Reply:
        """Report this miner's progress in an epoch. The last report counts."""
        report: Reply = {
            "epochId": epoch_id,
            "nonce": nonce,
            "status": status,
            "s3UploadComplete": s3_upload_complete,
        }
        if listings_scraped is not None:
            report["listingsScraped"] = listings_scraped
        if zipcodes_completed:
            report["zipcodesCompleted"] = [dict(one) for one in zipcodes_completed]
        if s3_upload_complete:
            report["s3UploadTimestamp"] = s3_upload_timestamp or datetime.now(UTC).isoformat()
        return self._post(
            "/api/v1/zipcode-assignments/status",
            lambda: report | self._signed(MINER_STATUS_COMMITMENT, epoch_id=epoch_id),
        )

    def get_s3_upload_credentials(self) -> Reply:
        """Return an upload form for the miner's whole folder, valid for 24 hours. Raises ValueError without a
        coldkey."""
        if self.coldkey is None:
            raise ValueError("an upload form of the whole folder needs the coldkey: pass `coldkey`")
        coldkey = str(self.coldkey.ss58_address)
        return self._post(
            "/get-folder-access",
            lambda: {"coldkey": coldkey} | self._signed(FOLDER_ACCESS_COMMITMENT, coldkey=coldkey),
        )

    def get_validator_s3_credentials(
        self,
        epoch_id: str,
        purpose: str = "epoch_validation_results",
        estimated_size_mb: int = 25,
        retention_days: int = 90,
    ) -> Reply:
        """Return upload access to this validator's folder of one epoch."""
        wanted = {
            "epochId": epoch_id,
            "purpose": purpose,
            "estimatedDataSizeMb": estimated_size_mb,
            "retentionDays": retention_days,
        }
        return self._post(
            "/api/v1/s3-access/validator-upload", lambda: wanted | self._signed(VALIDATOR_UPLOAD_COMMITMENT)
        )

    def get_epoch_assignments(self, epoch_id: str) -> Reply:
        """Return an epoch that has started, for validators."""
        return self._get(
            f"/api/v1/zipcode-assignments/epoch/{epoch_id}",
            lambda: self._signed(VALIDATION_COMMITMENT, epoch_id=epoch_id),
        )

    def get_system_statistics(self) -> Reply:
        """Return the public statistics."""
        return self._get("/api/v1/zipcode-assignments/stats", dict)

    def get_current_epoch_info(self) -> Reply | None:
        """Return the running epoch as the public statistics show it, or None if there is none or it cannot be
        read."""
        try:
            found = self.get_system_statistics().get("epochStatus", {}).get("currentEpoch")
        except ZipcastError as error:
            log.warning("Cannot read the running epoch. Reason: %s", error)
            return None
        return found if isinstance(found, dict) else None

    def check_health(self) -> Reply:
        """Return the health of the service, or `{"status": "error", "error": …}` if it cannot be read."""
        try:
            return self._get("/healthcheck", dict)
        except ZipcastError as error:
            return {"status": "error", "error": str(error)}

    def wait_for_epoch_completion(self, current_epoch_id: str, check_interval: float = 60) -> Reply:
        """Wait until another epoch runs, and return that epoch as the public statistics show it. A request is
        sent every `check_interval` seconds. Failed requests are repeated."""
        while True:
            found = self.get_current_epoch_info()
            if found is not None and found.get("id") != current_epoch_id:
                return found
            self._sleep(check_interval)

    def _signed(self, commitment: str, **named: str) -> Reply:
        """Return the identity fields of a request that is signed now."""
        hotkey, timestamp = str(self.hotkey.ss58_address), int(time.time())
        text = commitment.format(hotkey=hotkey, timestamp=timestamp, **named)
        signature = bytes(self.hotkey.sign(text.encode())).hex()
        return {"hotkey": hotkey, "timestamp": timestamp, "signature": signature}

    def _get(self, path: str, fields: Callable[[], Reply]) -> Reply:
        return self._send(lambda: httpx.Request("GET", self.base_url + path, params=fields()))

    def _post(self, path: str, fields: Callable[[], Reply]) -> Reply:
        return self._send(lambda: httpx.Request("POST", self.base_url + path, json=fields()))

    def _send(self, signed: Callable[[], httpx.Request]) -> Reply:
        """Send the request, which is signed again for each attempt, and return its reply."""
        attempt = 1
        while True:
            try:
                return self._attempt(signed())
            except ZipcastError as error:
                pause = error.retry_after
                if pause is None or attempt == MAX_ATTEMPTS or pause > MAX_PAUSE_SECONDS:
                    raise
                log.warning("Request %d failed; trying again. Reason: %s", attempt, error)
            self._sleep(max(pause, 2.0 ** (attempt - 1)))
            attempt += 1

    def _attempt(self, request: httpx.Request) -> Reply:
        try:
            with open_sync_client(self.base_url, TIMEOUT_SECONDS) as http:
                answer = http.send(request, stream=True)
                body, content = BoundedBody(answer.headers, MAX_REPLY_BYTES), bytearray()
                give_up_at = time.monotonic() + WHOLE_REPLY_SECONDS
                for piece in answer.iter_raw():
                    if time.monotonic() > give_up_at:
                        raise httpx.ReadTimeout("the reply took too long")
                    content += body.decompress(piece)
                answer.close()
        except ProxySettingsError as error:
            raise UnavailableError(str(error)) from error
        except (AnswerTooLargeError, AnswerEncodingError) as error:
            raise UnavailableError(f"the reply of {self.base_url} cannot be read: {error}") from error
        except HTTP_FAULTS as error:
            raise UnavailableError(
                f"{self.base_url} does not reply: {type(error).__name__}", retry_after=1
            ) from error
        return _parsed(answer, bytes(content))


def _parsed(answer: httpx.Response, content: bytes) -> Reply:
    """Return the reply. Raises the error that it states, and ServiceError(INTERNAL) if it is unreadable."""
    try:
        reply = json.loads(content)
        # An unhealthy service replies with status 503 and an ordinary body, which is not an error.
        refusal = parse_error(content) if answer.status_code >= 400 and "error" in reply else None
    except (ValueError, AttributeError, TypeError, RecursionError):
        reply, refusal = None, None
    if refusal is not None:
        refusal.request_id = answer.headers.get(REQUEST_ID_HEADER)
        raise refusal
    if not isinstance(reply, dict):
        raise ServiceError(ErrorCode.INTERNAL, f"The bridge sent no JSON, with status {answer.status_code}.")
    return reply


def create_api_client(config: Any, wallet: Any) -> LegacyClient:
    """Return a client for the bridge that `config.resi_api_url` names, with the hotkey and coldkey of a
    bittensor wallet. Raises ValueError if `resi_api_url` is missing or empty, and SettingsError if it is not
    encrypted."""
    address = getattr(config, "resi_api_url", None)
    if not address:
        raise ValueError("set `resi_api_url` to the address of the HTTP bridge")
    return LegacyClient(address, wallet.hotkey, getattr(wallet, "coldkeypub", None))
