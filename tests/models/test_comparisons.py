"""What models compare, order and group by: as Postgres does with the same SQL, or refused in one line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from demo.postgres import Postgres
from pipeline.columns import Column, schema_of
from pipeline.duck import session
from pipeline.errors import ModelError
from pipeline.lake.buckets import Bucket, folder
from pipeline.lake.manifest import Manifest, StateDelta, TableBatch
from pipeline.lake.paths import batch_folder
from pipeline.models import inputs
from pipeline.models.check import verify
from pipeline.models.work import Work
from pipeline.source import snapshots
from pipeline.source.catalogue import describe
from pipeline.source.changes import Slice
from pipeline.source.read import read_rows
from tests.bench import Bench
from tests.support import SOME_SOURCE, SOME_TIME, database, execute, made_target, plan_batch, write_models

SCHEMA = (
    "CREATE TYPE mood AS ENUM ('zen', 'calm', 'angry')",
    "CREATE DOMAIN feeling AS mood",
    "CREATE DOMAIN price AS numeric(10, 2) CHECK (VALUE > -9)",
    "CREATE DOMAIN fee AS price",
    "CREATE TYPE pair AS (a numeric, b text)",
)
# Values of each type, from which joins, groups and orders are made; equal ones are spelled in several ways.
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
    # Texts that are equal where the values are, in another order.
    "inet": ["10.0.0.1", "9.0.0.1", "10.0.0.1/32"],
    "cidr": ["10.0.0.0/8", "9.0.0.0/8"],
    "timetz": ["10:00:00+00", "09:00:00+00", "10:00+02"],
    "oid": ["10", "9"],
    "pg_lsn": ["10/0", "9/0"],
    # Texts that say nothing of whether the values are equal.
    "numeric": ["10", "9", "9.00", "NaN"],
    "numeric(45,3)": ["10", "9", "9.000"],
    "interval": ["24:00", "1 day", "30 days", "1 mon"],
    "integer[]": ["{10}", "{9}", "{ 9 }"],
    "numeric[]": ["{9.0}", "{9.00}"],
    "int4range": ["[1,3)", "[1,2]", "[10,11)"],
    "tsvector": ["b a", "a b", "c"],
    "pair": ["(9.0,a)", "(9.00,a)"],
    "jsonb": ['{"a": "x", "n": 1.0}', '{"a": "x", "n": 1.00}'],
    "json": ['{"a":1}', '{"a": 1}'],
}
ONLY_EQUAL = ("inet", "cidr", "timetz", "oid", "pg_lsn")
INCOMPARABLE = (
    "numeric", "numeric(45,3)", "interval", "integer[]", "numeric[]", "int4range", "tsvector",
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
    """Models over one source: what they yield in DuckDB, and the same SQL in Postgres."""

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
        self.columns = {name: table.columns for name, table in self.manifest.tables.items()}

    def yields(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a model; raises ModelError where it is refused."""
        known = write_models(self.home / "models", {"dim_m": f"-- unstable: allowed\n{sql}"})
        types = {"kind": "text", "id": "bigint", "n": "bigint"}
        targets = {"dim_m": made_target("dim_m", tuple(types), **types)}
        inputs.analysed(known, targets, self.columns)
        with session() as connection:
            inputs.bind(connection, known, targets, self.manifest, self.raw, changes=False)
            return sorted(connection.sql(f"SELECT kind, id, n FROM {inputs.RESULT}").fetchall())

    def verify(self, sql: str, *, replays: bool = False) -> None:
        """Refuse a model as before a batch is read, or where an old one is replayed."""
        known = write_models(self.home / "models", {"dim_m": sql})
        types = {"kind": "text", "id": "bigint", "n": "bigint"}
        keys = {name: table.key for name, table in self.manifest.tables.items()}
        target = made_target("dim_m", ("id",), **types)
        verify(known, {"dim_m": target}, self.columns, None if replays else keys)

    def wanted(self, sql: str) -> list[tuple[Any, ...]] | None:
        """The rows that Postgres gives; None where it has no such operator."""
        with suppress(psycopg.Error):
            return sorted(self.postgres.execute(sql.encode()).fetchall())
        return None


