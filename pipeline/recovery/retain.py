"""Removes old batches from the lake: those before a base batch, at which a rebuild can start.

Manifests are removed first, oldest first, and objects only when no remaining manifest names them. So after an
interrupted removal every remaining manifest has all its objects, and the next removal finds the rest by the
names of their folders.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

from pipeline.lake.adapt import is_complete
from pipeline.lake.buckets import Bucket
from pipeline.lake.manifest import MANIFESTS, RESUMED, TIME, Destination, Manifest
from pipeline.lake.manifests import batch_at, manifest_paths, previous_at, read_manifest, readable
from pipeline.postgres import texts, transaction

# Concurrent requests to a bucket.
_THREADS = 8
_BATCH = "/batch="


@dataclass(frozen=True)
class Removal:
    """What to remove; ``base`` is the first batch that stays, where a rebuild starts.

    ``raw`` and ``processed`` map paths of objects to their sizes. ``others`` are the other warehouses of
    which no batch stays.
    """

    base: Manifest
    manifests: tuple[str, ...]
    raw: Mapping[str, int]
    processed: Mapping[str, int]
    others: tuple[str, ...] = ()

    @property
    def batches(self) -> int:
        """The number of batches of which something is removed."""
        objects = (*self.raw, *self.processed)
        return len({batch_at(path) for path in self.manifests} | {_batch(path) for path in objects})

    @property
    def objects(self) -> int:
        """The number of objects to remove, without manifests."""
        return len(self.raw) + len(self.processed)

    @property
    def bytes(self) -> int:
        """The size of these objects."""
        return sum(self.raw.values()) + sum(self.processed.values())


@dataclass(frozen=True)
class Needed:
    """What a warehouse needs: its schemas' last batches, and the processed objects of their kept results."""

    last: frozenset[str]
    processed: frozenset[str]


def needed(url: str) -> Needed:
    """What all schemas of a warehouse need of the lake; those that were dropped need nothing."""
    with transaction(url, "warehouse") as connection:
        last = texts(
            connection,
            "SELECT batch_id FROM etl.watermark WHERE to_regnamespace(quote_ident(schema_name)) IS NOT NULL",
        )
        results = texts(
            connection,
            "SELECT file ->> 'path' FROM etl.model, jsonb_array_elements(result) AS run,"
            " jsonb_array_elements("
            " (run -> 'files') || COALESCE(run -> 'deleted', run -> 'gone', '[]')) AS file"
            " WHERE jsonb_typeof(result) = 'array' AND to_regnamespace(quote_ident(schema_name)) IS NOT NULL",
        )
    return Needed(frozenset(last), frozenset(results))


def plan(
    raw: Bucket, processed: Bucket, before: datetime, needs: Needed, destination: Destination | None = None
) -> Removal | None:
    """What to remove of the batches before a time; None if no earlier batch can be the base.

    ``destination`` is the warehouse that asks.

    Kept are the last batch of every warehouse with the batches since its base, all batches since ``before``,
    and each object that one of their manifests names.
    """
    paths = {path: batch_at(path) for path in manifest_paths(raw)}
    chain = {batch_at(path): path for path in paths if path.startswith(f"{MANIFESTS}/")}
    limit = f"{before.astimezone(UTC):{TIME}}"
    kept, bases = _kept(raw, chain, limit, needs.last)
    if not bases:
        return None
    base = min(bases, key=lambda manifest: manifest.batch_id)
    removable = sorted(
        (path for path, batch_id in paths.items() if batch_id not in kept and batch_id <= limit), key=batch_at
    )
    remaining = [path for path in paths if path not in set(removable)]
    with ThreadPoolExecutor(_THREADS) as threads:
        remaining_manifests = threads.map(lambda path: read_manifest(raw, path), remaining)
        named = {file.path for manifest in remaining_manifests for file in manifest.all_files}
    return Removal(
        base=base,
        manifests=tuple(removable),
        raw=_unneeded(raw, base.batch_id, named),
        processed=_unneeded(processed, base.batch_id, needs.processed),
        others=_others(raw, chain, kept, destination),
    )


def remove(removal: Removal, raw: Bucket, processed: Bucket, progress: Callable[[int], None]) -> None:
    """Remove it; ``progress`` is called with the number of objects removed so far."""
    for path in removal.manifests:
        raw.remove(path)
    removed = 0
    for bucket, paths in ((processed, removal.processed), (raw, removal.raw)):
        with ThreadPoolExecutor(_THREADS) as threads:
            for _ in threads.map(bucket.remove, paths):
                removed += 1
                progress(removed)


def _kept(
    raw: Bucket, chain: Mapping[str, str], limit: str, last: frozenset[str]
) -> tuple[set[str], list[Manifest]]:
    """The batches to keep, and the base of each chain that reaches back before the limit."""
    previous = {batch_id: previous_at(path) for batch_id, path in chain.items()}
    heads = chain.keys() - set(previous.values())
    kept, bases = set[str](), []
    for head in sorted(heads):
        line = list(_line(head, previous))
        paths = [chain[each] for each in line]
        if head <= limit and head != max(heads) and not last & set(line):
            continue  # it was superseded, or its warehouse is no longer in use
        start = next((place for place, each in enumerate(line) if each in last), 0)
        base = next(
            (
                (place, manifest)
                for place, each in enumerate(line)
                if place >= start
                and each <= limit
                and is_complete(manifest := read_manifest(raw, chain[each]))
                and not _lacks_tables(raw, manifest, paths[0], paths[place + 1 :])
            ),
            None,
        )
        kept |= set(line[: base[0] + 1] if base else line)
        bases += [base[1]] if base else []
    return kept, bases


def _others(
    raw: Bucket, chain: Mapping[str, str], kept: Collection[str], destination: Destination | None
) -> tuple[str, ...]:
    """The other warehouses that have the last batch of a chain, and none that stays."""
    heads = chain.keys() - {previous_at(path) for path in chain.values()}
    if heads <= set(kept):
        return ()
    owners: dict[bool, list[Destination]] = {True: [], False: []}
    for manifest in readable(raw, [chain[head] for head in sorted(heads)]):
        if manifest.warehouse and not manifest.may_be_for(destination):
            owners[manifest.batch_id in kept].append(manifest.warehouse)
    left = [each for each in owners[False] if not any(map(each.is_same_warehouse, owners[True]))]
    return tuple(dict.fromkeys(map(str, left)))


def _lacks_tables(raw: Bucket, base: Manifest, last: str, earlier: Sequence[str]) -> bool:
    """Whether a batch lacks a table that earlier ones and the last one have, as no model read it then."""
    lacking = read_manifest(raw, last).tables.keys() - base.tables.keys()
    return bool(lacking) and any(lacking & each.tables.keys() for each in readable(raw, earlier))


def _line(head: str, previous: Mapping[str, str | None]) -> Iterator[str]:
    """A batch and its predecessors, as far as their manifests exist."""
    batch_id: str | None = head
    while batch_id is not None and batch_id in previous:
        yield batch_id
        batch_id = previous[batch_id]


def _unneeded(bucket: Bucket, base: str, named: Collection[str]) -> dict[str, int]:
    """Objects of batches before the base that no manifest names, with their sizes."""
    return {
        path: size
        for top in bucket.top_folders()
        if top not in {MANIFESTS, RESUMED}
        for path, size in bucket.sizes(top).items()
        if (batch := _batch(path)) and batch < base and path not in named
    }


def _batch(path: str) -> str:
    """The batch of an object, by its folder; empty if it is in none."""
    folder = path.rpartition(_BATCH)[2] if _BATCH in path else ""
    return folder.partition("/")[0]
