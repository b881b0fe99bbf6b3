"""Provides a bridge whose endpoints are only described, and its description."""

import re
from types import SimpleNamespace
from typing import Any, cast

from fastapi import FastAPI

from access.rate_limits import Rules
from http_bridge.app import Bridge, build
from service.settings import LimitSettings
from tests.contract.documents import service_description
from tests.support.fakes import FakeClock

NOW = 1_795_320_000


def application() -> FastAPI:
    """Return the application. Nothing is behind its endpoints, because no request is sent to them."""
    parts = {
        "pipeline": SimpleNamespace(clock=FakeClock()),
        "limits": SimpleNamespace(rules=Rules.of(LimitSettings())),
        **dict.fromkeys(("health", "statistics", "history", "page")),
        "description": service_description(),
    }
    return build(cast(Bridge, SimpleNamespace(**parts)))


def blocks(told: dict[str, Any], language: str) -> str:
    return "\n".join(re.findall(rf"```{language}\n(.*?)```", told["info"]["description"], re.S))
