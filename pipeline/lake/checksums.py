"""Checksums of objects: SHA-256 of every MiB, made while one is written and compared whenever it is read.

By the block, so that memory stays bounded and a part of a large object can be checked alone. S3's own
checksum covers an object as a whole and tells nothing of a range of it, and folders have none.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import Any

import pyarrow as pa
from pyarrow import fs

from pipeline.errors import ObjectDamaged
from pipeline.words import counted

BLOCK = 1 << 20


class Tee(io.RawIOBase):
    """Passes on what is written to a stream, and keeps the checksums of its blocks."""

    def __init__(self, stream: pa.NativeFile) -> None:
        self._stream = stream
        self._done: list[str] = []
        self._block = sha256()
        self.size = 0

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: Any) -> int:  # noqa: ANN401  so does io declare it
        """Pass bytes on."""
        self._stream.write(data)
        for piece in _cut(memoryview(data), BLOCK - self.size % BLOCK):
            self._block.update(piece)
            self.size += len(piece)
            if self.size % BLOCK == 0:
                self._done.append(self._block.hexdigest())
                self._block = sha256()
        return len(data)

    def tell(self) -> int:
        """How many bytes were written."""
        return self.size

    @property
    def checksums(self) -> tuple[str, ...]:
        """One for each block, of which the last may be a short one."""
        return (*self._done, self._block.hexdigest()) if self.size % BLOCK else tuple(self._done)


def blocks(size: int) -> int:
    """How many blocks an object of so many bytes has."""
    return -(-size // BLOCK)


def damaged(name: str, what: str) -> ObjectDamaged:
    """What to say of an object that is not as it was written."""
    return ObjectDamaged(
        f"{name} is not what was written: {what}; `make run` reads again what the source still has of it,"
        " `make verify` says what a rebuild has without it"
    )


def _cut(data: memoryview, first: int) -> Iterator[memoryview]:
    """Pieces that end where blocks end, of which the first has so many bytes at most."""
    yield data[:first]
    for start in range(first, len(data), BLOCK):
        yield data[start : start + BLOCK]


class Object(io.RawIOBase):
    """An object of which no byte is given out that is not as it was written.

    Where no checksums are known, as of objects of earlier releases, its size alone is compared. The last
    block that was read is kept: what is read next often begins in it.
    """

    def __init__(self, stream: pa.NativeFile, name: str, size: int, checksums: Sequence[str] | None) -> None:
        self._stream, self._name, self._checksums = stream, name, checksums
        self._size, self._at = size, 0
        self._kept = (-1, b"")
        if (found := stream.size()) != size:
            raise damaged(name, f"it has {counted(found, 'byte')} instead of {size:,}")

    def close(self) -> None:
        """Close what it reads from, too."""
        if not self.closed:
            self._stream.close()
        super().close()

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place."""
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """Some bytes; raises ObjectDamaged."""
        start = self._at
        end = self._size if size is None or size < 0 else min(self._size, start + size)
        if start >= end:
            return b""
        self._at = end
        if self._checksums is None:
            return self._fetched(start, end)
        first = start // BLOCK
        return bytes(self._whole_blocks(first, blocks(end))[start - first * BLOCK : end - first * BLOCK])

    def _whole_blocks(self, first: int, after: int) -> memoryview:
        """The blocks from ``first`` up to ``after``."""
        kept = self._kept[1] if self._kept[0] == first else b""
        begin = first + 1 if kept else first
        found = memoryview(b"")
        if begin < after:
            end = min(self._size, after * BLOCK)
            found = memoryview(self._fetched(begin * BLOCK, end))
            for number, block in enumerate(_cut(found, BLOCK), begin):
                self._check(number, block)
            self._kept = (after - 1, bytes(found[(after - 1 - begin) * BLOCK :]))
        return memoryview(kept + found) if kept else found

    def _fetched(self, start: int, end: int) -> bytes:
        self._stream.seek(start)
        return self._stream.read(end - start)

    def _check(self, number: int, block: memoryview) -> None:
        if self._checksums and sha256(block).hexdigest() != self._checksums[number]:
            raise damaged(self._name, f"the checksum of its MiB number {number + 1:,} differs")


class Verified(fs.FileSystemHandler):
    """What Arrow reads objects through that a manifest lists; the rest of a file system it has no need of."""

    def __init__(self, open_: Callable[[str], Object]) -> None:
        self._open = open_

    def get_type_name(self) -> str:
        """What Arrow calls this kind of file system."""
        return "verified"

    def normalize_path(self, path: str) -> str:
        """Paths are taken as they are."""
        return path

    def open_input_file(self, path: str) -> pa.NativeFile:
        """An object by its path in the file system."""
        return pa.PythonFile(self._open(path), mode="r")

    def _unused(self, *_: object) -> Any:  # noqa: ANN401
        raise NotImplementedError

    get_file_info = get_file_info_selector = open_input_stream = _unused  # type: ignore[assignment]
    create_dir = delete_dir = delete_dir_contents = delete_root_dir_contents = _unused  # type: ignore[assignment]
    move = copy_file = delete_file = open_output_stream = open_append_stream = _unused  # type: ignore[assignment]
