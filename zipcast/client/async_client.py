"""The client that miners and validators use.

    async with zipcast.connect(wallet="my-wallet") as zc:
        async for epoch in zc.epochs():
            await zc.upload(collect(epoch), epoch=epoch)

Every method repeats a failed request if another attempt may succeed. It raises only errors of
`zipcast.errors`, and OSError for files of the caller. `client` sends requests over NATS, `http_requests` over
HTTP, and `transfers` exchanges files with the object store.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, suppress
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TypeVar

import httpx

from zipcast.client.client import ZipcastClient
from zipcast.client.epoch import Epoch, id_of, nonce_of
from zipcast.client.error_translation import translated
from zipcast.client.files import Upload, UploadedFile
from zipcast.client.http import ProxySettingsError, is_loopback, open_client
from zipcast.client.http_requests import HttpRequester, HttpRequests
from zipcast.client.received_epochs import Via
from zipcast.client.relays import BRIDGE_PATH, listed
from zipcast.client.requests import PageTokens, Requests
from zipcast.client.retries import Retries
from zipcast.client.service_time import ServiceTime
from zipcast.client.settings import ClientSettings, signer_of
from zipcast.client.transfers import TIMEOUT_SECONDS, Progress, download
from zipcast.client.uploader import FORBIDDEN, Role, Uploader
from zipcast.clock import Clock, SystemClock
from zipcast.errors import (
    CertificateError,
    ClosedError,
    NotRegisteredError,
    RefusedError,
    ServiceError,
    SettingsError,
    TransferError,
    UnavailableError,
    WrongHostNameError,
    WrongNetuidError,
    WrongNetworkError,
    WrongSignerError,
    ZipcastError,
)
from zipcast.protocol.envelope import EnvelopeError, Trust, VerifiedEpoch
from zipcast.protocol.errors import ErrorCode
from zipcast.protocol.hotkeys import Signer, parse_hotkey
from zipcast.protocol.messages.epochs import EpochMessage
from zipcast.protocol.messages.results import (
    MAX_TOP,
    AuditRow,
    EpochResults,
    ReportedFile,
    ResultsReply,
    ResultsRequest,
    TopMiner,
)
from zipcast.protocol.messages.status import StatusReply, StatusRequest, ZipcodeProgress

Status = Literal["IN_PROGRESS", "COMPLETED", "FAILED", "TIMEOUT"]
AnyEpoch = Epoch | EpochMessage | str

MANIFEST_TIMEOUT_SECONDS = 300.0
"""The longest time in seconds that `uploads` waits until the service has listed the uploads of an epoch that
has just ended. Listing usually takes a minute."""
MANIFEST_PAUSE_SECONDS = 1.0
HTTP_AFTER_SECONDS = 3.0
"""The time in seconds for which NATS must be unreachable before epochs are received over HTTP."""
HTTP_PAUSE_SECONDS = 1.0
MAX_HTTP_PAUSE_SECONDS = 60.0
"""The longest pause between two attempts to receive epochs over HTTP, whatever the bridge asks for. The
bridge's limit is per minute."""

log = logging.getLogger(__name__)

Result = TypeVar("Result")


def log_failure(upload: Upload, error: TransferError) -> None:
    """Log a file that `download_all` leaves out."""
    log.warning("Left out a file of miner %s that cannot be read: %s", upload.miner_hotkey, error)


