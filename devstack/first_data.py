"""Prepares the database before our processes start: it runs the migrations and imports zipcodes."""

import asyncio
import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Row, not_, select
from sqlalchemy.ext.asyncio import AsyncEngine

from devstack.errors import ZipcodesRefusedError
from devstack.programs import REPOSITORY
from storage.database.engine import open_engine
from storage.database.migrate import migrate
from storage.database.tables import ZipcodeImport
from storage.database.zipcode_activity import SOURCE_PREFIX
from storage.zipcode_files.importing import import_zipcodes
from storage.zipcode_files.row_rules import ImportFileError

SAMPLE_ZIPCODES = REPOSITORY / "sample_data" / "zipcodes.csv"
# The age from which the sample is imported again. The sample counts as collected when it is imported, and
# the selection uses no data older than 30 days.
STALE = timedelta(days=1)


async def load_data(database_url: str, zipcodes: Path | None) -> None:
    """Migrate, then import `zipcodes`, or the sample if the database has no zipcodes. Raises
    ZipcodesRefusedError."""
    await asyncio.to_thread(migrate, database_url)
    engine = open_engine(database_url, application_name="devstack", pool_size=2)
    try:
        await _import(engine, zipcodes)
    finally:
        await engine.dispose()


async def _import(engine: AsyncEngine, zipcodes: Path | None) -> None:
    """Import the file, unless its data is already the newest and not too old. The sample has no dates, so its
    data is as old as its import and must be imported again from time to time."""
    now = datetime.now(UTC)
    in_force = await _newest(engine)
    if zipcodes is None and in_force is not None and in_force.source_name != SAMPLE_ZIPCODES.name:
        return
    source = zipcodes or SAMPLE_ZIPCODES
    digest = hashlib.sha256(await asyncio.to_thread(source.read_bytes)).hexdigest()
    if in_force is not None and in_force.source_sha256 == digest and now - in_force.imported_at < STALE:
        return
    try:
        await import_zipcodes(engine, source, now=now)
    except ImportFileError as error:
        raise ZipcodesRefusedError(f"zipcodes of {source}: {error}") from error


async def _newest(engine: AsyncEngine) -> Row[str, str, datetime] | None:
    """Return the newest version that came from a file."""
    newest = (
        select(ZipcodeImport.source_name, ZipcodeImport.source_sha256, ZipcodeImport.imported_at)
        .where(not_(ZipcodeImport.source_name.startswith(SOURCE_PREFIX)))
        .order_by(ZipcodeImport.id.desc())
        .limit(1)
    )
    async with engine.connect() as connection:
        return (await connection.execute(newest)).first()
