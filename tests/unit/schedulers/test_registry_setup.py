"""Tests which registry a scheduler reads, depending on its settings."""

from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs

from schedulers.registry.chain import ChainRegistry
from schedulers.registry.file import FileRegistry
from schedulers.registry.reader import FILE_PACE, Pace, RegistryReader
from schedulers.registry.setup import registry_reader
from schedulers.settings import SchedulerSettings
from storage.database.engine import open_engine
from tests.support.fakes import FakeClock


@pytest.fixture
def engine() -> AsyncEngine:
    """Return an engine that never connects."""
    return open_engine("postgresql://nobody@127.0.0.1/nothing", application_name="test")


def reader(engine: AsyncEngine, **chosen: object) -> RegistryReader:
    settings = SchedulerSettings(
        nats_url="nats://127.0.0.1:1",
        database_url="postgresql://nobody@127.0.0.1/nothing",
        schedulers_nats_seed="0123456789abcdef",
        schedulers_sys_nats_seed="0123456789abcdef",
        schedulers_signer_seed="0123456789abcdef" * 4,
        zipcode_secret_key="0123456789abcdef" * 2,
        **chosen,
    )
    return registry_reader(settings, None, engine, FakeClock(), {})  # type: ignore[arg-type]


def test_without_a_file_the_chain_is_read(engine: AsyncEngine) -> None:
    made = reader(engine, bt_chain_endpoints="ws://127.0.0.1:1,ws://127.0.0.1:2", net_uid=7)
    assert made.pace == Pace(300, 30)
    assert made.source == ChainRegistry("finney", 7, ("ws://127.0.0.1:1", "ws://127.0.0.1:2"), 120)


@pytest.mark.parametrize(
    ("environment", "told"),
    [("production", ["registry_file_in_production"]), ("development", [])],
)
def test_a_file_takes_its_place_and_in_production_that_is_said(
    engine: AsyncEngine, environment: str, told: list[str]
) -> None:
    with capture_logs() as logs:
        made = reader(engine, schedulers_registry_file="registry.json", zipcast_environment=environment)
    assert (made.pace, made.source) == (FILE_PACE, FileRegistry(Path("registry.json")))
    assert [line["event"] for line in logs if line["log_level"] == "warning"] == told
