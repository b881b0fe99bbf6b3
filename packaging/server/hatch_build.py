"""Adds the folders that pyproject.toml names to the wheel. An editable install imports them from the
repository."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class PartsHook(BuildHookInterface):  # type: ignore[type-arg]
    """Adds `parts` of the hook's settings to a standard wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it builds; `version` is "standard" or "editable"."""
        if version == "standard":
            build_data["force_include"] |= self.config["parts"]
