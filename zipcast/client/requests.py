"""Offers the requests of miners and validators over NATS as methods: the part of the SDK that needs no state.

Owns which request and reply belong to which verb, and the paging of long answers.
"""

from zipcast.client.signed_requests import Requester
from zipcast.protocol.envelope import UnverifiedEnvelope
from zipcast.protocol.messages.access import (
    MinerListReply,
    MinerListRequest,
    MinerUploadReply,
    MinerUploadRequest,
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


class Requests:
    """The requests of one hotkey. `ZipcastClient` also connects and receives epochs."""

    _requester: Requester

    async def miner_upload(self, epoch_id: str | None = None) -> MinerUploadReply:
        """Ask for access to this miner's folder of one epoch. Raises ServiceError, nats.errors.Error."""
        request = MinerUploadRequest(epoch_id=epoch_id)
        return await self._requester.call(Verb.S3_MINER_UPLOAD, request, MinerUploadReply)

    async def report_status(self, report: StatusRequest) -> StatusReply:
        """Report how far this miner is with an epoch; the last report counts. Raises ServiceError,
        nats.errors.Error."""
        return await self._requester.call(Verb.MINER_STATUS, report, StatusReply)

    async def validator_upload(self, epoch_id: str, *, with_checksum: bool = False) -> ValidatorUploadReply:
        """Ask for access to this validator's folder of one epoch; `with_checksum`: for forms posted with the
        file's SHA-256. Raises ServiceError, nats.errors.Error."""
        request = ValidatorUploadRequest(epoch_id=epoch_id, with_checksum=with_checksum)
        return await self._requester.call(Verb.S3_VALIDATOR_UPLOAD, request, ValidatorUploadReply)

    async def report_results(self, report: ResultsRequest) -> ResultsReply:
        """Report what this validator found in an epoch that has ended; this supersedes its earlier report.

        Raises ServiceError (FILE_MISMATCH names a file that is not as reported), nats.errors.Error."""
        return await self._requester.call(Verb.VALIDATOR_RESULTS, report, ResultsReply)

    async def results(self, epoch_id: str) -> EpochResults:
        """Return what validators reported of an epoch and their consensus, once it is revealed; before that,
        this validator's own report. Raises ServiceError, nats.errors.Error, and ValueError for pages that
        never end."""
        pages: list[ConsensusReply] = []
        offset: int | None = 0
        while offset is not None:
            request = ConsensusRequest(epoch_id=epoch_id, offset=offset)
            pages.append(await self._requester.call(Verb.VALIDATOR_CONSENSUS, request, ConsensusReply))
            offset = pages[-1].following(offset)
        return EpochResults.of(pages)

    async def validator_read(
        self,
        epoch_id: str,
        miner_hotkey: str | None = None,
        page_token: str | None = None,
        *,
        with_credentials: bool = False,
    ) -> ValidatorReadReply:
        """Return one page of the uploads of an ended epoch, of one miner or of all, as its manifest has them.
        Raises ServiceError, nats.errors.Error."""
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
        """Return a presigned list of a miner's folder of an ended epoch, as it is now. Raises ServiceError,
        nats.errors.Error."""
        request = MinerListRequest(epoch_id=epoch_id, miner_hotkey=miner_hotkey, start_after=start_after)
        return await self._requester.call(Verb.S3_MINER_LIST, request, MinerListReply)

    async def epoch(self, epoch_id: str) -> UnverifiedEnvelope:
        """Return an epoch that has started, as it was published and not yet verified. Raises ServiceError,
        EnvelopeError, nats.errors.Error."""
        request = EpochGetRequest(epoch_id=epoch_id)
        message = await self._requester.ask(Verb.EPOCH_GET, request.to_bytes())
        return UnverifiedEnvelope.from_headers(message.headers, message.data)

    async def pool(self, epoch_id: str) -> EpochPool:
        """Return what an epoch was chosen from, for validators, one epoch after its end. Raises ServiceError,
        nats.errors.Error, and ValueError for pages that never end."""
        pages: list[EpochPoolReply] = []
        after: str | None = None
        while not pages or after is not None:
            request = EpochPoolRequest(epoch_id=epoch_id, after=after)
            pages.append(await self._requester.call(Verb.EPOCH_POOL, request, EpochPoolReply))
            after = pages[-1].following(after)
        return EpochPool.of(pages)
