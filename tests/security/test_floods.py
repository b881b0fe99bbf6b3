"""A registered miner that sends 20,000 messages a second: everybody else is answered as if it were not there.

Ratios hold within one run only, so that they do not depend on the machine.
"""

import asyncio
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
from tests.security.raw_nats import publication
from zipcast import auth, subjects
from zipcast.hotkeys import Keypair, parse_hotkey
from zipcast.ready import Ready
from zipcast.subjects import Verb

pytestmark = pytest.mark.long

CURRENT = "/api/v1/zipcode-assignments/current"
PER_SECOND = 20_000
REQUESTS = 50
KEPT_OUT_SECONDS = 8
FLOODERS = [f"//Flooder{number}" for number in range(14)]
SETTINGS = {
    "LIMIT_CURRENT_PER_MINUTE": "1000",
    "DAILY_LIMIT_PER_MINER": "1000",
    # "CALLOUT_KEPT_OUT_SECONDS": str(KEPT_OUT_SECONDS),
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

    def p99(self) -> tuple[float, float]:
        return sorted(self.nats)[-1], sorted(self.http)[-1]


@dataclass
class Honest:
    """A miner of whom nobody else's flood is to be noticed."""

    ready: Ready
    signer: Keypair
    name: str
    nats: Client
    http: httpx.AsyncClient
    asked: int = 0

    async def requests(self) -> Waits:
        """Send 50 over NATS beside 50 over HTTP, of which every second one goes on to the responder."""
        waits = Waits()
        await asyncio.gather(self._over_nats(waits), self._over_http(waits))
        return waits

    async def _over_nats(self, waits: Waits) -> None:
        for _ in range(REQUESTS):
            began = time.monotonic()
            try:
                answer = await ask(self.ready, self.nats, self.signer, Verb.EPOCH_CURRENT, b"{}")
            except (TimeoutError, NatsError, httpx.HTTPError) as error:
                waits.failures.append(repr(error))
                continue
            waits.nats.append(time.monotonic() - began)
            if b'"epochId"' not in answer.data:
                waits.failures.append(answer.data.decode())

    async def _over_http(self, waits: Waits) -> None:
        for n in range(REQUESTS):
            began = time.monotonic()
            try:
                answer = await (self._current() if n % 2 else self._folder())
            except (TimeoutError, NatsError, httpx.HTTPError) as error:
                waits.failures.append(repr(error))
                continue
            waits.http.append(time.monotonic() - began)
            if answer.status_code != 200:
                waits.failures.append(answer.text)

    async def _current(self) -> httpx.Response:
        return await self.http.get(CURRENT, params=legacy(self.signer, auth.CURRENT_COMMITMENT))

    async def _folder(self) -> httpx.Response:
        self.asked += 1
        return await self.http.post(PATH, json=asked(self.ready, self.name, seconds_ago=self.asked % 200))


@pytest_asyncio.fixture(loop_scope="session")
async def honest(attacked: Stack) -> AsyncIterator[Honest]:
    ready = attacked.ready
    signer = keypair(ready, "miner-1")
    connection = await raw_connection(ready, signer)
    async with httpx.AsyncClient(base_url=ready.http, timeout=10) as http:
        yield Honest(ready, signer, "miner-1", connection, http)
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
async def test_a_flood_of_one_miner_is_nobody_elses_trouble(attacked: Stack, honest: Honest, kind: str):
    ready, (message, miners) = attacked.ready, FLOODS[kind]
    first = list(FLOODS).index(kind)
    names = FLOODERS[first : first + miners]
    lost = losses(attacked)
    await honest.requests()
    quiet = await honest.requests()
    assert not quiet.failures
    messages = {name: message(ready, name) for name in names}
    async with flooding(ready, messages, PER_SECOND // miners) as flood:
        began = time.monotonic()
        at_once = await honest.requests()
        await asyncio.sleep(max(0.0, began + 5 - time.monotonic()))
        later = await honest.requests()
        await asyncio.sleep(max(0.0, began + 2.5 * KEPT_OUT_SECONDS - time.monotonic()))
    assert not at_once.failures + later.failures
    assert losses(attacked) == lost
    for outcome in flood.outcomes.values():
        assert outcome.kicked and outcome.kicked[0] < 5
        assert outcome.refused
        assert len(outcome.let_in) >= 2


def losses(stack: Stack) -> int:
    """How often the responder lost its connection, or was started."""
    actions = [line["action"] for line in log_lines(stack, "responder")]
    return sum(action in {"nats_disconnected", "nats_reader_ended", "starting"} for action in actions)
