"""Reads the refused requests in the database."""

import psycopg

from zipcast.client.local_stack import Ready


async def recorded(ready: Ready, request_id: str) -> list[tuple[object, ...]]:
    async with await psycopg.AsyncConnection.connect(ready.postgres) as connection:
        rows = await connection.execute(
            "select process, error, hotkey from request_refusals where request_id = %s", [request_id]
        )
        return await rows.fetchall()
