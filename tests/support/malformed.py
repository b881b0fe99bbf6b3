"""Makes numbered malformed requests. The same seed and index give the same request, byte for byte.

This module makes the requests; `test_fuzz.py` checks the replies.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from tests.support.raw_nats import publication

JUNK = (
    *(
        "",
        " ",
        "\n",
        "\r\n",
        "\x00",
        "\x0b",
        "\x1b[31m",
        "a" * 300,
        "a" * 5000,
        "\ufeff",
        "é",
        "\u2028",
        "١٢٣",
    ),
    *("*", ">", "..", "../../x", "${aws:username}", "%00", "%s%n", "' or 1=1 --", "<script>", "{{7*7}}"),
    *("null", "true", "NaN", "-1", "0", "1e999", "9" * 400, "2026-11-22T04-00-00", "data/hotkey=*/"),
)
VALUES: tuple[object, ...] = (
    *(None, True, False, 0, -1, 2**53, 10**40, 1.5, [], {}, [[]], {"a": {"b": [1]}}, "\ud800", *JUNK),
)
FIELDS = (
    *("epochId", "epoch_id", "hotkey", "coldkey", "timestamp", "signature", "minerHotkey", "pageToken"),
    *("accepted", "purpose", "expiry", "nonce", "status", "caller", "once", "body", "__class__", ""),
)


def chooser(seed: int, index: int) -> Random:
    """Return the generator of one case. It depends only on the number, so that one case can be repeated
    alone."""
    return Random(f"{seed}:{index}")  # noqa: S311


def mangled(random: Random, data: bytes) -> bytes:
    """Return the bytes with some of them changed, doubled, dropped or inserted."""
    changed = bytearray(data)
    for _ in range(random.randint(1, 6)):
        at = random.randrange(len(changed) + 1)
        match random.randrange(4):
            case 0:
                changed[at:at] = random.randbytes(random.randint(1, 8))
            case 1:
                del changed[at : at + random.randint(1, 8)]
            case 2:
                changed[at : at + 1] = bytes([random.randrange(256)])
            case _:
                changed[at:at] = changed[at : at + random.randint(1, 40)]
    return bytes(changed)


def malformed_body(random: Random, good: dict[str, object]) -> bytes:
    """Return a body that is between nearly valid and nonsense."""
    body = dict(good)
    for _ in range(random.randint(1, 3)):
        body[random.choice(FIELDS)] = random.choice(VALUES)
    text = json.dumps(body).encode()
    depth = random.choice((1, 15, 17, 100, 480, 900, 2000))
    kinds: list[Callable[[], bytes]] = [
        lambda: text,
        lambda: mangled(random, text),
        lambda: text[:-1] + b',"x":' + b'{"a":' * depth + b"1" + b"}" * depth + b"}",
        lambda: text[: random.randrange(len(text))],
        lambda: random.randbytes(random.choice((0, 1, 10, 1000, 70_000 if random.random() < 0.02 else 3))),
        lambda: b"[" * depth,
        lambda: b'{"epochId":"a","epochId":"b"}',
    ]
    return random.choice(kinds)()


def malformed_headers(random: Random, good: dict[str, str]) -> dict[str, str]:
    """Return the headers with one or two dropped, renamed or given another value. They contain no line ends,
    which are separate cases for NATS and HTTP."""
    headers = dict(good)
    for _ in range(random.randint(1, 3)):
        name = random.choice([*good, "X-Request-Id", "Zipcast-Request-Id", "correlation_id", "Content-Type"])
        value = random.choice(JUNK).replace("\r", "").replace("\n", "")
        match random.randrange(4):
            case 0:
                headers.pop(name, None)
            case 1:
                headers[name] = value
            case 2:
                headers[name] = headers.get(name, "")[:-1] + random.choice("0aZ ")
            case _:
                headers[name.lower()] = headers.pop(name, value)
    return headers


@dataclass(frozen=True, slots=True)
class NatsCase:
    """One case for NATS. `answered` tells whether nats-server accepts the message and its reply subject can
    be used."""

    data: bytes
    answered: bool


Sign = Callable[[str, bytes], dict[str, str]]


def nats_case(random: Random, subjects: list[str], inbox: str, sign: Sign) -> NatsCase:
    """Return one message of a registered hotkey. `inbox` is its own reply subject."""
    subject, body = random.choice(subjects), malformed_body(random, {"epochId": None})
    headers = sign(subject, body)
    if random.random() < 0.7:  # otherwise only the body is malformed
        headers = malformed_headers(random, headers)
    kind = random.randrange(10)
    if kind == 0:
        tokens = subject.split(".")
        tokens[random.randrange(len(tokens))] = random.choice(
            ("a", "x" * 100, "$JS", "é", "_INBOX", "5" * 48)
        )
        wrong = ".".join(tokens)
        return NatsCase(publication(wrong, body, reply=inbox.encode(), headers=headers), False)
    if kind == 1:
        reply = random.choice((b"\xff", b"a\x0b7", b"a..b", b"\x00", b"a" * 3000, b"*", b">"))
        return NatsCase(
            publication(subject, body, reply=inbox.encode() + b"." + reply, headers=headers), False
        )
    if kind == 2:
        block = mangled(random, b"NATS/1.0\r\nX-Bittensor-Version: 1\r\n\r\n")
        return NatsCase(publication(subject, body, reply=inbox.encode(), headers=block), False)
    if kind == 3:
        return NatsCase(publication(subject, body, reply=inbox.encode()), True)
    return NatsCase(publication(subject, body, reply=inbox.encode(), headers=headers), True)


TARGETS = (
    *("/get-folder-access", "/api/v1/s3-access/validator-upload", "/api/v1/auth/legacy"),
    *("/api/v1/zipcode-assignments/current", "/api/v1/zipcode-assignments/stats", "/health/live", "/docs"),
    *("/rate-limits", "/structure-info", "/openapi.json", "/assets/docs/favicon.png", "/nowhere", "/", "*"),
)
METHODS = ("GET", "POST", "POST", "POST", "HEAD", "PUT", "OPTIONS", "TRACE", "DELETE", "get", "X" * 50)


def http_case(random: Random, good: Callable[[], dict[str, object]], sign: Sign) -> bytes:
    """Return the bytes of one request. Nearly all requests are complete; the bridge must close the connection
    after the others."""
    target = random.choice(TARGETS)
    if random.random() < 0.3:
        target += random.choice(
            ("?", "/", "/..", "%00", "//", "?a=1&a=2", "#", ";", "%2e%2e")
        ) + random.choice(("", "a" * 200, "%ff%fe", "hotkey=%0d%0a", "timestamp=%D9%A1", "=", "&&&"))
    body = malformed_body(random, good())
    headers = {"Host": "bridge", "Connection": "close", "Content-Length": str(len(body))}
    if random.random() < 0.4:
        headers |= sign(target, body)
    if random.random() < 0.5:
        headers = malformed_headers(random, headers) | {"Content-Length": str(len(body))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    start = f"{random.choice(METHODS)} {target} HTTP/1.1\r\n"
    data = (start + lines + "\r\n").encode("utf-8", "replace") + body
    if random.random() < 0.02:
        return mangled(random, data)
    return data
