"""The decisions of `watch`, `current` and `download` that need no service."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from tests.support import signed_epochs
from tests.support.upload_access import FakeAccess
from zipcast.cli.client_commands import local_name, prepared_uploads, received_line, running_epoch
from zipcast.cli.errors import CommandError, Status
from zipcast.client.client import ReceivedEpoch, ZipcastClient
from zipcast.protocol.envelope import VerifiedEpoch, verify
from zipcast.protocol.errors import ErrorCode, ServiceError


def epoch() -> VerifiedEpoch:
    envelope = signed_epochs.signed(signed_epochs.message(1)).envelope
    assert envelope is not None
    return verify(envelope, signed_epochs.TRUST)


def received() -> ReceivedEpoch:
    verified = epoch()
    return ReceivedEpoch(verified, verified.message.epoch_start + timedelta(milliseconds=8), "push")


class FakeClient:
    """Receives the running epoch, or fails to request it, and counts requests for it."""

    def __init__(self, *, fails: bool) -> None:
        self.unanswered_questions = int(fails)
        self.requests = 0

    async def epochs(self) -> AsyncIterator[ReceivedEpoch]:
        if self.unanswered_questions:
            await asyncio.Event().wait()
        yield received()

    async def current(self) -> VerifiedEpoch:
        self.requests += 1
        raise ServiceError(ErrorCode.NO_CURRENT_EPOCH, "No epoch is running.")


async def ask(client: FakeClient) -> VerifiedEpoch:
    return await running_epoch(cast(ZipcastClient, cast(Any, client)))


async def test_the_running_epoch_is_requested_once():
    client = FakeClient(fails=False)
    assert (await ask(client)).message == epoch().message
    assert client.requests == 0  # besides the client's own request


async def test_the_reason_why_there_is_none_is_requested():
    client = FakeClient(fails=True)
    with pytest.raises(ServiceError) as error:
        await ask(client)
    assert error.value.code is ErrorCode.NO_CURRENT_EPOCH
    assert client.requests == 1


@pytest.mark.parametrize("width", [80, 100, 120])
def test_a_line_of_watch_fits_the_terminal(width: int):
    line = received_line(received(), width)
    assert len(line) <= width
    assert "verified" in line.plain
    assert epoch().message.epoch_id in line.plain


def test_elsewhere_a_line_of_watch_has_everything():
    line = received_line(received(), None).plain
    assert "sha256 " in line
    assert "until " in line


@pytest.mark.parametrize(
    "key",
    [
        "data/hotkey=5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY/epoch=x/../../../etc/passwd",
        "data/hotkey=../../epoch=x/a",
        "..",
        "/",
        "a/b\x1b[31m\u202e.json",
        "a/" + "n" * 1_000,
        "C:\\windows\\x",
    ],
)
def test_a_key_chosen_by_a_miner_is_no_path(key: str):
    name = local_name(key)
    assert len(name.parts) == 2
    assert not name.is_absolute()
    assert ".." not in name.parts
    assert str(name).isascii()
    assert len(name.name) < 120


def test_two_keys_never_share_a_file():
    keys = ["a/x.json", "b/x.json", "a/x_json", "a/x?json"]
    assert len({local_name(key) for key in keys}) == len(keys)


@pytest.mark.parametrize("size", [0, 9, 21])
async def test_a_file_of_a_wrong_size_ends_the_command(tmp_path: Path, size: int):
    file = tmp_path / "file"
    file.write_bytes(b"x" * size)
    access = FakeAccess(min_bytes=10, max_bytes=20)
    with pytest.raises(CommandError) as error:
        await prepared_uploads(access.uploader(), "2026-11-22T04-00-00", "miner", [file])
    assert error.value.exit_code == Status.USAGE
    assert str(file) in error.value.message
