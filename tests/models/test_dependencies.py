"""Columns that determine a query's rows by analysis do so for any data."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from itertools import chain, count
from random import Random

import duckdb
import pytest

from pipeline.duck import session
from pipeline.models import ties
from pipeline.models.operators import Operators
from pipeline.models.syntax import Node

# The seed of each example, to run a failed one again.
_FRESH = int(os.environ.get("DEPENDENCIES_SEED", Random().randrange(10**9)))
_TABLES = {"one": ("a",), "two": ("a",), "pair": ("a", "b"), "loose": ()}
_KEYS = {name: key for name, key in _TABLES.items() if key}
_QUERIES = 100


class Queries:
    """Random queries over some tables: the text, and the number of columns, which are c0, c1 and so on."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._names = (f"r{number}" for number in count())

    def draw(self, depth: int = 3) -> tuple[str, int]:
        if depth == 0 or self._random.random() < 0.15:
            return f"SELECT a AS c0, b AS c1, c AS c2 FROM {self._random.choice(list(_TABLES))}", 3
        makers = [
            self._joined, self._joined, self._comma, self._grouped, self._distinct, self._set, self._filtered,
            self._numbered, self._computed, self._twice, self._looked_up, self._limited,
        ]  # fmt: skip
        return self._random.choice(makers)(depth - 1)

    def ordered(self) -> str:
        """A query that depends on an order."""
        below, x, wide = self._below(2)
        order = ", ".join(self._random.sample(self._all(x, wide), self._random.randrange(1, wide + 1)))
        column, by = self._column(x, wide), self._column(x, wide)
        calls = [
            f"row_number() OVER (PARTITION BY {by} ORDER BY {order})",
            f"lag({column}) OVER (ORDER BY {order})",
            f"sum({column}) OVER (ORDER BY {order} ROWS 1 PRECEDING)",
            f"ntile(2) OVER (ORDER BY {order})",
            f"first_value({column}) OVER (PARTITION BY {by} ORDER BY {order})",
            f"rank() OVER (ORDER BY {order})",
        ]
        return self._random.choice(
            [
                f"SELECT *, {self._random.choice(calls)} FROM {below}",
                f"SELECT *, {self._random.choice(calls)} FROM {below}",
                f"SELECT * FROM {below} ORDER BY {order} LIMIT 2",
                f"SELECT DISTINCT ON ({by}) * FROM {below} ORDER BY {by}, {order}",
                f"SELECT {by}, list({column} ORDER BY {order}) FROM {below} GROUP BY {by}",
                f"SELECT {by}, arg_max({column}, ({order}, 1)) FROM {below} GROUP BY {by}",
                f"SELECT {by}, (SELECT c FROM pair WHERE a = {column} ORDER BY b LIMIT 1) FROM {below}",
            ]
        )

    def _below(self, depth: int) -> tuple[str, str, int]:
        """A query as an item of FROM, its alias and how many columns it has."""
        text, width = self.draw(depth)
        name = next(self._names)
        return f"({text}) AS {name}", name, width

    def _column(self, name: str, width: int) -> str:
        return f"{name}.c{self._random.randrange(width)}"

    def _listed(self, *columns: str) -> tuple[str, int]:
        kept = [each for each in columns if self._random.random() < 0.8] or [columns[0]]
        self._random.shuffle(kept)
        return ", ".join(f"{each} AS c{place}" for place, each in enumerate(kept)), len(kept)

    def _all(self, name: str, width: int) -> list[str]:
        return [f"{name}.c{place}" for place in range(width)]

    def _joined(self, depth: int) -> tuple[str, int]:
        left, x, wide = self._below(depth)
        right, y, high = self._below(depth)
        kind = self._random.choice(["JOIN", "LEFT JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"])
        pairs = range(self._random.randrange(1, 3))
        on = " AND ".join(f"{self._column(x, wide)} = {self._column(y, high)}" for _ in pairs)
        if kind != "FULL JOIN" and self._random.random() < 0.2:
            on += f" AND {self._column(self._random.choice([x, y]), min(wide, high))} > 1"
        listed, width = self._listed(*self._all(x, wide), *self._all(y, high))
        return f"SELECT {listed} FROM {left} {kind} {right} ON {on}", width

    def _comma(self, depth: int) -> tuple[str, int]:
        left, x, wide = self._below(depth)
        right, y, high = self._below(depth)
        listed, width = self._listed(*self._all(x, wide), *self._all(y, high))
        where = f"{self._column(x, wide)} = {self._column(y, high)}"
        return f"SELECT {listed} FROM {left}, {right} WHERE {where}", width

    def _grouped(self, depth: int) -> tuple[str, int]:
        below, x, wide = self._below(depth)
        by = self._random.sample(self._all(x, wide), self._random.randrange(min(wide, 2) + 1))
        listed, width = self._listed(*by, f"max({self._column(x, wide)})", "count(*)")
        how = f" GROUP BY {self._random.choice(['', 'ROLLUP '])}({', '.join(by)})" if by else ""
        return f"SELECT {listed} FROM {below}{how}", width

    def _distinct(self, depth: int) -> tuple[str, int]:
        below, x, wide = self._below(depth)
        listed, width = self._listed(*self._all(x, wide))
        on = f" ON ({self._column(x, wide)})" if self._random.random() < 0.4 else ""
        return f"SELECT DISTINCT{on} {listed} FROM {below}", width

    def _set(self, depth: int) -> tuple[str, int]:
        (left, wide), (right, high) = self.draw(depth), self.draw(depth)
        width = min(wide, high)
        words = self._random.choice(["UNION", "UNION ALL", "EXCEPT", "EXCEPT ALL", "INTERSECT"])
        columns = ", ".join(f"c{place}" for place in range(width))
        return f"SELECT {columns} FROM ({left}) {words} SELECT {columns} FROM ({right})", width

    def _filtered(self, depth: int) -> tuple[str, int]:
        below, x, wide = self._below(depth)
        column, other = self._column(x, wide), self._column(x, wide)
        where = [f"{column} = 1", f"{column} = {other}", f"{column} IS NOT NULL", f"{column} > {other}",
                 f"{column} = 1 AND {other} < 3", f"{column} IN (SELECT a FROM two)",
                 f"NOT EXISTS (SELECT 1 FROM pair WHERE pair.a = {column})"]  # fmt: skip
        return f"SELECT * FROM {below} WHERE {self._random.choice(where)}", wide

    def _numbered(self, depth: int) -> tuple[str, int]:
        below, x, wide = self._below(depth)
        number = f"row_number() OVER (PARTITION BY {self._column(x, wide)} ORDER BY {self._column(x, wide)})"
        qualify = f" QUALIFY {number} = 1" if self._random.random() < 0.4 else ""
        listed, width = self._listed(*self._all(x, wide), number)
        return f"SELECT {listed} FROM {below}{qualify}", width

    def _computed(self, depth: int) -> tuple[str, int]:
        below, x, wide = self._below(depth)
        column = self._column(x, wide)
        more = [f"{column} + 1", f"COALESCE({column}, 1)", "7", f"CAST({column} AS bigint)", f"{column} % 2",
                f"CAST(CAST({column} AS VARCHAR) AS bigint)"]  # fmt: skip
        listed, width = self._listed(self._random.choice(more), *self._all(x, wide))
        return f"SELECT {listed} FROM {below}", width

    def _twice(self, depth: int) -> tuple[str, int]:
        text, wide = self.draw(depth)
        name, x, y = next(self._names), next(self._names), next(self._names)
        listed, width = self._listed(*self._all(x, wide), *self._all(y, wide))
        on = f"{self._column(x, wide)} = {self._column(y, wide)}"
        how = self._random.choice(["MATERIALIZED ", "NOT MATERIALIZED ", ""])
        kind = self._random.choice(["JOIN", "LEFT JOIN"])
        return (
            f"WITH {name} AS {how}({text}) SELECT {listed} FROM {name} AS {x} {kind} {name} AS {y} ON {on}",
            width,
        )

    def _looked_up(self, depth: int) -> tuple[str, int]:
        below, x, wide = self._below(depth)
        column = self._column(x, wide)
        value = self._random.choice(
            [
                f"(SELECT b FROM one WHERE one.a = {column})",
                f"(SELECT max(b) FROM pair WHERE pair.a = {column})",
                f"(SELECT b FROM pair WHERE pair.a = {column} ORDER BY b LIMIT 1)",
                "(SELECT max(b) FROM loose)",
                f"EXISTS (SELECT 1 FROM loose WHERE loose.b = {column})::int",
            ]
        )
        listed, width = self._listed(value, *self._all(x, wide))
        return f"SELECT {listed} FROM {below}", width

    def _limited(self, depth: int) -> tuple[str, int]:
        below, x, wide = self._below(depth)
        return f"SELECT * FROM {below} ORDER BY {self._column(x, wide)} LIMIT 4", wide


