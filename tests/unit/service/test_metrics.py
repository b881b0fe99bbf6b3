"""What the four processes measure: bounded labels, units in the names, and a page that has it all."""

from collections.abc import Iterable
from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from broker_service.callout.connections import Connections
from broker_service.callout.metrics import CalloutMetrics
from broker_service.responder.metrics import ResponderMetrics
from http_bridge.metrics import BridgeMetrics
from schedulers.metrics import SchedulerMetrics
from service.metrics import CurrentEpochMetrics, RegistryMetrics
from service.process_status import Vitals
from tests.contract.documents import epoch_message
from tests.support.fakes import FakeClock, FakeCurrent, registry
from zipcast.protocol.errors import ErrorCode

PAGE = Path(__file__).parents[3] / "docs" / "operations.md"
LABELS = {"kind", "level", "user", "verb", "door", "result", "reason", "route", "status", "late", "by"}


def vitals_of(process: str) -> Vitals:
    """The metrics of a process, put together as it does itself."""
    vitals = Vitals(process, FakeClock())
    if process == "schedulers":
        SchedulerMetrics(vitals.registry)
        return vitals
    RegistryMetrics(vitals.registry, registry(), vitals.clock)
    if process == "callout":
        CalloutMetrics(vitals.registry).measure(vitals.registry, Connections(per_hotkey=10))
        return vitals
    CurrentEpochMetrics(vitals.registry, FakeCurrent(epoch_message()))  # type: ignore[arg-type]
    (ResponderMetrics if process == "responder" else BridgeMetrics)(vitals.registry)
    return vitals


PROCESSES = ("schedulers", "responder", "callout", "http_bridge")


def ours(process: str) -> list[tuple[Metric, tuple[str, ...]]]:
    """Our metrics of a process, each with its labels."""
    metrics = vitals_of(process).registry
    return [
        (metric, tuple(collector._labelnames))
        for collector in list(metrics._collector_to_names)
        for metric in collector.collect()
        if metric.name.startswith("zipcast_")
    ]


def rows(processes: Iterable[str]) -> list[str]:
    """The page's table without its last column, from the code."""
    found: dict[str, str] = {}
    held: dict[str, list[str]] = {}
    for process in processes:
        for metric, labels in ours(process):
            name = f"{metric.name}_total" if metric.type == "counter" else metric.name
            held.setdefault(name, []).append(process)
            told = ", ".join(labels)
            found[name] = f"| `{name}` | {metric.type} | {told} | {metric.documentation} |"
    return [f"{row} {who(held[name])} |" for name, row in sorted(found.items())]


def who(processes: list[str]) -> str:
    return "all" if set(processes) == set(PROCESSES) else ", ".join(processes)


def test_the_page_holds_every_metric_as_the_code_describes_it_and_says_when_to_alarm() -> None:
    table = [line for line in PAGE.read_text().splitlines() if line.startswith("| `zipcast_")]
    assert sorted(line.rpartition("|")[0].rpartition("|")[0] + "|" for line in table) == rows(PROCESSES)
    assert all(line.split("|")[-2].strip() for line in table)


@pytest.mark.parametrize("process", PROCESSES)
def test_labels_are_few_and_known_and_durations_are_seconds(process: str) -> None:
    for metric, labels in ours(process):
        assert set(labels) <= LABELS, metric.name
        assert len(metric.documentation) > 10
        if metric.type == "histogram":
            assert metric.name.endswith("_seconds")


@pytest.mark.parametrize("process", PROCESSES)
def test_what_is_shown_is_read_by_prometheus(process: str) -> None:
    families = {f.name for f in text_string_to_metric_families(vitals_of(process).exposition().decode())}
    assert {metric.name for metric, _ in ours(process)} <= families
    assert "process_resident_memory_bytes" in families


def test_a_count_in_health_is_the_sum_over_the_labels() -> None:
    vitals = Vitals("responder", FakeClock())
    metrics = ResponderMetrics(vitals.registry)
    metrics.request("s3.miner-upload", "nats", "ok", 0.01)
    metrics.request("s3.miner-upload", "bridge", ErrorCode.EPOCH_NOT_OPEN, 0.01)
    counts = vitals.health().counts
    assert counts["requests"] == 2
    assert counts["hostile_replies_dropped"] == 0
    assert 'result="epoch_not_open",verb="s3.miner-upload"} 1.0' in vitals.exposition().decode()
