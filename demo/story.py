"""The report of a demo, read from its databases."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from rich.padding import Padding
from rich.text import Text

from demo import changes
from demo.binaries import programs
from demo.changes import Change
from demo.home import FOLDER, SOURCE, WAREHOUSE, command, shown
from demo.queries import Rows, count, exists, read, statement
from demo.shop import Edit
from demo.terminal import pairs, table

if TYPE_CHECKING:
    from demo.run import Demo, Results, Run

_STEPS = ("plan", "extract", "transform", "load")
_VALIDITY = ("valid_from", "valid_to")
_ORDER = (
    "last_updated", "sold_to", "sold_by", "design_id", "units_sold", "unit_price", "currency_code",
    "agreed_delivery_date",
)  # fmt: skip
_DELETED = (*_VALIDITY, "deleted", "units_sold", "unit_price", "currency_code")


def show_report(demo: Demo, results: Results) -> None:
    """Show the whole report; the databases must be running."""
    with psycopg.connect(demo.source) as source, psycopg.connect(demo.warehouse) as warehouse:
        _show_changes(demo, results, source, warehouse)
        _show_tables(demo, results, warehouse)
        _show_edit(demo, results, warehouse)
        _show_move(demo, results, warehouse)
        _show_deletion(demo, results, warehouse)
    _show_timings(demo, results)
    _show_places(demo)
    _show_next(demo, results)


def _show_changes(demo: Demo, results: Results, source: Rows, warehouse: Rows) -> None:
    at = results.second.at

    def numbers(change: Change) -> tuple[int, int, int]:
        seen = changes.seen_by(results.watermarks, source, change)
        return change.rows, seen, changes.recorded(warehouse, change, at)

    by_change = {change.label: numbers(change) for change in results.changes}
    rows, seen, recorded = (sum(column) for column in zip(*by_change.values(), strict=True))
    lines: list[list[str | Text]] = [[label, *_compared(*each)] for label, each in by_change.items()]
    lines.append([Text(cell, "bold") for cell in ("total", *map(_shown, (rows, seen, recorded)))])
    demo.terminal.heading(
        f"{results.day.day:%A, %-d %B %Y}: what changed in the source, and what captures it"
    )
    head = ("", "rows", "last_updated > watermark", "this warehouse")
    demo.terminal.show(table(head, lines, right=(1, 2, 3)))


def _compared(rows: int, *noticed: int) -> list[Text]:
    return [
        Text(_shown(rows)),
        *(Text(_shown(number), "" if number == rows else "red") for number in noticed),
    ]


def _show_tables(demo: Demo, results: Results, warehouse: Rows) -> None:
    names = sorted(results.second.tables, key=lambda name: (name.startswith("dim_"), name))
    rows = [
        [name, *_sizes(warehouse, name), results.first.gained(name), results.second.gained(name)]
        for name in names
    ]
    demo.terminal.heading(
        "The warehouse", "facts keep versions; current: the latest ones, without deleted rows"
    )
    head = ("table", "versions", "current", "first run", "second run")
    demo.terminal.show(table(head, rows, right=(1, 2)))


def _sizes(warehouse: Rows, name: str) -> Iterator[str]:
    current = f"{name}_current"
    yield _shown(count(warehouse, f"{name}_history"))
    yield _shown(count(warehouse, current if exists(warehouse, current) else name))


def _edited(results: Results) -> Edit:
    edits = [edit for edit in results.day.edits if edit.table == "sales_order"]
    return next(edit for edit in edits if edit.column == "agreed_delivery_date")


def _show_edit(demo: Demo, results: Results, warehouse: Rows) -> None:
    key = _edited(results).id
    before, after = _last_two_versions(warehouse, key)
    rows: list[list[str | Text]] = [
        [Text(name, "dim"), _shown(before[name]), _shown(after[name])] for name in _VALIDITY
    ]
    for name in _ORDER:
        differs = before[name] != after[name]
        new = Text(_shown(after[name]) + ("  <- edited" if differs else ""), "bold" if differs else "")
        rows.append([Text(name, "dim"), _shown(before[name]), new])
    demo.terminal.heading(f"Sales order {key}, edited silently", "both versions are kept; times are UTC")
    demo.terminal.show(table(("", "old version", "new version"), rows))


def _show_move(demo: Demo, results: Results, warehouse: Rows) -> None:
    move, bound = results.day.move, {"ids": list(results.day.moved_staff), "at": results.second.at}
    with warehouse.cursor(row_factory=dict_row) as cursor:
        moved = cursor.execute(statement("moved_staff.sql"), bound).fetchall()
    rows = [[_shown(value) for value in row.values()] for row in moved]
    demo.terminal.heading(
        f"Department {move.id} moved from {move.old} to {move.new}",
        "with its staff; dim_staff_history has both",
    )
    demo.terminal.show(table(("staff", "name", "department", "old location", "new location", "since"), rows))


def _show_deletion(demo: Demo, results: Results, warehouse: Rows) -> None:
    key = results.day.deleted.order_id
    rows = [[_shown(row[name]) for name in _DELETED] for row in _last_two_versions(warehouse, key)]
    demo.terminal.heading(f"Sales order {key}, deleted in the source", "no longer current, but kept")
    demo.terminal.show(table(_DELETED, rows, right=(3, 4)))


def _last_two_versions(warehouse: Rows, key: int) -> list[dict[str, Any]]:
    with warehouse.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(statement("versions_of_order.sql"), {"id": key}).fetchall()[::-1]


def _show_timings(demo: Demo, results: Results) -> None:
    rows = [_timings("first run", results.first), _timings("second run", results.second)]
    demo.terminal.heading(
        "Seconds", "the second run reads changed rows, and the keys of tables with deleted rows"
    )
    head = ("", "rows read", "rows written", *_STEPS, "Prefect, rest", "total")
    demo.terminal.show(table(head, rows, right=range(1, len(head))))


def _timings(name: str, run: Run) -> list[str]:
    steps = [sum(batch.seconds.get(step, 0.0) for batch in run.batches) for step in _STEPS]
    rest = max(0.0, run.seconds - sum(steps))
    seconds = (f"{each:.1f}" for each in (*steps, rest, run.seconds))
    return [name, _shown(run.rows_read), _shown(run.rows_written), *seconds]


def _show_places(demo: Demo) -> None:
    home, postgres = demo.home, demo.postgres
    demo.terminal.heading("Where everything is", "nothing is left running")
    places = [
        ("databases", f"{SOURCE} and {WAREHOUSE}, Postgres {postgres.version}, in {shown(postgres.home)}"),
        ("buckets", f"{shown(home.raw)} and {shown(home.processed)}: Parquet files, manifests"),
        ("log", f"{shown(home.log)}: the output of Prefect and the flow"),
        ("psql", shown(programs(postgres.version, None) / "psql")),
    ]
    demo.terminal.show(pairs(places))


def _show_next(demo: Demo, results: Results) -> None:
    usual, psql = demo.home.folder == FOLDER, command(demo.home, "psql")
    keys = (_edited(results).id, results.day.deleted.order_id)
    demo.terminal.heading("What to try next")
    _suggest(demo, "sales by currency", f'{psql} -c "\n{_example("sales_by_currency.sql")}"')
    _suggest(
        demo,
        "the edited and the deleted order as they were before the second run",
        f'{psql} -c "\n{_example("orders_as_of.sql", results.second.at, keys)}"',
    )
    _suggest(demo, "the age of the warehouse, and pending rows in the source", command(demo.home, "status"))
    _suggest(demo, "psql on the warehouse, or on the source", psql, f"{psql} {SOURCE}")
    _suggest(
        demo, "a worker, a busy shop and the Prefect UI, until Ctrl-C",
        "make live" if usual else command(demo.home, "live"),
    )  # fmt: skip
    _suggest(demo, "another working day", "make demo" if usual else command(demo.home))
    _suggest(demo, "start over", "make demo FRESH=1" if usual else command(demo.home, "--fresh"))
    _suggest(demo, "run the tests", "make test")


def _suggest(demo: Demo, purpose: str, *commands: str) -> None:
    demo.terminal.show(Padding(Text(f"# {purpose}", "dim"), (0, 0, 0, 2)))
    demo.terminal.show_verbatim(*commands)


def _example(file: str, before: datetime | None = None, keys: tuple[int, ...] = ()) -> str:
    """A query to copy, with values of this demo."""
    moment = f"{before:%Y-%m-%d %H:%M:%S} UTC" if before else ""
    query = sql.SQL(read(file)).format(before=sql.Literal(moment), keys=sql.SQL(", ").join(keys))
    return query.as_string().rstrip()


def _shown(value: object) -> str:
    """A value as psql shows it, with times to the second and digits in groups."""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    return "-" if value is None else str(value)
