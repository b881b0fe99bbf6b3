"""Cuts lists into pages that fit into a message."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from zipcast.protocol.messages.base import WireModel

# The largest total size of the items of a page, in bytes. nats.conf allows 256 KB per message, and the
# largest item, an object with its URL, takes about 6 KB.
PAGE_BYTES = 180_000

Item = TypeVar("Item")


def wire_bytes(item: WireModel) -> int:
    """Return the size of a model within a JSON list, including a comma."""
    return len(item.to_bytes()) + 1


def page_of(
    items: Iterable[Item],
    bytes_of: Callable[[Item], int],
    spare_bytes: int = PAGE_BYTES,
    *,
    at_least: int = 1,
) -> list[Item]:
    """Return as many of the first items as there is room for, but no fewer than `at_least` if there are
    enough."""
    page: list[Item] = []
    for item in items:
        spare_bytes -= bytes_of(item)
        if spare_bytes < 0 and len(page) >= at_least:
            break
        page.append(item)
    return page
