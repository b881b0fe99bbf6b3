"""Tests the content of log lines, and the counts of lines."""

import json
import logging
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from io import StringIO
from threading import Thread

import pytest
import structlog
from structlog.typing import EventDict

from service import logs
from service.process_status import ProcessStatus
from service.token_buckets import Rate
from tests.support.fakes import START_AT, FakeClock

SECRET = "postgresql://zipcast:hunter2@192.0.2.1/zipcast"


@pytest.fixture
def process_status() -> ProcessStatus:
    return ProcessStatus("responder", FakeClock())


@pytest.fixture
def written(process_status: ProcessStatus) -> Iterator[StringIO]:
    """Return what is written to standard output."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    with redirect_stdout(StringIO()) as written:
        logs.configure("responder", "INFO", process_status.log_counts)
    yield written
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def lines(written: StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in written.getvalue().splitlines()]


def fail(error: Exception) -> None:
    try:
        raise error
    except (KeyError, ValueError):
        logs.logger().exception("request_failed")


def test_a_line_is_one_json_object_that_says_first_what_a_person_looks_for(process_status, written) -> None:
    logs.logger().info("epoch_published", sequence=7, epoch_id="e")
    (line,) = lines(written)
    assert list(line)[:5] == ["at", "level", "process", "action", "correlation_id"]
    assert (line["action"], line["process"], line["correlation_id"]) == ("epoch_published", "responder", "e")


def test_a_librarys_line_has_one_action_and_its_own_words_beside_it(process_status, written) -> None:
    pool = logging.getLogger("botocore.pool")
    thread = Thread(target=lambda: pool.warning("pool of %s is full", SECRET))
    thread.start()
    thread.join()
    (line,) = lines(written)
    assert line["process"] == "responder"
    assert (line["action"], line["logger"], line["level"]) == ("library", "botocore.pool", "warning")
    assert line["message"] == f"pool of {SECRET} is full"
    assert process_status.log_counts.problems == {"library": 1}


def test_lines_are_counted_by_level_and_problems_by_action(process_status, written) -> None:
    log = logs.logger()
    log.debug("unseen")
    for action in ("ready", "ready", "stopped"):
        log.info(action)
    log.warning("nats_disconnected")
    fail(KeyError("x"))
    assert process_status.log_counts.problems == {"nats_disconnected": 1, "request_failed": 1}
    counted = [
        line for line in process_status.exposition().decode().splitlines() if "log_lines_total{" in line
    ]
    assert counted == [
        'zipcast_log_lines_total{level="info"} 3.0',
        'zipcast_log_lines_total{level="warning"} 1.0',
        'zipcast_log_lines_total{level="error"} 1.0',
    ]
    assert len(lines(written)) == 5


def last_error(process_status: ProcessStatus) -> tuple[str, str | None]:
    last = process_status.health().last_error
    assert last is not None
    assert last.at == START_AT
    return last.action, last.error


def test_the_last_error_is_an_action_and_a_type_and_never_a_message(process_status, written) -> None:
    assert process_status.health().last_error is None
    logs.logger().warning("nats_error", error="TimeoutError")
    assert process_status.health().last_error is None
    fail(ValueError(SECRET))
    assert last_error(process_status) == ("request_failed", "ValueError")
    logs.logger().error("task_ended", exc_info=RuntimeError(SECRET))
    assert last_error(process_status) == ("task_ended", "RuntimeError")
    logs.logger().error("registry_not_published", error="NoServersError", reason=SECRET)
    assert last_error(process_status) == ("registry_not_published", "NoServersError")
    logs.logger().error("epoch_refused", error=SECRET)
    assert last_error(process_status) == ("epoch_refused", None)
    logging.getLogger("uvicorn.error").error(SECRET)
    assert last_error(process_status) == ("library", None)
    shown = process_status.exposition() + process_status.health().to_bytes()
    assert b"hunter2" not in shown
    assert b"192.0.2.1" not in shown


def test_a_flood_of_one_action_is_sampled_and_others_are_written() -> None:
    now = 0.0
    sampler = logs.LineSampler(lambda: now)

    def written(action: str, times: int) -> list[EventDict]:
        found = []
        for _ in range(times):
            with suppress(structlog.DropEvent):
                found.append(sampler(None, "info", {"event": action, "level": "info"}))
        return found

    assert len(written("request_refused", 10_000)) == logs.LINES.burst
    assert len(written("epoch_held", 1)) == 1
    now = 1.0
    again = written("request_refused", 10_000)
    assert len(again) == logs.LINES.per_second
    assert again[0]["lines_suppressed"] == 10_000 - logs.LINES.burst
    assert "lines_suppressed" not in again[1]


def test_sampled_lines_are_counted_all_the_same(process_status, monkeypatch, request) -> None:
    monkeypatch.setattr(logs, "LINES", Rate(10, 0))
    written = request.getfixturevalue("written")
    for _ in range(50):
        logs.logger().warning("nats_error")
        logging.getLogger("nats").warning("slow")
    kept = [line["action"] for line in lines(written)]
    assert (kept.count("nats_error"), kept.count("library")) == (10, 10)
    assert process_status.log_counts.problems["nats_error"] == 50
