"""Checksums of objects: SHA-256 of every MiB, computed on write and compared on every read.

Checksums of blocks keep memory bounded and verify a range of a large object alone. A checksum of S3 covers
an object as a whole, and folders have none.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import Any

import pyarrow as pa

from pipeline.errors import ObjectDamaged
from pipeline.lake.handlers import Handler, RangeReader
from pipeline.words import counted

BLOCK = 1 << 20


class ChecksumWriter(io.RawIOBase):
    """Writes to a stream and computes the checksums of its blocks."""

    def __init__(self, stream: pa.NativeFile) -> None:
        self._stream = stream
        self._done: list[str] = []
        self._block = sha256()
        self.size = 0

    def writable(self) -> bool:
        """True."""
        return True

    def write(self, data: Any) -> int:  # noqa: ANN401  so does io declare it
        """Write bytes."""
        self._stream.write(data)
        for section in _split_at_blocks(memoryview(data), BLOCK - self.size % BLOCK):
            self._block.update(section)
            self.size += len(section)
            if self.size % BLOCK == 0:
                self._done.append(self._block.hexdigest())
                self._block = sha256()
        return len(data)

    def tell(self) -> int:
        """The number of bytes written."""
        return self.size

    @property
    def checksums(self) -> tuple[str, ...]:
        """One checksum per block; the last block may be shorter."""
        return (*self._done, self._block.hexdigest()) if self.size % BLOCK else tuple(self._done)


def blocks(size: int) -> int:
    """The number of blocks of an object with ``size`` bytes."""
    return -(-size // BLOCK)


def damaged(name: str, difference: str) -> ObjectDamaged:
    """The error for an object that differs from what was written."""
    return ObjectDamaged(
        f"{name} is not what was written: {difference}; `make run` reads its rows from the source again,"
        " `make verify` shows what a rebuild would lack"
    )


def _split_at_blocks(data: memoryview, first: int) -> Iterator[memoryview]:
    """Sections that end at block boundaries; the first has at most ``first`` bytes."""
    yield data[:first]
    for start in range(first, len(data), BLOCK):
        yield data[start : start + BLOCK]


class VerifiedReader(RangeReader):
    """Reads an object and verifies every block; raises ObjectDamaged where one differs.

    Objects of earlier releases have no checksums, so only their size is compared. The last block is cached,
    as the next read often starts in it.
    """

    def __init__(self, stream: pa.NativeFile, name: str, size: int, checksums: Sequence[str] | None) -> None:
        super().__init__()
        self._stream, self._name, self._checksums = stream, name, checksums
        self._written_size = size
        self._cached = (-1, b"")
        if (actual := stream.size()) != size:
            raise damaged(name, f"it has {counted(actual, 'byte')} instead of {size:,}")

    def close(self) -> None:
        """Close the underlying stream too."""
        if not self.closed:
            self._stream.close()
        super().close()

    def _size(self) -> int:
        return self._written_size

    def _range(self, start: int, end: int) -> bytes:
        if self._checksums is None:
            return self._fetch(start, end)
        first = start // BLOCK
        return bytes(self._blocks(first, blocks(end))[start - first * BLOCK : end - first * BLOCK])

    def _blocks(self, first: int, stop: int) -> memoryview:
        """The blocks from ``first`` up to ``stop``, verified."""
        cached = self._cached[1] if self._cached[0] == first else b""
        begin = first + 1 if cached else first
        fetched = memoryview(b"")
        if begin < stop:
            end = min(self._written_size, stop * BLOCK)
            fetched = memoryview(self._fetch(begin * BLOCK, end))
            for number, block in enumerate(_split_at_blocks(fetched, BLOCK), begin):
                self._check(number, block)
            self._cached = (stop - 1, bytes(fetched[(stop - 1 - begin) * BLOCK :]))
        return memoryview(cached + fetched) if cached else fetched

    def _fetch(self, start: int, end: int) -> bytes:
        self._stream.seek(start)
        return self._stream.read(end - start)

    def _check(self, number: int, block: memoryview) -> None:
        if self._checksums and sha256(block).hexdigest() != self._checksums[number]:
            raise damaged(self._name, f"the checksum of its MiB number {number + 1:,} differs")


class VerifiedFiles(Handler):
    """A read-only file system of objects that a manifest lists, for Arrow."""

    def __init__(self, open_: Callable[[str], VerifiedReader]) -> None:
        self._open = open_

    def open_input_file(self, path: str) -> pa.NativeFile:
        """Open an object by its path."""
        return pa.PythonFile(self._open(path), mode="r")
