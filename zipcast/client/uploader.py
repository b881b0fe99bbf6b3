"""Uploads the files of one hotkey: requests access, and sends each file with it.

A form takes all files of an epoch and a role, so it is requested once. If the object store takes no forms,
access is requested for each file. A miner's large file is sent in parts if the store gives credentials for
that (`multipart`).
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import httpx

from zipcast.client import multipart
from zipcast.client.error_translation import translated
from zipcast.client.files import UploadedFile, UploadForm
from zipcast.client.multipart import upload_in_parts
from zipcast.client.requests import Requests
from zipcast.client.retries import Retries
from zipcast.client.transfers import MAX_UPLOAD_SECONDS, Progress, post_file, put_file, sha256_of
from zipcast.errors import ServiceError, TooLateError, TransferError
from zipcast.protocol.errors import ErrorCode
from zipcast.protocol.messages.access import FileToUpload, S3Credentials

Role = Literal["miner", "validator"]
GRACE_SECONDS = 30.0
"""The time in seconds for which an upload may continue after its deadline, in case this machine's clock is
ahead of the store's. The store's clock decides whether the file counts."""
ASK_AGAIN_SECONDS = 1.0
FORBIDDEN = 403

Result = TypeVar("Result")


class Ask(Protocol):
    """Sends a request over NATS or HTTP, and returns its reply. Raises errors of `zipcast.errors`."""

    async def __call__(self, request: Callable[[Requests], Awaitable[Result]], /) -> Result: ...


@dataclass(frozen=True, slots=True)
class PreparedUpload:
    """A file to upload for an epoch."""

    epoch_id: str
    role: Role
    path: Path
    file: FileToUpload
    progress: Progress | None

    @property
    def keys(self) -> tuple[tuple[Any, ...], ...]:
        """Return the keys under which access may be kept: a form for all files, and a URL for this one."""
        folder = self.epoch_id, self.role
        return (*folder, self.in_parts), (*folder, self.file.name, self.file.size_bytes, self.file.sha256)

    @property
    def in_parts(self) -> bool:
        return self.role == "miner" and multipart.suits(self.file.size_bytes)


@dataclass(slots=True)
class Uploader:
    """Uploads files. `http_for` returns an HTTP client for the store at a URL, and `now` returns the
    service's time."""

    ask: Ask
    http_for: Callable[[str], Awaitable[httpx.AsyncClient]]
    now: Callable[[], datetime]
    retries: Retries
    _forms: dict[tuple[Any, ...], UploadForm] = field(default_factory=dict, init=False)

    async def upload(
        self, epoch_id: str, role: Role, path: Path, name: str, progress: Progress | None = None
    ) -> UploadedFile:
        """Upload a file and return its key. Raises TooLargeError and TooSmallError before anything is sent,
        TooLateError, TransferError, ServiceError, UnavailableError and OSError."""
        return await self.send(await self.prepare(epoch_id, role, path, name, progress))

    async def prepare(
        self, epoch_id: str, role: Role, path: Path, name: str, progress: Progress | None = None
    ) -> PreparedUpload:
        """Request access for a file and check its size, without sending the file. Raises TooLargeError,
        TooSmallError, TooLateError, ServiceError (MALFORMED_REQUEST for a name that is not a path below a
        folder), UnavailableError and OSError."""
        sha256 = await sha256_of(path) if role == "validator" else None
        size = (await asyncio.to_thread(path.stat)).st_size
        with translated():
            file = FileToUpload(name=name, size_bytes=size, sha256=sha256)
        prepared = PreparedUpload(epoch_id, role, path, file, progress)
        (await self._form(prepared)).require_size(path, size)
        return prepared

    async def send(self, prepared: PreparedUpload) -> UploadedFile:
        """Send a prepared file and return its key. Raises the errors of `upload`."""
        key = await self.retries.run(lambda: self._send(prepared))
        return UploadedFile(prepared.epoch_id, key, prepared.file.size_bytes, prepared.file.sha256)

    async def _form(self, work: PreparedUpload) -> UploadForm:
        """Return access for the file, from an earlier request if it is still valid. Raises TooLateError after
        the deadline."""
        form, now = self._kept(work), self.now()
        if form is not None and form.deadline_at is not None and now >= form.deadline_at:
            raise TooLateError(f"the deadline of epoch {work.epoch_id} was {form.deadline_at:%H:%M:%S} UTC")
        if form is None or form.expires_at <= now:
            form = await self._new_form(work)
            self._forms = {key: one for key, one in self._forms.items() if one.expires_at > now}
            self._forms[work.keys[0 if form.method == "POST" else 1]] = form
        return form

    def _kept(self, work: PreparedUpload) -> UploadForm | None:
        return next((self._forms[key] for key in work.keys if key in self._forms), None)

    async def _new_form(self, work: PreparedUpload) -> UploadForm:
        epoch_id, file = work.epoch_id, work.file
        if work.role == "validator":
            granted = await self.ask(
                lambda way: way.validator_upload(epoch_id, with_checksum=True, file=file)
            )
            return UploadForm.for_validator(epoch_id, granted)
        try:
            reply = await self.ask(
                lambda way: way.miner_upload(epoch_id, file=file, with_credentials=work.in_parts)
            )
        except ServiceError as error:
            if error.code is ErrorCode.EPOCH_NOT_OPEN:
                raise TooLateError(f"the deadline of epoch {epoch_id} has passed") from error
            raise
        return UploadForm.for_miner(reply)

    async def _send(self, work: PreparedUpload) -> str:
        """Send the file once, and return its key."""
        was_known = self._kept(work) is not None
        form = await self._form(work)
        key = form.prefix + work.file.name
        try:
            if form.credentials is not None and work.in_parts:
                await self._send_in_parts(form.credentials, form, key, work)
            elif form.method == "PUT":
                await put_file(
                    form.url,
                    form.fields,
                    key,
                    work.path,
                    expires_at=form.expires_at,
                    deadline_at=form.deadline_at,
                    progress=work.progress,
                    timeout_seconds=self._seconds_left(form),
                    now=self.now,
                    http=await self.http_for(form.url),
                )
            else:
                key = await post_file(
                    form.url,
                    form.fields,
                    work.file.name,
                    work.path,
                    sha256=work.file.sha256,
                    deadline_at=form.deadline_at,
                    progress=work.progress,
                    timeout_seconds=self._seconds_left(form),
                    now=self.now,
                    http=await self.http_for(form.url),
                )
        except TransferError as error:
            if error.status == FORBIDDEN and was_known and not isinstance(error, TooLateError):
                # The store no longer accepts the access, so request it again once.
                for known in work.keys:
                    self._forms.pop(known, None)
                error.retry_after = ASK_AGAIN_SECONDS
            raise
        return key

    async def _send_in_parts(
        self, credentials: S3Credentials, form: UploadForm, key: str, work: PreparedUpload
    ) -> None:
        """Send the file in parts. The credentials end at the deadline."""
        try:
            await upload_in_parts(
                credentials,
                key,
                work.path,
                timeout_seconds=self._seconds_left(form),
                progress=work.progress,
            )
        except TransferError as error:
            if form.deadline_at is not None and self.now() >= form.deadline_at:
                raise TooLateError(f"{key} was not stored before the deadline: it does not count") from error
            raise

    def _seconds_left(self, form: UploadForm) -> float:
        """Return how long an upload with the form may take, in seconds."""
        if form.deadline_at is None:
            return MAX_UPLOAD_SECONDS
        left = (form.deadline_at - self.now()).total_seconds()
        return min(MAX_UPLOAD_SECONDS, max(0.0, left) + GRACE_SECONDS)
