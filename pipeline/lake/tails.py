"""The last bytes of objects, each read once, although several threads need them."""

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from threading import Lock

# The last bytes of an object, and its size.
Tail = tuple[bytes, int]

_KEPT = 256


class Tails:
    """The last bytes of the objects that were read or written last; ``read`` reads those of a path."""

    def __init__(self, read: Callable[[str], Tail]) -> None:
        self._read = read
        self._lock = Lock()
        self._kept: OrderedDict[str, Future[Tail]] = OrderedDict()

    def get(self, path: str) -> Tail:
        """Read them, or wait for the thread that reads them; an error is not kept."""
        with self._lock:
            found = self._kept.get(path)
            tail = found or self._new(path)
        if found is None:
            try:
                tail.set_result(self._read(path))
            except BaseException as error:  # noqa: BLE001  the waiting threads raise it too
                self.forget(path)
                tail.set_exception(error)
        return tail.result()

    def known(self, path: str) -> Tail | None:
        """What is kept of an object; None if it has to be read."""
        with self._lock:
            found = self._kept.get(path)
        return found.result() if found and found.done() and not found.exception() else None

    def keep(self, path: str, tail: Tail) -> None:
        """Keep what was written."""
        with self._lock:
            self._new(path).set_result(tail)

    def forget(self, path: str) -> None:
        """Read the object again the next time."""
        with self._lock:
            self._kept.pop(path, None)

    def _new(self, path: str) -> Future[Tail]:
        self._kept[path] = tail = Future[Tail]()
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return tail
