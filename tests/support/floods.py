"""Runs a flood while honest miners send requests, and records what both observe.

The test uses it to assert that no honest request fails, and `bench.floods` to compare waiting times.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import httpx
from nats.aio.client import Client
from nats.errors import Error as NatsError

from devstack.options import StackOptions
from devstack.stack import Stack
from devstack.state import State
from devstack.wallets import ensure_all_wallets, ensure_registry
from tests.support.flooder import Outcome, flooding
from tests.support.folder_access import PATH, asked
from tests.support.long_epochs import amid_an_epoch
from tests.support.people import ask, keypair, legacy, raw_connection, signed_headers
from tests.support.raw_nats import publication
from zipcast.client.local_stack import Ready
from zipcast.protocol import signed_texts, subjects
from zipcast.protocol.hotkeys import Keypair, parse_hotkey
from zipcast.protocol.verbs import Verb

CURRENT = "/api/v1/zipcode-assignments/current"
PER_SECOND = 20_000
REQUESTS = 50
KEPT_OUT_SECONDS = 10
FALSE_PROOFS = 3
PROXY = "127.0.0.9"
# Over HTTP, each address has a limit too.
ADDRESSES = count(1)
FLOODERS = [f"//Flooder{number}" for number in range(18)]
SETTINGS = {
    "LIMIT_CURRENT_PER_MINUTE": "1000",
    "DAILY_LIMIT_PER_MINER": "1000",
    "CALLOUT_KEPT_OUT_SECONDS": str(KEPT_OUT_SECONDS),
    "CALLOUT_FAILURE_BURST": str(FALSE_PROOFS),
    "CALLOUT_TRUSTED_PROXIES": PROXY,
}


@asynccontextmanager
async def attacked_stack(folder: Path) -> AsyncIterator[Stack]:
    """Run a stack in which the flooders are registered."""
    state = State(folder / "state")
    register_flooders(state)
    options = StackOptions(epoch_seconds=43_200, state=state.root, settings=SETTINGS)
    async with amid_an_epoch(options) as stack:
        yield stack


def register_flooders(state: State) -> None:
    """Register the flooders in addition to the miners of the local stack."""
    state.create()
    ensure_all_wallets(state.wallets, state.admin_wallets)
    ensure_registry(state.registry, state.wallets)
    neurons = json.loads(state.registry.read_text())
    for uri in FLOODERS:
        signer = Keypair.create_from_uri(uri)
        neuron = {"hotkey": signer.ss58_address, "uid": len(neurons), "validator_permit": False}
        neurons.append({**neurons[0], **neuron})
    state.registry.write_text(json.dumps(neurons))


@dataclass
class Waits:
    """The seconds that each successful request took, and the requests without the expected reply."""

    nats: list[float] = field(default_factory=list)
    http: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def __add__(self, other: "Waits") -> "Waits":
        return Waits(self.nats + other.nats, self.http + other.http, self.failures + other.failures)


@dataclass
class Honest:
    """Miners that must not notice a flood. They take turns, because each has its own limits."""

    ready: Ready
    connections: dict[str, Client]
    http: dict[str, httpx.AsyncClient]
    rounds: int = 0
    asked: int = 0

    async def requests(self, rounds: int = 1) -> Waits:
        """In each round, send 50 requests over NATS and 50 over HTTP at the same time. Every second HTTP
        request is forwarded to the responder."""
        waits = Waits()
        for _ in range(rounds):
            name = list(self.connections)[self.rounds % len(self.connections)]
            self.rounds += 1
            await asyncio.gather(self._over_nats(name, waits), self._over_http(name, waits))
        return waits

    async def _over_nats(self, name: str, waits: Waits) -> None:
        signer = keypair(self.ready, name)
        for _ in range(REQUESTS):
            began = time.monotonic()
            try:
                answer = await ask(self.ready, self.connections[name], signer, Verb.EPOCH_CURRENT, b"{}")
            except (TimeoutError, NatsError) as error:
                waits.failures.append(repr(error))
                continue
            waits.nats.append(time.monotonic() - began)
            if b'"epochId"' not in answer.data:
                waits.failures.append(answer.data.decode())

    async def _over_http(self, name: str, waits: Waits) -> None:
        for n in range(REQUESTS):
            began = time.monotonic()
            try:
                answer = await (self._current(name) if n % 2 else self._folder(name))
            except httpx.HTTPError as error:
                waits.failures.append(repr(error))
                continue
            waits.http.append(time.monotonic() - began)
            if answer.status_code != 200:
                waits.failures.append(answer.text)

    async def _current(self, name: str) -> httpx.Response:
        query = legacy(keypair(self.ready, name), signed_texts.CURRENT_COMMITMENT)
        return await self.http[name].get(CURRENT, params=query)

    async def _folder(self, name: str) -> httpx.Response:
        self.asked += 1
        return await self.http[name].post(PATH, json=asked(self.ready, name, seconds_ago=self.asked % 200))


@asynccontextmanager
async def honest_miners(ready: Ready) -> AsyncIterator[Honest]:
    """Connect seven miners, each from its own address."""
    names = [f"miner-{number}" for number in range(1, 8)]
    async with AsyncExitStack() as stack:
        connections, http = {}, {}
        for name in names:
            connections[name] = await raw_connection(ready, keypair(ready, name))
            stack.push_async_callback(connections[name].close)
            transport = httpx.AsyncHTTPTransport(local_address=f"127.0.1.{next(ADDRESSES)}")
            client = httpx.AsyncClient(base_url=ready.http, timeout=10, transport=transport)
            http[name] = await stack.enter_async_context(client)
        yield Honest(ready, connections, http)


def own(ready: Ready, name: str, verb: Verb, size: int = 160) -> bytes:
    hotkey = parse_hotkey(Keypair.create_from_uri(name).ss58_address)
    reply = f"{subjects.inbox_prefix(hotkey)}.flood".encode()
    return publication(subjects.request(hotkey, verb), b"x" * size, reply=reply)


def unsigned(ready: Ready, name: str) -> bytes:
    return own(ready, name, Verb.MINER_STATUS)


def current(ready: Ready, name: str) -> bytes:
    return own(ready, name, Verb.EPOCH_CURRENT)


def refused(ready: Ready, name: str) -> bytes:
    return publication("zipcast.v1.epoch", b"x" * 160)


def replayed(ready: Ready, name: str) -> bytes:
    signer = Keypair.create_from_uri(name)
    hotkey = parse_hotkey(signer.ss58_address)
    subject = subjects.request(hotkey, Verb.EPOCH_CURRENT)
    headers = signed_headers(ready, signer, subject, b"{}")
    return publication(subject, b"{}", reply=f"{subjects.inbox_prefix(hotkey)}.x".encode(), headers=headers)


def large(ready: Ready, name: str) -> bytes:
    return own(ready, name, Verb.MINER_STATUS, 248_000)


FLOODS: dict[str, tuple[Callable[[Ready, str], bytes], int, int]] = {
    "its own subject": (unsigned, 1, PER_SECOND),
    "epoch.current": (current, 1, PER_SECOND),
    "refused subjects": (refused, 1, PER_SECOND),
    "signed once, sent again": (replayed, 1, PER_SECOND),
    "ten miners together": (unsigned, 10, PER_SECOND),
    "large messages of four": (large, 4, 400),
}
"""For each flood: the message, the number of miners that send it, and the messages per second of all of them
together."""


@dataclass
class Seen:
    """The observations of honest miners and flooders. `quiet` was measured before and after the flood,
    `at_once` from its beginning, `later` from five seconds after its beginning. `outcomes` are those of the
    flooders."""

    quiet: Waits
    at_once: Waits
    later: Waits
    outcomes: dict[str, Outcome]


async def watch_flood(ready: Ready, honest: Honest, kind: str, rounds: int = 3) -> Seen:
    """Flood for one and a half times as long as a flooder is blocked."""
    message, miners, per_second = FLOODS[kind]
    first = sum(FLOODS[one][1] for one in list(FLOODS)[: list(FLOODS).index(kind)])
    messages = {name: message(ready, name) for name in FLOODERS[first : first + miners]}
    await honest.requests()  # opens connections
    before = await honest.requests(rounds)
    async with flooding(ready, messages, per_second // miners) as flood:
        began = time.monotonic()
        at_once = await honest.requests()
        await asyncio.sleep(max(0.0, began + 5 - time.monotonic()))
        later = await honest.requests(rounds)
        await asyncio.sleep(max(0.0, began + 1.5 * KEPT_OUT_SECONDS - time.monotonic()))
    return Seen(before + await honest.requests(rounds), at_once, later, flood.outcomes)
