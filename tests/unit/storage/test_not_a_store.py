"""Tests servers that reply in place of the object store: a proxy with its own text, or a very slow store."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from unittest.mock import patch

import pytest
from pydantic import SecretStr

from storage.objects import credential_policies, reading
from storage.objects.reading import LOOK_THREADS, FoundObject, ObjectReader
from storage.objects.store import ObjectStore, ObjectStoreConfig, ObjectStoreUnavailableError
from tests.support.fakes import EPOCH_ID, MINER_HOTKEY

pytestmark = pytest.mark.long

SCOPE = credential_policies.miner_scope("miners", MINER_HOTKEY, EPOCH_ID)


@asynccontextmanager
async def answering(head: str, body: bytes = b"", *, after: float = 0) -> AsyncIterator[ObjectStoreConfig]:
    """Run a server that sends the same reply to every request."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            await asyncio.sleep(after)
            writer.write(f"HTTP/1.1 {head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async with await asyncio.start_server(one, "127.0.0.1", 0) as server:
        yield config_of(server.sockets[0].getsockname()[1])


def config_of(port: int) -> ObjectStoreConfig:
    return ObjectStoreConfig(
        endpoint_url=f"http://127.0.0.1:{port}",
        region="us-east-1",
        access_key_id="key",
        secret_access_key=SecretStr("secret"),
        role_arn="arn:aws:iam::000000000000:role/test",
        deadline_seconds=2,
    )


class EndlessServer:
    """Replies with a head, and then repeats the same part without end. `left` is set when all clients have
    disconnected."""

    def __init__(self, head: str, part: bytes) -> None:
        self._head, self._part, self._open = head, part, 0
        self.left = asyncio.Event()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        self.left.clear()
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(f"HTTP/1.1 {self._head}\r\n".encode())
            while True:
                writer.write(self._part)
                await writer.drain()
                await asyncio.sleep(0.01)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()
        finally:
            self._open -= 1
            if not self._open:
                self.left.set()


ENDLESS = {
    "a large body": ("200 OK\r\n", b"x" * 1024**2),
    "a slow body": ("200 OK\r\n", b"x"),
    "a large error": ("403 Forbidden\r\n", b"x" * 1024**2),
    "a slow head": ("200 OK", b"x"),
    "many answers": ("100 Continue\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"),
}


@pytest.mark.parametrize("endless", ENDLESS.values(), ids=ENDLESS)
@pytest.mark.parametrize("asked", ["folders", "session", "hash"])
async def test_an_answer_without_end_is_left_by_its_thread_too(
    endless: tuple[str, bytes], asked: str
) -> None:
    hostile = EndlessServer(*endless)
    async with await asyncio.start_server(hostile.answer, "127.0.0.1", 0) as server:
        config = config_of(server.sockets[0].getsockname()[1])
        with patch.object(reading, "HASH_SECONDS", 2.0):
            store, reader = ObjectStore(config), ObjectReader(config)
            asking = {
                "folders": lambda: store.list_folders(credential_policies.all_miners("miners"), None),
                "session": lambda: store.session("{}", "a-name", 3600),
                "hash": lambda: reader.hash(FoundObject("miners", "a", None, "e", 1, {}, None)),
            }
            with pytest.raises(ObjectStoreUnavailableError):
                await asking[asked]()
        await asyncio.wait_for(hostile.left.wait(), 30)
        store.close()
        reader.close()


@pytest.mark.parametrize("status", [200, 403, 404, 429, 502, 503])
async def test_an_answer_that_is_not_of_s3_is_a_store_that_does_not_answer(status: int) -> None:
    told: list[None] = []
    page = b"<!doctype html><p>upstream connect error"
    async with answering(f"{status} Whatever\r\nContent-Type: text/html", page) as config:
        store = ObjectStore(config, on_error=lambda: told.append(None))
        with pytest.raises(ObjectStoreUnavailableError):
            await store.session("{}", "a-name", 3600)
        store.close()
    assert told == [None]


async def test_so_is_an_object_without_an_entity_tag() -> None:
    async with answering("200 OK") as config:
        reader = ObjectReader(config)
        with pytest.raises(ObjectStoreUnavailableError):
            await reader.look("miners", SCOPE.prefix + "a")
        reader.close()


async def test_waiting_for_a_turn_among_many_files_is_not_the_stores_fault() -> None:
    """Together, the files take longer than one is allowed to take, but no single file does."""
    async with answering('200 OK\r\nETag: "e"', after=0.2) as config:
        reader = ObjectReader(config)
        keys = [f"{SCOPE.prefix}{number}" for number in range(LOOK_THREADS * 12)]
        looks = await asyncio.gather(*(reader.look("miners", key) for key in keys))
        assert [look.key for look in looks if look is not None] == keys
        reader.close()
