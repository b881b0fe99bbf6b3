"""Looks at every place where a stranger, a miner, a validator or a reader of the database could see
something.

Endpoints come from the bridge's own description, verbs from `zipcast.protocol.subjects`, tables from
PostgreSQL's catalogue, and files from the folders. New ones are therefore included without being named here.
"""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from itertools import product
from pathlib import Path

import httpx
import nats.errors
import psycopg
from nats.aio.client import Client
from nats.aio.msg import Msg

from devstack.stack import Stack
from tests.support.people import coldkey, keypair, raw_connection, signed_headers
from zipcast.client.local_stack import Ready
from zipcast.protocol import btauth, signed_texts, subjects
from zipcast.protocol.beacon import chain_of
from zipcast.protocol.calendar import parse_epoch_id
from zipcast.protocol.hotkeys import Keypair, parse_hotkey
from zipcast.protocol.sealing import opening_round
from zipcast.protocol.verbs import Verb

Places = dict[str, bytes]
ROLES = {"a stranger": None, "a miner": "miner-1", "a validator": "validator-1"}
# Many requests at once, because everything must be read before the epoch starts.
_AT_ONCE = 40
_UNANSWERED_SECONDS = 0.5
_STREAM_SECONDS = 1.5
_MONITORING = (
    *("varz", "connz?subs=1", "subsz?subs=1", "accountz", "healthz"),
    "jsz?consumers=1&config=1&accounts=1",
)
# Subjects on which nats-server itself replies to any user, or to users with the right. None of our users may
# use them.
_SERVER_SUBJECTS = (
    "$SYS.REQ.USER.INFO",
    "$SYS.REQ.SERVER.PING",
    "$SYS.REQ.SERVER.PING.CONNZ",
    "$SYS.REQ.ACCOUNT.APP.INFO",
    "$JS.API.INFO",
    "$JS.API.STREAM.NAMES",
    f"$JS.API.STREAM.INFO.{subjects.EPOCH_STREAM}",
    f"$JS.API.STREAM.MSG.GET.{subjects.EPOCH_STREAM}",
    f"$JS.API.DIRECT.GET.{subjects.EPOCH_STREAM}",
    f"$JS.API.STREAM.MSG.GET.{subjects.SEALED_STREAM}",
    f"$JS.API.DIRECT.GET.{subjects.SEALED_STREAM}",
    f"$JS.API.DIRECT.GET.KV_{subjects.REGISTRY_BUCKET}",
)
_LAST = (b"", b'{"last_by_subj":">"}')


class Overheard:
    """Collects everything that is sent to one participant who subscribes to every permitted subject."""

    def __init__(self, name: str, connection: Client) -> None:
        self.place = f"sent to {name}"
        self.heard: list[bytes] = []
        self._connection = connection

    async def listen(self, hotkey: str) -> None:
        own = (subjects.EPOCH, subjects.DRAFT, subjects.SEALED, f"_INBOX.{hotkey}.>")
        for subject in (*own, ">", "zipcast.>", "$KV.>", "$JS.>", "$SYS.>"):
            await self._connection.subscribe(subject, cb=self._hear)
        await self._connection.flush()

    async def _hear(self, message: Msg) -> None:
        self.heard.append(b"%r %b" % (message.headers, message.data))


async def look_everywhere(stack: Stack, epoch_id: str) -> Places:
    """Return what each participant sees at every place when it requests this epoch."""
    ready = stack.ready
    async with httpx.AsyncClient(base_url=ready.http, timeout=10) as http:
        found = [item async for item in _over_http(ready, http, epoch_id)]
    found += [item async for item in _internally(ready)]
    found += [item async for item in _over_nats(ready, epoch_id)]
    found += [item async for item in _in_the_record(stack)]
    return dict(found) | dict(files(stack))


def files(stack: Stack) -> Iterator[tuple[str, bytes]]:
    """Return every log file, and all files of nats-server's streams and buckets."""
    state = stack.servers.state
    for folder in (state.logs, state.nats):
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                yield f"file {path.relative_to(state.root)}", _content(path)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:  # a block that nats-server has just removed
        return b""


def shown(answer: httpx.Response, body: bytes) -> bytes:
    return b"%d %r " % (answer.status_code, answer.headers.multi_items()) + body


async def _read(answer: httpx.Response) -> bytes:
    """Read the whole reply. Of an event stream, which does not end, read what arrives within some time."""
    if "text/event-stream" not in answer.headers.get("content-type", ""):
        return await answer.aread()
    body = bytearray()
    with suppress(TimeoutError):
        async with asyncio.timeout(_STREAM_SECONDS):
            async for chunk in answer.aiter_bytes():
                body += chunk
    return bytes(body)


async def _over_http(
    ready: Ready, http: httpx.AsyncClient, epoch_id: str
) -> AsyncIterator[tuple[str, bytes]]:
    description = (await http.get("/openapi.json")).json()
    formats = (await http.get("/commitment-formats")).json()["formats"]
    gate = asyncio.Semaphore(_AT_ONCE)

    async def ask(place: str, request: httpx.Request) -> tuple[str, bytes]:
        async with gate:
            answer = await http.send(request, stream=True)
            try:
                return place, shown(answer, await _read(answer))
            finally:
                await answer.aclose()

    asked = []
    for path, operations in description["paths"].items():
        for method, role in product(operations, ROLES):
            signer = _signer(ready, ROLES[role])
            texts = {one["format"] for one in formats if one["endpoint"] == f"{method.upper()} {path}"}
            for text in texts or {signed_texts.CURRENT_COMMITMENT}:
                request = _legacy_request(ready, http, signer, method, path, text, epoch_id)
                asked.append(ask(f"{method} {path} by {role} with {text}", request))
            request = _btauth_request(ready, http, signer, method, path, epoch_id)
            asked.append(ask(f"{method} {path} by {role} with btauth", request))
    for done in asyncio.as_completed(asked):
        yield await done


