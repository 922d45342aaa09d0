"""Buckets: folders and S3 prefixes behind one door. Nothing in them is overwritten."""

import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyarrow import fs
from pydantic import NonNegativeInt, model_validator

from pipeline.columns import Frozen
from pipeline.errors import BucketError, ObjectMissing
from pipeline.lake.checksums import Object, Tee, Verified, blocks, damaged
from pipeline.lake.parquet import opened, row_groups
from pipeline.lake.paths import Checksum, ObjectPath, is_path

_AT_ONCE = 8 << 20


class File(Frozen):
    """A Parquet object by its path inside a bucket. Holds for ever once written.

    ``checksums`` are those of its blocks; None where an earlier release wrote it.
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
    """How many objects a bucket holds, and how large they are together."""

    objects: int = 0
    bytes: int = 0


def batch_folder(name: str, batch_id: str) -> str:
    """Where a table's rows of a batch lie; any name stays below the root and apart from ours.

    Names of letters, digits, spaces and most signs are what they are; the others, and
    those that begin like our own folders or like ``..``, are percent-encoded.
    """
    encoded = quote(name, safe=" ")
    if encoded[:1] in {".", "_"}:
        encoded = f"%{ord(encoded[0]):02X}{encoded[1:]}"
    return f"{encoded}/batch={batch_id}"


def rejected_folder(folder: str) -> str:
    """Where the rejected rows of a model lie whose other rows lie in that folder."""
    return f"_rejected/{folder}"


def gone_folder(folder: str) -> str:
    """Where the keys of rows lie that left a model's result in a batch."""
    return f"_gone/{folder}"


