"""Lineage names every source column whose values move something in the result of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import pytest

from demo.home import PROJECT
from demo.postgres import Postgres
from pipeline.columns import Column, duckdb_type
from pipeline.duck import quote, relation_name, session
from pipeline.models import inputs, library, lineage
from pipeline.models.inputs import RESULT
from pipeline.models.library import Model
from pipeline.models.lineage import Fed, Lineage
from pipeline.models.target import Target
from pipeline.source import snapshots
from pipeline.source.catalogue import describe
from pipeline.warehouse import catalogue
from tests.made_up import made_target
from tests.support import database, execute, write_models

Tables = Mapping[str, Sequence[Column]]
Keys = Mapping[str, tuple[str, ...]]

TYPES = {"a": "integer", "b": "integer", "c": "text", "d": "integer"}
TABLES: Tables = {
    name: tuple(Column(name=column, type=type_) for column, type_ in TYPES.items())
    for name in ("t", "u", "loose")
}
KEYS: Keys = {"t": ("a",), "u": ("a",), "loose": ()}

# The first column is the key; the expected lineage is that of the others, and of rows.
CASES: tuple[tuple[str, dict[str, str], str], ...] = (
    ("SELECT a, b + d AS v, 1 AS one FROM t", {"v": "t.b t.d", "one": ""}, ""),
    ("SELECT * FROM t", {"b": "t.b", "c": "t.c", "d": "t.d"}, ""),
    ("SELECT a, c FROM t WHERE b > 1", {"c": "t.c"}, "t.b"),
    ("SELECT t.a, u.c FROM t LEFT JOIN u ON t.b = u.a", {"c": "t.b u.a u.c"}, ""),
    ("SELECT t.a, t.d, u.c FROM t JOIN u ON t.b = u.a", {"d": "t.d", "c": "t.b u.a u.c"}, "t.b u.a"),
    ("SELECT t.a, t.d, u.c FROM t, u WHERE t.b = u.a AND u.d > 0", {"d": "t.d"}, "t.b u.a u.d"),
    ("SELECT t.a, u.c FROM t LEFT JOIN (SELECT * FROM u WHERE d > 1) AS u ON t.b = u.a", {}, ""),
    ("SELECT t.a, max(u.d) AS v FROM t LEFT JOIN u ON u.b = t.b GROUP BY t.a", {}, ""),
    ("SELECT b, sum(d) AS v FROM t WHERE a > 1 GROUP BY b", {"v": "t.a t.b t.d"}, "t.a t.b"),
    ("SELECT 1 AS k, count(*) AS v FROM t WHERE b > 1", {"v": "t.b"}, ""),
    ("SELECT b, count(*) AS v FROM t GROUP BY b HAVING max(d) > 1", {}, "t.b t.d"),
    ("SELECT b, a, sum(d) AS v FROM t GROUP BY ROLLUP (b, a)", {}, ""),
    ("SELECT a, sum(d) OVER (PARTITION BY b ORDER BY a) AS v FROM t WHERE d > 0", {}, "t.d"),
    ("SELECT b, c FROM t QUALIFY row_number() OVER (PARTITION BY b ORDER BY d, a) = 1", {}, ""),
    ("SELECT row_number() OVER (ORDER BY d, a) AS n, c FROM t", {}, ""),
    ("SELECT DISTINCT ON (b) b, c, d FROM t ORDER BY b, d, a", {}, ""),
    ("SELECT DISTINCT b, c FROM t", {}, "t.b t.c"),
    ("SELECT a, c FROM t ORDER BY d, a LIMIT 2", {"c": "t.c"}, "t.a t.d"),
    ("SELECT a, c FROM t ORDER BY d, a LIMIT (SELECT max(b) % 3 FROM u)", {"c": "t.c"}, "t.a t.d u.b"),
    ("SELECT a, c FROM t UNION ALL SELECT a + 100, c FROM u", {"c": "t.c u.c"}, ""),
    ("SELECT a, b FROM t UNION SELECT a, b FROM u", {}, "t.a t.b u.a u.b"),
    ("SELECT a, b FROM t EXCEPT SELECT a, b FROM u", {}, "t.a t.b u.a u.b"),
    ("SELECT a, b FROM t INTERSECT SELECT a, b FROM u", {}, "t.a t.b u.a u.b"),
    ("SELECT a, c FROM t WHERE b IN (SELECT b FROM u WHERE d > 1)", {"c": "t.c"}, "t.b u.b u.d"),
    ("SELECT a, b IN (SELECT d FROM u) AS v FROM t", {"v": "t.b u.d"}, ""),
    ("SELECT a, c FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.b = t.b AND u.d > t.d)", {}, ""),
    ("SELECT a, (SELECT max(u.d) FROM u WHERE u.b = t.b) AS v FROM t", {"v": "t.b u.b u.d"}, ""),
    ("SELECT a, (SELECT c FROM u WHERE u.b = t.b ORDER BY u.d, u.a LIMIT 1) AS v FROM t", {}, ""),
    ("SELECT t.a, x.d FROM t, LATERAL (SELECT u.d FROM u WHERE u.a = t.b) AS x", {}, "t.b u.a"),
    ("SELECT t.a, u.c FROM t ASOF JOIN u ON t.b >= u.a", {}, ""),
    ("SELECT a, c FROM t SEMI JOIN u USING (b)", {"c": "t.c"}, "t.b u.b"),
    ("SELECT a, c FROM t ANTI JOIN u USING (b)", {"c": "t.c"}, "t.b u.b"),
    ("SELECT t.a, u.a AS other, u.d FROM t FULL JOIN u ON t.b = u.b", {}, ""),
    ("SELECT t.a, t.c, u.d FROM u RIGHT JOIN t ON t.b = u.a", {}, ""),
    ("SELECT t.a, u.d FROM t LEFT JOIN u ON t.b > u.b", {}, "t.b u.b"),
    (
        "WITH RECURSIVE r AS (SELECT a, b FROM t UNION SELECT r.a, u.b FROM r JOIN u ON r.b = u.a) FROM r",
        {},
        "",
    ),
    ("WITH x AS (FROM t), y AS (SELECT b, d FROM u) SELECT x.a, y.d FROM x JOIN y USING (b)", {}, ""),
    ("SELECT a, unnest([b, d]) AS v FROM t", {"v": "t.b t.d"}, "t.b t.d"),
    ("SELECT a, v FROM t, unnest([b, d]) AS q (v)", {}, ""),
    ("SELECT a, CASE WHEN b > 1 THEN c END AS v FROM t", {"v": "t.b t.c"}, ""),
    ("SELECT a, list_transform([b], lambda x: x + d) AS v FROM t", {}, ""),
    ("SELECT b, count(*) FILTER (WHERE d > 1) AS v, string_agg(c, ',' ORDER BY a) FROM t GROUP BY b", {}, ""),
    ("SELECT t.a, t.c FROM t JOIN t AS other ON t.b = other.d", {}, "t.b t.d"),
    ("SELECT b, first(c ORDER BY d, a) AS v FROM loose GROUP BY b", {}, ""),
    ("SELECT loose.a, loose.c FROM loose JOIN u ON loose.b = u.a", {"c": "loose.b loose.c u.a"}, ""),
    ("FROM t PIVOT (sum(d) FOR b IN (1, 2) GROUP BY a)", {}, ""),
    ("SELECT t.a, v.y FROM t JOIN (VALUES (1, 2), (2, 3)) AS v (x, y) ON t.b = v.x", {"y": "t.b"}, "t.b"),
    ("SELECT a, ARRAY(SELECT u.d FROM u WHERE u.b = t.b ORDER BY u.a) AS v FROM t", {}, ""),
    ("SELECT u.a, u.c FROM u JOIN (SELECT b, max(d) AS m FROM t GROUP BY b) AS x ON u.d = x.m", {}, ""),
)  # fmt: skip


def rows_by_key(connection: duckdb.DuckDBPyConnection, places: Sequence[int]) -> dict[Any, list[Any]]:
    """The rows of the result by key, sorted where a key has several."""
    found: dict[Any, list[Any]] = {}
    for row in connection.execute(f"SELECT COLUMNS(*)::VARCHAR FROM {RESULT}").fetchall():
        found.setdefault(tuple(row[place] for place in places), []).append(row)
    return {key: sorted(rows, key=str) for key, rows in found.items()}


def edits(
    connection: duckdb.DuckDBPyConnection, table: str, column: Column, key: tuple[str, ...]
) -> list[str]:
    """Expressions that change a column, of all rows or of some; a key stays unique."""
    name, type_ = quote(column.name), duckdb_type(column.type)
    if column.name in key:
        return [f"{name} % 6 + 1", f"{name} + 1", f"7 - {name}"]
    some = f"CASE WHEN random() < 0.6 THEN {{}} ELSE {name} END".format
    if type_ == "TIMESTAMP":
        return [some(f"{name} + INTERVAL 500 DAY"), some("NULL")]
    if column.name.endswith("_date"):
        return [some("'2024-05-05'"), some("NULL")]
    values = connection.execute(f"SELECT DISTINCT {name}::VARCHAR FROM {quote(table)}").fetchall()
    of_rows = [some(f"{'NULL' if each is None else repr(each)}::{type_}") for (each,) in values[:3]]
    return [*([f"{name} * 7 % 5", f"{name} + 1"] if type_ == "INTEGER" else []), some("NULL"), *of_rows]


def check(
    connection: duckdb.DuckDBPyConnection,
    found: Lineage,
    key: Sequence[str],
    tables: Tables,
    keys: Keys,
    most: int,
) -> int:
    """Change each column of each table, and compare what moves with the lineage; returns how much moved."""
    columns, moved = list(found.columns), 0
    places = [columns.index(name) for name in key]
    of_key = {source for name in key for source in found.columns[name]}
    before = rows_by_key(connection, places)
    for table in tables:
        relation = relation_name(table)
        connection.execute(f"CREATE OR REPLACE TEMP TABLE kept AS FROM {quote(relation)}")
        for column in tables[table]:
            source = f"{table}.{column.name}"
            for edit in edits(connection, relation, column, keys[table])[:most]:
                connection.execute(f"UPDATE {quote(relation)} SET {quote(column.name)} = {edit}")
                try:
                    after = rows_by_key(connection, places)
                except duckdb.Error:  # a value that the model cannot cast
                    after = before
                rows = {key: len(each) for key, each in before.items()}
                if rows != {key: len(each) for key, each in after.items()}:
                    moved += 1
                    assert source in {*found.rows, *of_key}, f"rows by {source}: {found}"
                if source not in of_key:
                    for name in _differing(before, after, columns):
                        moved += 1
                        assert source in found.columns[name], f"{name} by {source}: {found}"
                connection.execute(f"DELETE FROM {quote(relation)}")
                connection.execute(f"INSERT INTO {quote(relation)} FROM kept")
    return moved


def _differing(before: dict[Any, list[Any]], after: dict[Any, list[Any]], columns: list[str]) -> set[str]:
    """The columns that differ in rows of the same key, of which there are as many as before."""
    both = [key for key in before.keys() & after.keys() if len(before[key]) == len(after[key])]
    return {
        name
        for place, name in enumerate(columns)
        for key in both
        if sorted(str(row[place]) for row in before[key]) != sorted(str(row[place]) for row in after[key])
    }


def fill(connection: duckdb.DuckDBPyConnection, random: Random, tables: Tables, keys: Keys) -> None:
    """Few rows with few values, so that they meet."""
    for name, columns in tables.items():
        for number in range(1, 7):
            row = [
                number
                if column.name in keys[name]
                else (random.choice("xyz") if column.type == "text" else random.randrange(1, 5))
                for column in columns
            ]
            marks = ", ".join("?" for _ in columns)
            connection.execute(f"INSERT INTO {quote(relation_name(name))} VALUES ({marks})", row)


def test_whatever_moves_is_named(tmp_path: Path) -> None:
    for number, case in enumerate(CASES):
        moves_what_is_named(*case, tmp_path / str(number), seeds=1, most=2)


@pytest.mark.campaign
@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
def test_whatever_moves_is_named_for_much_data(case: tuple[str, dict[str, str], str], tmp_path: Path) -> None:
    moves_what_is_named(*case, tmp_path, seeds=20, most=9)


def moves_what_is_named(
    sql: str, expected: dict[str, str], rows: str, folder: Path, *, seeds: int, most: int
) -> None:
    """Compare the lineage of a query with what moves in tables that are filled by some seeds."""
    models = write_models(folder, {"m": f"-- kind: dimension\n-- unstable: allowed\n{sql}"})
    tables, moved = {name: TABLES[name] for name in sorted(models["m"].reads)}, 0
    found = Lineage(columns={}, rows=())
    for seed in range(seeds):
        with session() as connection:
            inputs.bind_empty(connection, models, {}, tables)
            columns = list(inputs.types_of(connection, models["m"], RESULT))
            found = lineage.lineage(connection, columns, columns[:1], tables, KEYS)
            fill(connection, Random(seed), tables, KEYS)
            moved += check(connection, found, columns[:1], tables, KEYS, most)
    assert moved, sql
    assert {name: " ".join(found.columns[name]) for name in expected} == expected, sql
    assert not rows or " ".join(found.rows) == rows, sql


def test_a_model_over_models_is_traced_to_the_source(tmp_path: Path) -> None:
    models = write_models(
        tmp_path,
        {
            "dim_u": "SELECT a, upper(c) AS label FROM u",
            "fact_t": "-- key: a\nSELECT t.a, t.d, dim_u.label FROM t LEFT JOIN dim_u ON t.b = dim_u.a",
        },
    )
    targets = {
        "dim_u": made_target("dim_u", ("a",), a="integer", label="text"),
        "fact_t": made_target("fact_t", ("a",), a="integer", d="integer", label="text"),
    }
    found = lineage.of_models(models, targets, TABLES, KEYS)
    assert found["fact_t"].columns["label"] == ("t.b", "u.a", "u.c")
    assert lineage.fed(found, "u")["u.c"] == Fed(columns=("dim_u.label", "fact_t.label"))


@pytest.fixture(scope="module")
def shipped(postgres: Postgres) -> tuple[dict[str, Model], dict[str, Target], Tables, Keys]:
    """The shipped models, their tables, and the tables of the source."""
    transforms = PROJECT / "transforms"
    models = library.load(transforms)
    with database(postgres, "lineage") as house, database(postgres, "totesys") as totesys:
        targets = catalogue.prepare(house, "public", models, transforms)
        execute(totesys, (PROJECT / "demo" / "source.sql").read_text(encoding="utf-8"))
        with snapshots.snapshot(totesys) as (connection, _):
            tables = describe(connection, "public", sorted(library.source_tables(models)))
    columns = {name: tuple(table.columns) for name, table in tables.items()}
    keys = {name: table.key for name, table in tables.items()}
    seeds = library.read_seeds(models)
    columns |= {name: tuple(seed.columns) for name, seed in seeds.items()}
    return models, targets, columns, keys | dict.fromkeys(seeds, ())


def test_a_schema_with_the_name_of_a_table_is_not_that_table() -> None:
    found = {"dim_t": Lineage(columns={"v": ("t.a", "t.a.b", 't."a.b"')}, rows=())}
    assert lineage.fed(found, "t").keys() == {"t.a", 't."a.b"'}
    assert lineage.fed(found, "t.a").keys() == {"t.a.b"}


def test_the_shipped_models(shipped: tuple[dict[str, Model], dict[str, Target], Tables, Keys]) -> None:
    models, targets, tables, keys = shipped
    found = lineage.of_models(models, targets, tables, keys)
    by_source = lineage.fed(found)
    # What docs/models.md shows.
    assert by_source["staff.department_id"] == Fed(
        columns=("dim_staff.department_name", "dim_staff.location")
    )
    assert by_source["department.location"] == Fed(columns=("dim_staff.location",))
    random = Random(1)
    for name in models:
        needed = library.closure(models, name)
        read = {table: tables[table] for each in needed.values() for table in each.reads & tables.keys()}
        with session() as connection:
            inputs.bind_empty(connection, needed, targets, tables)
            for table, columns in read.items():
                _fill_typed(connection, random, table, columns, keys[table])
            assert check(connection, found[name], targets[name].key, read, keys, 1), name


def _fill_typed(
    connection: duckdb.DuckDBPyConnection,
    random: Random,
    table: str,
    columns: Sequence[Column],
    key: tuple[str, ...],
) -> None:
    for number in range(1, 5):
        row = []
        for column in columns:
            kind, value = column.type, str(number if column.name in key else random.randrange(1, 5))
            if kind.startswith("timestamp"):
                value = f"2023-01-0{value} 10:00:0{value}"
            elif column.name.endswith("_date"):
                value = f"2023-02-0{value}"
            elif kind == "boolean":
                value = random.choice(["true", "false"])
            elif column.name == "currency_code":
                value = random.choice(["GBP", "USD", "EUR"])
            row.append(value)
        listed = ", ".join(f"?::{duckdb_type(column.type)}" for column in columns)
        connection.execute(f"INSERT INTO {quote(relation_name(table))} VALUES ({listed})", row)
