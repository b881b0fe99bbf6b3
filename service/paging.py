"""Cuts lists into pages that fit into a message."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from zipcast.protocol.messages.base import WireModel

# nats.conf allows 256 KB a message; the largest item, an object with its address, takes some 6 KB.
PAGE_BYTES = 180_000

Item = TypeVar("Item")


def wire_bytes(item: WireModel) -> int:
    """Return the size of a model in a list, with its comma."""
    return len(item.to_bytes()) + 1


def page_of(
    items: Iterable[Item],
    bytes_of: Callable[[Item], int],
    spare_bytes: int = PAGE_BYTES,
    *,
    at_least: int = 1,
) -> list[Item]:
    """Return the first items, as many as there is room for and `at_least` so many, if there are."""
    page: list[Item] = []
    for item in items:
        spare_bytes -= bytes_of(item)
        if spare_bytes < 0 and len(page) >= at_least:
            break
        page.append(item)
    return page
