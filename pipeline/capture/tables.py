"""How one table is read in a batch, and in which parts."""

from dataclasses import dataclass, replace
from typing import Literal

from pipeline.source.catalogue import Table
from pipeline.source.changes import Probe, Slice
from pipeline.source.cursors import Reached

PAGES_A_PART = 32_768


@dataclass(frozen=True)
class TablePlan:
    """How one table is read in a batch, and why.

    ``survey`` is what is known of its slice before it is read, ``reached`` how far the last batch came.
    ``replaced`` is how many rows of the last batch were written anew or deleted since: those that it
    had, less those that are as they were.
    """

    table: Table
    mode: Literal["full", "changes"]
    reason: str
    slice: Slice
    survey: Probe | None = None
    reached: Reached | None = None
    replaced: int = 0

    @property
    def rows(self) -> int | None:
        """Rows to read, counted or, of a whole table, estimated; None where changed ones were not counted."""
        if self.survey:
            return self.survey.rows
        return self.table.estimated_rows if self.mode == "full" else None

    @property
    def will_reach(self) -> Reached | None:
        """The highest value of the table's cursor once the slice is read."""
        cursor = self.slice.cursor
        column = self.table.column(cursor.column) if cursor else None
        if column is None:
            return None
        value = self.survey.reached if self.survey else None
        if value is None and self.mode == "changes" and self.reached:
            return self.reached  # nothing is left of what was there
        return Reached(column=column.name, type=column.type, value=value)

    @property
    def is_new(self) -> bool:
        """Whether there is anything to read."""
        return self.mode == "full" or self.rows != 0 or self.replaced > 0


def without_surprise(plan: TablePlan, *, is_counted: bool) -> TablePlan:
    """The plan, or one that reads the table whole, where changed rows would not do.

    Of a table without a key they do where none was replaced: all that it had is as it was.
    """
    if plan.replaced < 0:
        return read_whole(plan, "it has old rows that the last batch did not have")
    if plan.is_new and not plan.table.key and plan.slice.cursor is None and (plan.replaced or not is_counted):
        return read_whole(plan, "rows of it were changed or deleted, and it has no primary key")
    return plan


def read_whole(plan: TablePlan, reason: str) -> TablePlan:
    """The plan of a table that is read whole after all."""
    return replace(plan, mode="full", reason=reason, slice=Slice(), survey=None, replaced=0)


def is_small(table: Table, most_bytes: int | None) -> bool:
    """Whether a table has at most so many bytes; one of unknown size has more."""
    return most_bytes is None or (table.bytes is not None and table.bytes <= most_bytes)


def has_more_to_tell(plan: TablePlan) -> bool:
    """Whether a scan of the table tells anything that later batches need."""
    return plan.slice.cursor is not None or plan.table.tracked


def slices_of(plan: TablePlan, pages_a_part: int) -> list[Slice]:
    """Slices that cover the plan's; the last one is open where rows of other tables may follow.

    Changed rows come in one slice and one by one: they are few, and a scan of all pages finds them sooner.
    """
    table = plan.table
    if plan.mode == "changes" or not table.has_pages:
        return [plan.slice]
    starts = list(range(0, table.pages, pages_a_part)) or [0]
    ends = [*starts[1:], table.pages if table.packs else None]
    return [
        plan.slice.model_copy(update={"first_page": first, "end_page": end, "packed": table.packs})
        for first, end in zip(starts, ends, strict=True)
    ]
