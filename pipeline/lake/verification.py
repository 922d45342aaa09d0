"""Read every manifest of a lake and verify every object that one names."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from time import monotonic

from pipeline.errors import BucketError
from pipeline.lake.buckets import Bucket, File
from pipeline.lake.manifest import Manifest, State
from pipeline.lake.manifests import manifest_paths, read_manifest

_THREADS = 4


@dataclass
class Verification:
    """The progress of a verification.

    ``problems`` has a line for each manifest or object that is lost or damaged. ``of`` is the number of
    objects to read. ``unchecked`` counts objects of earlier releases, which have no checksums.
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
        """Megabytes read per second."""
        return self.bytes / 1e6 / max(1e-6, monotonic() - self.started)


def verify(raw: Bucket, processed: Bucket, results: Iterable[State]) -> Iterator[Verification]:
    """Verify all objects that manifests name, and ``results``, which the next batches compare with.

    Yields the progress after every object.
    """
    progress = Verification()
    files = {file.path: file for manifest in _manifests(raw, progress) for file in manifest.all_files}
    kept = {file.path: file for state in results for delta in state for file in delta.all_files}
    progress.of = len(files) + len(kept)
    for bucket, each in ((raw, files), (processed, kept)):
        yield from _read(bucket, each.values(), progress)
    yield progress


def _manifests(raw: Bucket, progress: Verification) -> Iterator[Manifest]:
    for path in manifest_paths(raw):
        try:
            yield read_manifest(raw, path)
            progress.manifests += 1
        except BucketError as error:
            progress.problems.append(str(error))


def _read(bucket: Bucket, files: Iterable[File], progress: Verification) -> Iterator[Verification]:
    with ThreadPoolExecutor(_THREADS) as pool:
        for file, problem in pool.map(_problem_of(bucket), files):
            progress.objects += 1
            progress.unchecked += file.checksums is None
            if problem:
                progress.problems.append(problem)
            else:
                progress.bytes += file.bytes
                progress.rows += file.rows
            yield progress


def _problem_of(bucket: Bucket) -> Callable[[File], tuple[File, str | None]]:
    def read(file: File) -> tuple[File, str | None]:
        try:
            bucket.verify(file)
        except (BucketError, OSError) as error:
            return file, str(error)
        return file, None

    return read
