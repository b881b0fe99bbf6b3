"""Generates HTTP load in a separate process, with connections that send the next request after each reply.

`python -m bench.http_load HOST PORT CONNECTIONS SECONDS` reads requests from stdin, one JSON string per line.
It prints the replies per second, percentiles of the latencies in milliseconds, and the statuses.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from itertools import cycle


async def ask(
    host: str, port: int, requests: "cycle[bytes]", until: float, took: list[float], statuses: Counter[int]
) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    while time.perf_counter() < until:
        began = time.perf_counter()
        writer.write(next(requests))
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
        took.append(time.perf_counter() - began)
        statuses[int(head[9:12])] += 1
    writer.close()


async def main(host: str, port: int, connections: int, seconds: float) -> None:
    requests = cycle([json.loads(line).encode() for line in sys.stdin])
    took: list[float] = []
    statuses: Counter[int] = Counter()
    until = time.perf_counter() + seconds
    await asyncio.gather(*(ask(host, port, requests, until, took, statuses) for _ in range(connections)))
    took.sort()
    percentiles = {f"p{p}": round(took[len(took) * p // 100] * 1000, 2) for p in (50, 95, 99)}
    print(json.dumps({"per_second": len(took) / seconds, **percentiles, "statuses": dict(statuses)}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))
