"""Fixtures for all tests. Real servers are started once, and only if a test uses them; each test gets a
database of its own. Hypothesis does not fail tests for being slow, since machines differ."""

import asyncio
import atexit
import os
import shutil
import ssl
import tempfile
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio
import structlog
from hypothesis import HealthCheck, settings

from devstack.options import StackOptions
from devstack.servers import Servers
from devstack.stack import Stack
from devstack.state import State
from tests.support.current_requests import CURRENT, current_query
from tests.support.people import keypair
from tests.support.processes import GENEROUS
from zipcast.client.local_stack import Ready

# Print short tracebacks of failures that tests provoke. With all variables of every frame, a traceback would
# take a minute to print.
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.dev.set_exc_info,
        structlog.processors.TimeStamper(fmt="iso"),
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)
settings.register_profile("zipcast", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("zipcast")

EPOCH_SECONDS = 5
ZIPCAST_VARIABLES = {
    f"ZIPCAST_{name}" for name in ("PROFILE", "SERVERS", "SIGNER", "SIGNERS", "NETWORK", "NETUID", "HTTP")
}

# Neither the profiles nor the wallet of the person who runs the tests may change them.
for _name in [name for name in os.environ if name.startswith("BT_WALLET") or name in ZIPCAST_VARIABLES]:
    del os.environ[_name]
os.environ["ZIPCAST_DEBUG"] = "1"  # Commands show the traceback of a defect, and tests look for it.
os.environ["XDG_CONFIG_HOME"] = tempfile.mkdtemp(prefix="zipcast-no-profiles-")
atexit.register(shutil.rmtree, os.environ["XDG_CONFIG_HOME"], ignore_errors=True)


class OverBoundaries(httpx.AsyncHTTPTransport):
    """Sends a request again if an epoch has just ended and the next one arrives some milliseconds later, as
    clients do."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        for _ in range(20):
            answer = await super().handle_async_request(request)
            if answer.status_code != 404 or b"no_current_epoch" not in await answer.aread():
                break
            await asyncio.sleep(0.1)
        return answer


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def servers(tmp_path_factory) -> AsyncIterator[Servers]:
    """Run servers for tests that do not harm them. A test that kills servers starts its own."""
    async with Servers.running(State(tmp_path_factory.mktemp("servers"))) as servers:
        yield servers


@pytest_asyncio.fixture(loop_scope="session")
async def database_url(servers: Servers) -> AsyncIterator[str]:
    """Yield the URL of a new database, migrated and empty, which is dropped after the test."""
    url = await servers.fresh_database()
    yield url
    await servers.drop_database(url)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stack(tmp_path_factory) -> AsyncIterator[Stack]:
    """Run the whole of Zipcast with short epochs, for tests that do not harm it."""
    options = StackOptions(
        epoch_seconds=EPOCH_SECONDS,
        state=tmp_path_factory.mktemp("stack") / "state",
        settings={**GENEROUS, "HONEYPOT_PROBABILITY": "1"},
    )
    async with Stack.running(options) as stack:
        yield stack


@pytest_asyncio.fixture(loop_scope="session")
async def current(ready: Ready, http: httpx.AsyncClient) -> dict:
    """Return the running epoch as a miner receives it."""
    return (await http.get(CURRENT, params=current_query(keypair(ready, "miner-2")))).json()


@pytest.fixture
def ready(stack: Stack) -> Ready:
    return stack.ready


@pytest_asyncio.fixture(loop_scope="session")
async def http(ready: Ready) -> AsyncIterator[httpx.AsyncClient]:
    """Yield an HTTP client of the stack's bridge."""
    plain = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # without certificates, which take 45 ms to read
    async with httpx.AsyncClient(base_url=ready.http, transport=OverBoundaries(verify=plain)) as http:
        yield http
