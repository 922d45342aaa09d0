"""A base for streams over objects that are read in ranges."""

import io


class RangeReader(io.RawIOBase):
    """A seekable stream; subclasses give the object's size and the bytes of a range."""

    def __init__(self) -> None:
        self._position = 0

    def _size(self) -> int:
        raise NotImplementedError

    def _range(self, start: int, end: int) -> bytes:
        """The bytes from ``start`` up to ``end``, which is greater."""
        raise NotImplementedError

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """The position of the next read."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move the position."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position}.get(whence)
        self._position = offset + (self._size() if base is None else base)
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """At most ``size`` bytes; all of the rest without a size."""
        start = self._position
        end = self._size() if size is None or size < 0 else min(self._size(), start + size)
        if start >= end:
            return b""
        self._position = end
        return self._range(start, end)
