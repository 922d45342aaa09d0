"""A walk through the lake: every manifest, and every object that one names, held against what was written."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from time import monotonic

from pipeline.errors import BucketError
from pipeline.lake.buckets import Bucket, File
from pipeline.lake.manifests import MANIFESTS, RESUMED, Manifest, State, read_manifest

_SIDE_BY_SIDE = 4


@dataclass
class Walk:
    """What was read so far, and a line for each manifest and each object that is lost or damaged.

    ``unchecked`` counts objects of earlier releases, which have no checksums.
    """

    manifests: int = 0
    of: int = 0
    objects: int = 0
    bytes: int = 0
    rows: int = 0
    unchecked: int = 0
    problems: list[str] = field(default_factory=list)
    started: float = field(default_factory=monotonic)

    @property
    def rate(self) -> float:
        """Megabytes read a second."""
        return self.bytes / 1e6 / max(1e-6, monotonic() - self.started)


def walk(raw: Bucket, processed: Bucket, results: Iterable[State]) -> Iterator[Walk]:
    """Read all that manifests name, and the ``results`` that the next batches compare with; yields often."""
    found = Walk()
    files = {file.path: file for manifest in _manifests(raw, found) for file in manifest.all_files}
    kept = {file.path: file for state in results for run in state for file in run.all_files}
    found.of = len(files) + len(kept)
    for bucket, each in ((raw, files), (processed, kept)):
        yield from _read(bucket, each.values(), found)
    yield found


def _manifests(raw: Bucket, found: Walk) -> Iterator[Manifest]:
    for folder in (MANIFESTS, RESUMED):
        for path in raw.list(folder, deep=True):
            try:
                yield read_manifest(raw, path)
                found.manifests += 1
            except BucketError as error:
                found.problems.append(str(error))


def _read(bucket: Bucket, files: Iterable[File], found: Walk) -> Iterator[Walk]:
    with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
        for file, problem in pool.map(_problem_of(bucket), files):
            found.objects += 1
            found.unchecked += file.checksums is None
            if problem:
                found.problems.append(problem)
            else:
                found.bytes += file.bytes
                found.rows += file.rows
            yield found


def _problem_of(bucket: Bucket) -> Callable[[File], tuple[File, str | None]]:
    def read(file: File) -> tuple[File, str | None]:
        try:
            bucket.verify(file)
        except (BucketError, OSError) as error:
            return file, str(error)
        return file, None

    return read
