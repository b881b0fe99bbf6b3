"""A registered miner that sends 20,000 messages a second: everybody else is answered as if it were not there.

Ratios hold within one run only, so that they do not depend on the machine.
"""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import httpx
import pytest
import pytest_asyncio
from nats.aio.client import Client
from nats.errors import Error as NatsError

from devstack.options import StackOptions
from devstack.stack import Stack
from devstack.state import State
from devstack.wallets import ensure_all_wallets, ensure_registry
from tests.integration.operator_view import log_lines
from tests.integration.people import ask, keypair, legacy, raw_connection, signed_headers
from tests.integration.test_folder_access import PATH, asked
from tests.security.flooder import flooding
from tests.security.raw_nats import publication, raw_nats
from zipcast import auth, subjects
from zipcast.hotkeys import Keypair, parse_hotkey
from zipcast.ready import Ready
from zipcast.subjects import Verb

pytestmark = pytest.mark.long

CURRENT = "/api/v1/zipcode-assignments/current"
PER_SECOND = 20_000
REQUESTS, ROUNDS = 50, 3
KEPT_OUT_SECONDS = 15
FALSE_PROOFS = 3
PROXY = "127.0.0.9"
FLOODERS = [f"//Flooder{number}" for number in range(14)]
SETTINGS = {
    "LIMIT_CURRENT_PER_MINUTE": "1000",
    "DAILY_LIMIT_PER_MINER": "1000",
    "CALLOUT_KEPT_OUT_SECONDS": str(KEPT_OUT_SECONDS),
    "CALLOUT_FAILURE_BURST": str(FALSE_PROOFS),
    "CALLOUT_TRUSTED_PROXIES": PROXY,
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def attacked(tmp_path_factory) -> AsyncIterator[Stack]:
    state = State(tmp_path_factory.mktemp("floods") / "state")
    register_flooders(state)
    options = StackOptions(epoch_seconds=43_200, state=state.root, settings=SETTINGS)
    async with Stack.running(options) as stack:
        yield stack


def register_flooders(state: State) -> None:
    """Put them beside the miners of the local stack."""
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
    """Seconds that each answered request took, and what was not answered as it should be."""

    nats: list[float] = field(default_factory=list)
    http: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


@dataclass
class Honest:
    """Miners that must not notice a flood. They take turns, since each has limits of its own."""

    ready: Ready
    connections: dict[str, Client]
    http: httpx.AsyncClient
    rounds: int = 0
    asked: int = 0

    async def requests(self, rounds: int = 1) -> Waits:
        """In each round send 50 over NATS beside 50 over HTTP, of which every second one goes on to the
        responder."""
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
        query = legacy(keypair(self.ready, name), auth.CURRENT_COMMITMENT)
        return await self.http.get(CURRENT, params=query)

    async def _folder(self, name: str) -> httpx.Response:
        self.asked += 1
        return await self.http.post(PATH, json=asked(self.ready, name, seconds_ago=self.asked % 200))


@pytest_asyncio.fixture(loop_scope="session")
async def honest(attacked: Stack) -> AsyncIterator[Honest]:
    ready = attacked.ready
    names = [f"miner-{number}" for number in range(1, 8)]
    connections = {name: await raw_connection(ready, keypair(ready, name)) for name in names}
    async with httpx.AsyncClient(base_url=ready.http, timeout=10) as http:
        yield Honest(ready, connections, http)
    for connection in connections.values():
        await connection.close()


def own(ready: Ready, name: str, verb: Verb) -> bytes:
    hotkey = parse_hotkey(Keypair.create_from_uri(name).ss58_address)
    reply = f"{subjects.inbox_prefix(hotkey)}.flood".encode()
    return publication(subjects.request(hotkey, verb), b"x" * 160, reply=reply)


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


FLOODS: dict[str, tuple[Callable[[Ready, str], bytes], int]] = {
    "its own subject": (unsigned, 1),
    "epoch.current": (current, 1),
    "refused subjects": (refused, 1),
    "signed once, sent again": (replayed, 1),
    "ten miners together": (unsigned, 10),
}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", FLOODS)
async def test_a_flood_is_nobody_elses_trouble(attacked: Stack, honest: Honest, kind: str):
    """Nobody fails from the first second on. Five seconds later everything is as fast as before."""
    ready, (message, miners) = attacked.ready, FLOODS[kind]
    first = list(FLOODS).index(kind)
    names = FLOODERS[first : first + miners]
    lost = losses(attacked)
    await honest.requests()  # opens connections
    quiet = await honest.requests(ROUNDS)
    assert not quiet.failures
    messages = {name: message(ready, name) for name in names}
    async with flooding(ready, messages, PER_SECOND // miners) as flood:
        began = time.monotonic()
        at_once = await honest.requests()
        await asyncio.sleep(max(0.0, began + 5 - time.monotonic()))
        later = await honest.requests(ROUNDS)
        await asyncio.sleep(max(0.0, began + 1.5 * KEPT_OUT_SECONDS - time.monotonic()))
    again_quiet = await honest.requests(ROUNDS)
    assert at_once.failures + later.failures + again_quiet.failures == []
    assert p99(later.nats) < 3 * p99(quiet.nats + again_quiet.nats)
    assert p99(later.http) < 3 * p99(quiet.http + again_quiet.http)
    assert losses(attacked) == lost
    for outcome in flood.outcomes.values():
        assert outcome.kicked
        assert outcome.refused
        back = [at for at in outcome.let_in if at > outcome.kicked[0]]
        assert back[0] - outcome.kicked[0] > KEPT_OUT_SECONDS - 3  # it was seen before it noticed


async def test_false_proofs_through_a_trusted_proxy_keep_no_honest_hotkey_out(attacked: Stack):
    """All clients of the proxy share its address."""
    ready, stop = attacked.ready, asyncio.Event()
    victim = keypair(ready, "miner-8").ss58_address
    offered = {"auth_token": victim, "sig": base64.b64encode(bytes(range(64))).decode()}

    async def forge() -> None:
        async with raw_nats(ready, PROXY) as raw:
            assert b"PONG" not in await raw.connect_as(**offered)

    async def go_on_forging() -> None:
        while not stop.is_set():
            await asyncio.gather(forge(), asyncio.sleep(0.25))

    await asyncio.gather(*(forge() for _ in range(2 * FALSE_PROOFS)))
    forging = asyncio.create_task(go_on_forging())
    let_in = 0
    for number in range(15):
        async with raw_nats(ready, PROXY) as raw:
            signer = keypair(ready, f"miner-{number % 8 + 1}")
            let_in += b"PONG" in await raw.connect_as(**raw.proof(ready, signer))
    stop.set()
    await forging
    assert let_in == 15


def p99(seconds: list[float]) -> float:
    return sorted(seconds)[len(seconds) * 99 // 100]


def losses(stack: Stack) -> int:
    """How often the responder lost its connection, or was started."""
    actions = [line["action"] for line in log_lines(stack, "responder")]
    return sum(action in {"nats_disconnected", "nats_reader_ended", "starting"} for action in actions)
