"""Builds the reader of the registry from the settings, for the chain or for a file."""

from datetime import timedelta
from random import SystemRandom
from uuid import uuid4

from nats.js import JetStreamContext
from sqlalchemy.ext.asyncio import AsyncEngine

from schedulers.registry.chain import ChainRegistry
from schedulers.registry.file import FileRegistry
from schedulers.registry.lease import ReaderTurn
from schedulers.registry.publisher import RegistryPublisher
from schedulers.registry.reader import FILE_PACE, Pace, RegistryReader
from schedulers.registry.source import RegistrySource
from schedulers.settings import SchedulerSettings
from service import logs
from storage.database.locks import Lease
from zipcast.clock import Clock

log = logs.logger()


def registry_reader(
    settings: SchedulerSettings,
    jetstream: JetStreamContext,
    database: AsyncEngine,
    clock: Clock,
    failing: dict[str, str],
) -> RegistryReader:
    """Return the reader of the registry that the settings describe."""
    source, pace = _source(settings)
    lock = Lease(database, f"registry-reader:{settings.bt_network}:{settings.net_uid}", uuid4().hex)
    stale_after = timedelta(seconds=settings.registry_read_seconds + settings.registry_deadline_seconds)
    return RegistryReader(
        source=source,
        publisher=RegistryPublisher(
            jetstream,
            database,
            settings.bt_network,
            settings.net_uid,
            timedelta(days=settings.registry_retention_days),
            replicas=settings.nats_replicas,
        ),
        turn=ReaderTurn(lock, clock, stale_after),
        clock=clock,
        pace=pace,
        max_drop_percent=settings.registry_max_drop_percent,
        random=SystemRandom().random,
        failing=failing,
    )


def _source(settings: SchedulerSettings) -> tuple[RegistrySource, Pace]:
    if settings.schedulers_registry_file is not None:
        if settings.zipcast_environment == "production":
            log.warning(
                "registry_file_in_production", reason="the registry file is used instead of the chain"
            )
        return FileRegistry(settings.schedulers_registry_file), FILE_PACE
    chain = ChainRegistry(
        settings.bt_network, settings.net_uid, settings.chain_endpoints, settings.registry_deadline_seconds
    )
    return chain, Pace(settings.registry_read_seconds, settings.registry_confirm_seconds)
