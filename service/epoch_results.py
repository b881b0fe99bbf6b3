"""Returns validators' reports on an epoch and their consensus, page by page, over NATS and HTTP alike.

For each validator, the newest report that arrived before the epoch was revealed counts. Until the epoch is
revealed, each validator sees only its own reports, and only over NATS, because the bridge's database login
may not read reports before that time. `zipcast.verification.consensus` computes the consensus.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from service.current_epoch import CurrentEpoch
from service.database_reads import epoch_start, record_of, require_detail
from service.paging import page_of, wire_bytes
from service.registry import RegistryView
from storage.database import epochs, honeypots
from storage.database.coverage import Covered, read_covered
from storage.database.registry import snapshot_as_of
from storage.database.results import RecordedResult, own_results, revealed_results
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.messages.base import first_fault
from zipcast.protocol.messages.pools import ShownSignal
from zipcast.protocol.messages.registry import RegisteredNeuron
from zipcast.protocol.messages.results import (
    Consensus,
    ConsensusMiner,
    ConsensusReply,
    ConsensusRequest,
    Coverage,
    ShownReport,
    TopMiner,
)
from zipcast.verification import consensus
from zipcast.verification.consensus import Agreed, Report

Item = ShownReport | ShownSignal


@dataclass(frozen=True, slots=True)
class EpochResultsReader:
    """Reads the results of epochs. `shows_own` tells whether the process may read reports before the epoch is
    revealed."""

    database: AsyncEngine
    registry: RegistryView
    current: CurrentEpoch
    shows_own: bool

    async def page(self, hotkey: str, request: ConsensusRequest) -> ConsensusReply:
        """Return one page of the results that this validator may see.

        Raises ServiceError(MALFORMED_EPOCH_ID | EPOCH_NOT_FOUND | EPOCH_NOT_ENDED | ARCHIVED |
        SERVICE_UNAVAILABLE)."""
        epoch_start("epochId", request.epoch_id)
        return await self.current.when_stored(request.epoch_id, partial(self._page, hotkey, request))

    async def _page(self, hotkey: str, request: ConsensusRequest) -> ConsensusReply:
        async with record_of(self.database) as connection:
            end_at = await _ended(connection, request.epoch_id)
            if not await honeypots.is_revealed(connection, request.epoch_id):
                own = await own_results(connection, request.epoch_id, hotkey) if self.shows_own else []
                return _page(request, None, [_shown(one, own, None) for one in own], revealed=False)
            return await self._revealed(connection, request, end_at)

    async def _revealed(
        self, connection: AsyncConnection, request: ConsensusRequest, end_at: datetime
    ) -> ConsensusReply:
        found = await revealed_results(connection, request.epoch_id)
        neurons = await self._neurons_at(connection, end_at)
        stakes = {one.hotkey: one.alpha_stake_rao for one in neurons}
        found = [replace(one, alpha_stake_rao=stakes.get(one.hotkey, 0)) for one in found]
        counted = [one for one in found if not one.is_late]
        covered = await read_covered(connection, request.epoch_id, [one.id for one in counted])
        summary, shown = summary_of(found, self._coverage(counted, covered, neurons))
        signals = await honeypots.signals(connection, request.epoch_id)
        items: list[Item] = [*shown]
        items += [ShownSignal.model_validate(one, from_attributes=True) for one in signals]
        return _page(request, summary, items, revealed=True)

    async def _neurons_at(self, connection: AsyncConnection, end_at: datetime) -> Sequence[RegisteredNeuron]:
        """Return the registry at the epoch's end, or the present one if none that old is stored.

        All validators are weighted by the same snapshot, so that stake that moves between hotkeys is counted
        only once."""
        network, netuid = self.registry.subnet
        snapshot = await snapshot_as_of(connection, network, netuid, end_at) or self.registry.snapshot
        return () if snapshot is None else snapshot.neurons

    def _coverage(
        self, counted: Sequence[RecordedResult], covered: Covered, neurons: Sequence[RegisteredNeuron]
    ) -> Coverage:
        validators = {one.hotkey: one.alpha_stake_rao for one in neurons if self.registry.is_validator(one)}
        # A hotkey that reported but was not a validator at the epoch's end also counts, with its stake at
        # that time, which is 0 if it was not registered.
        validators |= {one.hotkey: one.alpha_stake_rao for one in counted}
        whole = sum(validators.values())
        return Coverage(
            validators_reported=len(counted),
            validators=len(validators),
            stake_share=round(sum(one.alpha_stake_rao for one in counted) / whole, 6) if whole else 0.0,
            miners_audited=covered.miners_audited,
            miners=covered.miners,
            zipcodes_audited=covered.zipcodes_audited,
            zipcodes=covered.zipcodes,
        )


def consensus_request(asked: Mapping[str, object]) -> ConsensusRequest:
    """Read an HTTP query. Raises ServiceError(MALFORMED_REQUEST)."""
    try:
        return ConsensusRequest.model_validate(asked)
    except ValidationError as error:
        raise first_fault(error) from None


def summary_of(found: Sequence[RecordedResult], coverage: Coverage) -> tuple[Consensus, list[ShownReport]]:
    """Return the consensus of these reports, and each report as it is shown. Late reports are shown but do
    not count."""
    agreed = consensus.agree(_report(one) for one in found if not one.is_late)
    summary = Consensus(
        top_miners=tuple(ConsensusMiner(hotkey=hotkey, support=share) for hotkey, share in agreed.top),
        agreement=agreed.agreement,
        outliers=agreed.outliers,
        coverage=coverage,
    )
    return summary, [_shown(one, found, agreed) for one in found]


async def _ended(connection: AsyncConnection, epoch_id: str) -> datetime:
    stored = require_detail(await epochs.started_epoch(connection, epoch_id))
    if await epochs.database_now(connection) < stored.interval.end_at:
        raise ServiceError(ErrorCode.EPOCH_NOT_ENDED, "The epoch is still running.")
    return stored.interval.end_at


def _report(one: RecordedResult) -> Report:
    return Report(one.hotkey, one.alpha_stake_rao, tuple(miner["hotkey"] for miner in one.top_3_miners))


def _shown(one: RecordedResult, found: Sequence[RecordedResult], agreed: Agreed | None) -> ShownReport:
    """Return the report as it is shown. `found` has the reports of all validators."""
    counted = not one.is_late
    newest = max((other for other in found if other.hotkey == one.hotkey), key=lambda other: other.earlier)
    return ShownReport(
        hotkey=one.hotkey,
        result_id=str(one.id),
        alpha_stake_rao=one.alpha_stake_rao,
        reported_at=one.reported_at,
        received_at=one.received_at,
        in_force=one.superseded_at is None,
        counted=counted,
        late=one.is_late,
        superseded_reports=newest.earlier,
        duration_seconds=one.duration_seconds,
        miners_evaluated=one.miners_evaluated,
        listings_validated=one.listings_validated,
        top_miners=tuple(TopMiner.model_validate(miner) for miner in one.top_3_miners),
        files=len(one.files),
        audit_rows=one.audit_rows,
        agreement=agreed.closeness[one.hotkey] if agreed is not None and counted else None,
        outlier=agreed is not None and counted and one.hotkey in agreed.outliers,
    )


def _page(
    request: ConsensusRequest, summary: Consensus | None, items: Sequence[Item], *, revealed: bool
) -> ConsensusReply:
    """Return the page that starts at the offset."""
    shown = page_of(items[request.offset :], wire_bytes)
    ends_at = request.offset + len(shown)
    return ConsensusReply(
        epoch_id=request.epoch_id,
        revealed=revealed,
        consensus=summary if request.offset == 0 else None,
        reports=tuple(item for item in shown if isinstance(item, ShownReport)),
        signals=tuple(item for item in shown if isinstance(item, ShownSignal)),
        next_offset=ends_at if ends_at < len(items) else None,
    )
