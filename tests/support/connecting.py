"""Makes connections to NATS in ways that the SDK does not use, and floods of such connections."""

import asyncio
import json
import time
from contextlib import suppress
from pathlib import Path

from nats.aio.client import Client
from pydantic import SecretStr

from broker_service.callout.system_account import PAGE, SystemAccount
from devstack.servers import Servers
from service import nats_connection
from service.lifecycle import Lifecycle
from zipcast.client.local_stack import Ready
from zipcast.protocol.hotkeys import Keypair, parse_hotkey
from zipcast.protocol.signed_texts import LOOPBACK_AUDIENCE, connection_at_text
from zipcast.protocol.subjects import inbox_prefix


def password(ready: Ready, signer: Keypair, at_unix: int | None = None) -> str:
    at = int(time.time()) if at_unix is None else at_unix
    text = connection_at_text(ready.network, ready.netuid, LOOPBACK_AUDIENCE, signer.ss58_address, at)
    return f"{at}.{signer.sign(text).hex()}"


async def by_password(ready: Ready, signer: Keypair, offered: str) -> Client:
    """Connect with a password, like the `nats` tool. Raises nats.errors.Error."""

    async def quiet(*_: object) -> None:
        """Ignore errors, because the tests check refusals themselves."""

    client = Client()
    try:
        await client.connect(
            ready.nats,
            user=signer.ss58_address,
            password=offered,
            inbox_prefix=inbox_prefix(parse_hotkey(signer.ss58_address)),
            allow_reconnect=False,
            max_reconnect_attempts=1,
            connect_timeout=5,
            error_cb=quiet,
        )
    except BaseException:
        await client.close()
        raise
    return client


async def system_account(servers: Servers, page: int = PAGE) -> tuple[Client, SystemAccount]:
    """Return the system account as a callout uses it."""
    connection = await service_connection(servers, "callout-sys", "CALLOUT_SYS_NATS_SEED")
    return connection, SystemAccount(connection, page)


async def service_connection(servers: Servers, user: str, variable: str) -> Client:
    life = Lifecycle(None)
    life.stop()
    seed = SecretStr(servers.keys["callout"][variable])
    return await nats_connection.connect(servers.nats_url, user=user, seed=seed, life=life)


def change_registry(path: Path, hotkey: str, **changed: object) -> None:
    """Change one neuron in the registry file, or, with `gone=True`, remove it."""
    neurons = json.loads(path.read_text())
    kept = [
        {**neuron, **changed} if neuron["hotkey"] == hotkey else neuron
        for neuron in neurons
        if neuron["hotkey"] != hotkey or not changed.get("gone")
    ]
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(kept))
    partial.replace(path)


class Flood:
    """A flood of connection attempts from another address of this machine. They name a real hotkey and have
    an invalid signature."""

    def __init__(self, ready: Ready, named: str, address: str, each_second: int) -> None:
        self._ready, self._named, self._address = ready, named, address
        self._pause = 1 / each_second
        self.attempts = 0

    async def run(self) -> None:
        host, port = self._ready.nats.removeprefix("nats://").split(":")
        offered = {"auth_token": self._named, "sig": "A" * 86, "protocol": 1, "verbose": False, "lang": "x"}
        line = b"CONNECT " + json.dumps(offered).encode() + b"\r\nPING\r\n"
        started = time.monotonic()
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(self._attempt(host, int(port), line))
                self.attempts += 1
                await asyncio.sleep(max(0.0, started + self.attempts * self._pause - time.monotonic()))

    async def _attempt(self, host: str, port: int, line: bytes) -> None:
        """Connect, and stay connected as long as nats-server allows it."""
        with suppress(OSError):
            reader, writer = await asyncio.open_connection(host, port, local_addr=(self._address, 0))
            try:
                writer.write(line)
                while await reader.read(4096):
                    pass
            finally:
                writer.close()
