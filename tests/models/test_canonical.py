"""Models that differ only in the names of CTEs and aliases are the same; no others are."""

from __future__ import annotations

from pathlib import Path
from random import Random

import duckdb
import pytest

from pipeline.duck import relation_name, session
from pipeline.errors import ModelError
from pipeline.models import library
from pipeline.models.output import Loaded
from pipeline.recovery import restate

QUERIES = (
    "WITH {p} AS (SELECT * FROM t) SELECT {p}.id, v FROM {p}",
    "WITH {p} AS (SELECT id, v FROM t), {q} AS (SELECT {p}.id FROM {p} WHERE v > 1) SELECT * FROM {q}",
    "WITH {p} AS (SELECT * FROM t), {q} AS (SELECT * FROM u) SELECT {r}.id, {r}.v FROM {r}",
    "SELECT {p}.v, {q}.v AS w FROM t AS {p} JOIN t AS {q} ON {p}.id < {q}.id",
    "SELECT {p}.v, {q}.v AS w FROM t AS {p} JOIN t AS {q} ON {q}.id < {p}.id",
    "SELECT {p}.* FROM t AS {p} WHERE EXISTS (SELECT 1 FROM u AS {q} WHERE {q}.id = {p}.id)",
    "SELECT {p}.* FROM t AS {p} WHERE EXISTS (SELECT 1 FROM u AS {p} WHERE {q}.id = {p}.id)",
    "SELECT {p}.* FROM t AS {q}, u AS {p}",
    "SELECT {p} FROM (SELECT id AS {q} FROM t) AS {r}",
    "SELECT {p}.{q} FROM (SELECT id AS {q} FROM t) AS {p}",
    "SELECT (SELECT max({p}.id) FROM u AS {q}) AS m, {p}.v FROM t AS {p}",
    "WITH RECURSIVE {p} AS (SELECT 1 AS n UNION ALL SELECT {p}.n + 1 FROM {p} WHERE n < 3) FROM {p}",
    "WITH {p} AS (WITH {p} AS (SELECT * FROM t) SELECT * FROM {p} WHERE id > 1) SELECT {q}.v FROM {p} AS {q}",
    "SELECT {p}.v.{q} FROM (SELECT {{'{q}': id}} AS v FROM t) AS {p}",
    "SELECT {p}.id FROM t AS {p} JOIN u AS {q} USING (id) ORDER BY {q}.v LIMIT 2",
    "SELECT list_transform([1], lambda {p}: {p} + {q}.id) AS l FROM t AS {q}",
)  # fmt: skip
NAMES = ("a", "b", "c", "A", "t", "u", "id", "v", "relation (pipeline) 0")


def model(folder: Path, sql: str) -> library.Model:
    path = folder / "dim_m.sql"
    path.write_text(sql, encoding="utf-8")
    return library.read(path)


def test_models_with_one_fingerprint_have_one_result(tmp_path: Path) -> None:
    """Names are drawn from a few, so that they often coincide with each other, with tables and columns."""
    random = Random(7)
    results: dict[str, set[str]] = {}
    texts: dict[str, set[str]] = {}
    with session() as connection:
        for table in ("t", "u"):
            name = relation_name(table)
            connection.execute(f'CREATE TEMP TABLE "{name}" (id INTEGER, v INTEGER)')
            connection.execute(f'INSERT INTO "{name}" VALUES (1, {ord(table)}), (2, 0), (3, 1)')
        for _ in range(25):
            for query in QUERIES:
                quoted = {key: f'"{random.choice(NAMES)}"' for key in "pqr"}
                sql = query.format(**quoted) if "'{q}'" not in query else query.format(p='"a"', q="b", r="c")
                try:
                    read = model(tmp_path, sql)
                    rows = connection.execute(read.bound_sql).fetchall()
                except (duckdb.Error, ModelError):
                    continue
                columns = [each[0] for each in connection.description or ()]
                results.setdefault(read.fingerprint, set()).add(f"{columns} {sorted(map(repr, rows))}")
                texts.setdefault(read.fingerprint, set()).add(sql)
    assert {fingerprint: found for fingerprint, found in results.items() if len(found) > 1} == {}
    assert sum(len(each) > 1 for each in texts.values()) > len(QUERIES) - 5


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("WITH a AS (SELECT * FROM t) SELECT * FROM a", "WITH b AS (SELECT * FROM t) SELECT * FROM b", True),
        ("SELECT x.id FROM t AS x", "SELECT y.id FROM t AS y", True),
        ("SELECT x.id FROM t AS x, u AS y", "SELECT x.id FROM u AS x, t AS y", False),
        ("SELECT x.id FROM t AS x, u AS y", "SELECT y.id FROM t AS x, u AS y", False),
        ("WITH t AS (FROM t) SELECT id FROM t", "WITH a AS (FROM t) SELECT id FROM a", False),
        ("SELECT x FROM t AS x", "SELECT y FROM t AS y", False),
        ("SELECT id AS a FROM t", "SELECT id AS b FROM t", False),
        ("SELECT 'a' AS n, a.id FROM t AS a", "SELECT 'a' AS n, b.id FROM t AS b", False),
    ],
)  # fmt: skip
def test_only_names_of_relations_make_no_difference(tmp_path: Path, one: str, other: str, same: bool) -> None:
    """A name that stands for something else, too, is kept, even where that makes no difference."""
    assert (model(tmp_path, one).fingerprint == model(tmp_path, other).fingerprint) == same


def test_a_fingerprint_of_an_earlier_kind_restates_nothing(tmp_path: Path) -> None:
    """It does not tell whether the model has changed, so the next batch is compared."""
    read = model(tmp_path, "SELECT id FROM t")
    earlier = f"duckdb-{duckdb.__version__}:{read.fingerprint.partition(':')[2]}"
    assert restate.changed({"dim_m": read}, {"dim_m": Loaded(fingerprint=earlier)}) == []
    other = Loaded(fingerprint=f"{library.FINGERPRINT}0123")
    assert restate.changed({"dim_m": read}, {"dim_m": other}) == ["dim_m"]
