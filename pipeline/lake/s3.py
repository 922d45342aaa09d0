"""S3 as Arrow reads and writes it, through a boto3 client.

The same client serves Prefect's results. So credentials and their renewal, certificates, proxies
and every ``AWS_*`` variable mean the same to the data and to the results.
"""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
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

from pipeline.s3_faults import as_os_error

# Parquet's footer is in the last bytes, and small objects are all in them.
_TAIL_BYTES = 64 << 10
_TAILS_KEPT = 64
_TRIES = 3
_CUT_OFF = (IncompleteReadError, ReadTimeoutError, ResponseStreamingError)
# A stream holds three parts at most; an object may have 10,000.
_UPLOAD = TransferConfig(
    multipart_threshold=16 << 20,
    multipart_chunksize=16 << 20,
    max_request_concurrency=2,
    max_submission_concurrency=1,
    max_in_memory_upload_chunks=2,
)


@contextmanager
def _faults() -> Iterator[None]:
    """Raise what boto3 raises as an OSError, the kind that storage of any kind fails with."""
    try:
        yield
    except (BotoCoreError, ClientError, RecursionError) as error:
        raise as_os_error(error) from None


class S3(fs.FileSystemHandler):
    """What ``pyarrow.fs.PyFileSystem`` asks of a file system; a path is ``bucket/key``.

    The client signs each request with the credentials of that moment, also those of a file
    that was opened long before. What was read of an object stays true: none is written over.
    """

    def __init__(self, client: Any) -> None:  # noqa: ANN401  boto3 makes its clients' classes at run time
        self.client = client
        self._tail = lru_cache(_TAILS_KEPT)(self._read_tail)

    def get_type_name(self) -> str:
        """What Arrow calls this kind of file system."""
        return "s3"

    def normalize_path(self, path: str) -> str:
        """Keys are taken as they are."""
        return path

    def get_file_info(self, paths: str | list[str]) -> list[fs.FileInfo]:
        """Size of each object, or that it is not there."""
        return [self._info(path) for path in ([paths] if isinstance(paths, str) else paths)]

    def _info(self, path: str) -> fs.FileInfo:
        bucket, key = _split(path)
        try:
            with _faults():
                size = self.client.head_object(Bucket=bucket, Key=key)["ContentLength"]
        except FileNotFoundError:
            return fs.FileInfo(path, fs.FileType.NotFound)
        return fs.FileInfo(path, fs.FileType.File, size=size)

    def get_file_info_selector(self, selector: fs.FileSelector) -> list[fs.FileInfo]:
        """The objects below a prefix, and the prefixes directly below it unless it is recursive."""
        bucket, key = _split(selector.base_dir)
        prefix = f"{key}/" if key else ""
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix=prefix, Delimiter="" if selector.recursive else "/"
        )
        found = []
        with _faults():
            for page in pages:
                found += [
                    fs.FileInfo(f"{bucket}/{item['Prefix'].rstrip('/')}", fs.FileType.Directory)
                    for item in page.get("CommonPrefixes", ())
                ]
                found += [
                    fs.FileInfo(f"{bucket}/{item['Key']}", fs.FileType.File, size=item["Size"])
                    for item in page.get("Contents", ())
                    if not item["Key"].endswith("/")
                ]
        return found

    def delete_file(self, path: str) -> None:
        """Remove an object."""
        bucket, key = _split(path)
        self._tail.cache_clear()
        with _faults():
            self.client.delete_object(Bucket=bucket, Key=key)

    def open_input_stream(self, path: str) -> pa.NativeFile:
        """A small object, read at once."""
        return pa.BufferReader(self._get(*_split(path))[0])

    def open_input_file(self, path: str) -> pa.NativeFile:
        """An object that is read in ranges, as they are asked for."""
        return pa.PythonFile(_Object(self, *_split(path)), mode="r")

    def open_output_stream(self, path: str, metadata: object) -> pa.NativeFile:
        """A new object, there when the stream is closed."""
        del metadata
        self._tail.cache_clear()
        return pa.PythonFile(_Upload(self.client, *_split(path)), mode="w")

    def read(self, bucket: str, key: str, start: int, end: int) -> bytes:
        """Bytes from ``start`` up to ``end``."""
        return self._get(bucket, key, f"bytes={start}-{end - 1}")[0] if end > start else b""

    def tail(self, bucket: str, key: str) -> tuple[bytes, int]:
        """The last bytes of an object, and its size."""
        return self._tail(bucket, key)

    def _read_tail(self, bucket: str, key: str) -> tuple[bytes, int]:
        return self._get(bucket, key, f"bytes=-{_TAIL_BYTES}")

    def _get(self, bucket: str, key: str, span: str | None = None) -> tuple[bytes, int]:
        """An object or a range of it, and the object's size; asked for again where an answer is cut off."""
        ranged = {"Range": span} if span else {}
        for left in reversed(range(_TRIES)):
            with _faults():
                try:
                    answer = self.client.get_object(Bucket=bucket, Key=key, **ranged)
                    size = answer.get("ContentRange", "").rpartition("/")[2] or answer["ContentLength"]
                    return answer["Body"].read(), int(size)
                except _CUT_OFF:
                    if not left:
                        raise
        raise AssertionError

    def _unused(self, *_: object) -> Any:  # noqa: ANN401
        """Part of Arrow's interface, and nothing that a bucket needs."""
        raise NotImplementedError

    create_dir = delete_dir = delete_dir_contents = delete_root_dir_contents = _unused  # type: ignore[assignment]
    move = copy_file = open_append_stream = _unused  # type: ignore[assignment]


