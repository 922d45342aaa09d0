"""Results that Prefect keeps beside the data: JSON of one kind, read as that and as nothing else.

Prefect itself obeys what a stored result says of how to read it: a pickle runs code, and JSON
may name any class to import. Whoever can write to a bucket could run code here. So Prefect
only gets what this module has read, validated and written anew.
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
from tasks import blocks

Result = ReadChunk | Output

_FOLDER = "_results"
_IN_BUCKET: dict[str, type[Result]] = {blocks.RAW: ReadChunk, blocks.PROCESSED: Output}
_JSON: TypeAdapter[Result] = TypeAdapter(Result)


def key(task: str, folder: str, name: str) -> str:
    """Where the result of a task is kept whose files lie in a folder."""
    return f"{_FOLDER}/{task}/{folder}/{name}"


class Json(Serializer):
    """JSON of our results. Of an exception, which Prefect would keep too, it has nothing."""

    type: str = Field("totesys", frozen=True)

    def dumps(self, obj: object) -> bytes:
        """Write a result."""
        return _JSON.dump_json(obj) if isinstance(obj, Result) else b""

    def loads(self, blob: bytes) -> Result:
        """Read a result."""
        return _JSON.validate_json(blob)


class Nowhere(WritableFileSystem):
    """Keeps nothing. Flows have it, whose exceptions Prefect would pickle."""

    # Prefect takes only a block that has an id; no server knows this one, so nobody else reads by it.
    _block_document_id: UUID | None = PrivateAttr(uuid5(NAMESPACE_DNS, "results.totesys"))

    def read_path(self, path: str, **_: object) -> bytes:  # type: ignore[override]  # Prefect calls either
        """Find nothing."""
        raise FileNotFoundError(path)

    def write_path(self, path: str, content: bytes, **_: object) -> None:  # type: ignore[override]
        """Keep nothing."""


# What a flow's decorator takes.
NOTHING_KEPT: dict[str, Any] = {"persist_result": False, "result_storage": Nowhere()}


class Results(Nowhere):
    """The results in a bucket of an environment."""

    bucket: str
    environment: str
    _found: dict[str, bytes] = PrivateAttr(default_factory=dict)

    def read_path(self, path: str, **_: object) -> bytes:  # type: ignore[override]
        """What Prefect reads. It asks twice: whether there is a result, and then for it."""
        found = self._found.pop(path, None)
        return found or self._found.setdefault(path, self._read(path))

    def write_path(self, path: str, content: bytes, **_: object) -> None:  # type: ignore[override]
        """Keep the JSON of a result alone, and nothing that is no result of ours."""
        if path.startswith(f"{_FOLDER}/"):
            self._bucket.write_text(path, json.loads(content)["result"])

    @property
    def _bucket(self) -> Bucket:
        return blocks.bucket(self.bucket, self.environment)

    def _read(self, path: str) -> bytes:
        """A result as Prefect wants it, with the serializer that this module says."""
        bucket = self._bucket
        try:
            value = _JSON.validate_json(bucket.read_text(path))
        except (ValidationError, ObjectDamaged):
            value = None
        if not isinstance(value, _IN_BUCKET[self.bucket]) or not _is_sound(value, path, bucket):
            get_run_logger().warning("%s: %s is no result of this task; computing it again", bucket.uri, path)
            raise FileNotFoundError(path)
        metadata = {"serializer": Json().model_dump(), "storage_key": path}
        return json.dumps({"metadata": metadata, "result": value.model_dump_json()}).encode()


def _is_sound(value: Result, path: str, bucket: Bucket) -> bool:
    """Whether it is of the table and batch that the path names, and all its files are there as they were."""
    folder = "/".join(path.split("/")[2:-1])
    if isinstance(value, ReadChunk):
        named, files = value.chunk.folder == folder, value.files
        whole = bucket.holds  # the manifest holds them against their checksums
    else:
        named, whole = folder.startswith(batch_folder(value.model, "")), bucket.are_intact
        files = (*value.files, *value.rejected, *value.deleted)
        named = named and all(map(partial(_is_of, value.model), value.result or ()))
    folders = {folder, rejected_folder(folder), deleted_folder(folder)}
    below = all(file.path.rpartition("/")[0] in folders for file in files)
    return named and below and whole(files)


def _is_of(model: str, run: StateDelta) -> bool:
    """Whether a run of a model's result lies where batches leave that model's rows and keys."""
    folder = batch_folder(model, "")
    return all(file.path.startswith(folder) for file in run.files) and all(
        file.path.startswith((folder, deleted_folder(folder))) for file in run.deleted
    )