class Zipcast:
    """A connection of one hotkey to the service. Make it with `zipcast.connect`, and use it in `async
    with`."""

    def __init__(
        self,
        servers: Sequence[str],
        signer: Signer,
        trust: Trust,
        *,
        http: str | None = None,
        relays: Sequence[str] = (),
        retry_seconds: float = 60.0,
        clock: Clock | None = None,
    ) -> None:
        """Prepare a client. Raises SettingsError for a malformed address or hotkey."""
        self._clock = clock or SystemClock()
        time = ServiceTime(self._clock)
        self._trust = trust
        self._has_nats = bool(servers)
        try:
            self._hotkey = parse_hotkey(signer.ss58_address)
            self._bridge = HttpRequester(http, signer, trust.signers, self._clock, time) if http else None
            # The bridge is the last relay. Rounds of the beacon are requested from it only if all relays
            # before it fail.
            asked = (*relays, f"{http.rstrip('/')}{BRIDGE_PATH}") if http else relays
            self._nats = ZipcastClient(servers, signer, trust, relays=asked, clock=self._clock, time=time)
        except ValueError as error:  # among them MalformedHotkeyError and InsecureServerError
            raise SettingsError(str(error)) from error
        self._over_http = None if self._bridge is None else HttpRequests(self._bridge)
        self._retries = Retries(self._clock, retry_seconds)
        self._uploader = Uploader(self._ask, self._store_client, self._service_time, self._retries)
        self._store_clients: dict[bool, httpx.AsyncClient] = {}
        self._renewed_in_vain: set[str] = set()
        """Epochs with an upload that the store refused even with a new URL. Uploads of these epochs are not
        renewed when they are refused. Otherwise a miner with many such files could use up the validator's
        daily limit."""
        self._closing = AsyncExitStack()
        self._is_open = False

    @property
    def hotkey(self) -> str:
        """Return the address of the hotkey."""
        return self._hotkey

    async def __aenter__(self) -> Self:
        """Connect. If NATS cannot be reached and there is a bridge, begin over HTTP. Raises UnavailableError,
        RefusedError, NotRegisteredError, CertificateError, WrongHostNameError, WrongSignerError,
        WrongNetworkError and WrongNetuidError."""
        async with AsyncExitStack() as opened:
            if self._bridge is not None:
                await opened.enter_async_context(self._bridge)
            opened.push_async_exit(self._nats)
            try:
                if self._has_nats:
                    with translated():
                        await self._nats.__aenter__()
                else:
                    self._nats.start(reconnect=False)
            except RefusedError as error:
                raise await self._explained(error) from error
            except UnavailableError as error:
                if self._over_http is None or isinstance(error, CertificateError):
                    raise
                self._nats.start()
            if self._bridge is not None:
                following = asyncio.create_task(self._follow_http(self._bridge), name="zipcast-http")
                following.add_done_callback(self._on_end)
                opened.push_async_callback(_end, following)
            self._closing = opened.pop_all()
            self._is_open = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_open = False
        self._store_clients.clear()
        await self._closing.aclose()

    async def epochs(self) -> AsyncIterator[Epoch]:
        """Yield the running epoch, then every later one as it starts. Each epoch is verified, and yielded
        once and in order. Lost connections are replaced.

        Raises NotRegisteredError if the hotkey leaves the subnet; WrongSignerError, WrongNetworkError or
        WrongNetuidError if the service has another signer, network or netuid than the client trusts; and
        ClosedError after the client was closed."""
        source = self._nats.epochs()
        while True:
            try:
                with translated():
                    received = await anext(source)
            except RefusedError as error:
                raise await self._explained(error) from error
            except UnavailableError as error:
                raise ClosedError("the client is closed") from error
            yield Epoch.of(received)

    async def current(self) -> Epoch:
        """Return the running epoch. If the client knows the epoch already, no request is sent. Raises
        ServiceError(NO_CURRENT_EPOCH), EnvelopeError and UnavailableError."""
        newest = self._nats.newest
        now = self._service_time()
        # Use the later of both clocks: after this machine slept, the estimate of the service's time is too
        # early until the next request.
        latest = max(now, self._clock.now())
        if newest is None or now < newest.message.epoch_start or latest >= newest.message.epoch_end:
            newest = await self._ask(self._current)
        return Epoch(newest, self._clock.now(), "request")

    async def upload(
        self,
        path: Path | str,
        *,
        epoch: AnyEpoch | None = None,
        name: str | None = None,
        role: Role = "miner",
        progress: Progress | None = None,
    ) -> UploadedFile:
        """Upload a file for an epoch, by default the running one, and return its key.

        `name` is by default the name of the file, and may contain folders. An earlier upload with the same
        name is replaced. With `role="validator"`, the file goes to the validator's folder, with its SHA-256.
        `progress` is called with the number of bytes sent so far and the size of the file. Upload access is
        requested once per epoch, or, if the object store takes no forms, once per file. A miner's file of
        64 MiB or more is sent in parts, if boto3 is installed (`pip install 'zipcast[s3]'`) and the store
        gives credentials for that.

        Raises TooLargeError and TooSmallError before anything is sent, TooLateError after the deadline,
        TransferError, ServiceError, UnavailableError and OSError."""
        path = Path(path)
        epoch_id = (await self.current()).id if epoch is None else id_of(epoch)
        return await self._uploader.upload(epoch_id, role, path, name or path.name, progress)

    async def report_status(
        self,
        epoch: AnyEpoch,
        status: Status,
        *,
        listings_scraped: int | None = None,
        zipcodes_completed: Sequence[ZipcodeProgress] | None = None,
        s3_upload_complete: bool = False,
        s3_upload_timestamp: datetime | None = None,
    ) -> StatusReply:
        """Report this miner's progress in an epoch. The last report counts. Raises ServiceError and
        UnavailableError."""
        with translated():
            report = StatusRequest(
                epoch_id=id_of(epoch),
                nonce=nonce_of(epoch, self._nats.newest),
                status=status,
                listings_scraped=listings_scraped,
                zipcodes_completed=None if zipcodes_completed is None else tuple(zipcodes_completed),
                s3_upload_complete=s3_upload_complete,
                s3_upload_timestamp=s3_upload_timestamp,
            )
        return await self._ask(lambda way: way.report_status(report))

    async def uploads(self, epoch: AnyEpoch, *, miner: str | None = None) -> AsyncIterator[Upload]:
        """Yield the uploads of an ended epoch as they were at the deadline: those of `miner`, or those of all
        miners. Pages are requested as they are needed. If the epoch has just ended, wait at most
        MANIFEST_TIMEOUT_SECONDS until its uploads are listed.

        Raises ServiceError and UnavailableError."""
        token: str | None = None
        tokens = PageTokens()
        while True:
            page = await self._page(id_of(epoch), miner, token)
            for upload in page[0]:
                yield upload
            token = tokens.following(page[1], page[0])
            if token is None:
                return

    async def download(self, upload: Upload, *, to: Path | str, progress: Progress | None = None) -> Path:
        """Download an upload and return the path of the file. If `to` is a folder, the file is stored in this
        folder under the name `upload.file_name`. An interrupted download continues where it stopped, also in
        a later call.

        Raises DamagedFileError if the file's size or checksum differs from the upload's, TransferError,
        ServiceError, UnavailableError and OSError."""
        path = Path(to)
        if await asyncio.to_thread(path.is_dir):
            path /= upload.file_name
        newest = upload

        async def attempt() -> None:
            nonlocal newest
            if newest.expires_at - self._service_time() < timedelta(seconds=30):
                newest = await self._renewed(upload)
            try:
                await download(
                    newest.url,
                    path,
                    size_bytes=upload.size_bytes,
                    etag=upload.etag,
                    progress=progress,
                    http=await self._store_client(newest.url),
                )
            except TransferError as error:
                if error.status == FORBIDDEN and newest is not upload:
                    self._renewed_in_vain.add(upload.epoch_id)
                elif error.status == FORBIDDEN and upload.epoch_id not in self._renewed_in_vain:
                    newest = await self._renewed(upload)  # the URL may have expired
                    error.retry_after = HTTP_PAUSE_SECONDS
                raise

        await self._retries.run(attempt)
        return path

    async def download_all(
        self,
        epoch: AnyEpoch,
        *,
        to: Path | str,
        miner: str | None = None,
        at_once: int = 8,
        on_failure: Callable[[Upload, TransferError], None] = log_failure,
    ) -> AsyncIterator[tuple[Upload, Path]]:
        """Download the uploads of an ended epoch into the folder `to`: those of `miner`, or those of all
        miners. At most `at_once` downloads run at the same time. Yield each upload with its path as soon as
        its download is complete, in any order.

        A miner can store a file that nobody can read. Such a file is left out, and `on_failure` is called
        with its error, which by default is logged as a warning. Raises the errors of `uploads`, and those of
        `download` for which another attempt may succeed."""
        running: set[asyncio.Task[tuple[Upload, Path] | None]] = set()

        async def one(upload: Upload) -> tuple[Upload, Path] | None:
            try:
                return upload, await self.download(upload, to=to)
            except TransferError as error:
                if error.retry_after is not None:  # the store, not the file, has a fault
                    raise
                on_failure(upload, error)
                return None

        try:
            async for upload in self.uploads(epoch, miner=miner):
                running.add(asyncio.create_task(one(upload)))
                while len(running) >= at_once:
                    if (done := await _first_done(running)) is not None:
                        yield done
            while running:
                if (done := await _first_done(running)) is not None:
                    yield done
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def results(self, epoch: AnyEpoch) -> EpochResults:
        """Return the validators' reports on a revealed epoch and their consensus. Before the epoch is
        revealed, return only this validator's own report. Raises ServiceError and UnavailableError."""
        return await self._ask(lambda way: way.results(id_of(epoch)))

    async def submit_results(
        self,
        epoch: AnyEpoch,
        *,
        scores: Mapping[str, float],
        listings_validated: int,
        duration_seconds: float,
        files: Sequence[Path | str | UploadedFile] = (),
        audit: Sequence[AuditRow] = (),
        started_at: datetime | None = None,
    ) -> ResultsReply:
        """Report this validator's results of an ended epoch. The report replaces an earlier one. `scores` has
        the score of each evaluated miner by hotkey; the best three are reported. Paths in `files` are
        uploaded first.

        Raises ServiceError (FILE_MISMATCH if a file differs from the report), TransferError, UnavailableError
        and OSError."""
        best = sorted(scores.items(), key=lambda item: item[1], reverse=True)[:MAX_TOP]
        entries: list[ReportedFile] = []
        for file in files:
            done = (
                file
                if isinstance(file, UploadedFile)
                else await self.upload(file, epoch=id_of(epoch), role="validator")
            )
            entries.append(done.reported())
        with translated():
            report = ResultsRequest(
                epoch_id=id_of(epoch),
                started_at=started_at,
                duration_seconds=duration_seconds,
                miners_evaluated=len(scores),
                top_miners=tuple(TopMiner(hotkey=hotkey, score=score) for hotkey, score in best),
                listings_validated=listings_validated,
                files=tuple(entries),
                audit=tuple(audit),
            )
        return await self._ask(lambda way: way.report_results(report))

    async def _ask(self, request: Callable[[Requests], Awaitable[Result]]) -> Result:
        """Send a request over NATS, or over HTTP while NATS cannot be reached. Repeat it if another attempt
        may succeed. The first request after an epoch's start waits a random time."""
        newest = self._nats.newest
        await self._retries.spread(None if newest is None else newest.message, self._service_time())
        return await self._retries.run(lambda: self._attempt(request))

    async def _attempt(self, request: Callable[[Requests], Awaitable[Result]]) -> Result:
        if self._over_http is None:
            with translated():
                return await request(self._nats)
        if self._has_nats and self._nats.is_responsive:
            try:
                with translated():
                    return await request(self._nats)
            except UnavailableError:
                pass
        with translated():
            return await request(self._over_http)

    def _service_time(self) -> datetime:
        """Return the service's time if it is known, otherwise the local time."""
        return self._nats.service_time()

    async def _current(self, way: Requests) -> VerifiedEpoch:
        if isinstance(way, HttpRequests):
            return self._nats.offer(await way.current(), "request")
        return await self._nats.current()

    async def _page(
        self, epoch_id: str, miner: str | None, token: str | None
    ) -> tuple[list[Upload], str | None]:
        """Return one page of an epoch's uploads, and the token of the next page."""

        def pause_after(error: ZipcastError) -> float | None:
            waits = error.code is ErrorCode.EPOCH_NOT_ENDED and not self._runs(epoch_id)
            return MANIFEST_PAUSE_SECONDS if waits else None

        page = await self._retries.run(
            lambda: self._ask(lambda way: way.validator_read(epoch_id, miner, token)),
            max_seconds=MANIFEST_TIMEOUT_SECONDS,
            pause_after=pause_after,
        )
        return Upload.all_of(page), page.next_page_token

    def _runs(self, epoch_id: str) -> bool:
        """Return whether this is the running epoch, as far as the client knows."""
        newest = self._nats.newest
        return (
            newest is not None
            and newest.message.epoch_id == epoch_id
            and self._service_time() < newest.message.epoch_end
        )

    async def _renewed(self, upload: Upload) -> Upload:
        """Return the upload with a new URL. Raises ServiceError(EPOCH_NOT_FOUND) if the upload is no longer
        listed."""
        async for one in self.uploads(upload.epoch_id, miner=upload.miner_hotkey):
            if one.key == upload.key and one.version_id == upload.version_id:
                return one
        raise ServiceError(ErrorCode.EPOCH_NOT_FOUND, f"The service no longer lists {upload.key}.")

    async def _store_client(self, url: str) -> httpx.AsyncClient:
        """Return the HTTP client for the store, opened once, because reading certificates takes time. The
        store's address decides whether a proxy may be used. Raises TransferError and ClosedError."""
        if not self._is_open:
            raise ClosedError("the client is closed")
        direct = is_loopback(url)
        if direct not in self._store_clients:
            try:
                client = open_client(url, TIMEOUT_SECONDS)
            except ProxySettingsError as error:
                raise TransferError(str(error)) from error
            self._store_clients[direct] = await self._closing.enter_async_context(client)
        return self._store_clients[direct]

    async def _explained(self, refusal: RefusedError) -> ZipcastError:
        """Return an error with the reason why NATS refuses the hotkey. The bridge is asked for the reason; if
        it does not state one, return `refusal`."""
        if self._over_http is None:
            return refusal
        try:
            with translated():
                await self._current(self._over_http)
        except (NotRegisteredError, EnvelopeError) as error:
            return error
        except ZipcastError:
            return refusal
        return WrongHostNameError(
            "The service accepts the hotkey over HTTP, but not over NATS. The host name in `servers` is not "
            "the one that the service uses, or the hotkey sent too much and is blocked for some minutes."
        )

    async def _follow_http(self, over_http: HttpRequester) -> None:
        """Receive epochs over HTTP whenever NATS has been unreachable or silent for HTTP_AFTER_SECONDS."""
        unconnected_since: float | None = None
        while True:
            if self._nats.is_responsive:
                unconnected_since = None
            elif unconnected_since is None and self._has_nats:
                unconnected_since = self._clock.monotonic()
            elif self._clock.monotonic() - (unconnected_since or 0) >= HTTP_AFTER_SECONDS:
                await self._clock.sleep(await self._stream(over_http))
            await self._clock.sleep(HTTP_PAUSE_SECONDS * (0.5 + self._retries.chance()))

    async def _stream(self, over_http: HttpRequester) -> float:
        """Receive epochs over HTTP until the stream ends or NATS is connected again. Return the number of
        seconds after which another stream may be opened."""
        via: Via = "request"  # the first event is the running epoch
        try:
            with translated():
                async with aclosing(over_http.epochs(self._nats.receive_sealed)) as envelopes:
                    async for envelope in envelopes:
                        self._nats.offer(envelope, via)
                        via = "push"
                        if self._nats.is_responsive:
                            break
        except (NotRegisteredError, WrongSignerError, WrongNetworkError, WrongNetuidError) as error:
            if not self._has_nats:  # otherwise the connection to NATS decides
                self._nats.end_with(error)
        except ZipcastError as error:
            log.warning("Cannot receive epochs over HTTP; trying again. Reason: %s", error)
            return min(error.retry_after or HTTP_AFTER_SECONDS, MAX_HTTP_PAUSE_SECONDS)
        return 0.0

    def _on_end(self, task: asyncio.Task[None]) -> None:
        """End the client if receiving over HTTP fails, because it would miss epochs silently."""
        if not task.cancelled() and (failure := task.exception()) is not None:
            self._nats.end_with(failure)


