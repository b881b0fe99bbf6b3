"""Reads docker-compose.yml as Docker would: variables are replaced, and later files override earlier ones."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

REPOSITORY = Path(__file__).resolve().parents[2]
_INNERMOST = re.compile(r"\$\{([A-Z0-9_]+)(?:(:[-?])([^{}]*))?\}")
_DOLLAR = "\0"


def variables_of(file: str) -> frozenset[str]:
    """Return the names of all variables that the file reads."""
    text = (REPOSITORY / file).read_text().replace("$$", "")
    return frozenset(re.findall(r"\$\{([A-Z0-9_]+)", text))


def compose_services(variables: Mapping[str, str], *overrides: str) -> dict[str, Any]:
    """Return the services of docker-compose.yml with these variables, and with the other files on top. Raises
    KeyError for a variable that has no value and needs one."""
    services: dict[str, Any] = {}
    for file in ("docker-compose.yml", *overrides):
        loaded = YAML(typ="safe").load((REPOSITORY / file).read_text())
        for name, service in _interpolated(loaded["services"], variables).items():
            services[name] = _merged(services.get(name, {}), service)
    return services


def _interpolated(value: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _interpolated(one, variables) for key, one in value.items()}
    if isinstance(value, list):
        return [_interpolated(one, variables) for one in value]
    return _replaced(value, variables) if isinstance(value, str) else value


def _replaced(text: str, variables: Mapping[str, str]) -> str:
    def value(found: re.Match[str]) -> str:
        name, kind, alternative = found.groups()
        if variables.get(name) or kind is None:
            return variables.get(name, "")
        if kind == ":?":
            raise KeyError(f"{name}: {alternative}")
        return alternative or ""

    text, before = text.replace("$$", _DOLLAR), ""
    while text != before:  # defaults may have variables
        text, before = _INNERMOST.sub(value, text), text
    return text.replace(_DOLLAR, "$")


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Return both merged: mappings are merged, and lists are joined, except a command or an entry point."""
    merged = dict(under)
    for key, value in over.items():
        present = merged.get(key)
        if isinstance(present, dict) and isinstance(value, dict):
            merged[key] = _merged(present, value)
        elif isinstance(present, list) and isinstance(value, list) and key not in ("command", "entrypoint"):
            merged[key] = [*present, *value]
        else:
            merged[key] = value
    return merged