@dataclass(frozen=True)
class Bucket:
    """A folder or an S3 prefix; ``uri`` is what people know it by."""

    filesystem: fs.FileSystem
    root: str
    uri: str

    def write_rows(self, folder: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> File | None:
        """Stream rows into a new Parquet object below ``folder``; None where there are none.

        The object's name is new every time, so a second try never meets the first.
        """
        groups = row_groups(batches, schema)
        first = next(groups, None)
        if first is None:
            return None
        path = f"{folder}/part-{uuid.uuid4().hex}.parquet"
        rows = 0
        with self._named("write", path), self._stream(path) as stream:
            tee = Tee(stream)
            sink = pa.PythonFile(tee, mode="w")
            # Dictionaries take twice the time, and zstd makes files as small without them.
            with pq.ParquetWriter(sink, schema, compression="zstd", use_dictionary=False) as writer:
                for group in chain([first], groups):
                    writer.write_table(group)
                    rows += group.num_rows
        return File(path=path, rows=rows, bytes=tee.size, checksums=tee.checksums)

    @contextmanager
    def _stream(self, path: str) -> Iterator[pa.NativeFile]:
        """A new object, which goes away again when writing fails half-way.

        Closing publishes whatever was written, so the removal is a courtesy only:
        what counts is that no manifest lists the object.
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
        """The files' rows as one dataset; columns of the schema that a file lacks are NULL."""
        by_path = {self._full(file.path): file for file in files}
        with self._named("read", ", ".join(file.path for file in files[:3])):
            return opened(
                {path: file.rows for path, file in by_path.items()},
                fs.PyFileSystem(Verified(lambda path: self._open(by_path[path]))),
                schema,
                self._reading,
                in_folder=self._is_folder,
            )

    def _open(self, file: File) -> Object:
        """An object that gives out nothing but what was written."""
        stream = self.filesystem.open_input_file(self._full(file.path))
        return Object(stream, f"{self.uri}: {file.path}", file.bytes, file.checksums)

    def _reading(self, path: str) -> AbstractContextManager[None]:
        """Name what is being read by a path of the file system."""
        return self._named("read", path.removeprefix(f"{self.root}/"))

    def write_text(self, path: str, text: str) -> None:
        """Write a small object under a name that is not in use: all of it or nothing."""
        with self._named("write", path):
            self._make_folder(path)
            if self._is_folder:
                _write_whole(Path(self._full(path)), text)
            else:
                with self.filesystem.open_output_stream(self._full(path)) as stream:
                    stream.write(text.encode())

    def read_text(self, path: str) -> str:
        """Read a small object."""
        with self._named("read", path), self.filesystem.open_input_stream(self._full(path)) as stream:
            try:
                return bytes(stream.read()).decode()
            except UnicodeDecodeError as error:
                raise damaged(f"{self.uri}: {path}", f"it is no text: {error}") from None

    def check(self) -> None:
        """Write, list, read and remove a small object; raises BucketError that names the missing right."""
        path = f"_checks/{uuid.uuid4().hex}"
        self.write_text(path, path)
        if path not in self.list("_checks") or self.read_text(path) != path:
            raise BucketError(f"{self.uri}: what was written to {path} does not come back")
        with suppress(OSError):  # no run needs the right to delete
            self.filesystem.delete_file(self._full(path))

    def holds(self, files: Iterable[File]) -> bool:
        """Whether all these files are there, each as large as it was written."""
        paths = {self._full(file.path): file.bytes for file in files}
        with self._named("read", "files of a batch"):
            return all(info.size == paths[info.path] for info in self.filesystem.get_file_info([*paths]))

    def verify(self, file: File) -> None:
        """Read an object whole; raises ObjectMissing, or ObjectDamaged where it is not what was written.

        One without checksums is decoded, which finds most of what may have changed.
        """
        with self._named("read", file.path), pa.PythonFile(self._open(file), mode="r") as stream:
            while stream.read(_AT_ONCE):
                pass
        for _ in self.dataset([file]).to_batches(columns=None if file.checksums is None else []):
            pass

    def is_whole(self, files: Iterable[File]) -> bool:
        """Whether all these files are there as they were written; reads them."""
        try:
            for file in files:
                self.verify(file)
        except ObjectMissing:
            return False
        return True

    def list(self, folder: str, *, deep: bool = False) -> list[str]:
        """Paths of the objects directly in a folder, or ``deep`` below it; none where it does not exist."""
        selector = fs.FileSelector(self._full(folder), allow_not_found=True, recursive=deep)
        with self._named("list", folder):
            found = self.filesystem.get_file_info(selector)
        full = self._full(folder)
        return sorted(f"{folder}{info.path.removeprefix(full)}" for info in found if info.is_file)

    def scan(self, path: str) -> ds.Dataset:
        """The rows of an object, whether or not anything names it."""
        with self._named("read", path):
            return ds.dataset([self._full(path)], format="parquet", filesystem=self.filesystem)

    def read_bytes(self, path: str) -> bytes:
        """Read a small object as it is."""
        with self._named("read", path), self.filesystem.open_input_stream(self._full(path)) as stream:
            return bytes(stream.read())

    def everything(self) -> Iterator[str]:
        """The paths of all objects, those of a folder at a time."""
        for top in self.tops():
            yield from self.sizes(top)

    def remove(self, path: str) -> None:
        """Remove an object; one that is gone already is no fault."""
        with self._named("delete", path), suppress(FileNotFoundError):
            self.filesystem.delete_file(self._full(path))

    def tops(self) -> tuple[str, ...]:
        """The folders directly below the root."""
        with self._named("list", "all folders"):
            found = self.filesystem.get_file_info(fs.FileSelector(self.root, allow_not_found=True))
        return tuple(sorted(info.base_name for info in found if not info.is_file))

    def sizes(self, folder: str) -> dict[str, int]:
        """The sizes of all objects below a folder, by path."""
        selector = fs.FileSelector(self._full(folder), allow_not_found=True, recursive=True)
        with self._named("list", folder):
            found = self.filesystem.get_file_info(selector)
        return {info.path.removeprefix(f"{self.root}/"): info.size or 0 for info in found if info.is_file}

    def usage(self) -> Usage:
        """Count all objects; a table's at a time, so that memory does not grow with the bucket's age."""
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
        """A path of the file system; raises BucketError where it is none below the bucket."""
        if not is_path(path):
            raise BucketError(f"{self.uri}: {path!r} is no path below this bucket")
        return f"{self.root}/{path}"

    def _make_folder(self, path: str) -> None:
        """Folders need making on a disk; in S3 there are none, and markers would be litter."""
        if self._is_folder:
            self.filesystem.create_dir(self._full(path).rpartition("/")[0], recursive=True)

    @contextmanager
    def _named(self, action: str, path: str) -> Iterator[None]:
        """Say which bucket, which object and which right is missing."""
        try:
            yield
        except FileNotFoundError as error:
            raise ObjectMissing(f"{self.uri}: {path} is not there: {_words(error)}") from None
        except pa.ArrowInvalid as error:
            if action != "read":
                raise
            raise damaged(f"{self.uri}: {path}", " ".join(str(error).split())) from None
        except OSError as error:
            if hint := getattr(error, "hint", None) or _hint(error, action):
                raise BucketError(f"{self.uri}: cannot {action} {path}: {hint}") from None
            raise


def _write_whole(path: Path, text: str) -> None:
    """Write a file so that whoever finds it finds all of it, as S3 does for its objects."""
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


_HINTS = {
    "Permission denied": "permission denied; the pipeline's user needs {action} rights on this folder",
    "Not a directory": "this is no folder; set TOTESYS_RAW_URI or TOTESYS_PROCESSED_URI to one",
    "Read-only file system": "the file system is read-only",
}


def _hint(error: OSError, action: str) -> str | None:
    """What to do about a folder, where trying again would not help; None for faults that may pass."""
    for sign, hint in _HINTS.items():
        if sign in str(error):
            return hint.format(action=action)
    return None


def _words(error: OSError) -> str:
    return str(error).splitlines()[0]


def folder(path: str) -> Bucket:
    """A bucket that is a folder of this machine."""
    return Bucket(fs.LocalFileSystem(), path.rstrip("/"), path)
