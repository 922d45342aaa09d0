"""Buckets: folders and S3 prefixes with one interface.

Every object of rows has a name of its own, so none is overwritten. In a folder it is visible while it is
written, but rows are only read from objects that a manifest or a stored result lists.
"""

import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyarrow import fs
from pydantic import NonNegativeInt, model_validator

from pipeline.columns import Frozen
from pipeline.errors import BucketError, ObjectMissing
from pipeline.lake.checksums import ChecksumWriter, VerifiedFiles, VerifiedReader, blocks, damaged
from pipeline.lake.folder_errors import ANOTHER, first_line, hint_of, temporary
from pipeline.lake.handlers import Handler
from pipeline.lake.parquet import row_groups, streamed_dataset
from pipeline.lake.paths import Checksum, ObjectPath, is_path, is_unfinished

_READ_BYTES = 8 << 20


class File(Frozen):
    """A Parquet object, by its path inside a bucket; it never changes.

    ``checksums`` has one per block; it is None for an object of an earlier release.
    """

    path: ObjectPath
    rows: NonNegativeInt
    bytes: NonNegativeInt
    checksums: tuple[Checksum, ...] | None = None

    @model_validator(mode="after")
    def _has_a_checksum_for_each_block(self) -> "File":
        if self.checksums is not None and len(self.checksums) != blocks(self.bytes):
            raise ValueError(f"{self.path} has {self.bytes} bytes, which need {blocks(self.bytes)} checksums")
        return self