class _Object(io.RawIOBase):
    """An object that is read in ranges. Its size comes with its last bytes, which are kept."""

    def __init__(self, store: S3, bucket: str, key: str) -> None:
        self._store, self._bucket, self._key = store, bucket, key
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at}.get(whence)
        self._at = offset + (self._store.tail(self._bucket, self._key)[1] if base is None else base)
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        tail, total = self._store.tail(self._bucket, self._key)
        start = self._at
        end = total if size is None or size < 0 else min(total, start + size)
        self._at = max(start, end)
        first = total - len(tail)
        if start >= first:
            return tail[start - first : end - first]
        return self._store.read(self._bucket, self._key, start, end)


class _Upload(io.RawIOBase):
    """A new object. What is written goes through a pipe to boto3, which sends it in parts."""

    def __init__(self, client: Any, bucket: str, key: str) -> None:  # noqa: ANN401
        reading, writing = os.pipe()
        self._pipe = io.BufferedWriter(io.FileIO(writing, "wb"))
        source = io.BufferedReader(io.FileIO(reading, "rb"))
        self._manager = TransferManager(client, _UPLOAD)
        self._sent = self._manager.upload(source, bucket, key, subscribers=[_Closing(source)])

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:  # noqa: ANN401
        if not self._sent.done():
            with suppress(BrokenPipeError):
                return self._pipe.write(data)
        self.close()
        with _faults():
            self._sent.result()
        raise ValueError("the stream is closed")

    def close(self) -> None:
        """Wait until the object is there; raises what S3 answered if it is not."""
        if self.closed:
            return
        super().close()
        with suppress(BrokenPipeError):
            self._pipe.close()
        with _faults():
            try:
                self._sent.result()
            finally:
                self._manager.shutdown()


class _Closing(BaseSubscriber):  # type: ignore[misc]  # s3transfer ships no types
    """Closes what was to be sent when nobody reads it any more, so that its writer does not wait."""

    def __init__(self, source: io.IOBase) -> None:
        self._source = source

    def on_done(self, **_: object) -> None:
        self._source.close()


def _split(path: str) -> tuple[str, str]:
    bucket, _, key = path.partition("/")
    return bucket, key
