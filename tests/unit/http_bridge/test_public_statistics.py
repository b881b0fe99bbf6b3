"""Tests that `stats` returns the running epoch from memory if the database is unavailable at its start."""

from dataclasses import replace
from datetime import timedelta

from http_bridge.statistics import PublicStatistics, statistics_reply
from service.current_epoch import CurrentEpoch
from storage.database.statistics import Statistics, ZipcodeCounts
from tests.contract.documents import epoch_message
from tests.support.fakes import SIGNER, SIGNER_HOTKEY, START_AT, FakeClock
from zipcast.protocol.envelope import Trust, seal
from zipcast.protocol.messages.health import HealthStatus

NOTHING_NEW = Statistics(zipcodes=ZipcodeCounts(0, 0, 0, {}, {}), rules=None, recent=())


def test_the_epoch_in_memory_counts_where_the_record_has_none() -> None:
    clock = FakeClock(START_AT + timedelta(hours=1))
    current = CurrentEpoch(Trust(frozenset({SIGNER_HOTKEY}), "test", 46), clock, database=None)  # type: ignore[arg-type]
    statistics = PublicStatistics(None, clock, current, NOTHING_NEW)  # type: ignore[arg-type]
    assert statistics.held() is None
    message = epoch_message()
    current.offer(seal(message, SIGNER))
    held = statistics.held()
    assert held is not None
    told = statistics_reply(NOTHING_NEW, clock.now(), held)
    assert told.system_status is HealthStatus.OK
    assert told.epoch_status.current_epoch is not None
    assert told.epoch_status.current_epoch.id == message.epoch_id
    assert told.epoch_status.current_epoch.actual_expected == message.metadata.total_expected_listings
    assert told.epoch_status.timing.time_until_epoch_end == 3 * 3600


def test_the_record_counts_where_it_has_the_epoch() -> None:
    clock = FakeClock(START_AT + timedelta(hours=1))
    current = CurrentEpoch(Trust(frozenset({SIGNER_HOTKEY}), "test", 46), clock, database=None)  # type: ignore[arg-type]
    current.offer(seal(epoch_message(), SIGNER))
    held = PublicStatistics(None, clock, current).held()  # type: ignore[arg-type]
    assert held is not None
    recorded = replace(held, zipcode_count=7)
    told = statistics_reply(replace(NOTHING_NEW, recent=(recorded,)), clock.now(), held)
    assert told.epoch_status.current_epoch is not None
    assert told.epoch_status.current_epoch.zipcode_count == 7
