"""Reads ended epochs from the bridge, from NATS, or from a file made by `zipcast epoch export`.

This module reads everything that the caller may see; with a validator's wallet, this includes pools. It
verifies nothing, because `zipcast.verification.epochs` does.
"""

import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Protocol

import typer
from pydantic import ValidationError

from zipcast.cli.bridge_requests import address_of, get, get_page
from zipcast.cli.console import echo
from zipcast.cli.session import (
    DEFAULT_READY,
    HotkeyOption,
    HttpOption,
    NatsOption,
    NetuidOption,
    NetworkOption,
    PasswordFileOption,
    ProfileOption,
    ReadyOption,
    Service,
    SignerOption,
    WalletOption,
    WalletsOption,
    load_keypair,
    resolve,
)
from zipcast.client.client import ZipcastClient
from zipcast.protocol import btauth
from zipcast.protocol.envelope import Trust, UnverifiedEnvelope
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.hotkeys import Signer
from zipcast.protocol.messages.epochs import EpochMessage, Proof
from zipcast.protocol.messages.history import (
    EndedEpoch,
    EndedEpochReply,
    ExportedEpoch,
    ExportedEpochs,
)
from zipcast.protocol.messages.pools import EpochPool, EpochPoolReply

FromOption = Annotated[
    str, typer.Option("--from", help="http, nats, or a file made by `zipcast epoch export`.")
]
MostOption = Annotated[
    int | None, typer.Option("--most", min=1, help="With --all, only this many of the newest epochs.")
]

PAGE = 20
MAX_HISTORY_BYTES = 2**30
"""The largest size of all pages together as JSON, in bytes. It is enough for about ten years of epochs."""
MAX_POOL_BYTES = 256 * 2**20
"""The largest size of all replies about one epoch as JSON, in bytes. 42,000 zipcodes take 10 MB."""
# If the service replies with one of these errors, the epoch's pool is not available, or not yet.
_NO_POOL = {ErrorCode.NOT_YET_REVEALED, ErrorCode.ARCHIVED, ErrorCode.EPOCH_NOT_FOUND}
_NO_VALIDATOR = {ErrorCode.VALIDATOR_REQUIRED, ErrorCode.NOT_REGISTERED}


class Source(Protocol):
    """A source of epochs. `epochs` returns one epoch and the one before it, or the newest `most` epochs, or
    all if `most` is None. It leaves out epochs that are not available."""

    async def epochs(self, epoch_id: str | None, most: int | None) -> list[ExportedEpoch]: ...


@dataclass(frozen=True, slots=True)
class Sourced:
    """A source of epochs, and the signers to trust."""

    source: Source
    trust: Trust
    most: int | None

    async def epochs(self, epoch_id: str | None) -> list[ExportedEpoch]:
        """Return the epochs from the source."""
        return await self.source.epochs(epoch_id, self.most)


def sourced(
    source: FromOption = "http",
    http: HttpOption = None,
    ready: ReadyOption = DEFAULT_READY,
    profile: ProfileOption = None,
    nats: NatsOption = None,
    signers: SignerOption = None,
    network: NetworkOption = None,
    netuid: NetuidOption = None,
    wallet_path: WalletsOption = None,
    wallet: WalletOption = None,
    hotkey: HotkeyOption = "default",
    password_file: PasswordFileOption = None,
    most: MostOption = None,
) -> Sourced:
    """Return the source that the options describe. Over HTTP, a wallet is used only if an option names it.

    Raises NotReadyError and WalletError."""
    service = Service.find(ready, profile)
    trust = service.trust(signers, network, netuid)
    if source == "nats":
        session = resolve(
            ready, profile, nats, signers, network, netuid, wallet_path, wallet, hotkey, password_file
        )
        return Sourced(NatsSource(session.client()), trust, most)
    if source != "http":
        return Sourced(FileSource(Path(source)), trust, most)
    signer: Signer | None = None
    if wallet is not None:
        signer = load_keypair(*service.wallet(wallet_path, wallet), hotkey, password_file)
    return Sourced(HttpSource(address_of(http, ready, profile), signer, trust), trust, most)


@dataclass(frozen=True, slots=True)
class FileSource:
    """Reads epochs from a file."""

    path: Path

    async def epochs(self, epoch_id: str | None, most: int | None) -> list[ExportedEpoch]:
        """Return the epochs of the file. If `epoch_id` is given, return all epochs too, because checking one
        epoch needs the epochs from which its pool comes. Raises ValueError and OSError."""
        try:
            held = ExportedEpochs.model_validate_json(self.path.read_bytes()).epochs
        except ValidationError:
            raise ValueError(f"--from {self.path}: not a file made by `zipcast epoch export`") from None
        newest_first = sorted(held, key=lambda one: one.epoch_id, reverse=True)
        return newest_first if epoch_id is not None else newest_first[:most]


