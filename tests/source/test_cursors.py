"""Relations without xmin are read by an increasing column."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from pipeline.lake.manifest import Manifest
from tests.house import plan_batch
from tests.pair import Pair
from tests.source.cursors import SCHEMA, model
from tests.support import query, write_models
from tests.system import own_version


def start(pair: Pair, type_: str, cursor: str, *rows: str) -> None:
    """A view over a table with a column of that type, after the first batch."""
    pair.fresh(
        {"fact_v": model(cursor), "schema": SCHEMA},
        f"CREATE TABLE t (id int, note text, c {type_})",
        *[f"INSERT INTO t VALUES ({row})" for row in rows],
        "CREATE VIEW v AS SELECT * FROM t",
    )
    pair.run()


def step(pair: Pair) -> tuple[str, int]:
    """Take a batch and load it; returns how the view was read, and how many rows of it."""
    planned, manifest = plan_batch(pair.source_url, pair.house)
    if manifest:
        pair.house.bring(manifest)
    return planned.tables["v"].reason, manifest.rows if manifest else 0


def equal(pair: Pair, view: str = "v") -> None:
    shown = pair.house.query(f"SELECT id, note FROM fact_{view}_current ORDER BY 1")
    assert shown == query(pair.source_url, f"SELECT id, note FROM {view} ORDER BY 1"), view


# Type, overlap, the highest value at first, one within the overlap, one above, and one below it.
RISING = [
    ("integer", "", "100", "100", "101", "99"),
    ("smallint", "10", "100", "90", "101", "89"),
    ("bigint", "5", "9000000000", "8999999995", "9000000001", "8999999994"),
    ("numeric", "0.5", "1.00", "0.5", "1.001", "0.49"),
    ("numeric(9,3)", "0.5", "1.00", "0.5", "1.001", "0.499"),
    ("double precision", "0.25", "0.5", "0.25", "0.6", "0.2"),
    ("date", "2 days", "'2024-03-02'", "'2024-02-29'", "'2024-03-03'", "'2024-02-28'"),
    ("timestamp", "1 hour", "'2024-01-01 12:00'", "'2024-01-01 11:00'", "'2031-01-01'", "'2024-01-01 10:59'"),
    ("timestamp", "", "'1999-01-01 12:00'", "'1999-01-01 12:00'", "'1999-01-01 12:01'", "'1999-01-01 11:59'"),
    (
        "timestamptz", "1 hour",
        "'2024-01-01 12:00+00'", "'2024-01-01 11:00+00'", "'2024-01-01 15:00+02'", "'2024-01-01 12:59+02'",
    ),
    ("text", "", "'b'", "'b'", "'c'", "'a'"),
    ("char(3)", "", "'b'", "'b'", "'c'", "'a'"),
    ("uuid", "", "repeat('5', 32)::uuid", "repeat('5', 32)::uuid", "repeat('6', 32)::uuid",
     "repeat('4', 32)::uuid"),
    ("int[]", "", "'{2,1}'", "'{2,1}'", "'{10}'", "'{1,9}'"),
    ("money", "", "'2.50'", "'2.50'", "'10.00'", "'2.49'"),
    ("bytea", "", r"'\x05'", r"'\x05'", r"'\x06'", r"'\x04'"),
    ('"mood"', "", "'calm'", "'calm'", "'angry'", "'zen'"),
]  # fmt: skip


def views_of(pair: Pair, columns: Mapping[str, str], cursors: Mapping[str, str]) -> None:
    """Views by name over tables with a column of a type, and the models that read them by a cursor."""
    pair.fresh(
        {f"fact_{view}": model(cursors[view], view) for view in columns}
        | {"schema": "".join(SCHEMA.splitlines()[1].replace("fact_v", f"fact_{view}") for view in columns)},
        "CREATE TYPE mood AS ENUM ('zen', 'calm', 'angry')",
        *[f"CREATE TABLE of_{view} (id int, note text, c {type_})" for view, type_ in columns.items()],
        *[f"CREATE VIEW {view} AS SELECT * FROM of_{view}" for view in columns],
    )


def rows_read(pair: Pair) -> dict[str, int]:
    """Take a batch and load it; returns how many rows of each view were read by its cursor."""
    planned, manifest = plan_batch(pair.source_url, pair.house)
    assert manifest is not None
    pair.house.bring(manifest)
    assert {table.reason for table in planned.tables.values()} == {"changed rows"}
    return {name: table.rows for name, table in manifest.tables.items()}


@pytest.mark.rarely("16")
def test_a_view_is_read_from_the_highest_value_of_the_last_batch(old_and_new: Pair) -> None:
    """Rows within the overlap and above are read, rows below it are not."""
    views = {f"v_{number}": values for number, values in enumerate(RISING)}
    views_of(
        old_and_new,
        {view: type_ for view, (type_, *_) in views.items()},
        {view: f"{view}.c {overlap}".rstrip() for view, (_, overlap, *_) in views.items()},
    )
    for view, (_, _, first, _, _, below) in views.items():
        old_and_new.do(f"INSERT INTO of_{view} VALUES (1, 'a', {first}), (2, 'a', {below})")
    old_and_new.run()
    for view, (_, _, _, within, above, below) in views.items():
        rows = f"(3, 'b', {within}), (4, 'b', {above}), (5, 'never', {below})"
        old_and_new.do(f"INSERT INTO of_{view} VALUES {rows}")
    assert rows_read(old_and_new) == dict.fromkeys(views, 3)
    for view in views:
        shown = old_and_new.house.query(f"SELECT id FROM fact_{view}_current ORDER BY 1")
        assert shown == [(1,), (2,), (3,), (4,)], view
    for view, (_, _, first, *_) in views.items():
        old_and_new.do(f"INSERT INTO of_{view} VALUES (6, 'never', {first})")
    without_overlap = {view: rows for view, rows in rows_read(old_and_new).items() if not views[view][1]}
    assert set(without_overlap.values()) == {1}, "from the new highest value on"


def test_nulls_are_read_each_time(old_and_new: Pair) -> None:
    start(old_and_new, "integer", "v.c", "1, 'a', NULL", "2, 'a', 7")
    old_and_new.do("UPDATE t SET note = 'b' WHERE id = 1")
    assert step(old_and_new) == ("changed rows", 2)
    equal(old_and_new)


# Type, an infinite value, and two others.
INFINITE = [
    ("timestamp", "'infinity'", "'2024-01-01'", "'2024-01-02'"),
    ("date", "'infinity'", "'2024-01-01'", "'2024-01-02'"),
    ("double precision", "'NaN'", "1", "2"),
    ("real", "'Infinity'", "1", "2"),
    ("numeric", "'NaN'", "1", "2"),
]
if own_version() >= 14:
    INFINITE.append(("numeric", "'Infinity'", "1", "2"))


@pytest.mark.rarely("16")
def test_an_infinite_value_does_not_hide_later_rows(old_and_new: Pair) -> None:
    views = {f"v_{number}": values for number, values in enumerate(INFINITE)}
    types = {view: type_ for view, (type_, *_) in views.items()}
    views_of(old_and_new, types, {view: f"{view}.c" for view in views})
    for view, (_, end, low, _) in views.items():
        old_and_new.do(f"INSERT INTO of_{view} VALUES (1, 'a', {end}), (2, 'a', {low})")
    old_and_new.run()
    for view, (_, _, _, high) in views.items():
        insert = f"INSERT INTO of_{view} VALUES (3, 'b', {high})"
        old_and_new.do(insert, f"UPDATE of_{view} SET note = 'b' WHERE id = 1")
    assert rows_read(old_and_new) == dict.fromkeys(views, 3)
    for view in views:
        equal(old_and_new, view)


def test_of_rows_with_one_key_the_last_one_read_counts(old_and_new: Pair) -> None:
    start(old_and_new, "integer", "v.c", "1, 'a', 1", "2, 'a', 5")
    old_and_new.do("INSERT INTO t VALUES (1, 'b', 6)")
    assert step(old_and_new) == ("changed rows", 2)
    assert old_and_new.house.query("SELECT id, note FROM fact_v_current ORDER BY 1") == [(1, "b"), (2, "a")]


def test_a_view_that_is_empty_at_first_or_loses_its_rows(old_and_new: Pair) -> None:
    start(old_and_new, "integer", "v.c")
    old_and_new.do("INSERT INTO t VALUES (1, 'a', 5)")
    assert step(old_and_new) == ("changed rows", 1)
    old_and_new.do("DELETE FROM t")
    assert step(old_and_new) == ("changed rows", 0)
    old_and_new.do("INSERT INTO t VALUES (2, 'b', 5), (3, 'never', 4)")
    assert step(old_and_new) == ("changed rows", 1)


@pytest.mark.rarely("16")
def test_another_cursor_reads_the_view_in_full_once(old_and_new: Pair) -> None:
    start(old_and_new, "integer", "v.c", "1, 'a', 1", "2, 'b', 2")
    write_models(old_and_new.house.folder, {"fact_v": model("v.id")})
    assert step(old_and_new) == ("not read by this cursor before", 2)
    assert step(old_and_new) == ("changed rows", 1)
    old_and_new.do("DROP VIEW v", "CREATE VIEW v AS SELECT id::bigint AS id, note, c FROM t")
    assert step(old_and_new) == ("another table has this name now", 2)


def test_a_changed_model_reads_its_view_in_full_once(old_and_new: Pair) -> None:
    start(old_and_new, "integer", "v.c", "1, 'a', 1", "2, 'b', 2")
    write_models(old_and_new.house.folder, {"fact_v": model("v.c").replace("note", "upper(note) AS note")})
    assert step(old_and_new) == ("fact_v or its model is new or changed", 2)
    assert step(old_and_new) == ("changed rows", 1)


def test_a_model_that_only_appends_has_all_rows_that_are_read_by_a_cursor(old_and_new: Pair) -> None:
    """Also if another table is read in full, and only the changed rows of the view are."""
    old_and_new.fresh(
        {
            "dim_note": "-- cursor: v.c\n-- reads: changes\nSELECT note FROM v UNION SELECT note FROM other",
            "schema": "CREATE TABLE IF NOT EXISTS dim_note (note varchar PRIMARY KEY);",
        },
        "CREATE TABLE t (id int, note text, c int)",
        "CREATE TABLE other (note text)",
        "INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 2)",
        "INSERT INTO other VALUES ('x')",
        "CREATE VIEW v AS SELECT * FROM t",
    )
    old_and_new.run()
    assert old_and_new.house.query("SELECT note FROM dim_note ORDER BY 1") == [("a",), ("b",), ("x",)]
    old_and_new.do("INSERT INTO t VALUES (3, 'c', 3)", "UPDATE other SET note = 'y'")
    old_and_new.run()
    notes = [("a",), ("b",), ("c",), ("x",), ("y",)]
    assert old_and_new.house.query("SELECT note FROM dim_note ORDER BY 1") == notes
    old_and_new.do("DELETE FROM t WHERE id = 1")
    old_and_new.run(reconcile=True)
    assert old_and_new.house.query("SELECT note FROM dim_note ORDER BY 1") == notes


def test_a_row_that_leaves_the_filter_of_a_model_over_a_model_leaves_its_table(old_and_new: Pair) -> None:
    old_and_new.fresh(
        {
            "fact_v": model("v.c"),
            "fact_w": "-- key: id\nSELECT id, note FROM fact_v WHERE note <> 'gone'",
            "schema": SCHEMA,
        },
        "CREATE TABLE t (id int, note text, c int)",
        "INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 2)",
        "CREATE VIEW v AS SELECT * FROM t",
    )
    old_and_new.run()
    old_and_new.do("UPDATE t SET note = 'gone', c = 3 WHERE id = 1")
    old_and_new.run()
    assert old_and_new.house.query("SELECT id FROM fact_w_current") == [(2,)]


def test_names_in_quotes_and_two_models_with_the_same_cursor(old_and_new: Pair) -> None:
    old_and_new.fresh(
        {"fact_v": model('v."Changed . At"'), "fact_w": model('"v"."Changed . At"'), "schema": SCHEMA},
        'CREATE TABLE t (id int, note text, "Changed . At" int)',
        "INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 2)",
        "CREATE VIEW v AS SELECT * FROM t",
    )
    old_and_new.run()
    old_and_new.do("INSERT INTO t VALUES (3, 'c', 3)")
    assert step(old_and_new) == ("changed rows", 2)
    equal(old_and_new)


def test_a_batch_stores_its_cursor_position(old_and_new: Pair) -> None:
    start(old_and_new, "timestamptz", "v.c 1 hour", "1, 'a', '2024-01-01 12:00+02'")
    old_and_new.do("INSERT INTO t VALUES (2, 'b', '2024-01-03 00:00:00.123456+00')")
    _, manifest = plan_batch(old_and_new.source_url, old_and_new.house)
    assert manifest is not None
    again = Manifest.model_validate_json(manifest.model_dump_json())
    reached = again.tables["v"].reached
    assert reached is not None
    assert (reached.column, reached.value) == ("c", "2024-01-03 00:00:00.123456+00")
