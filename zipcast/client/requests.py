"""Provides the requests of miners and validators as methods, which a subclass sends over NATS or HTTP.

This module knows the request and reply of each verb, and reads long replies page by page.
"""

from collections.abc import Sized

from zipcast.client.signed_requests import ByteBudget, Requester
from zipcast.protocol.envelope import UnverifiedEnvelope
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.messages.access import (
    FileToUpload,
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
from zipcast.protocol.messages.pools import EpochPool, EpochPoolReply, EpochPoolRequest
from zipcast.protocol.messages.results import (
    ConsensusReply,
    ConsensusRequest,
    EpochResults,
    ResultsReply,
    ResultsRequest,
)
from zipcast.protocol.messages.status import EpochGetRequest, StatusReply, StatusRequest
from zipcast.protocol.verbs import Verb

MAX_RESULTS_BYTES = 64 * 2**20
"""The largest size of all results of an epoch, in bytes. Each of 256 validators reports at most 240 KB."""
MAX_POOL_BYTES = 32 * 2**20
"""The largest size of a pool, in bytes. 42,000 zipcodes take about 5 MB."""
MAX_PAGES = 20_000
"""The largest number of pages of an epoch's uploads. A page has about 250 uploads."""


class PageTokens:
    """Ends a loop over pages that a hostile service would never end."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def following(self, token: str | None, rows: Sized) -> str | None:
        """Return the token of the next page after one with these rows, or None after the last page. Raises
        ServiceError(INTERNAL) for an empty page, a repeated token, or too many pages."""
        if token is None:
            return None
        if not rows or token in self._seen or len(self._seen) == MAX_PAGES:
            raise ServiceError(ErrorCode.INTERNAL, "The service sent a page that leads nowhere.")
        self._seen.add(token)
        return token


class Requests:
    """The requests of one hotkey. `ZipcastClient` also connects and receives epochs."""

    _requester: Requester

    async def miner_upload(
        self,
        epoch_id: str | None = None,
        *,
        file: FileToUpload | None = None,
        with_credentials: bool = False,
    ) -> MinerUploadReply:
        """Request upload access to this miner's folder of one epoch. Name the `file` in case the object store
        takes no forms. Raises ServiceError and nats.errors.Error."""
        request = MinerUploadRequest(epoch_id=epoch_id, file=file, with_credentials=with_credentials)
        return await self._requester.call(Verb.S3_MINER_UPLOAD, request, MinerUploadReply)

    async def miner_uploads(self, epoch_id: str, page_token: str | None = None) -> MinerUploadsReply:
        """Return one page of this miner's own uploads that count for an ended epoch. Raises ServiceError
        (EPOCH_NOT_ENDED until they are listed) and nats.errors.Error."""
        request = MinerUploadsRequest(epoch_id=epoch_id, page_token=page_token)
        return await self._requester.call(Verb.MINER_UPLOADS, request, MinerUploadsReply)

    async def report_status(self, report: StatusRequest) -> StatusReply:
        """Report this miner's progress in an epoch. The last report counts. Raises ServiceError and
        nats.errors.Error."""
        return await self._requester.call(Verb.MINER_STATUS, report, StatusReply)

    async def validator_upload(
        self, epoch_id: str, *, with_checksum: bool = False, file: FileToUpload | None = None
    ) -> ValidatorUploadReply:
        """Request upload access to this validator's folder of one epoch. With `with_checksum`, the form must
        be posted with the file's SHA-256. Name the `file` in case the object store takes no forms. Raises
        ServiceError and nats.errors.Error."""
        request = ValidatorUploadRequest(epoch_id=epoch_id, with_checksum=with_checksum, file=file)
        return await self._requester.call(Verb.S3_VALIDATOR_UPLOAD, request, ValidatorUploadReply)

    async def report_results(self, report: ResultsRequest) -> ResultsReply:
        """Report this validator's results of an ended epoch. The report replaces an earlier one.

        Raises ServiceError (FILE_MISMATCH if a file differs from the report) and nats.errors.Error."""
        return await self._requester.call(Verb.VALIDATOR_RESULTS, report, ResultsReply)

    async def results(self, epoch_id: str) -> EpochResults:
        """Return the validators' reports on a revealed epoch and their consensus. Before the epoch is
        revealed, return only this validator's own report. Raises ServiceError, nats.errors.Error, and
        ValueError if the pages do not end."""
        pages: list[ConsensusReply] = []
        budget = ByteBudget(MAX_RESULTS_BYTES)
        offset: int | None = 0
        while offset is not None:
            request = ConsensusRequest(epoch_id=epoch_id, offset=offset)
            page = await self._requester.call(Verb.VALIDATOR_CONSENSUS, request, ConsensusReply, budget)
            pages.append(page)
            offset = page.following(offset)
        return EpochResults.of(pages)

    async def validator_read(
        self,
        epoch_id: str,
        miner_hotkey: str | None = None,
        page_token: str | None = None,
        *,
        with_credentials: bool = False,
    ) -> ValidatorReadReply:
        """Return one page of an ended epoch's manifest: the uploads of one miner or of all miners. Raises
        ServiceError and nats.errors.Error."""
        request = ValidatorReadRequest(
            epoch_id=epoch_id,
            miner_hotkey=miner_hotkey,
            page_token=page_token,
            with_credentials=with_credentials,
        )
        return await self._requester.call(Verb.S3_VALIDATOR_READ, request, ValidatorReadReply)

    async def miner_list(
        self, epoch_id: str, miner_hotkey: str, start_after: str | None = None
    ) -> MinerListReply:
        """Return a presigned list of a miner's folder for an ended epoch, as it is now. Raises ServiceError
        and nats.errors.Error."""
        request = MinerListRequest(epoch_id=epoch_id, miner_hotkey=miner_hotkey, start_after=start_after)
        return await self._requester.call(Verb.S3_MINER_LIST, request, MinerListReply)

    async def epoch(self, epoch_id: str) -> UnverifiedEnvelope:
        """Return an epoch that has started, as it was published. The epoch is not verified. Raises
        ServiceError, EnvelopeError and nats.errors.Error."""
        request = EpochGetRequest(epoch_id=epoch_id)
        message = await self._requester.ask(Verb.EPOCH_GET, request.to_bytes())
        return UnverifiedEnvelope.from_headers(message.headers, message.data)

    async def pool(self, epoch_id: str) -> EpochPool:
        """Return the pool from which an epoch was selected, for validators, one epoch after its end. Raises
        ServiceError, nats.errors.Error, and ValueError if the pages do not end."""
        pages: list[EpochPoolReply] = []
        budget = ByteBudget(MAX_POOL_BYTES)
        after: str | None = None
        while not pages or after is not None:
            request = EpochPoolRequest(epoch_id=epoch_id, after=after)
            pages.append(await self._requester.call(Verb.EPOCH_POOL, request, EpochPoolReply, budget))
            after = pages[-1].following(after)
        return EpochPool.of(pages)
