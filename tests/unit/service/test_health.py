"""Tests how the health of the whole follows from its parts, that of the scheduler from the database, and that
of the registry from its age."""

from dataclasses import replace
from datetime import timedelta

import pytest

from http_bridge.health import broker, metagraph, overall
from service.registry import RegistryView
from storage.database.epoch_health import EpochsNow, fault
from tests.support.fakes import START_AT, registry
from zipcast.protocol.calendar import EpochInterval
from zipcast.protocol.messages.health import HealthStatus, LastError, ProcessHealth, ServiceHealth

END_AT = START_AT + timedelta(hours=4)
GOOD = EpochsNow(
    START_AT + timedelta(hours=1), EpochInterval(START_AT, END_AT), is_published=True, next_is_prepared=False
)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, None),
        ({"is_published": False}, "the newest epoch is not published"),
        ({"is_published": False, "now": START_AT + timedelta(seconds=9)}, None),
        ({"now": END_AT - timedelta(seconds=291)}, None),
        ({"now": END_AT - timedelta(seconds=290)}, "the next epoch is not prepared"),
        ({"now": END_AT - timedelta(seconds=290), "next_is_prepared": True}, None),
        ({"now": END_AT + timedelta(seconds=9), "next_is_prepared": True}, None),
        ({"now": END_AT + timedelta(seconds=10), "next_is_prepared": True}, "no epoch is running"),
    ],
)
def test_the_scheduler_is_judged_by_what_the_record_holds_in_time(change: dict, expected: str | None) -> None:
    assert fault(replace(GOOD, **change)) == expected


def test_before_the_first_epoch_that_is_said() -> None:
    assert fault(None) == "no epoch has started yet"


@pytest.mark.parametrize(
    ("age", "status"),
    [
        (timedelta(minutes=15), HealthStatus.OK),
        (timedelta(minutes=16), HealthStatus.DEGRADED),
        (timedelta(hours=25), HealthStatus.DEGRADED),
    ],
)
def test_an_old_registry_degrades(age: timedelta, status: HealthStatus) -> None:
    assert metagraph(registry(), START_AT + age).status is status


def test_a_registry_past_its_greatest_age_is_said_to_be_so() -> None:
    view = registry()
    view.max_age = timedelta(minutes=1)
    assert metagraph(view, START_AT + timedelta(minutes=1)).status is HealthStatus.OK
    assert metagraph(view, START_AT + timedelta(minutes=2)).reason


def test_no_registry_is_unhealthy() -> None:
    assert metagraph(RegistryView("test", 46, 1), START_AT).status is HealthStatus.UNHEALTHY


def services(**faring: HealthStatus) -> dict[str, ServiceHealth]:
    names = ("database", "broker", "metagraph", "assignments")
    return {
        name: ServiceHealth(
            status=faring.get(name, HealthStatus.OK), latency_ms=1, last_error=None, since=START_AT
        )
        for name in names
    }


def test_only_what_current_needs_makes_the_whole_unhealthy() -> None:
    bad = HealthStatus.UNHEALTHY
    assert overall(services()) is HealthStatus.OK
    assert overall(services(database=bad, broker=bad)) is HealthStatus.DEGRADED
    assert overall(services(metagraph=HealthStatus.DEGRADED)) is HealthStatus.DEGRADED
    assert overall(services(assignments=bad)) is bad
    assert overall(services(metagraph=bad)) is bad


def responder(**told: object) -> ProcessHealth:
    well = {
        "process": "responder",
        "status": HealthStatus.OK,
        "uptime": 60.9,
        "counts": {},
        "connections": {},
    }
    return ProcessHealth.model_validate({**well, "problems": {}, "last_error": None, **told})


def test_the_responder_is_shown_with_what_it_logged() -> None:
    quiet = broker(responder())
    assert (quiet.status, quiet.reason, quiet.note) == (
        HealthStatus.OK,
        None,
        "0 warnings and errors in 60 s",
    )
    error = LastError(action="request_failed", at=START_AT, error="KeyError")
    failed = broker(responder(problems={"nats_error": 2, "request_failed": 1}, last_error=error))
    assert failed.status is HealthStatus.OK
    assert failed.reason == "request_failed at 2026-11-22T04:00:00Z (KeyError)"
    assert failed.note == "3 warnings and errors in 60 s"
    down = broker(responder(status=HealthStatus.DEGRADED, last_error=error))
    assert (down.status, down.reason) == (
        HealthStatus.DEGRADED,
        "a NATS connection of the responder is down",
    )
