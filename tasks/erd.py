"""The entity relationship diagram of a warehouse, which D2 draws."""

import json
from collections.abc import Iterable, Iterator

from pipeline.review.dictionary import DescribedColumn, DescribedTable


def draw(tables: Iterable[DescribedTable]) -> str | None:
    """The diagram as SVG; None if D2 is not installed, which has no wheel for every machine."""
    try:
        import d2  # noqa: PLC0415  it loads a library of 40 MB
    except (ImportError, OSError):
        return None
    drawn = d2.compile("\n".join(_lines(list(tables))))
    return str(drawn) if drawn else None


def _lines(tables: list[DescribedTable]) -> Iterator[str]:
    yield "direction: right"
    names = {table.name for table in tables}
    for table in tables:
        yield f"{_quoted(table.name)}: {{"
        yield "  shape: sql_table"
        for column in table.columns:
            yield f"  {_quoted(column.name)}: {_quoted(column.type)}{_constraint(column)}"
        yield "}"
    for table in tables:
        # One line per pair of tables keeps the diagram readable.
        for name in sorted({column.refers_to for column in table.columns if column.refers_to} & names):
            yield f"{_quoted(table.name)} -> {_quoted(name)}"


def _constraint(column: DescribedColumn) -> str:
    kinds = ["primary_key"] * column.in_key + ["foreign_key"] * bool(column.refers_to)
    return f" {{constraint: [{'; '.join(kinds)}]}}" if kinds else ""


def _quoted(name: str) -> str:
    # D2 reads names such as label as its own words, even in quotes, but not after a blank, which SVG omits.
    return json.dumps(f" {name}", ensure_ascii=False)
