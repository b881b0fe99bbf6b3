"""The request that is being answered, as the gate has proven it: what handlers ask for beside its body.

Not by FastStream's `Context` parameters: each of those is resolved in a thread of its own, which took most of
the processor time of a request.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from broker_service.responder.issuance import ProvenRequest

_UNDER_WAY: ContextVar[ProvenRequest] = ContextVar("request under way")


@contextmanager
def answering(request: ProvenRequest) -> Iterator[None]:
    """While it is entered, `this_request` in this task is that one."""
    token = _UNDER_WAY.set(request)
    try:
        yield
    finally:
        _UNDER_WAY.reset(token)


def this_request() -> ProvenRequest:
    """Return the request that this task answers. Raises LookupError outside a handler."""
    return _UNDER_WAY.get()
