"""Builds the parts that responder and bridge share: registry, admins, opt-outs, running epoch, limits and
refusal log.

From the settings it makes a `Pipeline`, and the tasks that keep the pipeline's data up to date.
"""

import asyncio
from dataclasses import dataclass
from typing import Self

from nats.aio.client import Client
from sqlalchemy.ext.asyncio import AsyncEngine

from access.opt_outs import LegacyOptOuts
from access.pipeline import Pipeline
from access.rate_limits import Limits
from access.refusal_log import RefusalTrail
from service import database_rights
from service.current_epoch import CurrentEpoch
from service.lifecycle import Lifecycle
from service.metrics import CurrentEpochMetrics, RegistryMetrics
from service.registry import RegistryFollower, RegistryView
from service.registry_copy import recall_from
from service.sealed_epochs import SealedEpochs
from service.settings import AccessSettings
from storage.database.engine import open_engine
from zipcast.clock import Clock, SystemClock
from zipcast.protocol.envelope import Trust
from zipcast.protocol.subjects import EPOCH


@dataclass(frozen=True, slots=True)
class AccessSetup:
    """The shared parts of one process. `role` is the database role whose rights the process may have."""

    settings: AccessSettings
    role: str
    life: Lifecycle
    clock: Clock
    database: AsyncEngine
    registry: RegistryView
    current: CurrentEpoch
    opted_out: LegacyOptOuts
    refusals: RefusalTrail
    limits: Limits
    pipeline: Pipeline

    @classmethod
    def of(cls, settings: AccessSettings, name: str, life: Lifecycle, *, pool_size: int) -> Self:
        """Build the parts without connecting. `name` is the process's name, `responder` or `bridge`."""
        clock, process_status = SystemClock(), life.process_status
        url = settings.database_url.get_secret_value()
        database = open_engine(url, application_name=f"zipcast-{name}", pool_size=pool_size)
        process_status.metrics.watch_database(database)
        registry = RegistryView(
            settings.bt_network, settings.net_uid, settings.validator_min_stake, settings.registry_max_age
        )
        current = CurrentEpoch(
            Trust(settings.signers, settings.bt_network, settings.net_uid), clock, database
        )
        RegistryMetrics(process_status.registry, registry, clock)
        CurrentEpochMetrics(process_status.registry, current.running_or_none)
        opted_out, limits = LegacyOptOuts(database, clock), Limits.of(settings, clock)
        return cls(
            settings=settings,
            role=f"zipcast_{name}",
            life=life,
            clock=clock,
            database=database,
            registry=registry,
            current=current,
            opted_out=opted_out,
            refusals=RefusalTrail(name, database, clock),
            limits=limits,
            pipeline=Pipeline(registry, settings.signers, limits, clock, opted_out, settings.admins),
        )

    async def has_safe_rights(self) -> bool:
        """Check the database login. If it has unsuitable rights or settings, end the process and return
        False."""
        in_production = self.settings.zipcast_environment == "production"
        reader_of = self.role if in_production else None
        refusal = await database_rights.unfit(self.database, reader_of=reader_of)
        if refusal is not None:
            self.life.fail(refusal)
        return refusal is None

    async def follow(self, connection: Client) -> SealedEpochs:
        """Read the present state, and follow it until the process ends. Return the sealed epochs. The
        connection need not be open yet, because the database also has the state."""
        recall = recall_from(self.database, self.settings.bt_network, self.settings.net_uid)
        jetstream = connection.jetstream(timeout=2)
        follower = RegistryFollower(jetstream, self.registry, self.clock, recall)
        sealed = SealedEpochs(self.current, self.settings.relays(), self.clock, jetstream)
        await asyncio.gather(follower.poll(), self.current.check(), self.opted_out.read())
        self.life.spawn(follower.run(), "registry")
        self.life.spawn(self.current.run(), "current_epoch")
        self.life.spawn(self.opted_out.run(), "opt_outs")
        self.life.spawn(self.refusals.run(), "refusals")
        self.life.spawn(sealed.run(), "sealed_epochs")
        self.life.spawn_beside(sealed.run_opening, "opening")
        return sealed

    async def follow_epochs(self, connection: Client) -> None:
        """Subscribe to epochs on an open connection."""
        await connection.subscribe(EPOCH, cb=self.current.receive)

    async def close(self) -> None:
        """Write the remaining refusals and close the database. Call it after the process's tasks have
        ended."""
        await self.refusals.write()
        await self.database.dispose()
