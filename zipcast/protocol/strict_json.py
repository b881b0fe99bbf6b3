"""Parses JSON strictly: one object, no duplicate keys, no NaN or infinity, no deep nesting.

Duplicate keys are refused, because two parsers may use different ones. For the same reason, both spellings of
a key (`miner_hotkey`, `minerHotkey`) are refused unless their values are equal. Deep nesting is refused
because it could exhaust the stack; no request of the protocol nests deeper than three levels.
"""

import json
import math
from collections.abc import Iterable
from functools import lru_cache
from typing import NoReturn

from pydantic.alias_generators import to_camel

from zipcast.protocol.errors import ErrorCode, ServiceError

DEEPEST = 16
MAX_KEYS = 64
"""The largest number of keys in one object. The largest object of the protocol has 12."""
MAX_KEY_LENGTH = 64
"""The longest key. The time to find a key's other spelling grows with the square of its length."""


def parse_object(body: bytes) -> dict[str, object]:
    """Parse a request body; an empty body is an empty object.

    Raises ServiceError(MALFORMED_REQUEST)."""
    if not body:
        return {}
    try:
        parsed = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_no_twins,
            parse_constant=_no_constant,
            parse_float=_finite,
        )
        _require_shallow(parsed)
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, _RefusedError) else "it is not valid JSON"
        raise ServiceError(ErrorCode.MALFORMED_REQUEST, f"The body is refused: {reason}.") from None
    if not isinstance(parsed, dict):
        raise ServiceError(ErrorCode.MALFORMED_REQUEST, "The body must be a JSON object.")
    return parsed


class _RefusedError(ValueError):
    pass


def _require_shallow(parsed: object) -> None:
    """Raise an error if the value is nested too deeply. The check is iterative, so that it cannot exhaust the
    stack."""
    level = [parsed]
    for _ in range(DEEPEST + 2):
        if not level:
            return
        level = [inner for one in level for inner in _inside(one)]
    raise _RefusedError(f"it is nested deeper than {DEEPEST} levels")


def _inside(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _no_twins(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len(pairs) > MAX_KEYS:
        raise _RefusedError(f"an object has more than {MAX_KEYS} keys")
    if any(len(name) > MAX_KEY_LENGTH for name, _ in pairs):
        raise _RefusedError(f"a key is longer than {MAX_KEY_LENGTH} characters")
    result = dict(pairs)
    if len(result) != len(pairs):
        raise _RefusedError("a key occurs twice")
    for name, value in result.items():
        camel = _camel(name) if "_" in name else name
        # Compare as text, since 1 == True == 1.0 in Python.
        if camel != name and camel in result and json.dumps(value) != json.dumps(result[camel]):
            raise _RefusedError("a key occurs in two spellings with different values")
    return result


@lru_cache(maxsize=1024)
def _camel(name: str) -> str:
    return to_camel(name)


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise _RefusedError("a number is too large")
    return value


def _no_constant(name: str) -> NoReturn:
    raise _RefusedError(f"{name} is not JSON")
