"""What the database holds before our processes start: every migration, and zipcodes to select from."""

import asyncio
import hashlib
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from devstack.errors import ZipcodesRefusedError
from devstack.programs import REPOSITORY
from storage.database import open_engine
from storage.migrate import migrate
from storage.tables import ZipcodeImport
from storage.zipcode_import import import_zipcodes
from storage.zipcode_rows import ImportFileError

SAMPLE_ZIPCODES = REPOSITORY / "sample_data" / "zipcodes.csv"


async def load_data(database_url: str, zipcodes: Path | None) -> None:
    """Migrate, then import `zipcodes`, or the sample where there are none yet. Raises
    ZipcodesRefusedError."""
    await asyncio.to_thread(migrate, database_url)
    engine = open_engine(database_url, application_name="devstack", pool_size=1)
    try:
        await _import(engine, zipcodes)
    finally:
        await engine.dispose()


async def _import(engine: AsyncEngine, zipcodes: Path | None) -> None:
    """Not again what is in force already: an import is a new version of the data."""
    in_force = await _newest_sha256(engine)
    if zipcodes is None and in_force is not None:
        return
    source = zipcodes or SAMPLE_ZIPCODES
    if in_force == hashlib.sha256(await asyncio.to_thread(source.read_bytes)).hexdigest():
        return
    try:
        await import_zipcodes(engine, source, now=datetime.now(UTC))
    except ImportFileError as error:
        raise ZipcodesRefusedError(f"zipcodes of {source}: {error}") from error


async def _newest_sha256(engine: AsyncEngine) -> str | None:
    newest = select(ZipcodeImport.source_sha256).order_by(ZipcodeImport.id.desc()).limit(1)
    async with engine.connect() as connection:
        return await connection.scalar(newest)
