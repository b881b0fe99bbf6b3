"""Describes the running epoch of a local stack in one line, as a miner sees it."""

from pathlib import Path

import nats.errors

from zipcast.cli.client_commands import running_epoch
from zipcast.client.client import ZipcastClient
from zipcast.client.local_stack import Ready
from zipcast.client.wallets import load_hotkey, wallet_names
from zipcast.protocol.envelope import EnvelopeError, Trust
from zipcast.protocol.errors import ServiceError
from zipcast.protocol.hotkeys import parse_hotkey


async def describe_current(ready: Ready) -> str:
    """Request the running epoch through the SDK with the first wallet of the stack, and describe it."""
    wallets = Path(ready.wallets)
    trust = Trust(frozenset({parse_hotkey(ready.signer)}), ready.network, ready.netuid)
    signer = load_hotkey(wallets, wallet_names(wallets)[0])
    try:
        async with ZipcastClient([ready.nats], signer, trust) as client:
            message = (await running_epoch(client)).message
    except (TimeoutError, ServiceError, EnvelopeError, nats.errors.Error) as error:
        return f"current epoch: the first wallet cannot read it ({error or type(error).__name__})"
    return (
        f"current epoch: {message.epoch_id}, {message.metadata.zipcode_count} zipcodes, "
        f"{message.metadata.total_expected_listings} listings, until {message.epoch_end:%H:%M:%S} UTC"
    )
