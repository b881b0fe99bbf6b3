"""Runs several replicas of a process on one machine, for tests and benchmarks."""

from dataclasses import replace

from devstack.part import Part
from devstack.services import Services

CALLOUTS = ("callout", "callout-2")


def replica(services: Services, first: Part, name: str) -> Part:
    """Return another replica of a process, with the same keys; its internal listener uses any free port."""
    state = services.servers.state
    mark = state.run / f"{name}.ready"

    async def is_ready() -> bool:
        return mark.exists()

    async def before_start() -> None:
        mark.unlink(missing_ok=True)

    return replace(
        first,
        name=name,
        environment={**first.environment, "READY_FILE": str(mark), "INTERNAL_PORT": "0"},
        log=state.logs / f"{name}.log",
        is_ready=is_ready,
        before_start=before_start,
        internal="",
    )


def with_two_callouts(services: Services) -> tuple[Part, ...]:
    """Return the usual parts and a second callout."""
    parts = services.parts()
    (first,) = [part for part in parts if part.name == CALLOUTS[0]]
    return (*parts, replica(services, first, CALLOUTS[1]))