def batch_of(name: str, columns: Sequence[Column], raw: Bucket, rows: Iterable[pa.RecordBatch]) -> TableBatch:
    """A table as a batch that read all of it has it."""
    file = raw.write_rows(batch_folder(name, "b"), schema_of(columns), iter(rows))
    files = (file,) if file else ()
    return TableBatch(
        table=name, mode="full", reason="", columns=tuple(columns), key=(), heaps="", files=files,
        state=(StateDelta(files=files),),
    )  # fmt: skip


def manifest_of(tables: dict[str, TableBatch]) -> Manifest:
    return Manifest(
        batch_id="b", previous=None, snapshot_at=SOME_TIME, source_xmin=1, identity=SOME_SOURCE,
        reconcile=False, chunks=(), tables=tables,
    )  # fmt: skip


@pytest.fixture(scope="module")
def models(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Models]:
    with database(postgres, "compared") as url:
        execute(url, *SCHEMA)
        for type_, values in VALUES.items():
            execute(url, f"CREATE TABLE {TABLES[type_]} (id int PRIMARY KEY, v {type_})")
            rows = [*values, values[0], None]
            with psycopg.connect(url) as connection:
                cast = type_.partition(" COLLATE")[0]
                query = f"INSERT INTO {TABLES[type_]} VALUES (%s, %s::text::{cast})"
                connection.cursor().executemany(query, list(enumerate(rows)))
        models = Models(url, tmp_path_factory.mktemp("models"))
        with models.postgres:
            yield models


def cases(type_: str) -> dict[str, str]:
    """The kinds of comparisons, with their SQL."""
    literals = {"l": VALUES[type_][1], "k": VALUES[type_][0]}
    return {
        kind: f"SELECT '{kind}' AS kind, id, n FROM ({sql.format(t=TABLES[type_], **literals)}) AS rows"
        for kind, sql in (EQUALITY | ORDER | LITERAL).items()
    }


@pytest.mark.parametrize("type_", [type_ for type_ in VALUES if type_ not in INCOMPARABLE])
def test_models_compare_as_postgres_does(models: Models, type_: str) -> None:
    """So far as Postgres knows how to."""
    given = [
        sql
        for kind, sql in cases(type_).items()
        if models.wanted(sql) is not None and not (type_ in ONLY_EQUAL and kind in ORDERING)
    ]
    assert len(given) > len(EQUALITY) - 2
    every = " UNION ALL ".join(given)
    assert models.yields(every) == models.wanted(every)


def refusals() -> Iterator[tuple[str, str]]:
    """Of one type all comparisons, of the others a few."""
    for type_ in ONLY_EQUAL:
        yield from ((type_, kind) for kind in (ORDERING if type_ == "inet" else ["rank", "maximum"]))
    for type_ in INCOMPARABLE:
        few = ["join", "group", "rank"]
        yield from ((type_, kind) for kind in ([*EQUALITY, *ORDER, *LITERAL] if type_ == "numeric" else few))


