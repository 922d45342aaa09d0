"""S3 as a file system for Arrow, through a boto3 client.

Prefect's results use the same client, so credentials and their renewal, certificates, proxies and all
``AWS_*`` variables have the same effect on data and results.
"""

import io
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import pyarrow as pa
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    IncompleteReadError,
    ReadTimeoutError,
    ResponseStreamingError,
)
from pyarrow import fs
from s3transfer.manager import TransferConfig, TransferManager
from s3transfer.subscribers import BaseSubscriber

from pipeline.lake.handlers import Handler, RangeReader
from pipeline.lake.tails import Tail, Tails
from pipeline.s3_errors import as_os_error

# A Parquet file has its footer in the last bytes; small objects fit into them entirely.
_TAIL_BYTES = 64 << 10
# Objects up to this size are uploaded with one request.
_SMALL_BYTES = 4 << 20
_PARALLEL_READS = 4
_ATTEMPTS = 3
_CUT_OFF = (IncompleteReadError, ReadTimeoutError, ResponseStreamingError)
# A stream buffers at most three parts; an object may have 10,000 parts.
_UPLOAD = TransferConfig(
    multipart_threshold=16 << 20,
    multipart_chunksize=16 << 20,
    max_request_concurrency=2,
    max_submission_concurrency=1,
    max_in_memory_upload_chunks=2,
)


@contextmanager
def _as_os_errors() -> Iterator[None]:
    """Raise errors of boto3 as OSError, as every other storage does."""
    try:
        yield
    except (BotoCoreError, ClientError, RecursionError) as error:
        raise as_os_error(error) from None


class S3(Handler):
    """A file system for ``pyarrow.fs.PyFileSystem``; a path is ``bucket/key``.

    The client signs each request with the present credentials, also for a file that was opened long before.
    Objects of rows are never overwritten, and a write or deletion replaces what is cached of the object, so
    cached bytes are valid.
    """

    def __init__(self, client: Any) -> None:  # noqa: ANN401  boto3 makes its clients' classes at run time
        self.client = client
        self._tails = Tails(self._read_tail)
        self._readers = ThreadPoolExecutor(_PARALLEL_READS)

    def get_file_info(self, paths: str | list[str]) -> list[fs.FileInfo]:
        """The size of each object; ``NotFound`` where it does not exist."""
        return [self._info(path) for path in ([paths] if isinstance(paths, str) else paths)]

    def _info(self, path: str) -> fs.FileInfo:
        try:
            _, size = self.tail(path)
        except FileNotFoundError:
            return fs.FileInfo(path, fs.FileType.NotFound)
        return fs.FileInfo(path, fs.FileType.File, size=size)

    def get_file_info_selector(self, selector: fs.FileSelector) -> list[fs.FileInfo]:
        """The objects below a prefix; without ``recursive`` only those directly below, and prefixes."""
        bucket, key = _split(selector.base_dir)
        prefix = f"{key}/" if key else ""
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix=prefix, Delimiter="" if selector.recursive else "/"
        )
        infos = []
        with _as_os_errors():
            for page in pages:
                infos += [
                    fs.FileInfo(f"{bucket}/{item['Prefix'].rstrip('/')}", fs.FileType.Directory)
                    for item in page.get("CommonPrefixes", ())
                ]
                infos += [
                    fs.FileInfo(f"{bucket}/{item['Key']}", fs.FileType.File, size=item["Size"])
                    for item in page.get("Contents", ())
                    if not item["Key"].endswith("/")
                ]
        return infos

    def delete_file(self, path: str) -> None:
        """Remove an object."""
        bucket, key = _split(path)
        self._tails.forget(path)
        with _as_os_errors():
            self.client.delete_object(Bucket=bucket, Key=key)

    def open_input_stream(self, path: str) -> pa.NativeFile:
        """Open a small object, which is read at once."""
        content, size = self._tails.known(path) or (b"", -1)
        return pa.BufferReader(content if len(content) == size else self._get(path)[0])

    def open_input_file(self, path: str) -> pa.NativeFile:
        """Open an object that is read in ranges."""
        return pa.PythonFile(_ObjectReader(self, path), mode="r")

    def open_output_stream(self, path: str, metadata: object) -> pa.NativeFile:
        """Open a new object, which exists once the stream is closed."""
        del metadata
        self._tails.forget(path)
        return pa.PythonFile(_Upload(self, path), mode="w")

    def put(self, path: str, content: bytes) -> None:
        """Write a small object with one request."""
        bucket, key = _split(path)
        with _as_os_errors():
            self.client.put_object(Bucket=bucket, Key=key, Body=content)
        if len(content) <= _TAIL_BYTES:
            self._tails.keep(path, (content, len(content)))

    def prefetch(self, paths: Iterable[str]) -> None:
        """Start to read the last bytes of objects, several at a time."""
        for path in paths:
            if self._tails.known(path) is None:
                self._readers.submit(self.tail, path)

    def read(self, path: str, start: int, end: int) -> bytes:
        """Bytes from ``start`` up to ``end``."""
        return self._get(path, f"bytes={start}-{end - 1}")[0] if end > start else b""

    def tail(self, path: str) -> Tail:
        """The last bytes of an object, and its size."""
        return self._tails.get(path)

    def _read_tail(self, path: str) -> Tail:
        return self._get(path, f"bytes=-{_TAIL_BYTES}")

    def _get(self, path: str, span: str | None = None) -> Tail:
        """An object or a range of it, and the object's size; retried where the response is cut off."""
        bucket, key = _split(path)
        ranged = {"Range": span} if span else {}
        for attempts_left in reversed(range(_ATTEMPTS)):
            with _as_os_errors():
                try:
                    response = self.client.get_object(Bucket=bucket, Key=key, **ranged)
                    size = response.get("ContentRange", "").rpartition("/")[2] or response["ContentLength"]
                    return response["Body"].read(), int(size)
                except ClientError as error:
                    if not span or error.response["Error"]["Code"] != "InvalidRange":
                        raise
                    return b"", 0  # the object is empty
                except _CUT_OFF:
                    if not attempts_left:
                        raise
        raise AssertionError


