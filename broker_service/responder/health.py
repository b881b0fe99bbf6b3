"""Checks whether the responder can reach its two buckets."""

from broker_service.responder.settings import ResponderSettings
from service.probes import Check, Finding, Probes
from storage.objects.store import ObjectStore
from zipcast.clock import Clock

# The bridge waits 2 s for the reply, so a bucket that hangs must be detected earlier.
TIMEOUT_SECONDS = 1.5


def bucket_probes(store: ObjectStore, settings: ResponderSettings, clock: Clock) -> Probes:
    def reaches(bucket: str) -> Check:
        async def check() -> Finding:
            await store.reach(bucket)
            return Finding()

        return check

    checks = {
        "object_store": reaches(settings.s3_bucket),
        "validator_bucket": reaches(settings.s3_validator_bucket),
    }
    return Probes(checks, clock, TIMEOUT_SECONDS)
