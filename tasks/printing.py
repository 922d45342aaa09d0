"""Plain tables for a terminal."""

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from pipeline.redaction import safe

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


def shortened(value: str | None) -> str:
    """A value of a row in a table."""
    if value is None:
        return "NULL"
    return value if len(value) <= _WIDEST else f"{value[: _WIDEST - 1]}…"
