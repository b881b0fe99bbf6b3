"""Measures the cost of HTTP requests: `python -m bench.http [SECONDS]`.

It runs the whole system on this machine, and compares `current` and `get-folder-access` at 1, 32 and 100
connections with a static endpoint of the same framework and server, which returns as many bytes and checks
nothing. The result is the ratio of their rates; on a busy machine, the processor time per reply shows the
same. Every request has a different second in its signature, so that each `get-folder-access` grants new
access. The aim: `current` has at least 0.6 of the rate of the static endpoint, and 99 % of the replies at 100
connections come within 200 ms, on 2 cores of which the load generator uses one.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from bench.figures import Figure, print_figures
from devstack.options import StackOptions
from devstack.ports import HOST
from devstack.stack import Stack
from tests.support.people import keypair, legacy
from tests.support.processes import GENEROUS
from zipcast.client.local_stack import Ready

SECONDS = 5.0
CONNECTIONS = (1, 32, 100)
EPOCH_SECONDS = 3600
CURRENT = "/api/v1/zipcode-assignments/current"
FOLDER = "/get-folder-access"
# Each request needs a timestamp of its own, up to 300 s in the past. This uses 250 of these seconds, which
# leaves time for the run.
SIGNABLE = 250
STATIC = """
import asyncio, sys
from fastapi import FastAPI, Request
from starlette.responses import Response
from service.http_server import Server
app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
body = b"x" * int(sys.argv[2])
@app.get("/static")
async def static(request: Request) -> Response:
    return Response(body, media_type="application/json")
asyncio.run(Server(app, host="127.0.0.1", port=int(sys.argv[1])).serve())
"""


def get(path: str) -> str:
    return f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n"


def post(path: str, body: bytes) -> str:
    head = f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body.decode()}"


def current_requests(ready: Ready) -> list[str]:
    names = [f"miner-{number}" for number in range(1, 9)]
    queries = (
        legacy(keypair(ready, name), "zipcode:assignment:current:{timestamp}", seconds_ago=ago)
        for name in names
        for ago in range(SIGNABLE // 2)
    )
    return [get(f"{CURRENT}?{urlencode(query)}") for query in queries]


def folder_requests(ready: Ready) -> list[str]:
    """Return requests that are all different, because an equal one would be a repetition."""
    coldkeys = {
        one["hotkey"]: one["coldkey"]
        for one in json.loads((Path(ready.wallets).parent / "registry.json").read_text())
    }
    bodies = []
    for number in range(1, 9):
        signer = keypair(ready, f"miner-{number}")
        coldkey = coldkeys[signer.ss58_address]
        for ago in range(SIGNABLE):
            text = f"s3:data:access:{coldkey}:{signer.ss58_address}:{{timestamp}}"
            bodies.append({**legacy(signer, text, seconds_ago=ago), "coldkey": coldkey})
    return [post(FOLDER, json.dumps(body).encode()) for body in bodies]


async def load(
    address: str, pid: int, connections: int, seconds: float, requests: Sequence[str]
) -> dict[str, float]:
    """Return the results of the load generator, and the server's processor time per reply."""
    worked = cpu_seconds(pid)
    where = urlsplit(address)
    command = (sys.executable, "-m", "bench.http_load", where.hostname or HOST, str(where.port))
    process = await asyncio.create_subprocess_exec(
        *command, str(connections), str(seconds), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    lines = "\n".join(map(json.dumps, requests)).encode()
    answer, _ = await process.communicate(lines)
    found: dict[str, float] = json.loads(answer)
    found["cpu"] = (cpu_seconds(pid) - worked) * 1000 / (found["per_second"] * seconds)
    return found


def cpu_seconds(pid: int) -> float:
    """Return the processor time of a process since its start."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mebibytes(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


async def measure(ready: Ready, static: str, static_pid: int, seconds: float) -> None:
    bridge = ready.pids["http_bridge"]
    print(
        f"{'connections':>11} {'endpoint':18} {'per s':>8} {'ratio':>6} {'cpu ms':>7}"
        f" {'p50':>8} {'p95':>8} {'p99':>8}  statuses"
    )
    minting = iter(folder_requests(ready))
    figures = []
    for connections in CONNECTIONS:
        plain = await load(static, static_pid, connections, seconds, [get("/static")])
        show(connections, "static", plain, plain)
        read = await load(ready.http, bridge, connections, seconds, current_requests(ready))
        show(connections, "current", read, plain)
        # Only a limited number of requests can be signed: one per second for 8 miners and 250 seconds.
        share = [next(minting) for _ in range(600)]
        minted = await load(ready.http, bridge, connections, min(seconds, 1.5), share)
        show(connections, "get-folder-access", minted, plain)
        print(f"{'':11} bridge: {resident_mebibytes(bridge):.0f} MiB resident")
        at = f"{connections} connection{'s' * (connections > 1)}"
        share_of_static = read["per_second"] / plain["per_second"]
        figures += [
            Figure(f"current, {at}, rate compared with static", share_of_static, "times", 0.6, is_rate=True),
            Figure(f"folder access, {at}, rate", minted["per_second"], "per s"),
            Figure(f"folder access, {at}, CPU of the bridge", minted["cpu"], "ms"),
        ]
    figures.append(Figure("current, 100 connections, 99th percentile", read["p99"], "ms", 200))
    print_figures(figures)


def show(connections: int, name: str, found: dict[str, float], plain: dict[str, float]) -> None:
    ratio = found["per_second"] / plain["per_second"]
    times = " ".join(f"{found[p]:8.2f}" for p in ("p50", "p95", "p99"))
    print(
        f"{connections:11} {name:18} {found['per_second']:8.0f} {ratio:6.2f} {found['cpu']:7.2f} {times}"
        f"  {found['statuses']}",
        flush=True,
    )


async def main(seconds: float) -> None:
    with tempfile.TemporaryDirectory(prefix="zipcast-bench-") as folder:
        options = StackOptions(epoch_seconds=EPOCH_SECONDS, state=Path(folder) / "state", settings=GENEROUS)
        async with Stack.running(options) as stack:
            size = len(await asyncio.to_thread(_body, stack.ready))
            port = stack.servers.ports.http + 1
            command = (sys.executable, "-c", STATIC, str(port), str(size))
            server = await asyncio.create_subprocess_exec(*command)
            try:
                await asyncio.sleep(2)
                await measure(stack.ready, f"http://{HOST}:{port}", server.pid, seconds)
            finally:
                server.terminate()
                await server.wait()


def _body(ready: Ready) -> bytes:
    import httpx

    query = legacy(keypair(ready, "miner-1"), "zipcode:assignment:current:{timestamp}", seconds_ago=200)
    answer = httpx.get(ready.http + CURRENT, params=query, headers={"Accept-Encoding": "identity"})
    assert answer.status_code == 200, answer.text
    return answer.content


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS))
