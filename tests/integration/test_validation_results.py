"""Tests validators' reports in the database: complete, one in force, the earlier ones kept; and their
consensus."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import func, insert, select

from broker_service.responder.database import Record
from devstack.servers import Servers
from http_bridge.epoch_reply import Assignments
from service.epoch_pools import EpochPools
from service.epoch_results import EpochResultsReader
from storage.database.registry import store_snapshot
from storage.database.results import revealed_audit
from storage.database.tables import MinerSignal, MinerSubmission, ValidationAudit, ValidatorResult
from tests.support.current_epochs import FIRST, MESSAGE, current
from tests.support.fakes import MINER_HOTKEY, START_AT, STRANGER_HOTKEY, VALIDATOR_HOTKEY, FakeClock
from tests.support.results_side import (
    CONTENT,
    OTHERS,
    VALIDATORS,
    ResultsSide,
    a_report,
    caller,
    file,
    metadata,
    ranked,
    stake_of,
)
from zipcast.protocol.calendar import EpochInterval
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.hotkeys import Hotkey
from zipcast.protocol.messages.pools import EpochPoolRequest
from zipcast.protocol.messages.results import ConsensusReply, ConsensusRequest, EpochResults

THIRD = OTHERS[1]


@pytest_asyncio.fixture(loop_scope="session")
async def side(servers: Servers, database_url: str) -> AsyncIterator[ResultsSide]:
    async with ResultsSide.running(servers, database_url) as side:
        yield side


def audit_row(**changed: Any) -> dict[str, Any]:
    row = {"minerHotkey": MINER_HOTKEY, "zipcode": "19104", "type": "basic", "result": "pass", "score": 0.5}
    return row | changed


async def rows(side: ResultsSide, table: Any) -> list[Any]:
    async with side.owner.connect() as connection:
        return list((await connection.execute(select(*table.__table__.columns))).all())


async def test_a_report_and_its_audit_are_one_row_and_its_details(side: ResultsSide):
    interval = await side.epoch()
    one = file(side.scope(interval).prefix + "results.json")
    version_id = await asyncio.to_thread(side.put, one.key, CONTENT, metadata(interval))
    audit = [audit_row(), audit_row(zipcode="07030", type="full", result="fail", issues=["two are invented"])]
    report = a_report(interval, one, top_miners=ranked([MINER_HOTKEY]), audit=audit)
    reply = await side.report(report)
    assert (reply.in_force, reply.late, reply.superseded_reports, reply.audit_rows) == (True, False, 0, 2)
    (row,) = await rows(side, ValidatorResult)
    assert (str(row.id), row.hotkey, row.is_late) == (reply.result_id, VALIDATOR_HOTKEY, False)
    assert row.alpha_stake_rao == stake_of(VALIDATOR_HOTKEY)
    assert row.files == [
        {
            "key": one.key,
            "size_bytes": one.size_bytes,
            "sha256": one.sha256,
            "version_id": version_id,
            "checked_by": "checksum",
        }
    ]
    assert row.top_3_miners == [{"hotkey": MINER_HOTKEY, "score": 1.0}]
    audited = await rows(side, ValidationAudit)
    assert [(a.result_id, a.zipcode, a.validation_type, a.issues) for a in audited] == [
        (row.id, "19104", "basic", []),
        (row.id, "07030", "full", ["two are invented"]),
    ]


async def test_an_audit_as_large_as_a_message_is_stored_whole(side: ResultsSide):
    interval = await side.epoch()
    audit = [audit_row(zipcode=f"{10_000 + number}") for number in range(1_500)]
    report = a_report(interval, audit=audit)
    assert 200_000 < len(report.to_bytes()) < 240 * 1024
    assert (await side.report(report)).audit_rows == 1_500


async def test_the_same_request_gets_the_same_answer_and_no_second_row(side: ResultsSide):
    """This also holds if the files have been deleted meanwhile, or another report has replaced this one."""
    interval = await side.epoch()
    one = file(side.scope(interval).prefix + "results.json")
    await asyncio.to_thread(side.put, one.key, CONTENT, metadata(interval))
    report = a_report(interval, one)
    proof = side.proof(report)
    first = await side.desk().report(caller(), proof, report)
    await asyncio.to_thread(side.s3.delete_object, Bucket=side.bucket, Key=one.key)
    assert await side.desk().report(caller(), proof, report) == first
    # The same body with a new signature is the same report.
    assert await side.report(report) == first
    await side.report(a_report(interval))
    assert await side.desk().report(caller(), proof, report) == first
    assert len(await rows(side, ValidatorResult)) == 2


async def test_another_body_under_the_same_signature_is_a_conflict(side: ResultsSide):
    interval = await side.epoch()
    report, other = a_report(interval), a_report(interval, miners_evaluated=13)
    proof = side.proof(report)
    await side.desk().report(caller(), proof, report)
    stolen = type(proof)(proof.request_key, proof.signed_at, side.proof(other).body_sha256)
    with pytest.raises(ServiceError) as caught:
        await side.desk().report(caller(), stolen, other)
    assert caught.value.code is ErrorCode.REQUEST_REUSED


async def test_a_second_report_supersedes_the_first_which_stays_in_the_trail(side: ResultsSide):
    interval = await side.epoch()
    for number in range(3):
        reply = await side.report(a_report(interval, miners_evaluated=number, audit=[audit_row()]))
        assert (reply.in_force, reply.superseded_reports) == (True, number)
    found = sorted(await rows(side, ValidatorResult), key=lambda row: row.received_at)
    assert [row.miners_evaluated for row in found] == [0, 1, 2]
    assert [row.superseded_at for row in found] == [found[1].received_at, found[2].received_at, None]
    assert len(await rows(side, ValidationAudit)) == 3


async def test_reports_that_no_longer_count_make_nothing_slower_to_read(side: ResultsSide):
    """The summary of an epoch counts, for each validator, the audits of one report in time and one late
    report."""
    interval = await side.epoch()
    zipcodes = [audit_row(zipcode=zipcode) for zipcode in ("19101", "19102", "19103")]
    for number in (3, 2, 1):
        await side.report(a_report(interval, audit=zipcodes[:number]))
    await side.move(interval, datetime.now(UTC) - timedelta(days=9))
    counted = select(func.count()).select_from(revealed_audit(interval.epoch_id))
    async with side.owner.connect() as connection:
        assert (await connection.execute(counted)).scalar() == 1
    assert len(await rows(side, ValidationAudit)) == 6


async def test_a_report_that_was_signed_earlier_supersedes_nothing(side: ResultsSide):
    """An overheard and repeated report cannot replace what the validator reported later."""
    interval = await side.epoch()
    old, new = a_report(interval, miners_evaluated=1), a_report(interval, miners_evaluated=2)
    overheard = side.proof(old, seconds_ago=5)
    reply = await side.report(new)
    told = await side.desk().report(caller(), overheard, old)
    assert (told.in_force, told.result_id) == (False, reply.result_id)
    assert [row.miners_evaluated for row in await rows(side, ValidatorResult)] == [2]


async def test_reports_at_the_same_instant_leave_one_in_force_and_lose_none(side: ResultsSide):
    interval = await side.epoch()
    reports = [a_report(interval, miners_evaluated=number, audit=[audit_row()]) for number in range(6)]
    desks = [side.desk(), side.desk()]
    replies = await asyncio.gather(
        *(side.report(report, desk=desks[number % 2]) for number, report in enumerate(reports))
    )
    found = await rows(side, ValidatorResult)
    assert sum(row.superseded_at is None for row in found) == 1
    assert {str(row.id) for row in found} == {reply.result_id for reply in replies if reply.in_force}
    assert len(await rows(side, ValidationAudit)) == len(found)


async def test_twins_of_one_request_at_two_replicas_are_one_report(side: ResultsSide):
    interval = await side.epoch()
    report = a_report(interval)
    proof = side.proof(report)
    desks = [side.desk() for _ in range(4)]
    replies = await asyncio.gather(*(desk.report(caller(), proof, report) for desk in desks))
    assert len(await rows(side, ValidatorResult)) == 1
    assert len({reply.result_id for reply in replies}) == 1


async def test_every_reader_waits_for_an_epoch_that_has_just_started(side: ResultsSide):
    """The epoch was received from NATS; here, the database never opens its row."""
    received, epoch_id = current(FakeClock(START_AT), FIRST), MESSAGE.epoch_id
    readers = [
        Record(side.owner, received).started(epoch_id),
        EpochPools(side.owner, received).page(EpochPoolRequest(epoch_id=epoch_id)),
        EpochResultsReader(side.owner, side.registry, received, shows_own=True).page(
            VALIDATOR_HOTKEY, ConsensusRequest(epoch_id=epoch_id)
        ),
        Assignments(side.owner, FakeClock(START_AT), received).body(epoch_id),
    ]
    for reading in readers:
        with pytest.raises(ServiceError) as refused:
            await reading
        assert refused.value.code is ErrorCode.SERVICE_UNAVAILABLE


async def seen(side: ResultsSide, interval: EpochInterval, hotkey: Hotkey) -> EpochResults:
    reader = EpochResultsReader(side.database, side.registry, current(FakeClock(START_AT)), shows_own=True)
    pages: list[ConsensusReply] = []
    offset: int | None = 0
    while offset is not None:
        request = ConsensusRequest(epoch_id=interval.epoch_id, offset=offset)
        pages.append(await reader.page(hotkey, request))
        offset = pages[-1].next_offset
    return EpochResults.of(pages)


async def took_part(side: ResultsSide, interval: EpochInterval, *hotkeys: str) -> None:
    at = interval.start_at
    submissions = [
        {
            "epoch_id": interval.epoch_id,
            "hotkey": hotkey,
            "status": "COMPLETED",
            "reported_at": at,
            "received_at": at,
            "is_late": False,
            "s3_upload_complete": True,
            "body_sha256": "",
            "request_id": "r",
        }
        for hotkey in hotkeys
    ]
    async with side.owner.begin() as connection:
        await connection.execute(insert(MinerSubmission), submissions)


async def test_three_validators_agree_as_far_as_their_stake_does(side: ResultsSide):
    """Nobody sees another validator's report while reports can still count."""
    interval = await side.epoch()
    top = {VALIDATOR_HOTKEY: [MINER_HOTKEY], OTHERS[0]: [MINER_HOTKEY, STRANGER_HOTKEY], THIRD: [THIRD]}
    audit = [
        audit_row(),
        audit_row(zipcode="07030"),
        audit_row(zipcode="99999"),
        audit_row(minerHotkey=THIRD),
    ]
    for hotkey, miners in top.items():
        for evaluated in (0, len(miners)):
            report = a_report(interval, miners_evaluated=evaluated, top_miners=ranked(miners), audit=audit)
            await side.report(report, hotkey)
    await took_part(side, interval, MINER_HOTKEY, STRANGER_HOTKEY)
    before = await seen(side, interval, THIRD)
    assert (before.revealed, before.consensus, before.signals) == (False, None, ())
    assert [(one.hotkey, one.superseded_reports) for one in before.reports] == [(THIRD, 1)]
    with pytest.raises(ServiceError):
        await seen(side, await side.epoch(timedelta(minutes=90)), THIRD)
    await side.reveal(interval)
    # The report in force afterwards came too late to count.
    late = await side.report(a_report(interval, top_miners=ranked([MINER_HOTKEY])), THIRD)
    assert (late.late, late.in_force) == (True, True)
    told = await seen(side, interval, THIRD)
    assert told.revealed
    assert told.consensus is not None
    stakes = [stake_of(hotkey) for hotkey in VALIDATORS]
    whole = sum(stakes)
    assert [(one.hotkey, one.support) for one in told.consensus.top_miners] == [
        (MINER_HOTKEY, round((stakes[0] + stakes[1]) / whole, 6)),
        (THIRD, round(stakes[2] / whole, 6)),
        (STRANGER_HOTKEY, round(2 / 3 * stakes[1] / whole, 6)),
    ]
    assert told.consensus.outliers == (THIRD,)
    cover = told.consensus.coverage
    assert (cover.validators_reported, cover.validators, cover.stake_share) == (3, 3, 1.0)
    assert (cover.miners_audited, cover.miners) == (1, 2)
    assert (cover.zipcodes_audited, cover.zipcodes) == (2, 5)
    counted = {one.hotkey: one for one in told.reports if one.counted}
    assert set(counted) == set(VALIDATORS)
    assert counted[VALIDATOR_HOTKEY].agreement == round(0.6 * stakes[1] / (stakes[1] + stakes[2]), 6)
    of_third = [(one.counted, one.in_force, one.late) for one in told.reports if one.hotkey == THIRD]
    assert of_third == [(True, False, False), (False, True, True)]