def _filled(random: Random) -> dict[str, list[list[int | None]]]:
    """Few rows with few values, so that they join."""
    rows: dict[str, list[list[int | None]]] = {}
    for table, key in _TABLES.items():
        kept: dict[object, list[int | None]] = {}
        for _ in range(random.randrange(1, 9)):
            row = {name: random.choice([None, 1, 2, 3, 4]) for name in "abc"}
            identity = tuple(row[name] for name in key)
            if None not in identity:
                kept[identity or object()] = list(row.values())
        rows[table] = list(kept.values())
    return rows


def _bind(connection: duckdb.DuckDBPyConnection, tables: dict[str, list[list[int | None]]]) -> None:
    for table, rows in tables.items():
        connection.execute(f"CREATE OR REPLACE TEMP TABLE {table} (a INTEGER, b INTEGER, c INTEGER)")
        if rows:
            marks = ", ".join(["(?, ?, ?)"] * len(rows))
            connection.execute(f"INSERT INTO {table} VALUES {marks}", list(chain.from_iterable(rows)))


def _plan(connection: duckdb.DuckDBPyConnection, text: str) -> Node:
    ((written,),) = connection.execute(
        "SELECT json_serialize_plan(?::VARCHAR, optimize := false)", [text]
    ).fetchall()
    plan = json.loads(str(written))
    assert not plan["error"], f"{text}: {plan}"
    (top,) = plan["plans"]
    return dict(top)


