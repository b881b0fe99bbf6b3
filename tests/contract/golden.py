"""The committed files, and writing them anew: `python -m tests.contract.golden`.

A file holds its document indented, for reading; key order is kept. Rewrite after a change that is
meant, and read the difference: clients in the field will meet it.
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