class _ObjectReader(RangeReader):
    """Reads an object in ranges. Its size arrives with its last bytes, which are cached."""

    def __init__(self, store: S3, path: str) -> None:
        super().__init__()
        self._store, self._path = store, path

    def _size(self) -> int:
        return self._store.tail(self._path)[1]

    def _range(self, start: int, end: int) -> bytes:
        tail, total = self._store.tail(self._path)
        first = total - len(tail)
        if start >= first:
            return tail[start - first : end - first]
        return self._store.read(self._path, start, end)


class _Upload(io.RawIOBase):
    """Writes a new object: a small one when it is closed, a larger one in parts while it is written."""

    def __init__(self, store: S3, path: str) -> None:
        self._store, self._path = store, path
        self._start = bytearray()
        self._parts: _PartsUpload | None = None

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:  # noqa: ANN401
        if self._parts:
            return self._parts.write(data)
        self._start += data
        if len(self._start) > _SMALL_BYTES:
            self._parts = _PartsUpload(self._store.client, *_split(self._path))
            start, self._start = self._start, bytearray()
            self._parts.write(start)
        return len(data)

    def close(self) -> None:
        """Wait until the object exists; raises OSError where S3 refused it."""
        if self.closed:
            return
        super().close()
        if self._parts:
            self._parts.close()
        else:
            self._store.put(self._path, bytes(self._start))


class _PartsUpload(io.RawIOBase):
    """Writes a new object: a pipe passes the bytes to boto3, which uploads them in parts."""

    def __init__(self, client: Any, bucket: str, key: str) -> None:  # noqa: ANN401
        reading, writing = os.pipe()
        self._pipe = io.BufferedWriter(io.FileIO(writing, "wb"))
        source = io.BufferedReader(io.FileIO(reading, "rb"))
        self._manager = TransferManager(client, _UPLOAD)
        self._upload = self._manager.upload(source, bucket, key, subscribers=[_Closing(source)])

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:  # noqa: ANN401
        if not self._upload.done():
            with suppress(BrokenPipeError):
                return self._pipe.write(data)
        self.close()
        with _as_os_errors():
            self._upload.result()
        raise ValueError("the stream is closed")

    def close(self) -> None:
        """Wait until the object exists; raises OSError where S3 refused it."""
        if self.closed:
            return
        super().close()
        with suppress(BrokenPipeError):
            self._pipe.close()
        with _as_os_errors():
            try:
                self._upload.result()
            finally:
                self._manager.shutdown()


class _Closing(BaseSubscriber):  # type: ignore[misc]  # s3transfer ships no types
    """Closes the reading end of the pipe when the upload ends, so that the writer does not block."""

    def __init__(self, source: io.IOBase) -> None:
        self._source = source

    def on_done(self, **_: object) -> None:
        self._source.close()


def _split(path: str) -> tuple[str, str]:
    bucket, _, key = path.partition("/")
    return bucket, key
