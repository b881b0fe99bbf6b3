"""Gives handlers the request that is being answered, with its verified sender.

FastStream's `Context` parameters are not used for this, because each is resolved in a separate thread, which
took most of the processor time of a request.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from broker_service.responder.issuance import ProvenRequest

_UNDER_WAY: ContextVar[ProvenRequest] = ContextVar("request under way")


@contextmanager
def answering(request: ProvenRequest) -> Iterator[None]:
    """Make `this_request` return this request in the present task while the context is entered."""
    token = _UNDER_WAY.set(request)
    try:
        yield
    finally:
        _UNDER_WAY.reset(token)


def this_request() -> ProvenRequest:
    """Return the request that this task is answering. Raises LookupError outside a handler."""
    return _UNDER_WAY.get()
