"""Storage for the results of tasks, beside the data in the buckets: validated JSON and nothing else.

Prefect reads a stored result in the way that the result itself names: a pickle runs code, and JSON may name
any class to import. Whoever can write to a bucket could thus run code in a worker. Here Prefect only gets
results that this module has read, validated and serialized again.
"""

import json
from functools import partial
from typing import Any
from uuid import NAMESPACE_DNS, UUID, uuid5

from prefect import get_run_logger
from prefect.filesystems import WritableFileSystem
from prefect.serializers import Serializer
from pydantic import Field, PrivateAttr, TypeAdapter, ValidationError

from pipeline.errors import ObjectDamaged
from pipeline.lake.buckets import Bucket
from pipeline.lake.manifest import ReadChunk, StateDelta
from pipeline.lake.paths import batch_folder, deleted_folder, rejected_folder
from pipeline.models.output import Output
from pipeline.source.table_names import spelled
from tasks import blocks

Result = ReadChunk | Output

_FOLDER = "_results"
_IN_BUCKET: dict[str, type[Result]] = {blocks.RAW: ReadChunk, blocks.PROCESSED: Output}
_JSON: TypeAdapter[Result] = TypeAdapter(Result)


def key(task: str, folder: str, name: str) -> str:
    """The path of a task's result; ``folder`` is where the task's files are."""
    return f"{_FOLDER}/{task}/{folder}/{name}"


class Json(Serializer):
    """JSON of our results; exceptions, which Prefect would store too, become empty."""

    type: str = Field("totesys", frozen=True)

    def dumps(self, obj: object) -> bytes:
        """Write a result."""
        return _JSON.dump_json(obj) if isinstance(obj, Result) else b""

    def loads(self, blob: bytes) -> Result:
        """Read a result."""
        return _JSON.validate_json(blob)


class Nowhere(WritableFileSystem):
    """Stores nothing. For flows, because Prefect would pickle their exceptions."""

    # Prefect accepts only a block with an id. No server knows this id, so nothing else can load it.
    _block_document_id: UUID | None = PrivateAttr(uuid5(NAMESPACE_DNS, "results.totesys"))

    def read_path(self, path: str, **_: object) -> bytes:  # type: ignore[override]  # Prefect calls either
        """Raise FileNotFoundError: there are no results."""
        raise FileNotFoundError(path)

    def write_path(self, path: str, content: bytes, **_: object) -> None:  # type: ignore[override]
        """Store nothing."""


# Arguments for a flow's decorator.
NOTHING_KEPT: dict[str, Any] = {"persist_result": False, "result_storage": Nowhere()}


class Results(Nowhere):
    """The results in a bucket of an environment.

    ``of_new_batch``: nobody can have stored results of the batch, so the bucket is not asked for them.
    """

    bucket: str
    environment: str
    of_new_batch: bool = False
    _cached: dict[str, bytes] = PrivateAttr(default_factory=dict)

    def read_path(self, path: str, **_: object) -> bytes:  # type: ignore[override]
        """A stored result. Prefect reads twice: to see whether there is one, and then to get it."""
        if self.of_new_batch:
            raise FileNotFoundError(path)
        cached = self._cached.pop(path, None)
        return cached or self._cached.setdefault(path, self._read(path))

    def write_path(self, path: str, content: bytes, **_: object) -> None:  # type: ignore[override]
        """Store the JSON of one of our results, and nothing else."""
        if path.startswith(f"{_FOLDER}/"):
            self._bucket.write_text(path, json.loads(content)["result"])

    @property
    def _bucket(self) -> Bucket:
        return blocks.bucket(self.bucket, self.environment)

    def _read(self, path: str) -> bytes:
        """A result in Prefect's format, with this module's serializer."""
        bucket = self._bucket
        try:
            value = _JSON.validate_json(bucket.read_text(path))
        except (ValidationError, ObjectDamaged):
            value = None
        if not isinstance(value, _IN_BUCKET[self.bucket]) or not _is_sound(value, path, bucket):
            get_run_logger().warning(
                "%s: %s is not a result of this task; running it again", bucket.uri, path
            )
            raise FileNotFoundError(path)
        metadata = {"serializer": Json().model_dump(), "storage_key": path}
        return json.dumps({"metadata": metadata, "result": value.model_dump_json()}).encode()


def _is_sound(value: Result, path: str, bucket: Bucket) -> bool:
    """Whether a result is of the table and batch that its path names, and its files are complete."""
    folder = "/".join(path.split("/")[2:-1])
    if isinstance(value, ReadChunk):
        named, files = value.chunk.folder == folder, value.files
        exist = bucket.holds  # checksums are compared when the files are read
    else:
        named, exist = folder.startswith(batch_folder(spelled(value.model), "")), bucket.are_intact
        files = (*value.files, *value.rejected, *value.deleted)
        named = named and all(map(partial(_is_of, value.model), value.result or ()))
    folders = {folder, rejected_folder(folder), deleted_folder(folder)}
    below = all(file.path.rpartition("/")[0] in folders for file in files)
    return named and below and exist(files)


def _is_of(model: str, run: StateDelta) -> bool:
    """Whether a run of a model's result lies where batches leave that model's rows and keys."""
    folder = batch_folder(spelled(model), "")
    return all(file.path.startswith(folder) for file in run.files) and all(
        file.path.startswith((folder, deleted_folder(folder))) for file in run.deleted
    )
