"""JSON as we accept it: one object, no key twice, no NaN or infinity, no abyss of brackets.

Duplicate keys are refused because two parsers may each believe another of them; so are the two spellings of
one key (`miner_hotkey`, `minerHotkey`) unless they say the same. Nesting ends far above
where any code that walks the result would: no request of ours nests deeper than three.
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
"""The most keys of one object. The largest of ours has 12."""
MAX_KEY_LENGTH = 64
"""Finding the other spelling of a key takes time that grows with the square of its length."""


def parse_object(body: bytes) -> dict[str, object]:
    """The object a request body holds; an empty body is an empty object.

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
    """Raise if the value nests too deep. It goes level by level, without recursion."""
    level = [parsed]
    for _ in range(DEEPEST + 2):
        if not level:
            return
        level = [inner for one in level for inner in _inside(one)]
    raise _RefusedError(f"it nests deeper than {DEEPEST}")


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
        raise _RefusedError("a key stands twice")
    for name, value in result.items():
        camel = _camel(name) if "_" in name else name
        # Compare as text, since 1 == True == 1.0 in Python.
        if camel != name and camel in result and json.dumps(value) != json.dumps(result[camel]):
            raise _RefusedError("the two spellings of a key differ")
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
