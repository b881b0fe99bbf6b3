"""Tests that replies are decompressed only up to the limit, and that reading pages always ends."""

import gzip
import zlib
from dataclasses import dataclass, field

import httpx
import pytest

from tests.contract.documents import consensus_reply, ended_epochs, epoch_message, pool_reply
from tests.support.fakes import SIGNER
from zipcast.cli.epoch_sources import NatsSource
from zipcast.client.http import AnswerEncodingError, AnswerTooLargeError, BoundedBody
from zipcast.protocol.envelope import UnverifiedEnvelope, seal

LIMIT = 100_000


def body(*encodings: str, max_bytes: int = LIMIT) -> BoundedBody:
    return BoundedBody(httpx.Headers([("Content-Encoding", one) for one in encodings]), max_bytes)


def bomb(megabytes: int) -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    return b"".join(packer.compress(bytes(2**20)) for _ in range(megabytes)) + packer.flush()


@pytest.mark.parametrize("step", [1, 7, 65536])
@pytest.mark.parametrize("encodings", [(), ("identity",), ("gzip",), ("GZIP",), ("x-gzip",)])
def test_what_fits_comes_whole(encodings: tuple[str, ...], step: int) -> None:
    content = b"an answer " * (LIMIT // 10)
    sent = gzip.compress(content) if "gzip" in "".join(encodings).lower() else content
    if step == 1:
        sent, content = (gzip.compress(b"short"), b"short") if sent != content else (b"short", b"short")
    reading = body(*encodings)
    assert b"".join(reading.decompress(sent[at : at + step]) for at in range(0, len(sent), step)) == content


@pytest.mark.parametrize("encodings", [(), ("gzip",)])
def test_one_byte_more_is_refused(encodings: tuple[str, ...]) -> None:
    sent = bytes(LIMIT + 1)
    reading = body(*encodings)
    with pytest.raises(AnswerTooLargeError, match="100000 bytes"):
        reading.decompress(gzip.compress(sent) if encodings else sent)


def test_a_small_piece_that_holds_a_lot_is_never_decompressed_as_a_whole() -> None:
    piece = bomb(megabytes=64)
    assert len(piece) < 65536 * 2
    reading = body("gzip")
    produced = 0
    with pytest.raises(AnswerTooLargeError):
        for at in range(0, len(piece), 64):
            produced += len(reading.decompress(piece[at : at + 64]))
    assert produced <= LIMIT


@pytest.mark.parametrize("encodings", [("gzip", "gzip"), ("gzip, gzip",), ("br",), ("zstd",), ("deflate",)])
def test_another_encoding_than_gzip_once_is_refused(encodings: tuple[str, ...]) -> None:
    with pytest.raises(AnswerEncodingError):
        body(*encodings)


def test_what_is_not_gzip_is_refused() -> None:
    with pytest.raises(AnswerEncodingError):
        body("gzip").decompress(b"not gzip at all")


def test_pages_of_epochs_lead_to_earlier_ones() -> None:
    page = ended_epochs()
    following = page.next_before
    assert following is not None
    assert page.following(None) == following
    assert page.following("2100-01-01T00-00-00") == following
    for before in (following, "2020-01-01T00-00-00"):
        with pytest.raises(ValueError, match="nextBefore"):
            page.following(before)
    with pytest.raises(ValueError, match="nextBefore"):
        page.model_copy(update={"epochs": ()}).following(None)
    with pytest.raises(ValueError, match="form"):
        page.model_copy(update={"next_before": "soon"}).following(None)
    assert page.model_copy(update={"next_before": None}).following(following) is None


def test_pages_of_a_pool_lead_to_later_zipcodes() -> None:
    page = pool_reply()
    following = page.next_after
    assert following is not None
    assert page.following(None) == page.following("00501") == following
    for after in (following, "99950"):
        with pytest.raises(ValueError, match="nextAfter"):
            page.following(after)


def test_pages_of_reports_lead_to_further_reports() -> None:
    page = consensus_reply().model_copy(update={"next_offset": 100})
    assert page.following(0) == page.following(99) == 100
    for offset in (100, 200):
        with pytest.raises(ValueError, match="nextOffset"):
            page.following(offset)
    assert page.model_copy(update={"next_offset": None}).following(100) is None


@dataclass
class Circle:
    """A service whose chain of pages leads back to the first one."""

    asked: list[str] = field(default_factory=list)

    async def epoch(self, epoch_id: str) -> UnverifiedEnvelope:
        self.asked.append(epoch_id)
        message = epoch_message().model_copy(update={"previous_epoch_id": epoch_message().epoch_id})
        return seal(message, SIGNER)

    async def pool(self, _: str) -> None:
        return None


async def test_a_chain_of_epochs_leads_to_earlier_ones() -> None:
    circle = Circle()
    newest = epoch_message()
    with pytest.raises(ValueError, match="is not before"):
        async for _ in NatsSource(circle)._back_from(newest, 1000):  # type: ignore[arg-type]
            pass
    assert len(circle.asked) == 1
