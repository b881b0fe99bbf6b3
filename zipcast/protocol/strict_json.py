"""Parses JSON strictly: one object, no duplicate keys, no NaN or infinity, no deep nesting.

Duplicate keys are refused, because two parsers may use different ones. Two spellings of one field
(`miner_hotkey`, `minerHotkey`) are refused unless they have the same value. The limit of nesting is far above
the three levels of our deepest request, and far below the depth at which code that walks the result would
fail.
"""

import json
import math
from collections.abc import Iterable, Iterator
from functools import cache
from typing import NoReturn

from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.messages.base import WireModel

MAX_DEPTH = 16
MAX_KEYS = 64
"""The largest number of keys in one object. The largest object of the protocol has 12."""


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
    for _ in range(MAX_DEPTH + 2):
        if not level:
            return
        level = [inner for one in level for inner in _inside(one)]
    raise _RefusedError(f"it is nested deeper than {MAX_DEPTH} levels")


def _inside(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _no_twins(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len(pairs) > MAX_KEYS:
        raise _RefusedError(f"an object has more than {MAX_KEYS} keys")
    result = dict(pairs)
    if len(result) != len(pairs):
        raise _RefusedError("a key occurs twice")
    twins = _twins()
    for name in result.keys() & twins.keys():
        twin = twins[name]
        # Compare the values as JSON text, because 1 == True == 1.0 in Python.
        if twin in result and json.dumps(result[name]) != json.dumps(result[twin]):
            raise _RefusedError("a key occurs in two spellings with different values")
    return result


@cache
def _twins() -> dict[str, str]:
    """Return the other spelling of each field that has two. Only fields of our models count. They are all
    known here, because code that parses a request imports the verbs, and the verbs import all models."""
    return {
        name: field.alias
        for model in _models(WireModel)
        for name, field in model.model_fields.items()
        if field.alias is not None and field.alias != name
    }


def _models(model: type[WireModel]) -> Iterator[type[WireModel]]:
    yield model
    for derived in model.__subclasses__():
        yield from _models(derived)


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise _RefusedError("a number is too large")
    return value


def _no_constant(name: str) -> NoReturn:
    raise _RefusedError(f"{name} is not JSON")
