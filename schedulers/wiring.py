"""Builds, from the settings, the parts that the scheduler and the operator's commands share."""

from sqlalchemy.ext.asyncio import AsyncEngine

from schedulers.epochs.beacon import BeaconSide, NoBeacon
from schedulers.epochs.fault_points import NO_FAULTS, FaultPoints
from schedulers.epochs.preparation import Preparer
from schedulers.metrics import SchedulerMetrics
from schedulers.settings import SchedulerSettings


def make_preparer(
    settings: SchedulerSettings,
    database: AsyncEngine,
    metrics: SchedulerMetrics | None = None,
    faults: FaultPoints = NO_FAULTS,
    beacon: BeaconSide | None = None,
) -> Preparer:
    """Return the preparer of epochs that the settings describe. Without `beacon`, it draws no epoch."""
    return Preparer(
        database=database,
        network=settings.bt_network,
        netuid=settings.net_uid,
        calendar=settings.calendar,
        settings=settings.selection,
        secrets=settings.secrets,
        signer=settings.signer,
        metrics=metrics or SchedulerMetrics(),
        honeypots=settings.honeypots,
        next_signer=settings.next_signer,
        faults=faults,
        beacon=beacon or NoBeacon(),
    )
