"""Defines the options of a stack, and checks them before anything starts."""

import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from devstack.errors import InvalidOptionError

SECONDS_PER_DAY = 86_400
DEFAULT_EPOCH_SECONDS = 60
DEFAULT_STATE = Path(".devstack")
LOCAL_NETWORK = "local"
NETWORKS = (LOCAL_NETWORK, "test", "finney")
DEFAULT_NETUID = 46
_LENGTH = re.compile(r"([0-9]{1,6})(s|m|h)?")
_UNIT_SECONDS = {None: 1, "s": 1, "m": 60, "h": 3600}

# The same limits as for the scheduler's EPOCH_DURATION_SECONDS.
MIN_EPOCH_SECONDS = 2


@dataclass(frozen=True, slots=True)
class StackOptions:
    """The options of a stack. Paths may be relative. On the network `local`, hotkeys are registered in the
    file `registry`, or, if that is None, in the registry of the state. On another network, they are read from
    the chain of subnet `netuid`. If `zipcodes` is None, the sample is imported unless there are zipcodes. If
    `port_base` is None, free ports are used. `settings` are variables for all processes. Raises
    InvalidOptionError."""

    epoch_seconds: int = DEFAULT_EPOCH_SECONDS
    registry: Path | None = None
    zipcodes: Path | None = None
    state: Path = DEFAULT_STATE
    port_base: int | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    network: str = LOCAL_NETWORK
    netuid: int = DEFAULT_NETUID

    def __post_init__(self) -> None:
        if self.epoch_seconds < MIN_EPOCH_SECONDS or SECONDS_PER_DAY % self.epoch_seconds:
            raise InvalidOptionError(
                f"--epoch-length must be at least {MIN_EPOCH_SECONDS} s and divide a day into whole epochs, "
                f"not {self.epoch_seconds} s"
            )
        if self.network not in NETWORKS:
            raise InvalidOptionError(f"--network must be one of {', '.join(NETWORKS)}, not {self.network!r}")
        if self.registry is not None and self.network != LOCAL_NETWORK:
            raise InvalidOptionError(
                f"leave out --registry: on --network {self.network}, hotkeys are read from the chain"
            )
        for option, path in (("--registry", self.registry), ("--zipcodes", self.zipcodes)):
            if path is not None and not path.is_file():
                raise InvalidOptionError(f"{option}: {path} is not a file")


def parse_epoch_length(text: str) -> int:
    """Return the seconds of a text such as `20s`, `2m`, `4h` or `60`. Raises InvalidOptionError."""
    match = _LENGTH.fullmatch(text)
    if match is None:
        raise InvalidOptionError(f"--epoch-length: {text!r} is not a length such as 20s, 2m, 4h or 60")
    return int(match[1]) * _UNIT_SECONDS[match[2]]


def parse_settings(texts: Iterable[str], known: Container[str]) -> dict[str, str]:
    """Return the variables in texts such as `TARGET_LISTINGS=5000`. If a name occurs twice, the last value
    counts. Raises InvalidOptionError."""
    settings = {}
    for text in texts:
        name, found, value = text.partition("=")
        if not found:
            raise InvalidOptionError(f"--set: {text!r} is not NAME=VALUE")
        if name not in known:
            raise InvalidOptionError(f"--set: no process reads {name!r}; `zipcast config example` lists all")
        settings[name] = value
    return settings
