"""Upload access from a service and an object store that exist only in the test."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx

from tests.support.fakes import EPOCH_ID, MINER_HOTKEY, START_AT, FakeClock
from zipcast.client.requests import Requests
from zipcast.client.retries import Retries
from zipcast.client.uploader import Uploader
from zipcast.protocol.messages.access import FileToUpload, MinerUploadReply, UploadMethod


@dataclass
class FakeAccess(Requests):
    """Grants a miner access until `ends_at`. The store replies to each request with the next of `statuses`,
    or with 204."""

    method: UploadMethod = "POST"
    min_bytes: int = 1
    max_bytes: int = 1000
    ends_at: datetime = START_AT + timedelta(hours=4)
    statuses: list[int] = field(default_factory=list)
    asked: list[tuple[FileToUpload | None, bool]] = field(default_factory=list)
    received: list[httpx.Request] = field(default_factory=list)
    clock: FakeClock = field(default_factory=FakeClock)

    async def miner_upload(
        self,
        epoch_id: str | None = None,
        *,
        file: FileToUpload | None = None,
        with_credentials: bool = False,
    ) -> MinerUploadReply:
        self.asked.append((file, with_credentials))
        prefix = f"data/hotkey={MINER_HOTKEY}/epoch={epoch_id}/"
        assert file is not None
        by_form = self.method == "POST"
        return MinerUploadReply(
            epoch_id=epoch_id or EPOCH_ID,
            bucket="miners",
            prefix=prefix,
            method=self.method,
            url="http://store.test/miners" + ("" if by_form else f"/{prefix}{file.name}"),
            fields={"key": prefix + "${filename}"} if by_form else {"content-length": str(file.size_bytes)},
            expires_at=self.ends_at,
            min_bytes=self.min_bytes,
            max_bytes=self.max_bytes,
            list_url="http://store.test/miners",
        )

    def uploader(self) -> Uploader:
        store = httpx.AsyncClient(transport=httpx.MockTransport(self._store))

        async def ask(request: Callable[[Requests], Awaitable[Any]]) -> Any:
            return await request(self)

        async def http_for(_url: str) -> httpx.AsyncClient:
            return store

        return Uploader(ask, http_for, self.clock.now, Retries(self.clock, 60))

    async def _store(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.received.append(request)
        status = self.statuses.pop(0) if self.statuses else 204
        date = format_datetime(self.clock.now(), usegmt=True)
        return httpx.Response(status, headers={"Date": date}, stream=httpx.ByteStream(b""))