async def _first_done(running: set[asyncio.Task[Result]]) -> Result:
    """Wait until a task is done, remove it from the set and return its result. Raises its error."""
    done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    task = done.pop()
    running.discard(task)
    return task.result()


async def _end(task: asyncio.Task[None]) -> None:
    """Cancel the task and wait until it has ended. Raises the error that ended it."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def connect(
    servers: str | Sequence[str] | None = None,
    *,
    wallet: object = None,
    hotkey: str | None = None,
    wallet_path: Path | str | None = None,
    signer: str | Sequence[str] | None = None,
    network: str | None = None,
    netuid: int | None = None,
    http: str | None = None,
    relays: str | Sequence[str] | None = None,
    retry_seconds: float | None = None,
) -> Zipcast:
    """Return a client, to be used in `async with`.

    `servers` are addresses of NATS, such as `tls://nats.example.org:4222`, and `http` is the address of the
    bridge, which is used while NATS cannot be reached. `wallet` is a wallet's name, a Keypair, or an object
    with `.hotkey` such as a Wallet of bittensor. `signer` is the address, or the addresses, that sign epochs.
    `relays` are relays of the beacon, which replace drand's public ones. A relay is asked only if an epoch
    does not arrive at its start. A failed request is repeated for `retry_seconds`.

    A value that is not given comes from its environment variable, otherwise from the profile that
    ZIPCAST_PROFILE names, otherwise from the profile in use. The variables are ZIPCAST_SERVERS, ZIPCAST_HTTP,
    ZIPCAST_SIGNER, ZIPCAST_NETWORK, ZIPCAST_NETUID, ZIPCAST_WALLET or BT_WALLET_NAME, ZIPCAST_HOTKEY or
    BT_WALLET_HOTKEY, ZIPCAST_WALLET_PATH or BT_WALLET_PATH, ZIPCAST_RELAYS and ZIPCAST_RETRY_SECONDS. Raises
    SettingsError and WalletError."""
    settings = ClientSettings.of(
        servers=servers,
        wallet=wallet if isinstance(wallet, str) else None,
        hotkey=hotkey,
        wallet_path=wallet_path,
        signer=signer,
        network=network,
        netuid=netuid,
        http=http,
        relays=relays,
        retry_seconds=retry_seconds,
    )
    return Zipcast(
        settings.addresses(),
        signer_of(wallet, settings),
        settings.trust(),
        http=settings.http or None,
        relays=listed(settings.relays),
        retry_seconds=settings.retry_seconds,
    )
