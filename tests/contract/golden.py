"""The committed files, and writing them anew: `python -m tests.contract.golden`.

A file holds its document indented, for reading; key order is kept. Rewrite after a change that is
meant, and read the difference: clients in the field will meet it.
"""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

from tests.contract.documents import MIDWAY, SIGNATURE, documents
from tests.unit.fakes import MINER_HOTKEY

FOLDER = Path(__file__).parent / "golden"
EXAMPLES = Path(__file__).parents[2] / "http_bridge" / "static" / "examples.json"
"""The same documents in one file, for the description that the bridge serves."""


def readable(document: bytes) -> str:
    return json.dumps(json.loads(document), indent=2, ensure_ascii=False) + "\n"


def examples(documents: Mapping[str, bytes]) -> str:
    """What `EXAMPLES` holds: with an identity for requests, which sign nothing themselves here."""
    identity = {"hotkey": MINER_HOTKEY, "timestamp": int(MIDWAY.timestamp()), "signature": SIGNATURE}
    parsed = {name: json.loads(document) for name, document in documents.items()}
    return json.dumps({"identity": identity, **parsed}, indent=1, ensure_ascii=False) + "\n"


async def rewrite() -> None:
    FOLDER.mkdir(exist_ok=True)
    for stale in FOLDER.glob("*.json"):
        stale.unlink()
    made = {name: document async for name, document in documents()}
    for name, document in made.items():
        (FOLDER / f"{name}.json").write_text(readable(document))
    EXAMPLES.write_text(examples(made))


if __name__ == "__main__":
    asyncio.run(rewrite())
