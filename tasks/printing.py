"""Plain tables for a terminal."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

from pipeline.redaction import safe
from pipeline.review.live import Changed, Row

_WIDTH = 1000
_WIDEST = 40


def as_table(head: Iterable[str], rows: Iterable[Iterable[str]], right: Iterable[int] = ()) -> Table:
    """A table whose columns at the places ``right`` are aligned there."""
    table, numbers = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0)), set(right)
    for number, name in enumerate(head):
        table.add_column(name, justify="right" if number in numbers else "left", no_wrap=True)
    for row in rows:
        table.add_row(*map(safe, row))
    return table


def print_table(table: Table) -> None:
    """Print an indented table, without trailing blanks and without colours."""
    console = Console(width=_WIDTH, color_system=None, highlight=False, markup=False, emoji=False)
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        print(f"  {line.rstrip()}")


def as_rows(rows: Sequence[Row]) -> Table:
    """The values of rows, of which there is at least one."""
    return as_table(rows[0], [map(shortened, row.values()) for row in rows])


def as_changes(rows: Sequence[Changed], old: str, new: str) -> Table:
    """The columns in which rows differ; ``old`` and ``new`` name the sides. There is at least one row."""
    changed = [
        (", ".join(map(shortened, row.key.values())), name, *map(shortened, values))
        for row in rows
        for name, values in row.columns.items()
    ]
    return as_table((", ".join(rows[0].key), "column", old, new), changed)


def shortened(value: str | None) -> str:
    """A value of a row in a table."""
    if value is None:
        return "NULL"
    return value if len(value) <= _WIDEST else f"{value[: _WIDEST - 1]}…"
