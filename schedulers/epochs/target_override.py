"""Applies the target that an admin set for one epoch, if the zipcodes can reach it."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from itertools import accumulate, takewhile
from operator import attrgetter

from sqlalchemy.ext.asyncio import AsyncConnection

from service import logs
from storage.database import admin_commands, epochs
from storage.database.candidates import load_real_candidates
from storage.zipcode_files.importing import newest_import_id
from zipcast.protocol.messages.epochs import AssignedZipcode
from zipcast.protocol.verbs import Verb
from zipcast.selection.model import MAX_TARGET_LISTINGS, Candidate, PoolTooSmallError, SelectionSettings
from zipcast.selection.select import select

log = logs.logger()

_ANY_SEED = bytes(32)
# The largest size of an epoch message, so that it fits into `sealing.MAX_PADDED_BYTES` together with its
# signature and padding.
MAX_PAYLOAD_BYTES = 170_000
REST_OF_MESSAGE_BYTES = 4_000
"""The size in bytes that is reserved for the parts of a message besides its zipcodes."""


class NothingImportedError(Exception):
    """There is no zipcode data yet. Run `zipcast import FILE` first."""


class TargetUnreachableError(Exception):
    """No selection of the present zipcodes can reach the target."""


async def import_in_force(connection: AsyncConnection) -> int:
    """Return the id of the newest import. Raises NothingImportedError."""
    import_id = await newest_import_id(connection)
    if import_id is None:
        raise NothingImportedError("no zipcodes have been imported yet: run `zipcast import FILE`")
    return import_id


async def require_reachable(
    connection: AsyncConnection, settings: SelectionSettings, target_listings: int
) -> None:
    """Check that today's zipcodes can reach the target. Raises NothingImportedError,
    TargetUnreachableError."""
    if not 1 <= target_listings <= MAX_TARGET_LISTINGS:
        raise TargetUnreachableError(f"the target must be 1 to {MAX_TARGET_LISTINGS}")
    now = await epochs.database_now(connection)
    candidates = await load_real_candidates(connection, await import_in_force(connection))
    wanted = replace(settings, target_listings=target_listings)
    try:
        await asyncio.to_thread(require_publishable, candidates, wanted)
        await asyncio.to_thread(select, candidates, wanted, _ANY_SEED, now)
    except PoolTooSmallError as error:
        raise TargetUnreachableError(str(error)) from error


def require_publishable(candidates: Iterable[Candidate], settings: SelectionSettings) -> None:
    """Check that every selection that reaches the target fits into a message. A selection has the most
    zipcodes if all of them are of the smallest size. Raises TargetUnreachableError."""
    drawn = sorted(filter(settings.may_be_drawn, candidates), key=attrgetter("expected_listings"))
    totals = accumulate(one.expected_listings for one in drawn)
    most = sum(1 for _ in takewhile(lambda total: total <= settings.highest_total, totals))
    longest = max((len(one.to_bytes()) for one in AssignedZipcode.all_of(drawn)), default=0)
    if most * (longest + 1) > MAX_PAYLOAD_BYTES - REST_OF_MESSAGE_BYTES:
        raise TargetUnreachableError(f"up to {most} zipcodes would not fit one message")


async def settings_of(
    connection: AsyncConnection, settings: SelectionSettings, epoch_id: str
) -> SelectionSettings:
    """Return the settings with the epoch's own target, if an admin set one.

    If the zipcodes have changed and can no longer reach it, ignore that target; otherwise it would stop this
    epoch and all later ones.

    Raises NothingImportedError."""
    target = await admin_commands.overridden_target(connection, epoch_id, Verb.TARGET_OVERRIDE)
    if target is None:
        return settings
    try:
        await require_reachable(connection, settings, target)
    except TargetUnreachableError:
        log.error("target_override_unreachable", epoch_id=epoch_id, target_listings=target)
        return settings
    return replace(settings, target_listings=target)
