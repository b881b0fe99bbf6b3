"""Prints pip's package index settings as environment variables for uv, which does not read pip's own.

`make` runs it with the system's Python before anything is installed, so it uses only the standard library. It
does not change settings of uv that already exist.
"""

import ast
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

# {option of pip: (the variable of uv with the same meaning, the variables that show that the user has already
# configured uv)}
_VARIABLES = {
    "index-url": ("UV_DEFAULT_INDEX", ("UV_DEFAULT_INDEX", "UV_INDEX_URL")),
    "extra-index-url": ("UV_INDEX", ("UV_INDEX", "UV_EXTRA_INDEX_URL")),
    "find-links": ("UV_FIND_LINKS", ("UV_FIND_LINKS",)),
    "trusted-host": ("UV_INSECURE_HOST", ("UV_INSECURE_HOST",)),
    "cert": ("SSL_CERT_FILE", ("SSL_CERT_FILE",)),
    "proxy": ("ALL_PROXY", ("ALL_PROXY", "HTTPS_PROXY", "https_proxy", "all_proxy")),
}
# The sections of pip's configuration, from the lowest to the highest precedence.
_SECTIONS = ("global", "install", ":env:")


def uv_environment(listed: str, present: Mapping[str, str]) -> dict[str, str]:
    """Return the variables to set for uv. `listed` is the output of `pip config list`, `present` the
    environment."""
    settings: dict[str, dict[str, str]] = {}
    for line in listed.splitlines():
        name, equals, value = line.partition("=")
        section, _, option = name.rpartition(".")
        if equals:
            settings.setdefault(section, {})[option] = str(ast.literal_eval(value))
    found: dict[str, str] = {}
    for section in _SECTIONS:
        for option, value in settings.get(section, {}).items():
            variable, others = _VARIABLES.get(option, ("", ()))
            if variable and not any(present.get(other) for other in others):
                separator = "," if option == "find-links" else " "
                found[variable] = separator.join(filter(_is_there, value.split()))
    if found.get("UV_INDEX"):
        # pip uses the best version of all indexes; by default, uv would use the first index with the package.
        found["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return {name: value for name, value in found.items() if value}


def _is_there(place: str) -> bool:
    """Return False for a local folder that does not exist, which pip skips but on which uv would fail."""
    path = place.removeprefix("file://")
    return not path.startswith("/") or Path(path).exists()


def main() -> None:
    listing = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    )
    exports = uv_environment(listing.stdout, os.environ)
    sys.stdout.write(" ".join(f"{name}={shlex.quote(value)}" for name, value in exports.items()))


if __name__ == "__main__":
    main()
