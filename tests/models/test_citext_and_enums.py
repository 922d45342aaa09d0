"""Models compare citext without case, and order enums by their labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.columns import Column, schema_of
from pipeline.duck import session
from pipeline.errors import ModelError
from pipeline.lake.buckets import folder
from pipeline.models import inputs, properties
from pipeline.models.work import Work
from tests.house import plan_batch
from tests.made_up import made_target
from tests.models.comparison_cases import batch_of, manifest_of
from tests.pair import Pair
from tests.support import execute, write_models

CITEXT = Column(name="mail", type="citext", equality="case-insensitive")


LOOSE = Column(name="mail", type="text", equality="collation")


TEXT = Column(name="name", type="text")


MAILS = [("Ann", "ann"), ("ANN", "Ann"), ("bob", "x")]


def compared(home: Path, sql: str, *columns: Column) -> list[Any]:
    """The rows of a model over a table t with MAILS in these columns."""
    raw, schema = folder(str(home / "raw")), schema_of(columns)
    rows = [dict(zip(schema.names, values, strict=True)) for values in MAILS]
    manifest = manifest_of(
        {"t": batch_of("t", columns, raw, pa.Table.from_pylist(rows, schema).to_batches())}
    )
    all_models = write_models(home / "models", {"dim_m": sql})
    targets = {"dim_m": made_target("dim_m", ("n",), n="text")}
    properties.analysed(all_models, targets, {"t": columns})
    with session() as connection:
        inputs.bind(connection, all_models, targets, manifest, raw, changes=False)
        return sorted(value for (value,) in connection.sql(f"FROM {inputs.RESULT}").fetchall())


@pytest.mark.parametrize(
    ("sql", "expected"),
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
def test_citext_is_compared_without_case(tmp_path: Path, sql: str, expected: list[str]) -> None:
    assert compared(tmp_path, sql, CITEXT, TEXT) == expected


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT mail AS n FROM t GROUP BY mail", "spellings"),
        ("SELECT DISTINCT mail AS n FROM t", "spellings"),
        ("SELECT max(mail) AS n FROM t", "spellings"),
        ("SELECT mail AS n FROM t WHERE left(mail, 1) = 'A'", "case-sensitive"),
        ("SELECT mail AS n FROM t WHERE mail < name", "case-sensitive"),
        ("SELECT a.mail AS n FROM t AS a JOIN t AS b ON a.mail = b.name", "case-sensitive"),
    ],
)
def test_citext_that_duckdb_compares_differently_is_refused(tmp_path: Path, sql: str, message: str) -> None:
    with pytest.raises(ModelError, match=rf"dim_m\.sql: compares .*(mail|name).* differently .*{message}"):
        compared(tmp_path, sql, CITEXT, TEXT)


def test_a_nondeterministic_collation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"compares t\.mail \(text\) differently from Postgres; cast it"):
        compared(tmp_path, "SELECT name AS n FROM t WHERE mail = 'ann'", LOOSE, TEXT)
    assert compared(tmp_path, "SELECT mail AS n FROM t WHERE name = 'x'", LOOSE, TEXT) == ["bob"]


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


def test_an_enum_keeps_its_order_when_its_labels_change(shared: Pair) -> None:
    """Keys are included, and warehouse columns that are text or another enum."""
    shared.fresh(
        LABELS,
        "CREATE TYPE state AS ENUM ('new', 'sent', 'at home')",
        "CREATE TABLE parcel (parcel_id int, state state, weight int, PRIMARY KEY (parcel_id, state))",
        "INSERT INTO parcel VALUES (1, 'at home', 1), (2, 'sent', 2), (3, 'new', 3), (4, 'sent', 4)",
    )
    execute(shared.house.url, "CREATE TYPE state AS ENUM ('new', 'lost', 'sent', 'at home')")
    house, expected = shared.house, shared.source
    for change in CHANGES:
        shared.do(change)
        shared.run()
        ranks = "SELECT parcel_id, state::text, rank() OVER (ORDER BY state, parcel_id) FROM parcel"
        assert set(house.query("SELECT * FROM dim_parcel")) >= set(expected(ranks)), change
        sent = "SELECT parcel_id, state::text, weight FROM parcel WHERE state > 'new' ORDER BY 1, 2"
        rows = house.query("SELECT parcel_id, state, weight FROM fact_parcel_current ORDER BY 1, 2")
        assert rows == expected(sent), change
        states = "SELECT state::text, count(*) FROM parcel GROUP BY state"
        assert set(house.query("SELECT state::text, parcels FROM dim_state")) >= set(expected(states)), change


def test_a_key_with_an_enum_is_read_row_by_row(shared: Pair) -> None:
    shared.fresh(
        LABELS,
        "CREATE TYPE state AS ENUM ('new', 'sent')",
        "CREATE TABLE parcel (parcel_id int, state state, weight int, PRIMARY KEY (parcel_id, state))",
    )
    execute(shared.house.url, "CREATE TYPE state AS ENUM ('new', 'sent')")
    _, manifest = plan_batch(shared.source_url, shared.house)
    assert manifest
    all_models = {"fact_parcel": shared.house.models["fact_parcel"]}
    work = Work(all_models, shared.house.targets(), manifest, None, shared.house.raw, shared.house.processed)
    assert work.row_table is not None


def test_a_list_of_labels_is_loaded_as_an_array(shared: Pair) -> None:
    source = (
        "CREATE TYPE mood AS ENUM ('sad', 'so, so', 'glad')",
        "CREATE TABLE visit (id integer PRIMARY KEY, town text, mood mood)",
        "INSERT INTO visit VALUES (1, 'x', 'so, so'), (2, 'x', NULL), (3, 'y', 'sad'), (4, 'x', 'glad')",
    )
    sql = "SELECT town, array_agg(mood ORDER BY id) AS moods FROM visit GROUP BY town"
    schema = "CREATE TABLE fact_moods (town text, moods text[]);"
    shared.live({"schema": schema, "fact_moods": f"-- key: town\n{sql}"}, source, [])
    found = shared.house.query("SELECT town, moods FROM fact_moods_current ORDER BY 1")
    assert found == [("x", ["so, so", None, "glad"]), ("y", ["sad"])]
