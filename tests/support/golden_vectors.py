"""Contains the test vectors of docs/protocol.md."""

import json
from pathlib import Path
from typing import Any

PROTOCOL = Path(__file__).parents[2] / "docs" / "protocol.md"


def vectors(heading: str) -> dict[str, Any]:
    section = PROTOCOL.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    read: dict[str, Any] = json.loads(section.split("```json\n")[1].split("```")[0])
    return read
