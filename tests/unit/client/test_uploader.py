"""Tests how often access is requested, and in which way a file is uploaded."""

from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.fakes import EPOCH_ID, MINER_HOTKEY
from tests.support.upload_access import FakeAccess
from zipcast.client import multipart
from zipcast.errors import ServiceError, TooLargeError, TooLateError, TransferError
from zipcast.protocol.errors import ErrorCode

CONTENT = b"x" * 100
PREFIX = f"data/hotkey={MINER_HOTKEY}/epoch={EPOCH_ID}/"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "listings.json"
    path.write_bytes(CONTENT)
    return path


async def test_one_form_takes_all_files_of_an_epoch(file: Path):
    access = FakeAccess()
    uploader = access.uploader()
    for name in ("a.json", "b/c.json"):
        assert (await uploader.upload(EPOCH_ID, "miner", file, name)).key == PREFIX + name
    assert len(access.asked) == 1
    assert [one.method for one in access.received] == ["POST", "POST"]


async def test_without_forms_each_file_has_its_own_url_which_is_used_again(file: Path):
    access = FakeAccess(method="PUT", statuses=[503, 204, 204])
    uploader = access.uploader()
    await uploader.prepare(EPOCH_ID, "miner", file, file.name)
    assert (await uploader.upload(EPOCH_ID, "miner", file, file.name)).key == PREFIX + file.name
    await uploader.upload(EPOCH_ID, "miner", file, "other.json")
    assert [asked.name for asked, _ in access.asked] == [file.name, "other.json"]
    assert [(one.method, one.url.path) for one in access.received] == [
        ("PUT", f"/miners/{PREFIX}{name}") for name in (file.name, file.name, "other.json")
    ]
    assert all(one.headers["content-length"] == "100" for one in access.received)
    assert all(one.content == CONTENT for one in access.received)


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_refused_access_is_requested_again_once(file: Path, method):
    access = FakeAccess(method=method, statuses=[403, 403, 403])
    with pytest.raises(TransferError) as refused:
        await access.uploader().upload(EPOCH_ID, "miner", file, file.name)
    assert refused.value.status == 403
    assert (len(access.asked), len(access.received)) == (2, 2)


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_after_the_deadline_nothing_is_sent(file: Path, method):
    access = FakeAccess(method=method)
    uploader = access.uploader()
    await uploader.upload(EPOCH_ID, "miner", file, file.name)
    access.clock.wall += timedelta(hours=4)
    with pytest.raises(TooLateError):
        await uploader.upload(EPOCH_ID, "miner", file, file.name)
    assert (len(access.asked), len(access.received)) == (1, 1)


@pytest.mark.parametrize("name", ["", "/a", "a//b", "../a", "a/./b", "a/", "a\nb", "x" * 513])
async def test_a_name_that_is_no_path_below_the_folder_is_refused(file: Path, name: str):
    access = FakeAccess()
    with pytest.raises(ServiceError) as refused:
        await access.uploader().upload(EPOCH_ID, "miner", file, name)
    assert refused.value.code is ErrorCode.MALFORMED_REQUEST
    assert access.asked == []


async def test_a_file_is_too_large_before_anything_is_sent(file: Path):
    access = FakeAccess(max_bytes=99)
    with pytest.raises(TooLargeError, match="99"):
        await access.uploader().upload(EPOCH_ID, "miner", file, file.name)
    assert access.received == []


@pytest.mark.parametrize(("smallest", "wanted"), [(100, True), (101, False)])
async def test_credentials_are_requested_only_for_large_files(file: Path, monkeypatch, smallest, wanted):
    monkeypatch.setattr(multipart, "MIN_PARTS_FILE_BYTES", smallest)
    access = FakeAccess()
    await access.uploader().upload(EPOCH_ID, "miner", file, file.name)
    assert [asked for _, asked in access.asked] == [wanted]
    # Without credentials in the reply, a large file is uploaded with a form too.
    assert [one.method for one in access.received] == ["POST"]