async def test_coverage_is_of_those_who_were_validators_when_the_epoch_ended(side: ResultsSide):
    interval = await side.epoch()
    await side.report(a_report(interval))
    then = side.registry.snapshot
    assert then is not None
    two = [one for one in then.neurons if one.hotkey != THIRD]
    async with side.owner.begin() as connection:
        at = interval.end_at - timedelta(minutes=1)
        await store_snapshot(connection, then.model_copy(update={"taken_at": at, "neurons": tuple(two)}))
        later = {"taken_at": datetime.now(UTC), "block_number": then.block_number + 1}
        await store_snapshot(connection, then.model_copy(update=later))
    await side.reveal(interval)
    told = await seen(side, interval, VALIDATOR_HOTKEY)
    assert told.consensus is not None
    # The epoch was moved to before both readings of the registry, so the oldest one is used.
    assert told.consensus.coverage.validators == 2
    assert told.consensus.coverage.stake_share == round(
        stake_of(VALIDATOR_HOTKEY) / sum(stake_of(one.hotkey) for one in two), 6
    )


async def test_stake_that_moves_within_an_epoch_counts_once(side: ResultsSide):
    """The first validator reports, its stake moves to the second, and that one reports too."""
    interval = await side.epoch()
    await side.report(a_report(interval, top_miners=ranked([MINER_HOTKEY])))
    then = side.registry.snapshot
    assert then is not None
    moved = stake_of(VALIDATOR_HOTKEY)
    holds = {VALIDATOR_HOTKEY: 0, OTHERS[0]: moved + stake_of(OTHERS[0]), THIRD: stake_of(THIRD)}
    neurons = tuple(
        one.model_copy(update={"alpha_stake_rao": holds[Hotkey(one.hotkey)]}) for one in then.neurons
    )
    at_end = then.model_copy(
        update={
            "taken_at": interval.end_at - timedelta(minutes=1),
            "block_number": then.block_number + 1,
            "neurons": neurons,
        }
    )
    async with side.owner.begin() as connection:
        await store_snapshot(connection, at_end)
    side.registry.adopt(at_end)
    await side.report(a_report(interval, top_miners=ranked([MINER_HOTKEY])), OTHERS[0])
    await side.report(a_report(interval, top_miners=ranked([STRANGER_HOTKEY])), THIRD)
    await side.reveal(interval)
    told = await seen(side, interval, THIRD)
    assert told.consensus is not None
    whole = sum(holds.values())
    assert [(one.hotkey, one.support) for one in told.consensus.top_miners] == [
        (MINER_HOTKEY, round(holds[OTHERS[0]] / whole, 6)),
        (STRANGER_HOTKEY, round(holds[THIRD] / whole, 6)),
    ]
    assert told.consensus.coverage.stake_share == 1.0
    assert {one.hotkey: one.alpha_stake_rao for one in told.reports} == holds


async def test_more_signals_than_a_message_holds_come_page_by_page(side: ResultsSide):
    interval = await side.epoch()
    await side.report(a_report(interval))
    at, details = interval.end_at, {"zipcodes": ["x" * 80] * 10}
    many = [
        {
            "epoch_id": interval.epoch_id,
            "hotkey": f"{n:05}",
            "kind": "x",
            "details": details,
            "computed_at": at,
        }
        for n in range(400)
    ]
    async with side.owner.begin() as connection:
        await connection.execute(insert(MinerSignal), many)
    assert (await seen(side, interval, VALIDATOR_HOTKEY)).signals == ()
    await side.reveal(interval)
    reader = EpochResultsReader(side.database, side.registry, current(FakeClock(START_AT)), shows_own=True)
    first = await reader.page(VALIDATOR_HOTKEY, ConsensusRequest(epoch_id=interval.epoch_id))
    assert first.next_offset is not None
    assert len(first.to_bytes()) < 200_000
    told = await seen(side, interval, VALIDATOR_HOTKEY)
    assert [one.hotkey for one in told.signals] == [f"{n:05}" for n in range(400)]
    assert len(told.reports) == 1
