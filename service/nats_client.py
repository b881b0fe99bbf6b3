"""A nats-py client that hostile messages cannot stop.

nats-server passes on header blocks and reply subjects as a client wrote them. nats-py's reader ends silently
at bytes that it cannot decode. Unlike nats-server, it also treats vertical tabs and form feeds as separators.
A single message of a miner could therefore stop a process from receiving messages, or end its connection. In
addition, nats-py's reader takes 16 µs for each message, and other tasks do not run as long as messages
arrive.

This client fixes these faults. A process can also drop messages early: with `mute`, which takes 1 µs per
message, or with an `Intake`, which decides about messages before their headers are parsed.
"""

import asyncio
import time
from typing import NamedTuple, Protocol

from nats.errors import ProtocolError
from nats.protocol.parser import Parser

from service import logs
from zipcast.client.nats_client import MAX_MESSAGE_BYTES, EncryptedClient

log = logs.logger()

_LINE_END = b"\r\n"
# The longest line in bytes. nats.conf allows lines of 4 KB, so if more bytes arrive without a line end, the
# server is faulty.
MAX_LINE_BYTES = 65_536
# This many messages are read before other tasks get a turn. Reading them takes about half a millisecond.
MESSAGES_IN_A_ROW = 64
MAX_MUTED = 10_000


class RawMessage(NamedTuple):
    """A message as it was received. `headers` is the whole header block, or empty."""

    sid: int
    subject: bytes
    reply: bytes
    data: bytes
    headers: bytes


class Intake(Protocol):
    """Decides about messages before nats-py parses them."""

    async def take(self, message: RawMessage) -> None:
        """Drop the message, or pass it to `HardenedClient.deliver` now or later."""


class MutedSubjects:
    """Subjects whose messages are dropped unread for some time. `now` and `until` are monotonic seconds."""

    def __init__(self) -> None:
        self._until: dict[bytes, float] = {}
        self._dropped: dict[bytes, int] = {}

    def mute(self, subject: bytes, until: float) -> int:
        """Drop messages of the subject until this time. Return how many were dropped when the subject was
        last muted."""
        if len(self._until) >= MAX_MUTED:
            self._until.clear()
            self._dropped.clear()
        self._until[subject] = until
        return self._dropped.pop(subject, 0)

    def drops(self, subject: bytes, now: float) -> bool:
        """Return whether to drop a message that has arrived, and if so, count it."""
        until = self._until.get(subject)
        if until is None:
            return False
        if now >= until:
            del self._until[subject]
            return False
        self._dropped[subject] = self._dropped.get(subject, 0) + 1
        return True


class MessageParser(Parser):
    """A parser that handles messages itself, and passes everything else to nats-py's parser."""

    nc: "HardenedClient"
    _rest = b""

    def reset(self) -> None:
        super().reset()
        self._rest = b""

    async def parse(self, data: bytes = b"") -> None:
        """Handle each complete line and message; keep the rest for the next call. Raises ProtocolError."""
        buffer, self._rest = self._rest + data, b""
        position, now, muted = 0, time.monotonic(), self.nc.muted
        while (line_end := buffer.find(_LINE_END, position)) >= 0:
            line, start = buffer[position:line_end], line_end + len(_LINE_END)
            if not line.startswith((b"MSG ", b"HMSG ")):
                await super().parse(line + _LINE_END)
                position = start
                continue
            parts = line.split(b" ")
            size = _number(parts[-1])
            if size > MAX_MESSAGE_BYTES:
                raise ProtocolError("nats: a message that is too large")
            end = start + size
            if len(buffer) < end + len(_LINE_END):
                break
            position = end + len(_LINE_END)
            if not muted.drops(parts[1], now):
                sid, reply, headers_size = _rest_of_line(parts)
                body = start + headers_size
                await self.nc._process_msg(sid, parts[1], reply, buffer[body:end], buffer[start:body])
        self._rest = buffer[position:]
        if line_end < 0 and len(self._rest) > MAX_LINE_BYTES:
            raise ProtocolError("nats: a line without an end")


class HardenedClient(EncryptedClient):
    """A client that hostile messages cannot stop. `intake`, if set, gets every message that is not muted."""

    intake: Intake | None = None

    def __init__(self) -> None:
        super().__init__()
        self.muted = MutedSubjects()
        self._ps = MessageParser(self)
        self._read_in_a_row = 0

    async def deliver(self, message: RawMessage) -> bool:
        """Pass a message to its subscription. Return False if it cannot be read."""
        try:
            await super()._process_msg(*message)
        except (ValueError, IndexError) as error:
            # Do not reply with an error, because the reply subject may be malformed too.
            log.warning("message_undecodable", error=type(error).__name__)
            return False
        return True

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        message = RawMessage(sid, subject, reply, data, headers)
        if self.intake is None:
            await self.deliver(message)
        else:
            await self.intake.take(message)
        self._read_in_a_row += 1
        if self._read_in_a_row >= MESSAGES_IN_A_ROW:
            self._read_in_a_row = 0
            await asyncio.sleep(0)

    async def _read_loop(self) -> None:
        """Read until the connection ends. If reading fails, close the connection, so that it does not look
        alive."""
        await super()._read_loop()
        if self.is_connected:
            log.error("nats_reader_ended")
            await self._process_op_err(ProtocolError())


def _rest_of_line(parts: list[bytes]) -> tuple[int, bytes, int]:
    """Parse a line `MSG subject sid [reply] size` or `HMSG subject sid [reply] headers-size size`. Return the
    subscription, the reply subject (empty if there is none) and the size of the headers. Raises
    ProtocolError."""
    sizes = 2 if parts[0] == b"HMSG" else 1
    replies = parts[3:-sizes]
    if len(replies) > 1 or len(parts) < 3 + sizes:
        raise ProtocolError("nats: malformed message")
    headers_size = _number(parts[-2]) if sizes == 2 else 0
    return _number(parts[2]), b"".join(replies), headers_size


def _number(digits: bytes) -> int:
    if not digits.isdigit():
        raise ProtocolError("nats: malformed message")
    return int(digits)
