"""Which erasures a warehouse or its lake still lacks, and how they are recorded without erasing anything."""

from collections.abc import Iterable, Mapping

from pipeline.erasure.declared import declarations
from pipeline.lake import erasures
from pipeline.lake.buckets import Bucket
from pipeline.lake.erasures import Entry
from pipeline.models.library import Model
from pipeline.postgres import transaction
from pipeline.recovery.replays import Replayer


def find(url: str, schema: str, raw: Bucket, models: Mapping[str, Model]) -> list[Entry]:
    """The entries that are missing in the lake or the warehouse, or that were not completed.

    Those that were left are pending again once the models declare other columns.
    """
    with transaction(url, "warehouse") as connection:
        in_warehouse = erasures.in_warehouse(connection, schema)
        certified = erasures.certified(connection, schema) if in_warehouse else set()
        left = erasures.left(connection, schema) if in_warehouse else {}
    in_lake = erasures.in_lake(raw, in_warehouse)
    completed = in_lake.keys() & certified
    return [
        entry
        for key, entry in (in_lake | in_warehouse).items()
        if key not in completed or (key in left and left[key] != declarations(models, entry.table))
    ]


def leave(url: str, schema: str, replayer: Replayer, undeclared: Entry) -> None:
    """Record an entry of a table of which the models declare no personal column, as another warehouse's may.

    Nothing is erased. It is pending again once they declare others.
    """
    erasures.write_to_lake(replayer.raw, undeclared)
    hide(url, schema, [undeclared])
    declared = declarations(replayer.models, undeclared.table)
    erasures.certify(url, schema, undeclared, {erasures.LEFT: declared}, complete=True)


def hide(url: str, schema: str, entries: Iterable[Entry]) -> None:
    """Hide the values of these rows whenever the source is read; for a lake that has no batch yet."""
    with transaction(url, "warehouse") as connection:
        for entry in entries:
            erasures.write_to_warehouse(connection, schema, entry)
