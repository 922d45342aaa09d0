"""What may leave the lake: batches before a base batch that holds all rows, so that a rebuild starts there.

Manifests are removed first, the oldest before the others, and objects only when no manifest is left that
needs them. So whatever interrupts a removal, each manifest that is left has all its objects, and what is
left over is found by its folder's name the next time.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

from pipeline.lake.buckets import Bucket
from pipeline.lake.manifest import MANIFESTS, RESUMED, TIME, Manifest
from pipeline.lake.manifests import batch_at, manifest_paths, previous_at, read_manifest
from pipeline.lake.past import is_complete
from pipeline.postgres import transaction

# Requests to a bucket at a time.
_THREADS = 8
_BATCH = "/batch="


@dataclass(frozen=True)
class Removal:
    """What is to leave the lake; ``base`` is the first batch that stays, from which a rebuild starts.

    Objects come with their sizes. ``batches`` is how many batches lose something.
    """

    base: Manifest
    manifests: tuple[str, ...]
    raw: Mapping[str, int]
    processed: Mapping[str, int]

    @property
    def batches(self) -> int:
        """How many batches leave, whole or in part."""
        objects = (*self.raw, *self.processed)
        return len({batch_at(path) for path in self.manifests} | {_batch(path) for path in objects})

    @property
    def objects(self) -> int:
        """How many objects of rows, keys and results leave."""
        return len(self.raw) + len(self.processed)

    @property
    def bytes(self) -> int:
        """How large these objects are."""
        return sum(self.raw.values()) + sum(self.processed.values())


@dataclass(frozen=True)
class Needed:
    """What a warehouse needs of the lake: its last batches, and the processed objects of results it keeps."""

    last: frozenset[str]
    processed: frozenset[str]


def needed(url: str) -> Needed:
    """What all schemas of a warehouse need."""
    with transaction(url, "warehouse") as connection:
        last = connection.execute("SELECT batch_id FROM etl.watermark").fetchall()
        results = connection.execute(
            "SELECT file ->> 'path' FROM etl.model, jsonb_array_elements(result) AS run,"
            " jsonb_array_elements("
            " (run -> 'files') || COALESCE(run -> 'deleted', run -> 'gone', '[]')) AS file"
            " WHERE jsonb_typeof(result) = 'array'"
        ).fetchall()
    return Needed(frozenset(str(each) for (each,) in last), frozenset(str(path) for (path,) in results))


def plan(raw: Bucket, processed: Bucket, before: datetime, needs: Needed) -> Removal | None:
    """What may leave of the batches before a moment; None where no batch from before it can be a base.

    Kept are every warehouse's last batch and what leads from a base to it, all batches since the moment, and
    each object that one of their manifests names.
    """
    paths = {path: batch_at(path) for path in manifest_paths(raw)}
    chain = {batch_at(path): path for path in paths if path.startswith(f"{MANIFESTS}/")}
    limit = f"{before.astimezone(UTC):{TIME}}"
    kept, bases = _kept(raw, chain, limit, needs.last)
    if not bases:
        return None
    base = min(bases, key=lambda manifest: manifest.batch_id)
    leaving = sorted(
        (path for path, batch_id in paths.items() if batch_id not in kept and batch_id <= limit), key=batch_at
    )
    staying = [path for path in paths if path not in set(leaving)]
    with ThreadPoolExecutor(_THREADS) as threads:
        left = threads.map(lambda path: read_manifest(raw, path), staying)
        named = {file.path for manifest in left for file in manifest.all_files}
    return Removal(
        base=base,
        manifests=tuple(leaving),
        raw=_unneeded(raw, base.batch_id, named),
        processed=_unneeded(processed, base.batch_id, needs.processed),
    )


def remove(removal: Removal, raw: Bucket, processed: Bucket, progress: Callable[[int], None]) -> None:
    """Remove it; ``progress`` is told how many objects have gone so far."""
    for path in removal.manifests:
        raw.remove(path)
    gone = 0
    for bucket, paths in ((processed, removal.processed), (raw, removal.raw)):
        with ThreadPoolExecutor(_THREADS) as threads:
            for _ in threads.map(bucket.remove, paths):
                gone += 1
                progress(gone)


def _kept(
    raw: Bucket, chain: Mapping[str, str], limit: str, last: frozenset[str]
) -> tuple[set[str], list[Manifest]]:
    """The batches that stay, and the base of each chain of them that reaches back before the limit."""
    previous = {batch_id: previous_at(path) for batch_id, path in chain.items()}
    heads = chain.keys() - set(previous.values())
    kept, bases = set[str](), []
    for head in sorted(heads):
        line = list(_line(head, previous))
        if head <= limit and head != max(heads) and not last & set(line):
            continue  # it was superseded, or its warehouse has not asked for it for as long
        begun = next((place for place, each in enumerate(line) if each in last), 0)
        base = next(
            (
                (place, manifest)
                for place, each in enumerate(line)
                if place >= begun
                and each <= limit
                and is_complete(manifest := read_manifest(raw, chain[each]))
            ),
            None,
        )
        kept |= set(line[: base[0] + 1] if base else line)
        bases += [base[1]] if base else []
    return kept, bases


def _line(head: str, previous: Mapping[str, str | None]) -> Iterator[str]:
    """A batch and those before it, as far as their manifests are there."""
    at: str | None = head
    while at is not None and at in previous:
        yield at
        at = previous[at]


def _unneeded(bucket: Bucket, base: str, named: Collection[str]) -> dict[str, int]:
    """Objects of batches before the base that nothing names, sealed or not, with their sizes."""
    return {
        path: size
        for top in bucket.top_folders()
        if top not in {MANIFESTS, RESUMED}
        for path, size in bucket.sizes(top).items()
        if (batch := _batch(path)) and batch < base and path not in named
    }


def _batch(path: str) -> str:
    """The batch in whose folder an object lies; empty where it lies in none."""
    folder = path.rpartition(_BATCH)[2] if _BATCH in path else ""
    return folder.partition("/")[0]
