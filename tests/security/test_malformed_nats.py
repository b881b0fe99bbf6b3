"""Tests messages that no client library would send: only the sender's own request fails."""

import pytest

from devstack.stack import Stack
from tests.support.operator_view import log_lines
from tests.support.people import ask, keypair, raw_connection
from tests.support.processes import wait_until
from tests.support.raw_nats import proven, publication
from zipcast.client.local_stack import Ready
from zipcast.protocol import subjects
from zipcast.protocol.hotkeys import parse_hotkey
from zipcast.protocol.verbs import Verb

HEADERS = {
    "no line end": b"NATS/1.0",
    "one byte": b"N",
    "only the line": b"NATS/1.0\r\n",
    "a status that is no text": b"NATS/1.0 \xff\xff\xff\r\n\r\n",
    "a description that is no text": b"NATS/1.0 503 \xff\xff\xff\r\n\r\n",
    "a status": b"NATS/1.0 503\r\n\r\n",
    "another version": b"XXXX/9.9\r\na:b\r\n\r\n",
    "names that are no text": b"NATS/1.0\r\n\xff\xfe: a\r\n\r\n",
    "values that are no text": b"NATS/1.0\r\nX-Bittensor-Hotkey: \xff\xfe\r\n\r\n",
    "nothing but colons": b"NATS/1.0\r\n" + b":" * 2000 + b"\r\n\r\n",
}
REPLIES = {
    "no text": b"\xff\xfe",
    "a NUL": b"a\x00b",
    "a vertical tab": b"a\x0b7",
    "a form feed and a number": b"\x0c99",
    "as long as can be": b"a" * 3900,
    "an empty token": b"a..b",
    "an overlong character": b"\xc0\xaf",
}


async def unharmed(ready: Ready, stack: Stack, message: bytes) -> None:
    """Check that the responder replies on the connection that it had before the message."""
    attacker, victim = keypair(ready, "miner-5"), keypair(ready, "miner-6")
    lost = disconnects(stack)
    connection = await raw_connection(ready, victim)
    async with proven(ready, attacker) as raw:
        assert b"-ERR" not in await raw.said(message * 3)
    for _ in range(2):
        answer = await ask(ready, connection, victim, Verb.EPOCH_CURRENT, b"{}")
        # An epoch may end between two requests. The next one may arrive some milliseconds later.
        assert b'"epochId"' in answer.data or b'"no_current_epoch"' in answer.data
    await connection.close()
    assert disconnects(stack) == lost


def disconnects(stack: Stack) -> int:
    actions = [line["action"] for line in log_lines(stack, "responder")]
    return sum(action in {"nats_disconnected", "nats_reader_ended", "starting"} for action in actions)


def own_subject(ready: Ready) -> tuple[str, bytes]:
    hotkey = parse_hotkey(keypair(ready, "miner-5").ss58_address)
    return subjects.request(hotkey, Verb.EPOCH_CURRENT), f"{subjects.inbox_prefix(hotkey)}.".encode()


@pytest.mark.parametrize("headers", HEADERS.values(), ids=HEADERS)
async def test_headers_that_cannot_be_read_do_not_silence_the_responder(
    ready: Ready, stack: Stack, headers: bytes
):
    subject, inbox = own_subject(ready)
    await unharmed(ready, stack, publication(subject, b"{}", reply=inbox + b"x", headers=headers))


@pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES)
async def test_a_reply_subject_that_cannot_be_read_does_not_either(ready: Ready, stack: Stack, reply: bytes):
    subject, inbox = own_subject(ready)
    await unharmed(ready, stack, publication(subject, b"{}", reply=inbox + reply))
    await unharmed(ready, stack, publication(subject, b"{}", reply=inbox + reply, headers={"a": "b"}))


async def test_it_is_logged_without_a_word_of_what_it_said(ready: Ready, stack: Stack):
    subject, inbox = own_subject(ready)
    await unharmed(ready, stack, publication(subject, b"{}", reply=inbox, headers=b"NATS/1.0 \xff503-canary"))

    def told() -> list[dict[str, object]]:
        return [line for line in log_lines(stack, "responder") if line["action"] == "message_undecodable"]

    await wait_until(told)
    assert all("canary" not in str(line) for line in log_lines(stack, "responder"))


@pytest.mark.parametrize("size", [200_000, 300_000, 1_000_000])
async def test_a_large_body_is_refused_or_cut_off(ready: Ready, stack: Stack, size: int):
    """nats-server accepts at most 262,144 bytes."""
    subject, inbox = own_subject(ready)
    message = publication(subject, b"{" * size, reply=inbox + b"x")
    if size < 262_144:
        await unharmed(ready, stack, message)
        return
    async with proven(ready, keypair(ready, "miner-5")) as raw:
        heard = await raw.said(message)
        assert b"PONG" not in heard
    await unharmed(ready, stack, publication(subject, b"{}", reply=inbox + b"x"))
