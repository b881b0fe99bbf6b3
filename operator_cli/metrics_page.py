"""Writes docs/metrics.md from the code and the alert rules:
`python -m operator_cli.metrics_page > docs/metrics.md`.

The descriptions are the help texts of the metrics; a test compares the page with the result.
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client import CollectorRegistry

from broker_service.callout.connections import Connections
from broker_service.callout.metrics import CalloutMetrics
from broker_service.responder.metrics import ResponderMetrics
from http_bridge.metrics import BridgeMetrics
from schedulers.metrics import SchedulerMetrics
from service.metrics import CurrentEpochMetrics, RegistryMetrics
from service.process_status import ProcessStatus
from service.registry import RegistryView
from zipcast.clock import SystemClock

RULES = Path(__file__).parent.parent / "deploy" / "prometheus" / "rules.yml"
PROCESSES = ("schedulers", "responder", "callout", "http_bridge")
_ALERT = re.compile(r"- alert: (\w+)\n\s+expr: '(.*)'\n")
_HEADER = """\
# Metrics

`python -m operator_cli.metrics_page > docs/metrics.md` writes this page from the code and from
`deploy/prometheus/rules.yml`.

Each process shows its metrics at `/metrics` of its internal listener, in the text format of Prometheus.
Counters start at zero with the process. All processes also have `process_*` (memory, processor time, open
files, start time) and `python_info`. Metrics never name a hotkey, and of an epoch that has not started, they
show only that it is prepared.

| metric | kind | labels | meaning | processes | alerts |
|---|---|---|---|---|---|
"""


@dataclass(slots=True)
class _Row:
    kind: str
    labels: tuple[str, ...]
    meaning: str
    processes: list[str] = field(default_factory=list)


def registry_of(process: str) -> CollectorRegistry:
    """Return all metrics of a process, without values."""
    clock = SystemClock()
    registry = ProcessStatus(process, clock).registry
    if process == "schedulers":
        SchedulerMetrics(registry)
        return registry
    RegistryMetrics(registry, RegistryView("local", 0, 0), clock)
    if process == "callout":
        CalloutMetrics(registry).measure(registry, Connections(1))
        return registry
    CurrentEpochMetrics(registry, lambda: None)
    (ResponderMetrics if process == "responder" else BridgeMetrics)(registry)
    return registry


def described(process: str) -> Iterator[tuple[str, str, tuple[str, ...], str]]:
    """Yield name, kind, labels and meaning of each of our metrics of a process."""
    registry = registry_of(process)
    for collector in list(registry._collector_to_names):
        for metric in collector.collect():
            if metric.name.startswith("zipcast_"):
                name = f"{metric.name}_total" if metric.type == "counter" else metric.name
                yield name, metric.type, tuple(getattr(collector, "_labelnames", ())), metric.documentation


def render() -> str:
    """Return the text of the page."""
    rows: dict[str, _Row] = {}
    for process in PROCESSES:
        for name, kind, labels, meaning in described(process):
            rows.setdefault(name, _Row(kind, labels, meaning)).processes.append(process)
    alerts = _ALERT.findall(RULES.read_text())
    lines = [
        f"| `{name}` | {row.kind} | {', '.join(row.labels)} | {row.meaning} | {_processes(row)} | "
        f"{_links(name, alerts)} |\n"
        for name, row in sorted(rows.items())
    ]
    return _HEADER + "".join(lines)


def _processes(row: _Row) -> str:
    return "all" if len(row.processes) == len(PROCESSES) else ", ".join(row.processes)


def _links(name: str, alerts: list[tuple[str, str]]) -> str:
    used = re.compile(rf"\b{name}(_bucket|_count|_sum)?\b")
    return ", ".join(
        f"[{alert}](operations/alerts.md#{alert.lower()})" for alert, expr in alerts if used.search(expr)
    )


if __name__ == "__main__":
    sys.stdout.write(render())
