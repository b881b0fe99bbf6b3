"""Records the replies of each endpoint of a running stack while a part is down, part by part.

`python -m tests.faults.chaos --write docs/reliability.md` takes each part down, sends a request to every
endpoint, brings the part up, and repeats the requests until all replies are as before. Meanwhile a client
requests `current` and `stats` all the time. The replies become the table of the page, and a test compares the
table with a new run.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path

import httpx

from devstack.options import StackOptions
from devstack.stack import Stack
from tests.support.people import coldkey, keypair, legacy
from tests.support.processes import GENEROUS
from zipcast.client.local_stack import Ready
from zipcast.protocol import btauth, signed_texts

PARTS = ("nats", "responder", "callout", "schedulers", "postgres", "object_store")
EPOCH_SECONDS = 3600
SETTLED_SECONDS = 40.0
BEGIN, END = "<!-- chaos: begin -->", "<!-- chaos: end -->"
Table = dict[str, dict[str, str]]
"""The reply for each endpoint and each part that is down. With `all up`, no part is down."""
ALL_UP = "all up"


def endpoints(ready: Ready, epoch_id: str, nonce: str) -> dict[str, Callable[[], httpx.Request]]:
    """Return a function for each endpoint that makes a request signed at that moment."""
    miner, validator = keypair(ready, "miner-1"), keypair(ready, "validator-1")
    owner = coldkey(ready, "miner-1")
    moments = count()

    def signed(signer, text: str, **more: object) -> dict[str, object]:  # type: ignore[no-untyped-def]
        # Each request has another second, so that none is a repetition of another.
        return {**legacy(signer, text, seconds_ago=next(moments) % 200), **more}

    def get(path: str, query: Mapping[str, object] | None = None) -> httpx.Request:
        return httpx.Request("GET", ready.http + path, params=query)  # type: ignore[arg-type]

    def post(path: str, body: Mapping[str, object]) -> httpx.Request:
        return httpx.Request("POST", ready.http + path, json=dict(body))

    def btauth_get(path: str) -> httpx.Request:
        headers = btauth.sign(
            validator, method="GET", path=path, body=b"", receiver=ready.signer, nonce_ns=time.time_ns()
        )
        return httpx.Request("GET", ready.http + path, headers=headers)

    api = "/api/v1/zipcode-assignments"
    report = {"epochId": epoch_id, "nonce": nonce, "status": "IN_PROGRESS"}
    status_text = f"zipcode:status:{epoch_id}:{{timestamp}}"
    folder_text = f"s3:data:access:{owner}:{miner.ss58_address}:{{timestamp}}"
    miner_text = f"s3:validator:miner:{miner.ss58_address}:{{timestamp}}"
    return {
        "current": lambda: get(f"{api}/current", signed(miner, signed_texts.CURRENT_COMMITMENT)),
        "epoch/{id}": lambda: get(
            f"{api}/epoch/{epoch_id}", signed(validator, f"zipcode:validation:{epoch_id}:{{timestamp}}")
        ),
        "status": lambda: post(f"{api}/status", signed(miner, status_text, **report)),
        "stats": lambda: get(f"{api}/stats"),
        "validator-upload": lambda: post(
            "/api/v1/s3-access/validator-upload",
            signed(validator, signed_texts.VALIDATOR_UPLOAD_COMMITMENT, epochId=epoch_id),
        ),
        "/get-folder-access": lambda: post("/get-folder-access", signed(miner, folder_text, coldkey=owner)),
        "/get-validator-access": lambda: post(
            "/get-validator-access", signed(validator, signed_texts.VALIDATOR_ACCESS_COMMITMENT)
        ),
        "/get-miner-specific-access": lambda: post(
            "/get-miner-specific-access", signed(validator, miner_text, miner_hotkey=miner.ss58_address)
        ),
        "epochs": lambda: get("/api/v1/epochs"),
        "epochs/{id}/pool": lambda: btauth_get(f"/api/v1/epochs/{epoch_id}/pool"),
        "validation-results/{id}": lambda: btauth_get(f"/api/v1/validation-results/{epoch_id}"),
        "/rate-limits": lambda: get("/rate-limits"),
        "/health/live": lambda: get("/health/live"),
        "/health/ready": lambda: get("/health/ready"),
        "/healthcheck": lambda: get("/healthcheck"),
    }


async def answered(http: httpx.AsyncClient, request: httpx.Request) -> str:
    """Return the status, and the error if there is one. For `/healthcheck`, return its status too."""
    answer = await http.send(request)
    told = answer.json()
    word = told.get("error") or (told.get("status") if request.url.path == "/healthcheck" else None)
    if answer.status_code in {429, 503} and "error" in told:
        assert answer.headers.get("retry-after"), answer.text
    return str(answer.status_code) if word is None else f"{answer.status_code} {word}"


class Load:
    """A client that sends requests all the time. `seen` has every status and error that it got."""

    def __init__(self, http: httpx.AsyncClient, requests: list[Callable[[], httpx.Request]]) -> None:
        self.seen: Counter[str] = Counter()
        self._http, self._requests = http, requests

    async def run(self) -> None:
        while True:
            for make in self._requests:
                self.seen[await answered(self._http, make())] += 1
            await asyncio.sleep(0.1)


async def play(stack: Stack, tell: Callable[[str], None]) -> tuple[Table, Counter[str]]:
    ready = stack.ready
    async with httpx.AsyncClient(timeout=20) as http:
        query = legacy(keypair(ready, "miner-1"), signed_texts.CURRENT_COMMITMENT, seconds_ago=290)
        running = (await http.get(f"{ready.http}/api/v1/zipcode-assignments/current", params=query)).json()
        asked = endpoints(ready, running["epochId"], running["nonce"])
        table: Table = {name: {} for name in asked}
        for name, make in asked.items():
            table[name][ALL_UP] = await answered(http, make())
        load = Load(http, [asked["current"], asked["stats"]])
        asking = asyncio.create_task(load.run())
        for part in PARTS:
            await stack.servers.supervisor.take_down(part)
            await asyncio.sleep(6)  # This is not synchronisation: health is cached for five seconds.
            for name, make in asked.items():
                table[name][part] = await answered(http, make())
            await stack.servers.supervisor.bring_up(part)
            await _as_before(http, asked, table)
            tell(f"{part}: {len({table[name][part] for name in table})} different answers, and all is back")
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    return table, load.seen


async def _as_before(
    http: httpx.AsyncClient, asked: Mapping[str, Callable[[], httpx.Request]], table: Table
) -> None:
    left = dict(asked)
    give_up_at = time.monotonic() + SETTLED_SECONDS
    while left and time.monotonic() < give_up_at:
        for name, make in list(left.items()):
            if await answered(http, make()) == table[name][ALL_UP]:
                del left[name]
    if left:
        raise AssertionError(f"not as before after {SETTLED_SECONDS:.0f} s: {', '.join(left)}")


async def run(tell: Callable[[str], None]) -> tuple[Table, Counter[str]]:
    with tempfile.TemporaryDirectory(prefix="zipcast-chaos-") as folder:
        options = StackOptions(epoch_seconds=EPOCH_SECONDS, state=Path(folder) / "state", settings=GENEROUS)
        async with Stack.running(options) as stack:
            return await play(stack, tell)


def rendered(table: Table) -> list[str]:
    columns = (ALL_UP, *PARTS)
    lines = ["| asked | " + " | ".join((ALL_UP, *(f"no {part}" for part in PARTS))) + " |"]
    lines.append("|---" * (len(columns) + 1) + "|")
    for name, answers in table.items():
        cells = (
            answers[part] if part == ALL_UP or answers[part] != answers[ALL_UP] else "the same"
            for part in columns
        )
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, help="the page whose table is replaced")
    arguments = parser.parse_args()
    table, seen = asyncio.run(run(lambda line: print(line, flush=True)))  # noqa: T201
    lines = rendered(table)
    print("\n".join(lines), dict(seen), sep="\n")  # noqa: T201
    if arguments.write:
        text = arguments.write.read_text()
        head, tail = text.partition(BEGIN)[0], text.partition(END)[2]
        arguments.write.write_text(head + "\n".join([BEGIN, *lines, END]) + tail)
    return 0


if __name__ == "__main__":
    sys.exit(main())
