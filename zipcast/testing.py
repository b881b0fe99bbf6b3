"""Runs a small service inside your tests, so that you can test a miner or validator without a network.

    with FakeService() as service:
        epoch = service.start_epoch()
        with zipcast.connect_sync(**service.arguments, wallet=service.keypair("miner")) as zc:
            my_miner.work_on(zc, zc.current())
        assert service.stored(epoch)

The service uses HTTP, signs epochs, and accepts uploads and reports. It checks neither signatures nor limits,
and every hotkey is both a miner and a validator. Starting an epoch ends the epoch before it. To see how your
program treats an error, use `refuse`.
"""

import hashlib
import json
import re
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, unquote, urlsplit
from uuid import uuid4

from zipcast.protocol import btauth, envelope
from zipcast.protocol.calendar import format_epoch_id
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.hotkeys import Keypair
from zipcast.protocol.messages.access import (
    MinerUploadReply,
    MinerUploadRequest,
    ReadableObject,
    UploadGuidelines,
    ValidatorReadReply,
    ValidatorReadRequest,
    ValidatorUploadMetadata,
    ValidatorUploadReply,
    ValidatorUploadRequest,
)
from zipcast.protocol.messages.base import WireModel, error_body
from zipcast.protocol.messages.epochs import AssignedZipcode, EpochMessage, EpochMetadata
from zipcast.protocol.messages.results import CheckedFile, ConsensusReply, ResultsReply, ResultsRequest
from zipcast.protocol.messages.status import StatusReply, StatusRequest
from zipcast.protocol.verbs import VERBS, Verb
from zipcast.selection.model import MarketTier

NETWORK, NETUID = "test", 46
MIN_BYTES, MAX_BYTES = 1, 64 * 2**20
PAGE_SIZE = 20
FORM_LIFETIME = timedelta(hours=4)
_STORE = "/store/"
_MULTIPART = re.compile(rb'name="([^"]*)"')