@pytest.mark.parametrize(("type_", "kind"), [*refusals()])
def test_what_duckdb_would_compare_otherwise_is_refused(models: Models, type_: str, kind: str) -> None:
    """As text 10 is less than 9, and 9.0 other than 9.00."""
    sql = cases(type_)[kind]
    meant = r"rows as a whole" if kind == "row" else rf"{TABLES[type_]}\.v \(.+\)"
    words = rf"dim_m\.sql: compares {meant} differently from Postgres; c(ast it|ompare their columns)"
    with pytest.raises(ModelError, match=words):
        models.yields(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT id, 1 AS n FROM {numeric} WHERE id < 3 AND CAST(v AS DECIMAL(10, 2)) > 9",
        "SELECT max(id) AS id, count(*) AS n FROM {numeric} GROUP BY CAST(v AS DOUBLE PRECISION)",
        "SELECT id, 1 AS n FROM {inet} WHERE v = '9.0.0.1' OR v IN (SELECT v FROM {inet} WHERE id = 0)",
        "SELECT id, length(CAST(v AS text)) AS n FROM {pair} ORDER BY id",
        "SELECT max(id) AS id, count(*) AS n FROM {mood} WHERE v >= 'calm' AND COALESCE(v, 'zen') <> 'angry'",
        "SELECT id, 1 AS n FROM {mood} WHERE CAST(v AS text) > 'b'",
        "SELECT id, 1 AS n FROM {mood} WHERE v::text > 'calm' OR CAST(v AS text) IN ('zen', 'other')",
        "SELECT id, 1 AS n FROM {jsonb} WHERE CAST(v ->> 'n' AS DECIMAL(9, 2)) = 1",
        "SELECT max(id) AS id, count(*) AS n FROM {jsonb} GROUP BY v ->> 'a'",
        "SELECT id, 1 AS n FROM {integer} WHERE (id, v) IN (SELECT id, v FROM {integer})",
        "SELECT id, 1 AS n FROM {integer} WHERE (id, v) IN (SELECT id, v FROM {integer}) IS NULL",
    ],
)
def test_what_a_model_casts_itself_is_compared(models: Models, sql: str) -> None:
    sql = f"SELECT 'x' AS kind, id, n FROM ({sql.format_map(TABLES)}) AS rows"
    assert models.yields(sql) == models.wanted(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT a.id, 1 AS n FROM {integer} AS a JOIN {integer} AS b ON (a.v, 1) = (b.v, 1)",
        "SELECT id, 1 AS n FROM {integer} WHERE (v, id) < (9, 2)",
        "SELECT id, 1 AS n FROM {integer} WHERE (v, id) IN ((9, 1), (NULL, 2))",
        "SELECT id, 1 AS n FROM {integer} WHERE NOT (v, id) BETWEEN (9, 2) AND (10, 3)",
        "SELECT id, CASE (v, id) WHEN (9, 1) THEN 1 ELSE 2 END AS n FROM {integer}",
        "SELECT id, 1 AS n FROM {integer} WHERE (v, v) IS NULL",
        "SELECT id, 1 AS n FROM {integer} WHERE row(v, id) IS NOT NULL",
    ],
)
def test_rows_as_a_whole_are_compared_by_postgres_only(models: Models, sql: str) -> None:
    """To DuckDB a NULL in a row is a value."""
    words = r"dim_m\.sql: compares rows as a whole differently from Postgres; compare their columns"
    with pytest.raises(ModelError, match=words):
        models.yields(f"SELECT 'x' AS kind, id, n FROM ({sql.format_map(TABLES)}) AS rows")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 AS id, count(*) AS n FROM {jsonb} GROUP BY v -> 'a'",
        "SELECT id, rank() OVER (ORDER BY v -> 'a') AS n FROM {jsonb}",
        "SELECT a.id, 1 AS n FROM {jsonb} AS a JOIN {jsonb} AS b ON (a.v -> 'a') = (b.v -> 'a')",
        "SELECT count(DISTINCT v -> 'a') AS id, 1 AS n FROM {jsonb}",
        "SELECT count(DISTINCT v) AS id, 1 AS n FROM {jsonb}",
        "SELECT 1 AS id, length(max(v -> 'a')) AS n FROM {jsonb}",
    ],
)
def test_json_is_compared_by_postgres_only(models: Models, sql: str) -> None:
    """By its text 1.0 would be another number than 1."""
    with pytest.raises(ModelError, match=r"compares .+ \(jsonb\) differently from Postgres; cast it"):
        models.yields(f"SELECT 'x' AS kind, id, n FROM ({sql.format_map(TABLES)}) AS rows")