def _signer(ready: Ready, name: str | None) -> Keypair:
    return Keypair.create_from_uri("//Stranger") if name is None else keypair(ready, name)


def _named(ready: Ready, signer: Keypair, epoch_id: str) -> dict[str, str]:
    """Return the values of all names that a text or a path may contain."""
    return {
        "hotkey": signer.ss58_address,
        "coldkey": coldkey(ready, "miner-1"),
        "miner_hotkey": keypair(ready, "miner-1").ss58_address,
        "epoch_id": epoch_id,
        "round_number": str(opening_round(chain_of(ready.network), parse_epoch_id(epoch_id))),
        "timestamp": str(int(time.time())),
    }


def _legacy_request(
    ready: Ready, http: httpx.AsyncClient, signer: Keypair, method: str, path: str, text: str, epoch_id: str
) -> httpx.Request:
    named = _named(ready, signer, epoch_id)
    signature = signer.sign(text.format(**named).encode()).hex()
    fields = named | {"epochId": epoch_id, "signature": signature}
    address = path.format(**named)
    if method == "get":
        return http.build_request(method, address, params=fields)
    return http.build_request(method, address, json=fields)


def _btauth_request(
    ready: Ready, http: httpx.AsyncClient, signer: Keypair, method: str, path: str, epoch_id: str
) -> httpx.Request:
    address = path.format(**_named(ready, signer, epoch_id))
    body = b"" if method == "get" else json.dumps({"epochId": epoch_id}).encode()
    headers = btauth.sign(
        signer,
        method=method.upper(),
        path=address,
        body=body,
        receiver=ready.signer,
        nonce_ns=time.time_ns(),
    )
    return http.build_request(method, address, content=body, headers=headers)


async def _internally(ready: Ready) -> AsyncIterator[tuple[str, bytes]]:
    """Return the pages of each process's internal listener, and of nats-server's monitoring."""
    addresses = [f"{url}{path}" for url in ready.internal.values() for path in ("/metrics", "/health")]
    addresses.append(f"{ready.internal['http_bridge']}/ops.json")
    addresses += [f"{ready.monitoring}/{path}" for path in _MONITORING]
    async with httpx.AsyncClient(timeout=10) as http:
        for address in addresses:
            answer = await http.get(address)
            yield address, shown(answer, answer.content)


async def _over_nats(ready: Ready, epoch_id: str) -> AsyncIterator[tuple[str, bytes]]:
    for role, name in ROLES.items():
        if name is None:
            continue
        signer = keypair(ready, name)
        connection = await raw_connection(ready, signer)
        asked = [
            _ask(connection, role, subject, body, {}) for subject, body in product(_SERVER_SUBJECTS, _LAST)
        ]
        for verb, body in product(Verb, _bodies(ready, epoch_id)):
            subject = subjects.request(parse_hotkey(signer.ss58_address), verb)
            headers = signed_headers(ready, signer, subject, body)
            asked.append(_ask(connection, role, subject, body, headers))
            asked.append(_ask(connection, role, subjects.bridge_request(verb), body, headers))
        for done in asyncio.as_completed(asked):
            yield await done
        await connection.close()


def _bodies(ready: Ready, epoch_id: str) -> Iterator[bytes]:
    yield b"{}"
    yield json.dumps({"epochId": epoch_id}).encode()
    miner = keypair(ready, "miner-1").ss58_address
    yield json.dumps({"epochId": epoch_id, "minerHotkey": miner}).encode()


async def _ask(
    connection: Client, role: str, subject: str, body: bytes, headers: dict[str, str]
) -> tuple[str, bytes]:
    place = f"{subject} {body.decode()} by {role}"
    try:
        reply = await connection.request(subject, body, timeout=_UNANSWERED_SECONDS, headers=headers or None)
    except nats.errors.Error as error:  # a request without permission gets no reply
        return place, repr(error).encode()
    return place, b"%r %b" % (reply.headers, reply.data)


async def _in_the_record(stack: Stack) -> AsyncIterator[tuple[str, bytes]]:
    """Return every table and view, as far as the logins of responder and bridge may read them."""
    query = (
        "select relname from pg_class "
        "where relnamespace = 'zipcast'::regnamespace and relkind in ('r', 'v', 'p')"
    )
    for process in ("responder", "http_bridge"):
        url = stack.servers.database_url_of(process)
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as login:
            names = [row[0] for row in await (await login.execute(query)).fetchall()]
            for name in names:
                yield f"{name} by the login of {process}", await _rows(login, name)


async def _rows(login: psycopg.AsyncConnection, name: str) -> bytes:
    """Return the rows, with the columns that the login may read."""
    granted = (
        "select column_name from information_schema.columns where table_schema = 'zipcast' "
        "and table_name = %s and has_column_privilege(%s, column_name, 'select') order by ordinal_position"
    )
    columns = [row[0] for row in await (await login.execute(granted, [name, f"zipcast.{name}"])).fetchall()]
    if not columns:
        return b""
    listed = ", ".join(f'"{column}"' for column in columns)
    rows = await (await login.execute(f'select {listed} from "{name}" limit 20000')).fetchall()
    return b"\n".join(_written(value) for row in rows for value in row)


def _written(value: object) -> bytes:
    if isinstance(value, bytes):
        return value + b" " + base64.b64encode(value)
    return str(value).encode()