@dataclass(slots=True)
class HttpSource:
    """Reads epochs from the bridge. `validator` signs the requests for pools."""

    address: str
    validator: Signer | None
    trust: Trust

    async def epochs(self, epoch_id: str | None, most: int | None) -> list[ExportedEpoch]:
        """Return the epochs. Raises ServiceError and OSError."""
        found = self._newest(most or sys.maxsize) if epoch_id is None else self._with_predecessor(epoch_id)
        return [ExportedEpoch(**dict(one), pool=self._pool(one)) for one in found]

    def _newest(self, most: int) -> list[EndedEpoch]:
        found: list[EndedEpoch] = []
        before: str | None = None
        spare_bytes = MAX_HISTORY_BYTES
        while len(found) < most:
            page = get_page(self.address, min(most, PAGE), before)
            before = page.following(before)
            found += page.epochs
            spare_bytes -= sum(len(one.model_dump_json()) for one in page.epochs)
            if spare_bytes < 0:
                raise ValueError(
                    f"the epochs take more than {MAX_HISTORY_BYTES} bytes: read fewer with --most"
                )
            if before is None:
                break
        return found[:most]

    def _with_predecessor(self, epoch_id: str) -> list[EndedEpoch]:
        found = [self._one(epoch_id)]
        before = None if found[0].proof is None else _predecessor(found[0].proof.payload.encode())
        try:
            return found if before is None else [*found, self._one(before)]
        except ServiceError:
            return found

    def _one(self, epoch_id: str) -> EndedEpoch:
        reply = EndedEpochReply.model_validate_json(get(self.address, f"/api/v1/epochs/{epoch_id}"))
        return EndedEpoch.model_validate(reply.model_dump(exclude={"success"}))

    def _pool(self, epoch: EndedEpoch) -> EpochPool | None:
        if self.validator is None or epoch.proof is None:
            return None
        try:
            return EpochPool.of(self._pages(f"/api/v1/epochs/{epoch.epoch_id}/pool", self.validator))
        except ServiceError as error:
            if error.code in _NO_VALIDATOR:
                self.validator = None
            elif error.code is ErrorCode.RATE_LIMITED:
                self.validator = None
                _note(f"no pool of {epoch.epoch_id} or an epoch before it: {error.message}")
            elif error.code not in _NO_POOL:
                raise
            return None

    def _pages(self, path: str, signer: Signer) -> list[EpochPoolReply]:
        pages: list[EpochPoolReply] = []
        after: str | None = None
        spare_bytes = MAX_POOL_BYTES
        while not pages or after is not None:
            answer = self._signed(path if after is None else f"{path}?after={after}", signer)
            pages.append(EpochPoolReply.model_validate_json(answer))
            after = pages[-1].following(after)
            spare_bytes -= len(answer)
            if spare_bytes < 0:
                raise ValueError(f"{path} has more than {MAX_POOL_BYTES} bytes")
        return pages

    def _signed(self, target: str, signer: Signer) -> bytes:
        *others, last = sorted(self.trust.signers)
        for receiver in others:
            try:
                return get(self.address, target, _signature(signer, target, receiver))
            except ServiceError as error:
                if error.code is not ErrorCode.WRONG_RECEIVER:
                    raise
        return get(self.address, target, _signature(signer, target, last))


def _signature(signer: Signer, target: str, receiver: str) -> dict[str, str]:
    return btauth.sign(
        signer, method="GET", path=target, body=b"", receiver=receiver, nonce_ns=time.time_ns()
    )


@dataclass(slots=True)
class NatsSource:
    """Reads epochs over NATS."""

    client: ZipcastClient
    _asks_for_pools: bool = True

    async def epochs(self, epoch_id: str | None, most: int | None) -> list[ExportedEpoch]:
        """Return the epochs. Raises ServiceError, EnvelopeError and nats.errors.Error."""
        async with self.client:
            if epoch_id is None:
                running = (await self.client.current()).message
                return [one async for one in self._back_from(running, most or sys.maxsize)]
            envelope = await self.client.epoch(epoch_id)
            asked = await self._exported(envelope, None)
            message = EpochMessage.model_validate_json(envelope.payload)
            return [asked, *[one async for one in self._back_from(message, 1)]]

    async def _back_from(self, message: EpochMessage, most: int) -> AsyncIterator[ExportedEpoch]:
        """Yield the epochs before `message`, newest first. Each message names its predecessor and reveals the
        predecessor's seed."""
        while message.previous_epoch_id is not None and most > 0:
            try:
                envelope = await self.client.epoch(message.previous_epoch_id)
            except ServiceError as error:
                if error.code is ErrorCode.RATE_LIMITED:
                    _note(f"no epoch before {message.epoch_id}: {error.message}")
                elif error.code not in _NO_POOL:
                    raise
                return
            yield await self._exported(envelope, message.revealed_seed)
            earlier = EpochMessage.model_validate_json(envelope.payload)
            if earlier.epoch_start >= message.epoch_start:
                raise ValueError(f"{earlier.epoch_id} is not before {message.epoch_id}")
            message = earlier
            most -= 1

    async def _exported(self, envelope: UnverifiedEnvelope, seed: str | None) -> ExportedEpoch:
        message = EpochMessage.model_validate_json(envelope.payload)
        proof = Proof(payload=envelope.payload.decode(), signer=envelope.signer, signature=envelope.signature)
        return ExportedEpoch(
            epoch_id=envelope.epoch_id,
            epoch_start=message.epoch_start,
            epoch_end=message.epoch_end,
            status="COMPLETED",
            late_seconds=None,  # the message does not state this value
            seed=seed,
            seed_commitment=message.seed_commitment,
            beacon=message.beacon_kind,
            proof=proof,
            pool=await self._pool(envelope.epoch_id),
        )

    async def _pool(self, epoch_id: str) -> EpochPool | None:
        if not self._asks_for_pools:
            return None
        try:
            return await self.client.pool(epoch_id)
        except ServiceError as error:
            if error.code in _NO_VALIDATOR:
                self._asks_for_pools = False
            elif error.code is ErrorCode.RATE_LIMITED:
                self._asks_for_pools = False
                _note(f"no pool of {epoch_id} or an epoch before it: {error.message}")
            elif error.code not in _NO_POOL:
                raise
            return None


def _note(text: str) -> None:
    """Print a note about data that could not be read, and the reason. Everything else is still checked."""
    echo(text, to_stderr=True)


def _predecessor(payload: bytes) -> str | None:
    """Return the predecessor's id that an unverified message names. Verification finds a wrong one later."""
    try:
        return EpochMessage.model_validate_json(payload).previous_epoch_id
    except ValidationError:
        return None
