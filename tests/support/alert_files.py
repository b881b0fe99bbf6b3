"""Reads the alert rules and Grafana's boards of deploy/."""

import json
from pathlib import Path

from ruamel.yaml import YAML

REPOSITORY = Path(__file__).resolve().parents[2]
RULES = REPOSITORY / "deploy" / "prometheus" / "rules.yml"
GROUPS = YAML(typ="safe").load(RULES.read_text())["groups"]
ALERTS = {rule["alert"]: rule for group in GROUPS for rule in group["rules"] if "alert" in rule}
RECORDED = {rule["record"]: rule for group in GROUPS for rule in group["rules"] if "record" in rule}
BOARDS = sorted((REPOSITORY / "deploy" / "grafana" / "boards").glob("*.json"))


def board_queries() -> dict[str, str]:
    """Return all queries of the boards, by board, panel and number."""
    return {
        f"{board.stem}: {panel['title']}: {target['refId']}": target["expr"]
        for board in BOARDS
        for panel in json.loads(board.read_text())["panels"]
        for target in panel["targets"]
    }


def queries() -> dict[str, str]:
    """Return all queries of rules and boards, by name."""
    rules = {name: rule["expr"] for name, rule in (ALERTS | RECORDED).items()}
    return rules | board_queries()
