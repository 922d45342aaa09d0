"""Plan how a batch reads one table, and in which chunks."""

from dataclasses import dataclass, replace
from typing import Literal

from pipeline.source.catalogue import Table
from pipeline.source.changes import Probe, Slice
from pipeline.source.cursors import Reached


@dataclass(frozen=True)
class TablePlan:
    """How a batch reads one table, and why.

    ``probe`` has the counts of the slice; None where the table is not probed before it is read.
    ``reached`` is the cursor position of the last batch. ``replaced`` is how many rows of the last batch
    were updated or deleted since: its rows minus the unchanged ones.
    """

    table: Table
    mode: Literal["full", "changes"]
    reason: str
    slice: Slice
    probe: Probe | None = None
    reached: Reached | None = None
    replaced: int = 0

    @property
    def rows(self) -> int | None:
        """Rows to read: counted, or estimated for a whole table; None where changed rows were not counted."""
        if self.probe:
            return self.probe.rows
        return self.table.estimated_rows if self.mode == "full" else None

    @property
    def will_reach(self) -> Reached | None:
        """The cursor position after the slice is read."""
        cursor = self.slice.cursor
        column = self.table.column(cursor.column) if cursor else None
        if column is None:
            return None
        value = self.probe.reached if self.probe else None
        if value is None and self.mode == "changes" and self.reached:
            return self.reached  # all rows at or above it were deleted
        return Reached(column=column.name, type=column.type, value=value)

    @property
    def is_new(self) -> bool:
        """Whether there is anything to read or to compare."""
        return self.mode == "full" or self.rows != 0 or self.replaced > 0


def in_full_if_necessary(plan: TablePlan, *, is_counted: bool) -> TablePlan:
    """The plan, or one that reads the table in full where changed rows are not enough.

    For a table without a key they are enough where no row of the last batch was updated or deleted.
    """
    if plan.replaced < 0:
        return read_in_full(plan, "it has old rows that the last batch did not have")
    if plan.is_new and not plan.table.key and plan.slice.cursor is None and (plan.replaced or not is_counted):
        return read_in_full(plan, "rows were changed or deleted, and it has no primary key")
    return plan


def read_in_full(plan: TablePlan, reason: str) -> TablePlan:
    """The plan with the table read in full instead."""
    return replace(plan, mode="full", reason=reason, slice=Slice(), probe=None, replaced=0)


def is_small(table: Table, most_bytes: int | None) -> bool:
    """Whether a table has at most ``most_bytes``; False where its size is unknown."""
    return most_bytes is None or (table.bytes is not None and table.bytes <= most_bytes)


def needs_probe(plan: TablePlan) -> bool:
    """Whether later batches need what a probe of the whole table finds: witnesses or a cursor position."""
    return plan.slice.cursor is not None or plan.table.tracked


def slices_of(plan: TablePlan, pages_per_chunk: int) -> list[Slice]:
    """Slices that together cover the plan's slice.

    The last one has no end where pages may be added or inheriting tables follow. Changed rows are one slice,
    sent row by row: they are few, and one scan of all pages finds them fastest.
    """
    table = plan.table
    if plan.mode == "changes" or not table.has_pages:
        return [plan.slice]
    starts = list(range(0, table.pages, pages_per_chunk)) or [0]
    ends = [*starts[1:], table.pages if table.can_concatenate else None]
    return [
        plan.slice.model_copy(
            update={"first_page": first, "end_page": end, "concatenated": table.can_concatenate}
        )
        for first, end in zip(starts, ends, strict=True)
    ]
