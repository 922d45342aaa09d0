"""Chains of sealed batches in the raw bucket: the paths of manifests tell which batch follows which.

Several warehouses may share a bucket. Each has its own chain, which may start in the chain of another one.
Where manifests are lost, a chain continues at the newest batch before them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pipeline.columns import Frozen
from pipeline.lake.buckets import Bucket
from pipeline.lake.manifest import MANIFESTS, TIME, Destination, Manifest
from pipeline.lake.manifests import batch_at, previous_at, readable
from pipeline.source.snapshots import Identity

# In the processed bucket: records of sealed batches, in case the raw bucket loses manifests.
SEALS = "_sealed"
UNKNOWN = "unknown"


class SealRecord(Frozen):
    """A record in the processed bucket that a batch was sealed."""

    batch_id: str
    previous: str | None
    snapshot_at: datetime
    warehouse: Destination | None = None


@dataclass(frozen=True)
class SealedBatch:
    """A sealed batch, from the path of its manifest."""

    path: str
    batch_id: str
    previous: str | None


@dataclass(frozen=True)
class Chain:
    """A chain's batches, oldest first, and the manifest of the last one."""

    batches: tuple[SealedBatch, ...]
    end: Manifest

    @property
    def owner(self) -> str:
        """The id of the warehouse that the batches were read for."""
        return self.end.warehouse.id if self.end.warehouse else UNKNOWN

    @property
    def summary(self) -> str:
        """One line on the warehouse, the source and the last batch."""
        owner = self.end.warehouse or "of an earlier release"
        return f"warehouse {owner}, read from {self.end.identity}, last batch {self.end.batch_id}"

    def holds(self, batch_id: str | None) -> bool:
        """Whether the chain has a batch."""
        return any(each.batch_id == batch_id for each in self.batches)

    def has_moment(self, moment: datetime) -> bool:
        """Whether one of its batches was read at that moment."""
        prefix = f"{moment.astimezone(UTC):{TIME}}-"
        return any(each.batch_id.startswith(prefix) for each in self.batches)

    def belongs_to(self, destination: Destination) -> bool:
        """Whether its batches were read for that destination; False where that is unknown."""
        return self.end.warehouse is not None and destination.is_same(self.end.warehouse)

    @property
    def has_gaps(self) -> bool:
        """Whether batches are lost, at its start or between others."""
        before = [None, *(each.batch_id for each in self.batches)]
        return any(each.previous != last for each, last in zip(self.batches, before, strict=False))


def find(raw: Bucket) -> list[Chain]:
    """The chains in a raw bucket, oldest end first."""
    batches = {each.batch_id: each for each in map(_sealed, raw.list(MANIFESTS, deep=True)) if each}
    ends: dict[str, Manifest] = {}
    while new := batches.keys() - {each.previous for each in batches.values()} - ends.keys():
        for batch_id in new:
            if end := next(readable(raw, [batches[batch_id].path]), None):
                ends[batch_id] = end
            else:
                del batches[batch_id]  # then the batch before it is the end
    manifests = [ends[batch_id] for batch_id in sorted(ends)]
    return [Chain(_back_from(raw, end, manifests, batches), end) for end in manifests]


def summaries(chains: Sequence[Chain]) -> str:
    """The summary of each warehouse's newest chain; "none" without chains."""
    return "; ".join({chain.owner: chain.summary for chain in chains}.values()) or "none"


def foreign(
    raw: Bucket, destination: Destination, source: Identity | None, last_batch: str | None
) -> list[Chain]:
    """The chains of other warehouses, and those that were read from other sources.

    One that holds the warehouse's last batch is its own, although the source was moved since.
    """
    return [
        chain
        for chain in find(raw)
        if not chain.end.may_be_for(destination)
        or (source and not (chain.end.identity.is_same_database(source) or chain.holds(last_batch)))
    ]


def former(raw: Bucket, destination: Destination) -> Destination | None:
    """The warehouse in another database whose id this one has, as it was moved or copied from there."""
    ends = (chain.end.warehouse for chain in find(raw))
    return next((each for each in ends if each and destination.has_left(each)), None)


def record_seal(processed: Bucket, manifest: Manifest) -> None:
    """Record in the processed bucket that a batch is sealed."""
    record = SealRecord(
        batch_id=manifest.batch_id,
        previous=manifest.previous,
        snapshot_at=manifest.snapshot_at,
        warehouse=manifest.warehouse,
    )
    processed.write_text(_record_path(manifest), record.model_dump_json(indent=1))


def is_seal_recorded(processed: Bucket, manifest: Manifest) -> bool:
    """Whether the processed bucket has the record of a batch."""
    path = _record_path(manifest)
    return path in processed.list(path.rpartition("/")[0])


def _record_path(manifest: Manifest) -> str:
    owner = manifest.warehouse.id if manifest.warehouse else UNKNOWN
    return f"{SEALS}/{owner}/{manifest.batch_id}.json"


def recorded_seals(processed: Bucket) -> list[tuple[str, str]]:
    """The recorded batches: pairs of warehouse id and batch id."""
    paths = [path for path in processed.list(SEALS, deep=True) if path.endswith(".json")]
    return [(path.split("/")[-2], batch_at(path)) for path in paths]


def _sealed(path: str) -> SealedBatch | None:
    return SealedBatch(path, batch_at(path), previous_at(path)) if path.endswith(".json") else None


def _back_from(
    raw: Bucket, end: Manifest, ends: Sequence[Manifest], batches: Mapping[str, SealedBatch]
) -> tuple[SealedBatch, ...]:
    """The batches up to an end, oldest first."""
    chain: list[SealedBatch] = []
    current: str | None = end.batch_id
    while current is not None:
        if current not in batches:
            # The warehouse may have had another id and place then.
            after = next(readable(raw, [chain[-1].path]), end)
            earlier = [
                each.batch_id
                for each in ends
                if each.batch_id < current and each.may_be_for(after.warehouse, after.source_schema)
            ]
            if not earlier:
                break
            current = earlier[-1]
        chain.append(batches[current])
        current = batches[current].previous
    return tuple(reversed(chain))
