"""Runs `make demo`: three short epochs with eight miners and two validators, which use the public SDK.

Keys, signatures and uploads are real, and every step uses only the software that a miner or validator
installs.
"""

import asyncio
import json
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import nats.errors
from rich.console import Console
from rich.live import Live

from devstack.errors import StackError
from devstack.options import StackOptions
from devstack.scoreboard import Scoreboard
from devstack.stack import Stack
from devstack.up import show_stack_error
from zipcast.client.client import ReceivedEpoch, ZipcastClient
from zipcast.client.local_stack import Ready
from zipcast.client.transfers import fetch, post_file
from zipcast.client.wallets import load_hotkey, wallet_names
from zipcast.errors import TransferError
from zipcast.protocol.envelope import Trust, VerifiedEpoch
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.hotkeys import Keypair, parse_hotkey

EPOCH_SECONDS = 10
EPOCHS = 3
# The time limit of the demo. It covers the wait for the first epoch's start, three epochs, and reading the
# last epoch after its end.
TIMEOUT_SECONDS = EPOCH_SECONDS * (EPOCHS + 3)
UPLOAD, REPORT, READ = "upload", "report", "read"
MINER_TASKS: tuple[str, ...] = (UPLOAD,)
VALIDATOR_TASKS: tuple[str, ...] = (REPORT, READ)
STEP_ERRORS = (ServiceError, TransferError, nats.errors.Error, TimeoutError)


@dataclass(slots=True)
class Demo:
    """The participants of one demonstration, and their results."""

    ready: Ready
    folder: Path
    board: Scoreboard
    show: Callable[[], None]
    wallets: dict[str, Keypair]
    uploaded: dict[tuple[str, str], bytes] = field(default_factory=dict)

    @classmethod
    def of(cls, ready: Ready, folder: Path, show: Callable[["Demo"], None]) -> "Demo":
        wallets = Path(ready.wallets)
        keys = {name: load_hotkey(wallets, name) for name in wallet_names(wallets)}
        expected = {name: MINER_TASKS if is_miner(name) else VALIDATOR_TASKS for name in keys}
        demo = cls(ready, folder, Scoreboard(EPOCHS, expected), lambda: None, keys)
        demo.show = lambda: show(demo)
        return demo

    async def run(self) -> None:
        """Run all participants at the same time, until all are done or the time limit is reached."""
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS), asyncio.TaskGroup() as group:
                for name in self.wallets:
                    group.create_task(self._participate(name))
        except TimeoutError:
            self.board.problems.append(f"not done after {TIMEOUT_SECONDS} s")

    async def _participate(self, who: str) -> None:
        trust = Trust(frozenset({parse_hotkey(self.ready.signer)}), self.ready.network, self.ready.netuid)
        act = self._mine if is_miner(who) else self._validate
        async with (
            ZipcastClient([self.ready.nats], self.wallets[who], trust) as client,
            asyncio.TaskGroup() as group,
        ):
            seen = 0
            async for received in client.epochs():
                if self._note(who, received):
                    group.create_task(act(who, client, received.epoch))
                    seen += 1
                if seen == EPOCHS:
                    return

    def _note(self, who: str, received: ReceivedEpoch) -> bool:
        """Count epochs that were pushed. The epoch that was already running at the start is not part of the
        demonstration."""
        epoch_id = received.epoch.message.epoch_id
        if received.via != "push" or not self.board.counts(epoch_id):
            return False
        self.board.received(who, epoch_id, received.milliseconds_after_start)
        self.show()
        return True

    async def _mine(self, who: str, client: ZipcastClient, epoch: VerifiedEpoch) -> None:
        """Upload a file of listings to the miner's folder."""
        epoch_id = epoch.message.epoch_id

        async def step() -> None:
            grant = await client.miner_upload(epoch_id)
            path = self._write(f"{who}-{epoch_id}.json", listings_of(epoch, who))
            await post_file(grant.url, grant.fields, "listings.json", path)
            self.uploaded[who, epoch_id] = path.read_bytes()

        await self._attempt(who, epoch_id, UPLOAD, step)

    async def _validate(self, who: str, client: ZipcastClient, epoch: VerifiedEpoch) -> None:
        """Upload results; after the epoch's end, read a miner's upload and compare it."""
        epoch_id = epoch.message.epoch_id

        async def report() -> None:
            issued = await client.validator_upload(epoch_id)
            path = self._write(f"{who}-{epoch_id}.json", {"validator": who, "epochId": epoch_id})
            await post_file(issued.upload_url, issued.fields, "results.json", path)

        async def read() -> None:
            miner = self._miner_for(who)
            content = await fetch(await self._address(client, epoch, self.wallets[miner].ss58_address))
            if content != self.uploaded.get((miner, epoch_id)):
                raise TransferError("the file that was read differs from the miner's upload")

        await self._attempt(who, epoch_id, REPORT, report)
        await self._attempt(who, epoch_id, READ, read)

    async def _address(self, client: ZipcastClient, epoch: VerifiedEpoch, miner: str) -> str:
        """Return a presigned GET of the miner's first object, as soon as the epoch has ended."""
        while True:
            try:
                page = await client.validator_read(epoch.message.epoch_id, miner)
            except ServiceError as error:
                if error.code is not ErrorCode.EPOCH_NOT_ENDED:
                    raise
                await asyncio.sleep(0.25)
                continue
            if not page.objects:
                raise TransferError("the miner's folder is empty")
            return page.objects[0].url

    async def _attempt(self, who: str, epoch_id: str, task: str, step: Callable[[], Awaitable[None]]) -> None:
        try:
            await step()
            self.board.done(who, epoch_id, task)
        except STEP_ERRORS as error:
            self.board.failed(who, epoch_id, task, str(error) or type(error).__name__)
        self.show()

    def _miner_for(self, validator: str) -> str:
        miners = [name for name in self.wallets if is_miner(name)]
        return miners[int(validator.rpartition("-")[2]) % len(miners)]

    def _write(self, name: str, content: object) -> Path:
        path = self.folder / name
        # Pad the file with spaces, because the upload form refuses files below a minimum size.
        path.write_text(json.dumps(content, indent=1).ljust(1100))
        return path


