"""Chooses the TCP ports of 127.0.0.1 on which the stack listens.

The ports are consecutive from a base, or those of the last run if they are free, so that URLs in a shell's
history keep working. Two stacks on a machine never choose the same ports, even if they start at the same
time. For each port P, SeaweedFS also opens P + 10000.
"""

import json
import secrets
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from devstack.errors import PortsTakenError

HOST = "127.0.0.1"
PAIR_OFFSET = 10_000
# The range of free ports to try. SeaweedFS also opens port P + 10000 for each of its ports P. All must stay
# below 32768, where Linux begins to use ports for outgoing connections.
_LOWEST, _HIGHEST = 12_000, 22_500
_PAIRED = frozenset({"s3", "weed_master", "weed_volume", "weed_filer", "weed_admin"})


@dataclass(frozen=True, slots=True)
class Ports:
    nats: int
    monitoring: int
    http: int
    postgres: int
    s3: int
    weed_master: int
    weed_volume: int
    weed_filer: int
    weed_admin: int
    schedulers: int
    responder: int
    callout: int
    http_bridge: int
    """The port of the bridge's internal listener; the three before it are those of the other processes."""
    websocket: int
    """nats-server's port for NATS over WebSocket."""
    beacon_relay: int


NAMES = tuple(field.name for field in fields(Ports))


@contextmanager
def chosen_ports(kept: Path, port_base: int | None = None) -> Iterator[Ports]:
    """Yield the ports of this run, and write them to `kept` for the next run. While the context is entered,
    no other stack chooses them. Raises PortsTakenError."""
    with ExitStack() as claims:
        ports = _free(_read(kept), claims) if port_base is None else _consecutive(port_base, claims)
        kept.write_text(json.dumps(asdict(ports), indent=2) + "\n")
        yield ports


def _claim(port: int, claims: ExitStack) -> bool:
    """Reserve a port for this stack until `claims` or the process ends. Return False if the port is in use or
    reserved by another stack.

    A reservation is a socket name in Linux's abstract namespace. On other systems, two stacks that start at
    the same time may still choose the same ports."""
    claim = claims.enter_context(socket.socket(socket.AF_UNIX))
    try:
        if sys.platform == "linux":
            claim.bind(f"\0zipcast-port-{port}")
    except OSError:
        return False
    return is_free(port)


def is_free(port: int) -> bool:
    """Return whether a server could listen on 127.0.0.1:`port` now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _opened(name: str, port: int) -> tuple[int, ...]:
    return (port, port + PAIR_OFFSET) if name in _PAIRED else (port,)


def _consecutive(base: int, claims: ExitStack) -> Ports:
    ports = Ports(*range(base, base + len(NAMES)))
    opened = [one for name, port in asdict(ports).items() for one in _opened(name, port)]
    if base < 1 or max(opened) > 65_535:
        raise PortsTakenError(f"--port-base must be from 1 to {65_535 - (max(opened) - base)}")
    taken = [str(port) for port in opened if not _claim(port, claims)]
    if taken:
        raise PortsTakenError(
            f"--port-base {base}: these ports are in use on {HOST}: {', '.join(taken)}. Choose another base"
        )
    return ports


def _read(kept: Path) -> dict[str, int]:
    """Return the ports of the last run, or nothing if there is no usable file, because they are only a
    preference."""
    try:
        found = json.loads(kept.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: port for name, port in found.items() if type(port) is int and 0 < port <= 55_535}


def _free(preferred: dict[str, int], claims: ExitStack) -> Ports:
    chosen: dict[str, int] = {}
    opened: set[int] = set()
    for name in NAMES:
        chosen[name] = next(
            port
            for port in _candidates(preferred.get(name))
            if opened.isdisjoint(_opened(name, port)) and _claim_all(_opened(name, port), claims)
        )
        opened.update(_opened(name, chosen[name]))
    return Ports(**chosen)


def _claim_all(ports: tuple[int, ...], claims: ExitStack) -> bool:
    """Reserve all ports, or none of them."""
    with ExitStack() as own:
        if all(_claim(port, own) for port in ports):
            claims.enter_context(own.pop_all())
            return True
    return False


def _candidates(preferred: int | None) -> Iterator[int]:
    if preferred is not None:
        yield preferred
    while True:
        yield _LOWEST + secrets.randbelow(_HIGHEST - _LOWEST)
