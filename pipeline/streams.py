"""Overlap the producer and the consumer of a stream; join its parts."""

from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_Item = TypeVar("_Item")


def ahead(items: Iterator[_Item]) -> Generator[_Item, None, None]:
    """The same items; each is produced in another thread while the caller uses the previous one.

    Closing the generator waits for the item in production, so ``items`` is not in use afterwards.
    """
    with ThreadPoolExecutor(1) as producer:
        following = producer.submit(next, items, None)
        while (item := following.result()) is not None:
            following = producer.submit(next, items, None)
            yield item


def joined(parts: Iterable[bytes | bytearray | memoryview], size: int) -> Iterator[bytearray]:
    """The parts, joined into buffers of about that size, each with whole parts."""
    buffer = bytearray()
    for part in parts:
        buffer += part
        if len(buffer) >= size:
            yield buffer
            buffer = bytearray()
    if buffer:
        yield buffer
