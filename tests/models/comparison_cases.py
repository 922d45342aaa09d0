"""Values of types that DuckDB and Postgres compare differently, and queries over them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa

from pipeline.columns import Column, schema_of
from pipeline.duck import session
from pipeline.lake.buckets import Bucket, folder
from pipeline.lake.manifest import Manifest, StateDelta, TableBatch
from pipeline.lake.paths import batch_folder
from pipeline.models import inputs, properties
from pipeline.models.dry_run import verify
from pipeline.source import snapshots
from pipeline.source.catalogue import describe
from pipeline.source.changes import Slice
from pipeline.source.read import read_rows
from tests.made_up import SOME_SOURCE, SOME_TIME, made_target
from tests.support import write_models

SCHEMA = (
    "CREATE TYPE mood AS ENUM ('zen', 'calm', 'angry')",
    "CREATE DOMAIN feeling AS mood",
    "CREATE DOMAIN price AS numeric(10, 2) CHECK (VALUE > -9)",
    "CREATE DOMAIN fee AS price",
    "CREATE TYPE pair AS (a numeric, b text)",
)


# Values of each type; equal ones have several spellings.
VALUES: dict[str, list[str]] = {
    "smallint": ["10", "9", "-1"],
    "integer": ["10", "9", "-1"],
    "bigint": ["10", "9", "-1"],
    "boolean": ["t", "f"],
    "real": ["10", "9", "-0", "0", "NaN", "-Infinity"],
    "double precision": ["10", "9", "-0", "0", "NaN", "Infinity"],
    "numeric(10,2)": ["10", "9", "9.00", "-0.5"],
    "fee": ["10", "9", "9.00", "-0.5"],
    "money": ["10", "9", "9.00", "-0.5"],
    "text": ["b", "a", "B", "a ", "é"],
    "varchar(5)": ["b", "a", "B", "a "],
    "char(5)": ["b", "a", "B", "a  "],
    'text COLLATE "C"': ["b", "a", "B"],
    '"char"': ["b", "a"],
    "name": ["b", "a", "B"],
    "uuid": ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "00000000-0000-0000-0000-0000000000ff"],
    "bytea": [r"\x0aff", r"\x0a", r"\xff"],
    "date": ["2024-01-10", "2024-01-09", "infinity", "0044-03-15 BC", "0045-03-15 BC"],
    "time": ["10:00", "09:00", "24:00"],
    "timestamp": ["2024-01-10", "2024-01-09 01:00", "-infinity", "0044-03-15 BC"],
    "timestamptz": ["2024-01-10 01:00+01", "2024-01-10 00:00Z", "infinity", "0044-03-15 BC"],
    "mood": ["angry", "calm", "zen"],
    "feeling": ["angry", "calm", "zen"],
    "bit(3)": ["010", "001", "110"],
    "varbit": ["1", "01", "10"],
    "macaddr": ["08:00:2b:01:02:03", "08:00:2b:01:02:02"],
    # Types stored as text that is equal for equal values, but ordered differently.
    "inet": ["10.0.0.1", "9.0.0.1", "10.0.0.1/32"],
    "cidr": ["10.0.0.0/8", "9.0.0.0/8"],
    "timetz": ["10:00:00+00", "09:00:00+00", "10:00+02"],
    "oid": ["10", "9"],
    "pg_lsn": ["10/0", "9/0"],
    # Numbers stored as text, which models cast where they compare them.
    "numeric": ["10", "9", "9.00", "-0.5", "0.0000000001", "1234567890123456789012345678.9"],
    "numeric(45,3)": ["10", "9", "9.000", "-0.5"],
    "integer[]": ["{10}", "{9}", "{ 9 }", "{9,NULL}", "{9,1}", "{NULL}", "{}"],
    "numeric[]": ["{9.0}", "{9.00}", "{10}", "{9.0,1}"],
    "text[]": ["{b,a}", "{b}", '{"b, a"}', "{NULL}", '{"NULL"}', '{"a\\"b","\\\\"}'],
    # Types stored as text that may differ for equal values.
    "interval": ["24:00", "1 day", "30 days", "1 mon"],
    "int4range": ["[1,3)", "[1,2]", "[10,11)"],
    "tsvector": ["b a", "a b", "c"],
    "pair": ["(9.0,a)", "(9.00,a)"],
    "jsonb": ['{"a": "x", "n": 1.0}', '{"a": "x", "n": 1.00}'],
    "json": ['{"a":1}', '{"a": 1}'],
}


ONLY_EQUAL = ("inet", "cidr", "timetz", "oid", "pg_lsn")


INCOMPARABLE = (
    "interval", "int4range", "tsvector",
    "pair", "jsonb", "json",
)  # fmt: skip


EQUALITY = {
    "join": "SELECT a.id, b.id AS n FROM {t} AS a JOIN {t} AS b ON a.v = b.v",
    "join using": "SELECT max(a.id) AS id, count(*) AS n FROM {t} AS a JOIN {t} AS b USING (v)",
    "group": "SELECT min(id) AS id, count(*) AS n FROM {t} GROUP BY v",
    "value of a group": "SELECT min(id) AS id, count(v) AS n FROM {t} GROUP BY v HAVING v IS NOT NULL",
    "count distinct": "SELECT 1 AS id, count(DISTINCT v) AS n FROM {t}",
    "partition": "SELECT id, count(*) OVER (PARTITION BY v) AS n FROM {t}",
    "union": "SELECT 1 AS id, count(*) AS n FROM (SELECT v FROM {t} UNION SELECT v FROM {t}) AS u",
    "except": "SELECT 1 AS id, count(*) AS n FROM"
    " (SELECT v FROM {t} EXCEPT SELECT v FROM {t} WHERE id = 1) AS u",
    "intersect all": "SELECT 1 AS id, count(*) AS n FROM"
    " (SELECT v FROM {t} INTERSECT ALL SELECT v FROM {t} WHERE id > 0) AS u",
    "in a subquery": "SELECT id, 1 AS n FROM {t} WHERE v IN (SELECT v FROM {t} WHERE id = 1)",
    "exists": "SELECT id, 1 AS n FROM {t} AS a"
    " WHERE EXISTS (SELECT 1 FROM {t} AS b WHERE b.v = a.v AND b.id < a.id)",
    "not distinct": "SELECT a.id, b.id AS n FROM {t} AS a JOIN {t} AS b ON a.v IS NOT DISTINCT FROM b.v",
    "in a CTE": "WITH c AS (SELECT id, v FROM {t})"
    " SELECT a.id, b.id AS n FROM c AS a JOIN c AS b ON a.v = b.v",
}


ORDER = {
    "row": "SELECT a.id, b.id AS n FROM {t} AS a JOIN {t} AS b ON (a.v, 1) IS NOT DISTINCT FROM (b.v, 1)",
    "rank": "SELECT id, rank() OVER (ORDER BY v) AS n FROM {t}",
    "rank downwards": "SELECT id, dense_rank() OVER (ORDER BY v DESC NULLS LAST) AS n FROM {t}",
    "top": "SELECT id, 1 AS n FROM (SELECT id, v FROM {t} WHERE v IS NOT NULL ORDER BY v, id LIMIT 2) AS s",
    "maximum": "SELECT id, 1 AS n FROM {t} WHERE v = (SELECT max(v) FROM {t})",
    "minimum": "SELECT id, 1 AS n FROM {t} WHERE v = (SELECT min(v) FROM {t})",
    "less": "SELECT a.id, b.id AS n FROM {t} AS a JOIN {t} AS b ON a.v < b.v",
    "greatest": "SELECT a.id, b.id AS n FROM {t} AS a CROSS JOIN {t} AS b WHERE greatest(a.v, b.v) = a.v",
}


LITERAL = {
    "equal to": "SELECT id, 1 AS n FROM {t} WHERE v = '{l}'",
    "other than": "SELECT id, 1 AS n FROM {t} WHERE v <> '{l}'",
    "one of": "SELECT id, 1 AS n FROM {t} WHERE v IN ('{l}', '{k}')",
    "above": "SELECT id, 1 AS n FROM {t} WHERE v > '{l}'",
    "up to": "SELECT id, 1 AS n FROM {t} WHERE '{l}' >= v",
    "between": "SELECT id, 1 AS n FROM {t} WHERE v BETWEEN '{l}' AND '{k}' OR v BETWEEN '{k}' AND '{l}'",
    "case": "SELECT id, CASE v WHEN '{l}' THEN 1 ELSE 2 END AS n FROM {t}",
    "filled": "SELECT id, rank() OVER (ORDER BY COALESCE(v, '{l}')) AS n FROM {t}",
    "chosen": "SELECT id, rank() OVER (ORDER BY CASE WHEN id > 2 THEN v ELSE '{l}' END) AS n FROM {t}",
    "the greater": "SELECT id, rank() OVER (ORDER BY greatest(v, '{l}')) AS n FROM {t}",
}


ORDERING = [*ORDER, "above", "up to", "between", "filled", "chosen", "the greater"]


TABLES = {type_: f"t{place}" for place, type_ in enumerate(VALUES)}


class Models:
    """Models over one source: their rows in DuckDB, and those of the same SQL in Postgres."""

    def __init__(self, url: str, home: Path) -> None:
        self.home, self.raw = home, folder(str(home / "raw"))
        self.postgres = psycopg.connect(url, autocommit=True)
        with snapshots.snapshot(url) as (connection, _):
            tables = describe(connection, "public", list(TABLES.values()))
            self.manifest = manifest_of(
                {
                    name: batch_of(
                        name,
                        table.columns,
                        self.raw,
                        read_rows(connection, "public", name, table.columns, Slice()),
                    )
                    for name, table in tables.items()
                }
            )
        self.columns = self.manifest.columns

    def yields(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a model; raises ModelError if it is refused."""
        all_models = write_models(self.home / "models", {"dim_m": f"-- unstable: allowed\n{sql}"})
        types = {"kind": "text", "id": "bigint", "n": "bigint"}
        targets = {"dim_m": made_target("dim_m", tuple(types), **types)}
        properties.analysed(all_models, targets, self.columns)
        with session() as connection:
            inputs.bind(connection, all_models, targets, self.manifest, self.raw, changes=False)
            return sorted(connection.sql(f"SELECT kind, id, n FROM {inputs.RESULT}").fetchall())

    def verify(self, sql: str, *, replays: bool = False) -> None:
        """Check a model as before a batch is read, or as a replay of an old batch does."""
        all_models = write_models(self.home / "models", {"dim_m": sql})
        types = {"kind": "text", "id": "bigint", "n": "bigint"}
        keys = self.manifest.primary_keys
        target = made_target("dim_m", ("id",), **types)
        verify(all_models, {"dim_m": target}, self.columns, None if replays else keys)

    def expected(self, sql: str) -> list[tuple[Any, ...]] | None:
        """The rows of Postgres; None if it has no such operator."""
        with suppress(psycopg.Error):
            return sorted(self.postgres.execute(sql.encode()).fetchall())
        return None


def batch_of(name: str, columns: Sequence[Column], raw: Bucket, rows: Iterable[pa.RecordBatch]) -> TableBatch:
    """A table of a batch that read it in full."""
    files = raw.write_rows(batch_folder(name, "b"), schema_of(columns), iter(rows))
    return TableBatch(
        table=name, mode="full", reason="", columns=tuple(columns), key=(), heaps="", files=files,
        state=(StateDelta(files=files),),
    )  # fmt: skip


def manifest_of(tables: dict[str, TableBatch]) -> Manifest:
    return Manifest(
        batch_id="b", previous=None, snapshot_at=SOME_TIME, source_xmin=1, identity=SOME_SOURCE,
        reconcile=False, chunks=(), tables=tables,
    )  # fmt: skip