class Usage(Frozen):
    """The number of objects in a bucket, and their total size."""

    objects: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class Bucket:
    """A folder or an S3 prefix; ``uri`` names it in messages."""

    filesystem: fs.FileSystem
    root: str
    uri: str

    def write_rows(
        self, folder: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]
    ) -> tuple[File, ...]:
        """Stream rows into a new Parquet object below ``folder``; none where there are no rows.

        Every call uses a new name, so a retry never conflicts with an earlier attempt.
        """
        groups = row_groups(batches, schema)
        first = next(groups, None)
        if first is None:
            return ()
        path = f"{folder}/part-{uuid.uuid4().hex}.parquet"
        rows = 0
        with self._named("write", path), self._stream(path) as stream:
            checksums = ChecksumWriter(stream)
            sink = pa.PythonFile(checksums, mode="w")
            # Dictionaries double the time; with zstd they do not make files smaller.
            with pq.ParquetWriter(sink, schema, compression="zstd", use_dictionary=False) as writer:
                for group in chain([first], groups):
                    writer.write_table(group)
                    rows += group.num_rows
        return (File(path=path, rows=rows, bytes=checksums.size, checksums=checksums.checksums),)

    @contextmanager
    def _stream(self, path: str) -> Iterator[pa.NativeFile]:
        """A new object, removed again where writing fails.

        Closing the stream publishes what was written so far. The removal is not needed for correctness: no
        manifest lists the object.
        """
        self._make_folder(path)
        try:
            with self.filesystem.open_output_stream(self._full(path)) as stream:
                yield stream
        except BaseException:
            with suppress(OSError):
                self.filesystem.delete_file(self._full(path))
            raise

    def dataset(self, files: Sequence[File], schema: pa.Schema | None = None) -> ds.Dataset:
        """The files as one dataset; columns of the schema that a file lacks are NULL."""
        by_path = {self._full(file.path): file for file in files}
        if isinstance(handler := getattr(self.filesystem, "handler", None), Handler):
            handler.prefetch(by_path)
        with self._named("read", ", ".join(file.path for file in files[:3])):
            return streamed_dataset(
                {path: file.rows for path, file in by_path.items()},
                fs.PyFileSystem(VerifiedFiles(lambda path: self._open(by_path[path]))),
                schema,
                self._reading,
                in_folder=self._is_folder,
            )

    def _open(self, file: File) -> VerifiedReader:
        """Open an object for verified reading."""
        stream = self.filesystem.open_input_file(self._full(file.path))
        return VerifiedReader(stream, f"{self.uri}: {file.path}", file.bytes, file.checksums)

    def _reading(self, path: str) -> AbstractContextManager[None]:
        """Name an object in errors by its path in the file system."""
        return self._named("read", path.removeprefix(f"{self.root}/"))

    def write_text(self, path: str, text: str) -> None:
        """Write a small object under an unused name, completely or not at all."""
        with self._named("write", path):
            self._make_folder(path)
            if self._is_folder:
                _write_whole(Path(self._full(path)), text)
            else:
                with self.filesystem.open_output_stream(self._full(path)) as stream:
                    stream.write(text.encode())

    def read_text(self, path: str) -> str:
        """Read a small object as text; raises ObjectDamaged where it is not UTF-8."""
        try:
            return self.read_bytes(path).decode()
        except UnicodeDecodeError as error:
            raise damaged(f"{self.uri}: {path}", f"it is not text: {error}") from None

    def read_bytes(self, path: str) -> bytes:
        """Read a small object."""
        with self._named("read", path), self.filesystem.open_input_stream(self._full(path)) as stream:
            return bytes(stream.read())

    def check(self) -> None:
        """Write, list, read and remove a small object; raises BucketError that names a missing right."""
        path = f"_checks/{uuid.uuid4().hex}"
        self.write_text(path, path)
        if path not in self.list("_checks") or self.read_text(path) != path:
            raise BucketError(f"{self.uri}: {path} was written, but cannot be listed or read back")
        with suppress(OSError):  # runs do not need the right to delete
            self.filesystem.delete_file(self._full(path))

    def holds(self, files: Iterable[File]) -> bool:
        """Whether all files exist with the size that was written."""
        sizes = {self._full(file.path): file.bytes for file in files}
        with self._named("read", "files of a batch"):
            return all(info.size == sizes[info.path] for info in self.filesystem.get_file_info([*sizes]))

    def verify(self, file: File) -> None:
        """Read an object whole; raises ObjectMissing, or ObjectDamaged where it is not what was written.

        An object without checksums is decoded, which detects most damage.
        """
        with self._named("read", file.path), pa.PythonFile(self._open(file), mode="r") as stream:
            while stream.read(_READ_BYTES):
                pass
        for _ in self.dataset([file]).to_batches(columns=None if file.checksums is None else []):
            pass

    def are_intact(self, files: Iterable[File]) -> bool:
        """Whether all files exist as they were written; reads them."""
        try:
            for file in files:
                self.verify(file)
        except ObjectMissing:
            return False
        return True

    def list(self, folder: str, *, deep: bool = False) -> list[str]:
        """Paths of the objects directly in a folder or, with ``deep``, anywhere below it.

        What a killed run has left of an object in a folder is none; ``sizes`` and ``all_paths`` have it.
        """
        return sorted(path for path in self.sizes(folder, deep=deep) if not is_unfinished(path))

    def scan(self, path: str) -> ds.Dataset:
        """The rows of an object, without verification."""
        with self._named("read", path):
            return ds.dataset([self._full(path)], format="parquet", filesystem=self.filesystem)

    def all_paths(self) -> Iterator[str]:
        """The paths of all objects; lists one top folder at a time."""
        for top in self.top_folders():
            yield from self.sizes(top)

    def remove(self, path: str) -> None:
        """Remove an object, if it exists."""
        with self._named("delete", path), suppress(FileNotFoundError):
            self.filesystem.delete_file(self._full(path))

    def top_folders(self) -> tuple[str, ...]:
        """The folders directly below the root."""
        with self._named("list", "all folders"):
            infos = self.filesystem.get_file_info(fs.FileSelector(self.root, allow_not_found=True))
        return tuple(sorted(info.base_name for info in infos if not info.is_file))

    def sizes(self, folder: str, *, deep: bool = True) -> dict[str, int]:
        """The sizes of the files in a folder, by path; without ``deep`` only of those directly in it."""
        selector = fs.FileSelector(self._full(folder), allow_not_found=True, recursive=deep)
        with self._named("list", folder):
            infos = self.filesystem.get_file_info(selector)
        return {info.path.removeprefix(f"{self.root}/"): info.size or 0 for info in infos if info.is_file}

    def usage(self) -> Usage:
        """Count all objects; lists one top folder at a time to bound memory."""
        objects = size = 0
        with self._named("list", "all objects"):
            for top in self.filesystem.get_file_info(fs.FileSelector(self.root, allow_not_found=True)):
                below = fs.FileSelector(top.path, recursive=True)
                for info in [top] if top.is_file else self.filesystem.get_file_info(below):
                    if info.is_file:
                        objects += 1
                        size += info.size or 0
        return Usage(objects=objects, bytes=size)

    @property
    def _is_folder(self) -> bool:
        return isinstance(self.filesystem, fs.LocalFileSystem)

    def _full(self, path: str) -> str:
        """The path in the file system; raises BucketError where it would leave the bucket."""
        if not (is_path(path) or is_unfinished(path)):
            raise BucketError(f"{self.uri}: {path!r} is not a path below this bucket")
        return f"{self.root}/{path}"

    def _make_folder(self, path: str) -> None:
        """Create the folder of a path on a disk; S3 has no folders."""
        if self._is_folder:
            try:
                self.filesystem.create_dir(self._full(path).rpartition("/")[0], recursive=True)
            except (FileNotFoundError, FileExistsError) as error:
                raise BucketError(
                    f"{self.uri}: this folder cannot be created: {first_line(error)}; {ANOTHER}"
                ) from None

    @contextmanager
    def _named(self, action: str, path: str) -> Iterator[None]:
        """Raise errors that name the bucket, the object and, where one is missing, the right."""
        try:
            yield
        except FileNotFoundError as error:
            raise ObjectMissing(f"{self.uri}: {path} does not exist: {first_line(error)}") from None
        except pa.ArrowInvalid as error:
            if action != "read":
                raise
            raise damaged(f"{self.uri}: {path}", " ".join(str(error).split())) from None
        except OSError as error:
            if hint := getattr(error, "hint", None) or hint_of(error, action):
                raise BucketError(f"{self.uri}: cannot {action} {path}: {hint}") from None
            if hint := temporary(error):
                raise OSError(f"{self.uri}: cannot {action} {path}: {hint}") from None
            raise


def _write_whole(path: Path, text: str) -> None:
    """Write a file so that it appears only when it is complete, as in S3."""
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with unfinished.open("wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def folder(path: str) -> Bucket:
    """A bucket in a local folder."""
    return Bucket(fs.LocalFileSystem(), path.rstrip("/"), path)