@pytest.mark.parametrize(
    "condition",
    ["v = 'other'", "'other' <> v", "v IN ('zen', 'other')", "v > 'other'", "v BETWEEN 'zen' AND 'other'",
     "CASE v WHEN 'other' THEN TRUE END", "greatest(v, 'other') = 'zen'", "v NOT IN ('other')"],
)  # fmt: skip
def test_what_is_no_label_is_not_compared_with_an_enum(models: Models, condition: str) -> None:
    """Postgres refuses it, too; an old batch may be of a time at which the label was none yet."""
    sql = f"SELECT 'x' AS kind, id, 1 AS n FROM {TABLES['mood']} WHERE {condition}"
    assert models.wanted(sql) is None
    words = r"dim_m\.sql: compares v with 'other', which is no label of its enum \('zen', 'calm', 'angry'\)"
    with pytest.raises(ModelError, match=words):
        models.verify(sql)
    models.verify(sql, replays=True)
    models.verify(sql.replace("other", "calm"))


# Types that no Postgres at hand has: what is known of such columns is made up.

CITEXT = Column(name="mail", type="citext", equality="case-insensitive")
LOOSE = Column(name="mail", type="text", equality="collation")
TEXT = Column(name="name", type="text")
MAILS = [("Ann", "ann"), ("ANN", "Ann"), ("bob", "x")]


def compared(home: Path, sql: str, *columns: Column) -> list[Any]:
    """What a model yields of a table t that has MAILS in these columns."""
    raw, schema = folder(str(home / "raw")), schema_of(columns)
    rows = [dict(zip(schema.names, values, strict=True)) for values in MAILS]
    manifest = manifest_of(
        {"t": batch_of("t", columns, raw, pa.Table.from_pylist(rows, schema).to_batches())}
    )
    known = write_models(home / "models", {"dim_m": sql})
    targets = {"dim_m": made_target("dim_m", ("n",), n="text")}
    inputs.analysed(known, targets, {"t": columns})
    with session() as connection:
        inputs.bind(connection, known, targets, manifest, raw, changes=False)
        return sorted(value for (value,) in connection.sql(f"FROM {inputs.RESULT}").fetchall())


@pytest.mark.parametrize(
    ("sql", "wanted"),
    [
        ("SELECT mail AS n FROM t WHERE mail = 'aNN'", ["ANN", "Ann"]),
        ("SELECT mail AS n FROM t WHERE mail IN ('BOB', 'x') OR mail LIKE 'b%'", ["bob"]),
        (
            "SELECT a.mail || b.mail AS n FROM t AS a JOIN t AS b USING (mail)",
            ["ANNANN", "ANNAnn", "AnnANN", "AnnAnn", "bobbob"],
        ),
        ("SELECT lower(mail) AS n FROM t GROUP BY lower(mail)", ["ann", "bob"]),
        ("SELECT CAST(count(DISTINCT mail) AS text) AS n FROM t", ["2"]),
        ("SELECT CAST(rank() OVER (ORDER BY mail) AS text) AS n FROM t", ["1", "1", "3"]),
        ("SELECT mail AS n FROM t WHERE lower(mail) = lower(name)", ["ANN", "Ann"]),
        ("SELECT mail AS n FROM t WHERE mail COLLATE \"C\" = 'Ann'", ["Ann"]),
        ("SELECT name AS n FROM t WHERE name = 'Ann'", ["Ann"]),
    ],
)
def test_citext_is_compared_without_case(tmp_path: Path, sql: str, wanted: list[str]) -> None:
    assert compared(tmp_path, sql, CITEXT, TEXT) == wanted


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELECT mail AS n FROM t GROUP BY mail", "spellings"),
        ("SELECT DISTINCT mail AS n FROM t", "spellings"),
        ("SELECT max(mail) AS n FROM t", "spellings"),
        ("SELECT mail AS n FROM t WHERE left(mail, 1) = 'A'", "tells case"),
        ("SELECT mail AS n FROM t WHERE mail < name", "tells case"),
        ("SELECT a.mail AS n FROM t AS a JOIN t AS b ON a.mail = b.name", "tells case"),
    ],
)
def test_citext_of_which_postgres_tells_case_or_takes_any_is_refused(
    tmp_path: Path, sql: str, words: str
) -> None:
    with pytest.raises(ModelError, match=rf"dim_m\.sql: compares .*(mail|name).* otherwise .*{words}"):
        compared(tmp_path, sql, CITEXT, TEXT)


