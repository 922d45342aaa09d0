"""Chains of sealed batches in the raw bucket, by what manifests' paths say: which batch follows which.

Several warehouses may share a bucket. Each has a chain of its own, which ends where no batch follows and may
begin in another's. Where manifests are lost, a chain goes on at the newest batch before them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pipeline.columns import Frozen
from pipeline.lake.buckets import Bucket
from pipeline.lake.manifests import MANIFESTS, TIME, Home, Manifest, batch_at, previous_at, readable
from pipeline.source.snapshots import Identity

# In the processed bucket: which batches were sealed, should the raw bucket forget it.
NOTES = "_sealed"
UNKNOWN = "unknown"


class Note(Frozen):
    """That a batch was sealed, as the processed bucket keeps it."""

    batch_id: str
    previous: str | None
    snapshot_at: datetime
    warehouse: Home | None = None


@dataclass(frozen=True)
class Sealed:
    """A sealed batch, as the path of its manifest tells it."""

    path: str
    batch_id: str
    previous: str | None


@dataclass(frozen=True)
class Chain:
    """A chain's batches, oldest first, and the manifest of the last one."""

    batches: tuple[Sealed, ...]
    end: Manifest

    @property
    def owner(self) -> str:
        """The id of the warehouse that it was read for."""
        return self.end.warehouse.id if self.end.warehouse else UNKNOWN

    @property
    def story(self) -> str:
        """Whose it is, for people."""
        owner = self.end.warehouse or "of an earlier release"
        return f"warehouse {owner}, read from {self.end.identity}, last batch {self.end.batch_id}"

    def holds(self, batch_id: str) -> bool:
        """Whether a batch is one of them."""
        return any(each.batch_id == batch_id for each in self.batches)

    def shows(self, moment: datetime) -> bool:
        """Whether one of its batches is of that moment."""
        begin = f"{moment.astimezone(UTC):{TIME}}-"
        return any(each.batch_id.startswith(begin) for each in self.batches)

    def belongs_to(self, home: Home) -> bool:
        """Whether it is known to have been read for that very schema of that warehouse."""
        return self.end.warehouse is not None and home.is_same(self.end.warehouse)

    @property
    def has_gaps(self) -> bool:
        """Whether batches are lost, at its beginning or between others."""
        before = [None, *(each.batch_id for each in self.batches)]
        return any(each.previous != last for each, last in zip(self.batches, before, strict=False))


def find(raw: Bucket) -> list[Chain]:
    """The chains in the bucket, by their ends, oldest end first."""
    known = {each.batch_id: each for each in map(_sealed, raw.list(MANIFESTS, deep=True)) if each}
    ends: dict[str, Manifest] = {}
    while new := known.keys() - {each.previous for each in known.values()} - ends.keys():
        for name in new:
            if end := next(readable(raw, [known[name].path]), None):
                ends[name] = end
            else:
                del known[name]  # the one before it is the end then
    found = [ends[name] for name in sorted(ends)]
    return [Chain(_back_from(end, found, known), end) for end in found]


def stories(chains: Sequence[Chain]) -> str:
    """Each warehouse once, by its newest chain."""
    return "; ".join({chain.owner: chain.story for chain in chains}.values()) or "none"


def foreign(raw: Bucket, home: Home, source: Identity | None) -> list[Chain]:
    """The chains of other warehouses than this one, and those that were read from other sources."""
    return [
        chain
        for chain in find(raw)
        if not chain.end.is_of(home) or (source and not chain.end.identity.is_same_database(source))
    ]


def note(processed: Bucket, manifest: Manifest) -> None:
    """Keep that a batch is sealed where the raw bucket's loss does not reach."""
    kept = Note(
        batch_id=manifest.batch_id,
        previous=manifest.previous,
        snapshot_at=manifest.snapshot_at,
        warehouse=manifest.warehouse,
    )
    processed.write_text(_place_of_note(manifest), kept.model_dump_json(indent=1))


def is_noted(processed: Bucket, manifest: Manifest) -> bool:
    """Whether that is kept."""
    path = _place_of_note(manifest)
    return path in processed.list(path.rpartition("/")[0])


def _place_of_note(manifest: Manifest) -> str:
    owner = manifest.warehouse.id if manifest.warehouse else UNKNOWN
    return f"{NOTES}/{owner}/{manifest.batch_id}.json"


def noted(processed: Bucket) -> list[tuple[str, str]]:
    """The batches that were sealed, each after the id of its warehouse."""
    found = [path.split("/")[-2:] for path in processed.list(NOTES, deep=True)]
    return [(owner, name.removesuffix(".json")) for owner, name in found]


def _sealed(path: str) -> Sealed | None:
    return Sealed(path, batch_at(path), previous_at(path)) if path.endswith(".json") else None


def _back_from(end: Manifest, ends: Sequence[Manifest], known: Mapping[str, Sealed]) -> tuple[Sealed, ...]:
    """The batches up to an end, oldest first."""
    found: list[Sealed] = []
    at: str | None = end.batch_id
    while at is not None:
        if at not in known:
            earlier = [each.batch_id for each in ends if each.batch_id < at and each.is_of(end.warehouse)]
            if not earlier:
                break
            at = earlier[-1]
        found.append(known[at])
        at = known[at].previous
    return tuple(reversed(found))
