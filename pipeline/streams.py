"""Streams: two ends of one at work at the same time."""

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_Item = TypeVar("_Item")


def ahead(items: Iterator[_Item]) -> Generator[_Item, None, None]:
    """The same items, each being made in another thread while the one before is put to use.

    Closing this waits for the item under way, so that nobody is at work on ``items`` after it.
    """
    with ThreadPoolExecutor(1) as maker:
        following = maker.submit(next, items, None)
        while (item := following.result()) is not None:
            following = maker.submit(next, items, None)
            yield item
