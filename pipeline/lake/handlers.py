"""Bases for file systems and streams that Arrow reads through."""

import io
from collections.abc import Iterable
from typing import Any

from pyarrow import fs


def _not_implemented(*_: object) -> None:
    raise NotImplementedError


_unused: Any = _not_implemented


class Handler(fs.FileSystemHandler):
    """A file system; methods that a subclass does not need raise NotImplementedError."""

    def get_type_name(self) -> str:
        """The name of this kind of file system."""
        return type(self).__name__

    def normalize_path(self, path: str) -> str:
        """The path unchanged."""
        return path

    def prefetch(self, paths: Iterable[str]) -> None:
        """Start to read objects that are going to be read, where reading takes time; here nothing."""

    get_file_info = get_file_info_selector = open_input_file = open_input_stream = _unused
    open_output_stream = open_append_stream = move = copy_file = delete_file = _unused
    create_dir = delete_dir = delete_dir_contents = delete_root_dir_contents = _unused


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
