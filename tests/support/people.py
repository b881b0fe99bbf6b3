"""Connects miners, validators and strangers to a running stack."""

import asyncio
import json
import time
from pathlib import Path

from nats.aio.client import Callback, Client
from nats.aio.msg import Msg

from operator_cli.admin_client import AdminClient
from zipcast.client.client import ZipcastClient
from zipcast.client.connection import Server, connect
from zipcast.client.local_stack import Ready
from zipcast.client.wallets import load_hotkey
from zipcast.protocol import btauth, subjects
from zipcast.protocol.envelope import Trust
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.hotkeys import Keypair, parse_hotkey
from zipcast.protocol.messages.access import MinerUploadReply, ValidatorReadReply
from zipcast.protocol.verbs import Verb


def trust_of(ready: Ready) -> Trust:
    return Trust(frozenset({parse_hotkey(ready.signer)}), ready.network, ready.netuid)


def keypair(ready: Ready, name: str) -> Keypair:
    return load_hotkey(Path(ready.wallets), name)


def client(ready: Ready, name: str) -> ZipcastClient:
    return ZipcastClient([ready.nats], keypair(ready, name), trust_of(ready))


def admin_keypair(ready: Ready) -> Keypair:
    return load_hotkey(Path(ready.admin_wallets), "admin-1")


def admin(ready: Ready, signer: Keypair | None = None) -> AdminClient:
    """Connect an admin's client. With another `signer`, it is the client of someone who pretends to be an
    admin."""
    return AdminClient([ready.nats], signer or admin_keypair(ready), trust_of(ready))


async def quiet(*_: object) -> None:
    """Ignore errors, because the tests check refusals and lost connections themselves."""


async def raw_connection(ready: Ready, signer: Keypair, on_close: Callback = quiet) -> Client:
    """Open a plain nats-py connection with a proven hotkey, as an attacker with a valid key can. It does not
    reconnect."""
    return await connect(
        Server.parse(ready.nats),
        signer,
        network=ready.network,
        netuid=ready.netuid,
        on_error=quiet,
        on_close=on_close,
    )


def signed_headers(
    ready: Ready, signer: Keypair, subject: str, body: bytes, *, seconds_ago: float = 0
) -> dict[str, str]:
    nonce = time.time_ns() - int(seconds_ago * 1e9)
    return btauth.sign(signer, method="NATS", path=subject, body=body, receiver=ready.signer, nonce_ns=nonce)


async def ask(
    ready: Ready, connection: Client, signer: Keypair, verb: Verb, body: bytes, **changed: object
) -> Msg:
    """Send one signed request over NATS. `changed` overrides headers, or, as `seconds_ago`, the time."""
    subject = subjects.request(parse_hotkey(signer.ss58_address), verb)
    seconds_ago = float(changed.pop("seconds_ago", 0))  # type: ignore[arg-type]
    headers = signed_headers(ready, signer, subject, body, seconds_ago=seconds_ago)
    headers |= {name: str(value) for name, value in changed.get("headers", {}).items()}  # type: ignore[attr-defined]
    return await connection.request(subject, body, timeout=30, headers=headers)


def legacy(
    signer: Keypair,
    commitment: str,
    *,
    seconds_ago: int = 0,
    timestamp: int | None = None,
    wrap: bool = False,
) -> dict[str, str]:
    """Return the identity fields of a legacy request. `commitment` contains `{timestamp}`. If several signed
    texts must differ, give a `timestamp`, because two values of `seconds_ago` may lead to the same second."""
    timestamp = int(time.time()) - seconds_ago if timestamp is None else timestamp
    text = commitment.format(timestamp=timestamp)
    signed = f"<Bytes>{text}</Bytes>" if wrap else text
    return {
        "hotkey": signer.ss58_address,
        "timestamp": str(timestamp),
        "signature": signer.sign(signed.encode()).hex(),
    }


def coldkey(ready: Ready, name: str) -> str:
    public = json.loads((Path(ready.wallets) / name / "coldkeypub.txt").read_text())
    return str(public["ss58Address"])


async def fresh_grant(connected: ZipcastClient) -> MinerUploadReply:
    """Get upload access at an epoch's start, because none is issued in an epoch's last second."""
    async for received in connected.epochs():
        if received.via == "push":
            break
    return await connected.miner_upload()


async def read_sealed(validator: ZipcastClient, epoch_id: str, **asked: object) -> ValidatorReadReply:
    """Return the first page of an epoch's uploads, as soon as the manifest is written."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await validator.validator_read(epoch_id, **asked)  # type: ignore[arg-type]
            except ServiceError as error:
                if error.code is not ErrorCode.EPOCH_NOT_ENDED:
                    raise
            await asyncio.sleep(0.1)
