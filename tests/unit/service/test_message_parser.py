"""Tests that the parser finds the same messages wherever the bytes of nats-server are divided."""

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.errors import ProtocolError

from service.nats_client import HardenedClient, MessageParser, MutedSubjects, RawMessage

STREAM = (
    b"PING\r\n"
    b"MSG a.b 1 5\r\nhello\r\n"
    b"MSG a.b 22 _INBOX.x 12\r\nMSG c 1 2\r\nx\r\n"
    b"HMSG a 3 18 20\r\nNATS/1.0\r\nA: b\r\n\r\nhi\r\n"
    b"HMSG a 3 in\x0bbox 12 12\r\nNATS/1.0\r\n\r\n\r\n"
    b"PONG\r\n"
    b"MSG a.b 1 0\r\n\r\n"
)
MESSAGES = [
    RawMessage(1, b"a.b", b"", b"hello", b""),
    RawMessage(22, b"a.b", b"_INBOX.x", b"MSG c 1 2\r\nx", b""),
    RawMessage(3, b"a", b"", b"hi", b"NATS/1.0\r\nA: b\r\n\r\n"),
    RawMessage(3, b"a", b"in\x0bbox", b"", b"NATS/1.0\r\n\r\n"),
    RawMessage(1, b"a.b", b"", b"", b""),
]


class Heard:
    """Replaces the client."""

    def __init__(self) -> None:
        self.muted = MutedSubjects()
        self.messages: list[RawMessage] = []
        self.pings = self.pongs = 0

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        self.messages.append(RawMessage(sid, subject, reply, data, headers))

    async def _process_ping(self) -> None:
        self.pings += 1

    async def _process_pong(self) -> None:
        self.pongs += 1


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_a_stream_yields_the_same_messages_however_it_is_cut(cuts: list[int]) -> None:
    heard = Heard()
    parser = MessageParser(heard)

    async def read() -> None:
        for start, end in pairwise([0, *sorted(cuts), len(STREAM)]):
            await parser.parse(STREAM[start:end])

    asyncio.run(read())
    assert heard.messages == MESSAGES
    assert (heard.pings, heard.pongs) == (1, 1)


@pytest.mark.parametrize(
    "line",
    [
        *(
            b"MSG a",
            b"MSG 5",
            b"MSG a 1 b c 5",
            b"MSG a 1 -5",
            b"MSG a 1 1_0",
            b"MSG a x 5",
            b"MSG a 1 1048577",
        ),
        *(b"HMSG a 1 5", b"HMSG a 1 b c 5 5", b"HMSG a 1 5 1048577", b"junk"),
    ],
)
async def test_what_no_nats_server_says_ends_the_connection(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        await MessageParser(Heard()).parse(line + b"\r\nhello\r\n")


async def test_a_line_that_never_ends_ends_the_connection() -> None:
    with pytest.raises(ProtocolError):
        await MessageParser(Heard()).parse(b"x" * 70_000)


async def test_what_was_left_of_a_lost_connection_is_forgotten() -> None:
    heard = Heard()
    parser = MessageParser(heard)
    await parser.parse(b"MSG a 1 500\r\nhal")
    parser.reset()
    await parser.parse(b"MSG b 1 2\r\nhi\r\n")
    assert [message.subject for message in heard.messages] == [b"b"]


async def test_muted_subjects_are_dropped_and_counted_and_others_are_not() -> None:
    heard = Heard()
    parser = MessageParser(heard)
    heard.muted.mute(b"a.b", float("inf"))
    await parser.parse(STREAM)
    assert [message.subject for message in heard.messages] == [b"a", b"a"]
    assert heard.muted.mute(b"a.b", 0.0) == 3
    await parser.parse(STREAM)
    assert heard.messages[2:] == MESSAGES


def test_nats_py_reads_by_our_parser() -> None:
    """nats-py keeps its parser in a private attribute, which a newer version may rename."""
    client = HardenedClient()
    assert isinstance(client._ps, MessageParser)
    assert client._ps.nc is client


async def test_the_reader_lets_others_go_on_while_messages_arrive() -> None:
    client = HardenedClient()
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    await client._ps.parse(b"MSG a 1 2\r\nhi\r\n" * 10_000)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert turns > 100