def test_a_collation_that_finds_other_texts_equal_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"compares t\.mail \(text\) differently from Postgres; cast it"):
        compared(tmp_path, "SELECT name AS n FROM t WHERE mail = 'ann'", LOOSE, TEXT)
    assert compared(tmp_path, "SELECT mail AS n FROM t WHERE name = 'x'", LOOSE, TEXT) == ["bob"]


# Labels from batch to batch

LABELS = {
    "dim_parcel": "SELECT parcel_id, state, rank() OVER (ORDER BY state, parcel_id) AS place FROM parcel",
    "fact_parcel": "-- key: parcel_id, state\nSELECT * FROM parcel WHERE state > 'new'",
    "dim_state": "SELECT state, count(*) AS parcels FROM parcel GROUP BY state",
    "schema": """
        CREATE TABLE IF NOT EXISTS dim_parcel (parcel_id int PRIMARY KEY, state text, place bigint);
        CREATE TABLE IF NOT EXISTS fact_parcel (parcel_id int, state text, weight int);
        CREATE TABLE IF NOT EXISTS dim_state (state state PRIMARY KEY, parcels bigint);
    """,
}
CHANGES = (
    "SELECT 1",
    "UPDATE parcel SET state = 'at home' WHERE parcel_id = 3",
    "ALTER TYPE state ADD VALUE 'lost' BEFORE 'sent'",
    "UPDATE parcel SET state = 'lost', weight = 9 WHERE parcel_id IN (1, 2)",
    "INSERT INTO parcel VALUES (5, 'new', 5)",
    "DELETE FROM parcel WHERE parcel_id = 4",
)


def test_an_enum_keeps_its_order_when_its_labels_change(shared: Bench) -> None:
    """As a part of a key too; the warehouse's column may be text, or an enum of its own."""
    shared.fresh(
        LABELS,
        "CREATE TYPE state AS ENUM ('new', 'sent', 'at home')",
        "CREATE TABLE parcel (parcel_id int, state state, weight int, PRIMARY KEY (parcel_id, state))",
        "INSERT INTO parcel VALUES (1, 'at home', 1), (2, 'sent', 2), (3, 'new', 3), (4, 'sent', 4)",
    )
    execute(shared.house.url, "CREATE TYPE state AS ENUM ('new', 'lost', 'sent', 'at home')")
    house, wanted = shared.house, shared.source
    for change in CHANGES:
        shared.do(change)
        shared.run()
        ranks = "SELECT parcel_id, state::text, rank() OVER (ORDER BY state, parcel_id) FROM parcel"
        assert set(house.query("SELECT * FROM dim_parcel")) >= set(wanted(ranks)), change
        sent = "SELECT parcel_id, state::text, weight FROM parcel WHERE state > 'new' ORDER BY 1, 2"
        rows = house.query("SELECT parcel_id, state, weight FROM fact_parcel_current ORDER BY 1, 2")
        assert rows == wanted(sent), change
        states = "SELECT state::text, count(*) FROM parcel GROUP BY state"
        assert set(house.query("SELECT state::text, parcels FROM dim_state")) >= set(wanted(states)), change


def test_a_key_with_an_enum_is_read_row_by_row(shared: Bench) -> None:
    shared.fresh(
        LABELS,
        "CREATE TYPE state AS ENUM ('new', 'sent')",
        "CREATE TABLE parcel (parcel_id int, state state, weight int, PRIMARY KEY (parcel_id, state))",
    )
    execute(shared.house.url, "CREATE TYPE state AS ENUM ('new', 'sent')")
    _, manifest = plan_batch(shared.source_url, shared.house)
    assert manifest
    known = {"fact_parcel": shared.house.models["fact_parcel"]}
    work = Work(known, shared.house.targets(), manifest, None, shared.house.raw, shared.house.processed)
    assert work.row_table is not None
