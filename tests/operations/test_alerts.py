"""Tests the alert rules and boards: each alert has a runbook and can fire, and each query names metrics that
exist."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from operator_cli.metrics_page import PROCESSES, described
from tests.support.alert_files import ALERTS, BOARDS, RECORDED, REPOSITORY, RULES, queries
from tests.support.firing_alerts import FIRING, MINUTES

# The exporter's metrics are those of its version in docker-compose.yml; the others are Prometheus's own.
OTHERS = {
    *("gnatsd_healthz_status_value", "gnatsd_varz_connections", "gnatsd_varz_slow_consumers"),
    *("gnatsd_varz_mem", "gnatsd_varz_in_msgs", "gnatsd_varz_out_msgs", "gnatsd_varz_in_bytes"),
    *("gnatsd_varz_out_bytes", "jetstream_server_total_message_bytes", "jetstream_server_max_storage"),
    *("process_start_time_seconds", "process_resident_memory_bytes", "process_open_fds", "process_max_fds"),
    "process_cpu_seconds_total",
}
NAMED = re.compile(r"\b(?:zipcast|gnatsd|jetstream|process)[a-z0-9_:]+")


def known_metrics() -> set[str]:
    names = OTHERS | RECORDED.keys()
    for process in PROCESSES:
        for name, kind, *_ in described(process):
            names |= (
                {f"{name}_{part}" for part in ("bucket", "count", "sum")} if kind == "histogram" else {name}
            )
    return names


@pytest.mark.parametrize("query", queries())
def test_each_query_names_metrics_that_exist(query: str) -> None:
    named = set(NAMED.findall(queries()[query]))
    assert named or "up" in queries()[query] or "ALERTS" in queries()[query]
    assert named <= known_metrics()


def test_each_alert_has_a_runbook_and_a_severity() -> None:
    page = (REPOSITORY / "docs" / "operations" / "alerts.md").read_text()
    headings = re.findall(r"^### (\w+)$", page, re.M)
    assert sorted(headings) == sorted(ALERTS)
    for name, rule in ALERTS.items():
        assert rule["annotations"]["runbook"] == f"docs/operations/alerts.md#{name.lower()}"
        assert rule["annotations"]["summary"].endswith(".")
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}


def test_boards_have_their_own_ids_and_read_the_provisioned_source() -> None:
    provisioned = YAML(typ="safe").load(
        (REPOSITORY / "deploy/grafana/provisioning/datasources/prometheus.yml").read_text()
    )
    (source,) = [one["uid"] for one in provisioned["datasources"]]
    boards = [json.loads(board.read_text()) for board in BOARDS]
    assert [board["uid"] for board in boards] == ["epochs", "infrastructure", "requests"]
    for board in boards:
        assert {panel["datasource"]["uid"] for panel in board["panels"]} == {source}
        assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
        assert {panel["type"] for panel in board["panels"]} <= {"stat", "timeseries"}


def test_there_is_a_case_for_each_alert() -> None:
    assert FIRING.keys() == ALERTS.keys()


@pytest.mark.long
def test_promtool_accepts_rules_and_configuration() -> None:
    for kind, file in (("rules", RULES), ("config", RULES.with_name("prometheus.yml"))):
        done = subprocess.run(["promtool", "check", kind, str(file)], capture_output=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.long
def test_each_alert_fires(tmp_path: Path) -> None:
    cases = [
        {
            "interval": "1m",
            "input_series": [{"series": series, "values": values} for series, values in firing.items()],
            "promql_expr_test": [
                {
                    "expr": f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) > bool 0',
                    "eval_time": f"{MINUTES}m",
                    "exp_samples": [{"value": 1}],
                }
            ],
        }
        for alert, firing in FIRING.items()
    ]
    file = tmp_path / "cases.yml"
    with file.open("w") as text:
        YAML(typ="safe").dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": cases}, text)
    done = subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, check=False)
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