def _claims(random: Random, plan: Node, width: int) -> Iterator[list[int]]:
    """Columns of a query that determine its rows by analysis."""
    rows = Operators(plan, _KEYS).of(plan)
    assert len(rows.columns) in (0, width)
    for _ in range(3 if rows.columns else 0):
        chosen = random.sample(range(width), random.randrange(width))
        if rows.determined_by(frozenset(rows.columns[place] for place in chosen)):
            yield chosen


@pytest.mark.parametrize("seed", [pytest.param(_FRESH, id="fresh")])
def test_columns_that_determine_rows_by_analysis_do_so_in_data(seed: int) -> None:
    random, claimed = Random(seed), 0
    with session() as connection:
        for number in range(_QUERIES):
            if number % 5 == 0:
                _bind(connection, _filled(random))
            text, width = Queries(random).draw()
            for chosen in _claims(random, _plan(connection, text), width):
                claimed += 1
                columns = ", ".join(f"c{place}" for place in chosen) or "0"
                ((rows, keys),) = connection.execute(
                    f"WITH q AS MATERIALIZED (SELECT DISTINCT * FROM ({text}))"
                    f" SELECT (SELECT count(*) FROM q), count(*) FROM (SELECT DISTINCT {columns} FROM q)"
                ).fetchall()
                assert rows == keys, f"seed {seed}: {columns} of {text}"
    assert claimed > _QUERIES / 5


@pytest.mark.parametrize("seed", [pytest.param(_FRESH, id="fresh")])
def test_stable_models_yield_the_same_in_any_order_of_rows(seed: int) -> None:
    random, stable = Random(seed), 0
    with session() as connection:
        for _ in range(_QUERIES):
            tables = _filled(random)
            _bind(connection, tables)
            text = Queries(random).ordered()
            if any(ties.in_plan(_plan(connection, text), _KEYS)):
                continue
            stable += 1
            results = []
            for _ in range(3):
                results.append(sorted(connection.execute(text).fetchall(), key=repr))
                _bind(connection, {name: random.sample(rows, len(rows)) for name, rows in tables.items()})
            assert results[0] == results[1] == results[2], f"seed {seed}: {text}"
    assert _QUERIES / 10 < stable < _QUERIES
