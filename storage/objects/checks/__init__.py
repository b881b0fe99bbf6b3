"""Tests whether a configured object store does everything that Zipcast needs.

The tests write to the folder of a hotkey that is made for one check and has no owner. They delete their files
if their rights allow that.
"""

from collections.abc import AsyncIterator
from datetime import timedelta
from email.utils import parsedate_to_datetime

import httpx

from storage.objects import credential_policies
from storage.objects.checks.access import check_form, check_sessions
from storage.objects.checks.buckets import check_bucket
from storage.objects.checks.probing import PROBE_EPOCH, Finding, Status
from storage.objects.store import ObjectStore, ObjectStoreConfig
from zipcast.client.http import open_client
from zipcast.clock import Clock
from zipcast.protocol.hotkeys import Hotkey

__all__ = ["Finding", "Status", "check_object_store"]

# The largest difference between the clocks of this machine and the store: above the first limit the check
# fails, above the second it warns. AWS itself accepts 15 minutes, but deadlines need closer clocks. The store
# states its time in whole seconds.
MAX_SKEW, TOLERABLE_SKEW = timedelta(seconds=60), timedelta(seconds=2)


async def check_object_store(
    config: ObjectStoreConfig, miner_bucket: str, validator_bucket: str, probe: Hotkey, clock: Clock
) -> AsyncIterator[Finding]:
    """Yield each finding as soon as it is known. `probe` is a hotkey without an owner. Raises httpx.HTTPError
    if the store does not reply with HTTP."""
    store = ObjectStore(config)
    miners = credential_policies.miner_scope(miner_bucket, probe, PROBE_EPOCH)
    results = credential_policies.validator_scope(validator_bucket, probe, PROBE_EPOCH)
    try:
        async with open_client(config.endpoint_url or "", config.deadline_seconds) as http:
            for scope in (miners, results):
                async for finding in check_bucket(config, store, http, scope.bucket):
                    yield finding
                    if finding.status is Status.FAILED and finding.subject.endswith("reachable"):
                        return
                async for finding in check_form(config, store, http, scope, clock):
                    yield finding
            yield await _clocks(store, http, miners.bucket, clock)
            async for finding in check_sessions(config, store, miners, results, probe, clock):
                yield finding
    finally:
        store.close()


async def _clocks(store: ObjectStore, http: httpx.AsyncClient, bucket: str, clock: Clock) -> Finding:
    try:
        stated = parsedate_to_datetime((await http.get(store.address(bucket))).headers["date"])
    except (KeyError, ValueError):
        stated = None
    if stated is None or stated.tzinfo is None:
        return Finding("clocks", Status.WARNING, "the store does not state its time")
    skew = abs(clock.now() - stated)
    message = f"{skew.total_seconds():.0f} s apart, in whole seconds"
    if skew <= TOLERABLE_SKEW:
        return Finding("clocks", Status.OK, message)
    status = Status.FAILED if skew > MAX_SKEW else Status.WARNING
    return Finding("clocks", status, message, "synchronise this machine's clock with NTP")
