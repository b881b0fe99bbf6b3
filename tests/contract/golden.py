"""Reads and writes the golden files: `python -m tests.contract.golden` writes them.

A golden file has its document with indentation, so that people can read it, and keeps the order of keys.
Write the files again after an intended change, and read the difference, because clients depend on it.
"""

import asyncio
import json
from pathlib import Path
from typing import Any

from tests.contract.documents import documents

FOLDER = Path(__file__).parent / "golden"


def readable(document: bytes) -> str:
    return json.dumps(json.loads(document), indent=2, ensure_ascii=False) + "\n"


def golden(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text())


async def rewrite() -> None:
    FOLDER.mkdir(exist_ok=True)
    for stale in FOLDER.glob("*.json"):
        stale.unlink()
    made = {name: document async for name, document in documents()}
    for name, document in made.items():
        (FOLDER / f"{name}.json").write_text(readable(document))


if __name__ == "__main__":
    asyncio.run(rewrite())