def is_miner(name: str) -> bool:
    return name.startswith("miner-")


def listings_of(epoch: VerifiedEpoch, who: str) -> dict[str, object]:
    """Return a small file with one invented listing per zipcode."""
    listings = [
        {"zipcode": item.zipcode, "address": f"1 Main St, {item.city}"} for item in epoch.message.zipcodes
    ]
    return {"miner": who, "epochId": epoch.message.epoch_id, "listings": listings}


async def run_demo(console: Console) -> int:
    """Run the demonstration with its own state. Return 0 only if nothing was missing."""
    console.print("starting a separate stack with 10-second epochs ...", highlight=False)
    with tempfile.TemporaryDirectory(prefix="zipcast-demo-") as folder:
        options = StackOptions(epoch_seconds=EPOCH_SECONDS, state=Path(folder) / "state")
        try:
            async with Stack.running(options) as stack:
                board = await _play(stack.ready, Path(folder), console)
        except StackError as error:
            show_stack_error(console, error)
            console.print("demo failed: the stack did not start", highlight=False, markup=False)
            return 1
    missing = board.missing()
    for line in missing:
        console.print(line, style="red", highlight=False, markup=False, soft_wrap=True)
    console.print(board.summary(), highlight=False, markup=False, soft_wrap=True)
    return 1 if missing else 0


async def _play(ready: Ready, folder: Path, console: Console) -> Scoreboard:
    live = Live(console=console, auto_refresh=False)
    demo = Demo.of(ready, folder, lambda demo: live.update(demo.board.table(), refresh=True))
    console.print(f"{len(demo.wallets)} participants are waiting for the next epoch", highlight=False)
    if console.is_terminal:
        with live:
            await demo.run()
    else:
        await demo.run()
        console.print(demo.board.table())
    return demo.board
