"""The seeds of a batch: which are unchanged, and their entries in the manifest."""

from collections.abc import Mapping

from pipeline.lake.manifest import Files, Manifest, StateDelta, TableBatch
from pipeline.models.library import Model, read_seeds
from pipeline.models.seeds import Seed


def kept_seeds(models: Mapping[str, Model], previous: Manifest | None) -> dict[str, TableBatch]:
    """The seeds that are unchanged since the last batch."""
    last = previous.tables if previous else {}
    return {
        name: last[name]
        for name, seed in read_seeds(models).items()
        if name in last and last[name].seed == seed.digest
    }


def seed_batch(seed: Seed, kept: TableBatch | None, files: Files | None) -> TableBatch:
    """The entry of a seed in the manifest; ``kept`` is the last batch's if the seed is unchanged."""
    if kept:
        return kept.model_copy(update={"mode": "unchanged", "reason": "no change", "files": ()})
    return TableBatch(
        table=seed.name,
        mode="full",
        reason="new or changed seed",
        columns=seed.columns,
        key=(),
        heaps="",
        files=files or (),
        state=(StateDelta(files=files or ()),),
        source_rows=seed.rows.num_rows,
        seed=seed.digest,
    )