class FakeService:
    """A service on a free port of this machine, in threads of its own. Use it in `with`."""

    def __init__(self) -> None:
        self._signer = Keypair.create_from_uri("//ZipcastFakeService")
        self._changed = threading.Condition()
        self._epochs: list[envelope.UnverifiedEnvelope] = []
        self._messages: dict[str, EpochMessage] = {}
        self._objects: dict[str, tuple[bytes, datetime]] = {}
        self._refusals: dict[Verb, deque[ServiceError]] = defaultdict(deque)
        self._is_open = True
        self.reports: list[tuple[str, StatusRequest]] = []
        """The status reports that miners sent, each with the miner's hotkey."""
        self.results: list[tuple[str, ResultsRequest]] = []
        """The results that validators sent, each with the validator's hotkey."""
        service = self

        class Handler(_Handler):
            fake = service

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="zipcast-fake", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._changed:
            self._is_open = False
            self._changed.notify_all()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """Return the address of the service."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def arguments(self) -> dict[str, Any]:
        """Return the arguments of `zipcast.connect`, except the wallet."""
        return {"http": self.url, "signer": self._signer.ss58_address, "network": NETWORK, "netuid": NETUID}

    @property
    def environment(self) -> dict[str, str]:
        """Return the same settings as environment variables."""
        return {f"ZIPCAST_{name.upper()}": str(value) for name, value in self.arguments.items()}

    @staticmethod
    def keypair(name: str) -> Keypair:
        """Return a hotkey, the same for the same name."""
        return Keypair.create_from_uri(f"//{name}")

    def start_epoch(
        self, zipcodes: Sequence[AssignedZipcode] | None = None, *, seconds: int = 4 * 3600
    ) -> EpochMessage:
        """Start an epoch, send it to connected clients and return its message. `zipcodes` is by default one
        zipcode of Philadelphia."""
        chosen = tuple(zipcodes or (_PHILADELPHIA,))
        with self._changed:
            newest = self._messages[self._epochs[-1].epoch_id] if self._epochs else None
            start = datetime.now(UTC).replace(microsecond=0)
            if newest is not None:
                start = max(start, newest.epoch_start + timedelta(seconds=1))
            message = _message(chosen, start, seconds, newest)
            self._messages[message.epoch_id] = message
            self._epochs.append(envelope.seal(message, self._signer))
            self._changed.notify_all()
        return message

    def refuse(self, verb: Verb | str, code: ErrorCode, *, retry_after: int | None = None) -> None:
        """Refuse the next request of that verb, such as `s3.miner-upload`. If this is called several times,
        as many requests are refused, in the same order."""
        error = ServiceError(code, "Refused by the test.", retry_after_seconds=retry_after)
        self._refusals[Verb(verb)].append(error)

    def stored(self, epoch: EpochMessage | str, hotkey: str | None = None) -> dict[str, bytes]:
        """Return the content of the files that miners uploaded for an epoch, by key: those of `hotkey`, or
        those of all miners."""
        epoch_id = epoch if isinstance(epoch, str) else epoch.epoch_id
        found = re.compile(rf"data/hotkey={hotkey or '[^/]+'}/epoch={epoch_id}/.+")
        with self._changed:
            return {key: one[0] for key, one in sorted(self._objects.items()) if found.fullmatch(key)}

    def _store(self, key: str, content: bytes) -> bool:
        """Store an uploaded file if its form is still valid, and return whether it is. A miner's form is
        valid until the next epoch starts."""
        with self._changed:
            is_open = not key.startswith("data/") or f"/epoch={self._newest().epoch_id}/" in key
            if is_open:
                self._objects[key] = content, datetime.now(UTC)
        return is_open

    def _answer(self, verb: Verb, hotkey: str, names: dict[str, str], body: bytes) -> bytes:
        """Return the reply to a request. Raises ServiceError."""
        if self._refusals[verb]:
            raise self._refusals[verb].popleft()
        answer = self._answers().get(verb)
        if answer is None:
            raise ServiceError(ErrorCode.NOT_FOUND, "The fake service does not have this request.")
        return answer(hotkey, VERBS[verb].request.model_validate({**json.loads(body or b"{}"), **names}))

    def _answers(self) -> dict[Verb, Callable[[str, Any], bytes]]:
        return {
            Verb.EPOCH_CURRENT: self._current,
            Verb.MINER_STATUS: self._status,
            Verb.S3_MINER_UPLOAD: self._miner_upload,
            Verb.S3_VALIDATOR_UPLOAD: self._validator_upload,
            Verb.S3_VALIDATOR_READ: self._validator_read,
            Verb.VALIDATOR_RESULTS: self._submit,
            Verb.VALIDATOR_CONSENSUS: self._consensus,
        }

    def _newest(self) -> EpochMessage:
        if not self._epochs:
            raise ServiceError(ErrorCode.NO_CURRENT_EPOCH, "No epoch is running: call start_epoch.")
        return self._messages[self._epochs[-1].epoch_id]

    def _named(self, epoch_id: str | None) -> EpochMessage:
        if epoch_id is None:
            return self._newest()
        if epoch_id not in self._messages:
            raise ServiceError(ErrorCode.EPOCH_NOT_FOUND, "No epoch with that id has started.")
        return self._messages[epoch_id]

    def _ended(self, epoch_id: str) -> EpochMessage:
        message = self._named(epoch_id)
        if message is self._newest():
            raise ServiceError(ErrorCode.EPOCH_NOT_ENDED, "The epoch is still running.")
        return message

    def _current(self, _hotkey: str, _request: WireModel) -> bytes:
        self._newest()
        return json.dumps({"success": True, "proof": _proof(self._epochs[-1])}).encode()

    def _status(self, hotkey: str, request: StatusRequest) -> bytes:
        if request.nonce != self._named(request.epoch_id).nonce:
            raise ServiceError(ErrorCode.NONCE_MISMATCH, "The nonce is not the nonce of that epoch.")
        self.reports.append((hotkey, request))
        return StatusReply(
            message="Recorded.",
            epoch_id=request.epoch_id,
            status=request.status,
            timestamp=datetime.now(UTC),
        ).to_bytes()

    def _miner_upload(self, hotkey: str, request: MinerUploadRequest) -> bytes:
        message = self._named(request.epoch_id)
        if message is not self._newest() or datetime.now(UTC) >= message.epoch_end:
            raise ServiceError(ErrorCode.EPOCH_NOT_OPEN, "The epoch's submission deadline has passed.")
        prefix = f"data/hotkey={hotkey}/epoch={message.epoch_id}/"
        return MinerUploadReply(
            epoch_id=message.epoch_id,
            bucket="miners",
            prefix=prefix,
            url=self.url + _STORE,
            fields={"key": prefix + "${filename}"},
            expires_at=message.epoch_end,
            min_bytes=MIN_BYTES,
            max_bytes=MAX_BYTES,
            list_url=self.url + _STORE,
        ).to_bytes()

    def _validator_upload(self, hotkey: str, request: ValidatorUploadRequest) -> bytes:
        prefix = f"validators/{hotkey}/epoch={self._named(request.epoch_id).epoch_id}/"
        return ValidatorUploadReply(
            message="Upload access granted.",
            upload_url=self.url + _STORE,
            fields={"key": prefix + "${filename}"},
            s3_credentials=None,
            upload_guidelines=UploadGuidelines(
                max_file_size_mb=MAX_BYTES // 2**20,
                allowed_file_types=("json", "parquet", "csv"),
                required_metadata=(),
                folder_structure=prefix,
                example_files=(),
            ),
            metadata=ValidatorUploadMetadata(
                folder_path=prefix,
                expires_at=datetime.now(UTC) + FORM_LIFETIME,
                max_file_size=MAX_BYTES,
                supported_formats=("json", "parquet", "csv"),
            ),
        ).to_bytes()

    def _validator_read(self, _hotkey: str, request: ValidatorReadRequest) -> bytes:
        epoch_id = self._ended(request.epoch_id).epoch_id
        after = request.page_token or ""
        found = [key for key in self.stored(epoch_id, request.miner_hotkey) if key > after]
        page = found[:PAGE_SIZE]
        return ValidatorReadReply(
            epoch_id=epoch_id,
            miner_hotkey=request.miner_hotkey,
            objects=tuple(self._readable(key) for key in page),
            next_page_token=page[-1] if len(found) > PAGE_SIZE else None,
            expires_at=datetime.now(UTC) + FORM_LIFETIME,
        ).to_bytes()

    def _readable(self, key: str) -> ReadableObject:
        content, stored_at = self._objects[key]
        return ReadableObject(
            key=key,
            size=len(content),
            etag=hashlib.md5(content, usedforsecurity=False).hexdigest(),
            last_modified=stored_at,
            version_id=None,
            url=f"{self.url}{_STORE}{quote(key)}",
        )

    def _submit(self, hotkey: str, request: ResultsRequest) -> bytes:
        self._ended(request.epoch_id)
        for file in request.files:
            content = self._objects.get(file.key, (b"", None))[0]
            if hashlib.sha256(content).hexdigest() != file.sha256:
                raise ServiceError(ErrorCode.FILE_MISMATCH, f"{file.key} differs from the report.")
        earlier = sum(who == hotkey and one.epoch_id == request.epoch_id for who, one in self.results)
        self.results.append((hotkey, request))
        return ResultsReply(
            message="Recorded.",
            result_id=str(uuid4()),
            epoch_id=request.epoch_id,
            received_at=datetime.now(UTC),
            in_force=True,
            late=False,
            superseded_reports=earlier,
            audit_rows=len(request.audit),
            files=tuple(
                CheckedFile(key=file.key, version_id=None, checked_by="checksum") for file in request.files
            ),
        ).to_bytes()

    def _consensus(self, _hotkey: str, request: Any) -> bytes:
        return ConsensusReply(
            epoch_id=self._ended(request.epoch_id).epoch_id,
            revealed=False,
            consensus=None,
            reports=(),
            signals=(),
            next_offset=None,
        ).to_bytes()

    def _events(self, send: Callable[[bytes], object]) -> None:
        """Send the running epoch, then later ones, until the service is closed."""
        with self._changed:
            sent = max(0, len(self._epochs) - 1)
        while (events := self._following(sent)) is not None:
            for one in events:
                send(f"data: {json.dumps({'epochId': one.epoch_id, **_proof(one)})}\n\n".encode())
            sent += len(events)
            if not events:
                send(b": alive\n\n")

    def _following(self, sent: int) -> list[envelope.UnverifiedEnvelope] | None:
        """Wait some seconds for epochs after the first `sent` ones and return them, or None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._epochs) > sent or not self._is_open, timeout=10)
            return self._epochs[sent:] if self._is_open else None


