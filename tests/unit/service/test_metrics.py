"""Tests the metrics of the four processes: limited labels, units in the names, and a page that has all of
them."""

from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from broker_service.responder.metrics import ResponderMetrics
from operator_cli.metrics_page import PROCESSES, described, registry_of, render
from service.process_status import ProcessStatus
from tests.support.fakes import FakeClock
from zipcast.protocol.errors import ErrorCode

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"
LABELS = {
    *("beacon", "by", "door", "kind", "late", "level", "pool", "reason", "reported", "result", "route"),
    *("status", "user", "verb"),
}


def test_the_page_is_what_the_code_says() -> None:
    assert PAGE.read_text() == render()


@pytest.mark.parametrize("process", PROCESSES)
def test_labels_are_few_and_known_and_durations_are_seconds(process: str) -> None:
    for name, kind, labels, meaning in described(process):
        assert set(labels) <= LABELS, name
        assert len(meaning) > 10
        if kind == "histogram":
            assert name.endswith(("_seconds", "_rows"))


@pytest.mark.parametrize("process", PROCESSES)
def test_what_is_shown_is_read_by_prometheus(process: str) -> None:
    exposition = generate_latest(registry_of(process)).decode()
    families = {family.name for family in text_string_to_metric_families(exposition)}
    assert {name.removesuffix("_total") for name, *_ in described(process)} <= families
    assert "process_resident_memory_bytes" in families


def test_a_count_in_health_is_the_sum_over_the_labels() -> None:
    process_status = ProcessStatus("responder", FakeClock())
    metrics = ResponderMetrics(process_status.registry)
    metrics.request("s3.miner-upload", "nats", "ok", 0.01)
    metrics.request("s3.miner-upload", "bridge", ErrorCode.EPOCH_NOT_OPEN, 0.01)
    counts = process_status.health().counts
    assert counts["requests"] == 2
    assert counts["hostile_replies_dropped"] == 0
    assert 'result="epoch_not_open",verb="s3.miner-upload"} 1.0' in process_status.exposition().decode()
