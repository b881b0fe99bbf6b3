"""The client of `async_client` for programs without asyncio.

    with zipcast.connect_sync(wallet="my-wallet") as zc:
        for epoch in zc.epochs():
            zc.upload(collect(epoch), epoch=epoch)

Every method runs the method of the same name in an event loop in one thread of its own. The connection
therefore stays alive while the program works, and one client can be used by several threads.
"""

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

from zipcast.client.async_client import AnyEpoch, Status, Zipcast, connect, log_failure
from zipcast.client.epoch import Epoch
from zipcast.client.files import Upload, UploadedFile
from zipcast.client.transfers import Progress
from zipcast.client.uploader import Role
from zipcast.errors import ClosedError, TransferError
from zipcast.protocol.messages.results import AuditRow, EpochResults, ResultsReply
from zipcast.protocol.messages.status import StatusReply, ZipcodeProgress

Result = TypeVar("Result")


class SyncZipcast:
    """A connection of one hotkey to the service, without asyncio. Make it with `zipcast.connect_sync`, and
    use it in `with`. Errors and results are those of `Zipcast`."""

    def __init__(self, client: Zipcast) -> None:
        self._client = client
        self._portal: BlockingPortal | None = None
        self._closing = ExitStack()

    @property
    def hotkey(self) -> str:
        """Return the address of the hotkey."""
        return self._client.hotkey

    def __enter__(self) -> Self:
        """Start the thread and connect. Raises the errors of `Zipcast.__aenter__`."""
        with ExitStack() as opened:
            self._portal = opened.enter_context(start_blocking_portal(name="zipcast"))
            opened.enter_context(self._portal.wrap_async_context_manager(self._client))
            self._closing = opened.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.close()
        self._portal = None

    def epochs(self) -> Iterator[Epoch]:
        """Yield the running epoch, then every later one as it starts. See `Zipcast.epochs`."""
        return self._iterate(self._client.epochs)

    def current(self) -> Epoch:
        """Return the running epoch. See `Zipcast.current`."""
        return self._run(self._client.current)

    def upload(
        self,
        path: Path | str,
        *,
        epoch: AnyEpoch | None = None,
        name: str | None = None,
        role: Role = "miner",
        progress: Progress | None = None,
    ) -> UploadedFile:
        """Upload a file for an epoch. `progress` is called in the client's thread. See `Zipcast.upload`."""
        return self._run(
            lambda: self._client.upload(path, epoch=epoch, name=name, role=role, progress=progress)
        )

    def report_status(
        self,
        epoch: AnyEpoch,
        status: Status,
        *,
        listings_scraped: int | None = None,
        zipcodes_completed: Sequence[ZipcodeProgress] | None = None,
        s3_upload_complete: bool = False,
        s3_upload_timestamp: datetime | None = None,
    ) -> StatusReply:
        """Report this miner's progress in an epoch. See `Zipcast.report_status`."""
        return self._run(
            lambda: self._client.report_status(
                epoch,
                status,
                listings_scraped=listings_scraped,
                zipcodes_completed=zipcodes_completed,
                s3_upload_complete=s3_upload_complete,
                s3_upload_timestamp=s3_upload_timestamp,
            )
        )

    def uploads(self, epoch: AnyEpoch, *, miner: str | None = None) -> Iterator[Upload]:
        """Yield all uploads of an ended epoch. See `Zipcast.uploads`."""
        return self._iterate(lambda: self._client.uploads(epoch, miner=miner))

    def download(self, upload: Upload, *, to: Path | str, progress: Progress | None = None) -> Path:
        """Download an upload and return the path of the file. See `Zipcast.download`."""
        return self._run(lambda: self._client.download(upload, to=to, progress=progress))

    def download_all(
        self,
        epoch: AnyEpoch,
        *,
        to: Path | str,
        miner: str | None = None,
        at_once: int = 8,
        on_failure: Callable[[Upload, TransferError], None] = log_failure,
    ) -> Iterator[tuple[Upload, Path]]:
        """Download all uploads of an ended epoch. `on_failure` is called in the client's thread. See
        `Zipcast.download_all`."""
        return self._iterate(
            lambda: self._client.download_all(
                epoch, to=to, miner=miner, at_once=at_once, on_failure=on_failure
            )
        )

    def results(self, epoch: AnyEpoch) -> EpochResults:
        """Return the validators' reports on an epoch. See `Zipcast.results`."""
        return self._run(lambda: self._client.results(epoch))

    def submit_results(
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
        """Report this validator's results of an ended epoch. See `Zipcast.submit_results`."""
        return self._run(
            lambda: self._client.submit_results(
                epoch,
                scores=scores,
                listings_validated=listings_validated,
                duration_seconds=duration_seconds,
                files=files,
                audit=audit,
                started_at=started_at,
            )
        )

    def _run(self, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        if self._portal is None:
            raise ClosedError("the client is closed")
        result: Result = self._portal.call(work)
        return result

    def _iterate(self, source: Callable[[], AsyncIterator[Result]]) -> Iterator[Result]:
        """Yield the items of an asynchronous iterator."""
        items = source()

        async def following() -> list[Result]:
            """Return the next item in a list, or an empty list at the end."""
            try:
                return [await anext(items)]
            except StopAsyncIteration:
                return []

        while found := self._run(following):
            yield from found


def connect_sync(
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
) -> SyncZipcast:
    """Return a client without asyncio, to be used in `with`. The arguments are those of `connect`. Raises
    SettingsError and WalletError."""
    return SyncZipcast(
        connect(
            servers,
            wallet=wallet,
            hotkey=hotkey,
            wallet_path=wallet_path,
            signer=signer,
            network=network,
            netuid=netuid,
            http=http,
            relays=relays,
            retry_seconds=retry_seconds,
        )
    )