class _Handler(BaseHTTPRequestHandler):
    """Answers one connection. Each reply ends its connection."""

    fake: FakeService

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path.startswith(_STORE):
            self._send_object(unquote(path.removeprefix(_STORE)))
        elif path == _path_of(Verb.EPOCH_STREAM):
            self._head(200, "text/event-stream")
            try:
                self.fake._events(self._send_now)
            except OSError:
                return  # the client has gone
        else:
            self._reply(b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if urlsplit(self.path).path == _STORE:
            self._head(204 if self.fake._store(*_uploaded(self.headers["Content-Type"], body)) else 403)
        else:
            self._reply(body)

    def _reply(self, body: bytes) -> None:
        try:
            verb, names = _verb_of(self.command, urlsplit(self.path).path)
            reply = self.fake._answer(verb, self.headers.get(btauth.HEADER_HOTKEY, ""), names, body)
            status = 200
        except ServiceError as error:
            reply, status = json.dumps(error_body(error)).encode(), error.status
        self._head(status)
        self.wfile.write(reply)

    def _send_object(self, key: str) -> None:
        stored = self.fake._objects.get(key)
        self._head(404 if stored is None else 200, "application/octet-stream")
        self.wfile.write(b"" if stored is None else stored[0])

    def _send_now(self, content: bytes) -> None:
        self.wfile.write(content)
        self.wfile.flush()

    def _head(self, status: int, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("X-Request-Id", uuid4().hex)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
        """Log nothing."""


_PHILADELPHIA = AssignedZipcode(
    zipcode="19104",
    expected_listings=100,
    state="PA",
    city="Philadelphia",
    county="Philadelphia County",
    market_tier=MarketTier.STANDARD,
    geographic_region="Northeast",
)


def _message(
    zipcodes: tuple[AssignedZipcode, ...], start: datetime, seconds: int, previous: EpochMessage | None
) -> EpochMessage:
    total = sum(one.expected_listings for one in zipcodes)
    epoch_id = format_epoch_id(start)
    made_up = hashlib.sha256(epoch_id.encode()).hexdigest()
    return EpochMessage(
        network=NETWORK,
        netuid=NETUID,
        epoch_id=epoch_id,
        epoch_start=start,
        epoch_end=start + timedelta(seconds=seconds),
        nonce=made_up,
        target_listings=max(1, total),
        tolerance_percent=10,
        submission_deadline=start + timedelta(seconds=seconds),
        zipcodes=zipcodes,
        metadata=EpochMetadata(
            total_expected_listings=total,
            zipcode_count=len(zipcodes),
            algorithm_version="fake",
            seed_commitment=made_up,
        ),
        previous_epoch_id=None if previous is None else previous.epoch_id,
        seed_commitment=made_up,
        next_seed_commitment=made_up,
        next_inputs_hash=made_up,
        revealed_seed=None,
        candidate_pool_hash=made_up,
        beacon=None,
        issued_at=start,
    )


def _proof(one: envelope.UnverifiedEnvelope) -> dict[str, str]:
    return {"payload": one.payload.decode(), "signer": one.signer, "signature": one.signature}


def _path_of(verb: Verb) -> str:
    http = VERBS[verb].http
    return "" if http is None else http.path


def _verb_of(method: str, path: str) -> tuple[Verb, dict[str, str]]:
    """Return the verb of a request and the names in its path. Raises ServiceError(NOT_FOUND)."""
    for verb, spec in VERBS.items():
        if spec.http is not None and spec.http.method == method:
            found = re.fullmatch(spec.http.path.replace("{epoch_id}", "(?P<epochId>[^/]+)"), path)
            if found is not None:
                return verb, found.groupdict()
    raise ServiceError(ErrorCode.NOT_FOUND, "There is nothing at this path.")


def _uploaded(content_type: str, body: bytes) -> tuple[str, bytes]:
    """Return the key and the content of a posted form."""
    boundary = b"--" + content_type.partition("boundary=")[2].strip('"').encode()
    parts: dict[str, bytes] = {}
    for part in body.split(boundary)[1:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        name = _MULTIPART.search(head)
        if name is not None:
            parts[name[1].decode()] = content.removesuffix(b"\r\n")
    return parts["key"].decode(), parts["file"]
