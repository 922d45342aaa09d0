"""Seal batches, and find and read the manifests of a lake.

The path of a manifest has the name of the batch before, so one short listing finds the next batch. Only
objects that a manifest lists are read.
"""

import logging
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from pydantic import ValidationError

from pipeline.errors import BucketError, ObjectMissing
from pipeline.lake.buckets import Bucket
from pipeline.lake.checksums import damaged
from pipeline.lake.formats import parse, with_digest
from pipeline.lake.manifest import MANIFESTS, RESUMED, Destination, Manifest, Watermark
from pipeline.lake.paths import is_manifest

_THREADS = 8
_logger = logging.getLogger(__name__)


def seal(bucket: Bucket, manifest: Manifest) -> None:
    """Write the manifest of a batch; from then on a run finishes it."""
    bucket.write_text(manifest.path, with_digest(manifest.model_dump_json(indent=1)))


def last_manifest(bucket: Bucket, watermark: Watermark | None) -> Manifest | None:
    """The manifest of the warehouse's last batch; None before the first batch, or where it is lost."""
    if watermark is None:
        return None
    try:
        return read_manifest(bucket, watermark.manifest)
    except ObjectMissing as lost:
        _logger.warning("%s", lost)
        return None


def sealed_after(
    bucket: Bucket,
    previous: str | None,
    destination: Destination | None = None,
    source_schema: str | None = None,
) -> Manifest | None:
    """The sealed batch of a warehouse that follows ``previous`` and is not loaded yet; None if there is none.

    There may be several: from two concurrent runs, or a batch that the models refuse and the batch that
    supersedes it. Only one of them can have been loaded: the one that other batches follow. Where none
    follows any of them, the newest is returned.
    """
    paths = _paths_after(bucket, previous)
    followed = [path for path in paths if _paths_after(bucket, batch_at(path))]
    for path in reversed(followed):
        if (manifest := read_manifest(bucket, path)).may_be_for(destination, source_schema):
            return manifest
    lost: ObjectMissing | None = None
    for path in reversed([path for path in paths if path not in followed]):
        try:
            manifest = read_manifest(bucket, path)
        except ObjectMissing as error:
            _logger.warning("%s", error)
            lost = error
        else:
            if manifest.may_be_for(destination, source_schema):
                return manifest
    if lost:
        raise lost
    return None


def batch_at(path: str) -> str:
    """The batch id in the path of a manifest."""
    return path.rpartition("/")[2].removesuffix(".json")


def previous_at(path: str) -> str | None:
    """The previous batch in the path of a manifest; None for a first batch."""
    previous = path.split("/")[-2].removeprefix("after=")
    return None if previous == "nothing" else previous


def is_followed(bucket: Bucket, manifest: Manifest) -> bool:
    """Whether another batch follows this one; then this one was loaded."""
    return bool(_paths_after(bucket, manifest.batch_id))


def readable(bucket: Bucket, paths: Iterable[str]) -> Iterator[Manifest]:
    """The manifests at these paths; those that are lost or damaged are logged and skipped."""
    for path in paths:
        try:
            yield read_manifest(bucket, path)
        except ObjectMissing as lost:
            _logger.warning("%s", lost)


def read_manifest(bucket: Bucket, path: str) -> Manifest:
    """Read a manifest; raises ObjectDamaged where it differs from what was written."""
    name = f"{bucket.uri}: {path}"
    if not is_manifest(path):
        raise BucketError(f"{bucket.uri}: {path!r} is not the path of a manifest")
    try:
        manifest = Manifest.model_validate(parse(bucket.read_text(path), name))
        if manifest.path != path:
            raise ValueError(f"it is the manifest that belongs to {manifest.path}")  # noqa: TRY301
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise damaged(name, f"it is not a manifest of this version: {_reason(error)}") from None
    return manifest


def _reason(error: Exception) -> str:
    """The first validation error, with its field."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    return ".".join(map(str, first["loc"])) + f": {first['msg']}" if first["loc"] else first["msg"]


def manifest_paths(raw: Bucket) -> list[str]:
    """The paths of all manifests in a raw bucket."""
    return [
        path
        for folder in (MANIFESTS, RESUMED)
        for path in raw.list(folder, deep=True)
        if path.endswith(".json")
    ]


def all_manifests(raw: Bucket) -> list[Manifest]:
    """The manifests of all batches in a raw bucket, in order."""
    with ThreadPoolExecutor(_THREADS) as threads:
        manifests = list(threads.map(lambda path: read_manifest(raw, path), manifest_paths(raw)))
    return sorted(manifests, key=lambda manifest: manifest.batch_id)


def _paths_after(bucket: Bucket, previous: str | None) -> list[str]:
    folder = f"{MANIFESTS}/after={previous or 'nothing'}"
    return [path for path in bucket.list(folder) if path.endswith(".json")]
