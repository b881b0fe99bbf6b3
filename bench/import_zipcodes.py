"""Measures the import of all zipcodes of the country: `python -m bench.import_zipcodes`.

It starts a PostgreSQL. Every time is compared with that of a plain COPY of the same file into an empty table
of text, so that runs on different machines can be compared. Each case prints the best of three runs; the aim
is at most 10 s.
"""

import asyncio
import csv
import json
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from bench.figures import Figure, print_figures
from devstack.ports import chosen_ports
from devstack.postgres import create_database, database_url, postgres_part
from devstack.servers import ignore
from devstack.state import State
from devstack.supervisor import Supervisor
from storage.database.engine import open_engine
from storage.database.migrate import migrate
from storage.zipcode_files.importing import import_zipcodes
from storage.zipcode_files.row_rules import COLUMNS

ROWS = 42_000
STATES = ("PA", "NJ", "NY", "DE", "MD")
Work = Callable[[], Awaitable[object]]


def synthetic(number: int) -> dict[str, str]:
    values = {
        "zipcode": f"{number:05}",
        "state": STATES[number % 5],
        "city": "Springfield",
        "county": "Example County",
        "population": str(number * 7 % 60_000),
        "median_home_value": str(number * 37 % 900_000),
        "recently_sold_listings": str(number % 3_000),
        "last_scraped": "2026-02-28T08:30:00Z",
    }
    return dict.fromkeys(COLUMNS, "") | values


def write_files(folder: Path) -> tuple[Path, Path]:
    """Write the same rows as CSV and as JSON."""
    rows = [synthetic(number) for number in range(ROWS)]
    as_csv, as_json = folder / "zipcodes.csv", folder / "zipcodes.json"
    with as_csv.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    as_json.write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n")
    return as_csv, as_json


async def bare_copy(url: str, content: bytes) -> None:
    columns = ", ".join(f"{column} text" for column in COLUMNS)
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await connection.execute("drop table if exists bare")
        await connection.execute(f"create table bare ({columns})".encode())
        async with (
            connection.cursor() as cursor,
            cursor.copy("copy bare from stdin with (format csv, header)") as copy,
        ):
            await copy.write(content)


async def best_seconds(work: Work, before: Work) -> float:
    best = float("inf")
    for _ in range(3):
        await before()
        began = time.perf_counter()
        await work()
        best = min(best, time.perf_counter() - began)
    return best


async def measure(url: str, folder: Path) -> None:
    as_csv, as_json = write_files(folder)
    content = await asyncio.to_thread(as_csv.read_bytes)
    engine = open_engine(url, application_name="bench")

    async def nothing() -> None:
        pass

    async def empty() -> None:
        async with engine.begin() as connection:
            await connection.execute(text("truncate zipcode_imports cascade"))

    bare = await best_seconds(lambda: bare_copy(url, content), nothing)
    print(f"bare COPY of {ROWS:,} rows: {bare * 1000:.0f} ms, {ROWS / bare:,.0f} rows/s")
    cases: list[tuple[str, Path, Work]] = [
        ("first import, CSV", as_csv, empty),
        ("unchanged, CSV", as_csv, nothing),
        ("first import, JSON", as_json, empty),
    ]
    figures = []
    for name, file, before in cases:
        spent = await best_seconds(importing(engine, file), before)
        print(f"{name}: {spent:.2f} s, {ROWS / spent:,.0f} rows/s, {spent / bare:.1f} bare COPYs")
        figures += [
            Figure(name, spent, "s", 10),
            Figure(f"{name}, compared with one COPY", spent / bare, "times"),
        ]
    print_figures(figures)
    await engine.dispose()


def importing(engine: AsyncEngine, file: Path) -> Work:
    return lambda: import_zipcodes(engine, file, now=datetime.now(UTC))


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        state = State(Path(folder) / "state")
        state.create()
        with chosen_ports(state.ports) as ports:
            supervisor = Supervisor(ignore)
            try:
                await supervisor.start(postgres_part(state, ports))
                await create_database(database_url(state, ports, "postgres"), "bench")
                url = database_url(state, ports, "bench")
                await asyncio.to_thread(migrate, url)
                await measure(url, Path(folder))
            finally:
                await supervisor.stop()


if __name__ == "__main__":
    asyncio.run(main())
