"""A value that its column cannot hold rejects its row alone, and all other rows load."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from demo.postgres import Postgres
from pipeline.lake.buckets import Bucket
from tests.house import Warehouse
from tests.made_up import MadeUp
from tests.pair import Pair
from tests.support import Row, database, execute, value, write_models
from tests.warehouse.rejections.tables import TYPES, ids, made_up, reasons

# By warehouse type: a text that fits, one that does not, and the message of Postgres.
MISFITS: dict[str, tuple[str, str, str]] = {
    "inet": ("10.0.0.1", "10.0.0.256", "invalid input syntax for type inet"),
    "cidr": ("10.0.0.0/8", "10.0.0.1/8", "invalid cidr value"),
    "macaddr": ("08:00:2b:01:02:03", "x", "invalid input syntax for type macaddr"),
    "interval": ("1 day", "soon", "invalid input syntax for type interval"),
    "integer[]": ("{1,NULL}", "{1,x}", "invalid input syntax for type integer"),
    "numeric(5,2)[]": ("{1.25}", "{1000}", "numeric field overflow"),
    "int4range": ("[1,2)", "[2,1)", "range lower bound must be less than or equal to range upper bound"),
    "bit(4)": ("1010", "10", "bit string length 2 does not match type bit(4)"),
    "bit varying(3)": ("101", "1010", "bit string too long for type bit varying(3)"),
    "time with time zone": ("10:00+02", "late", "invalid input syntax for type time with time zone"),
    "money": ("$1.50", "much", "invalid input syntax for type money"),
    "jsonb": ('{"a": 1}', '{"a": "\\u0000"}', "unsupported Unicode escape sequence"),
    "jsonpath": ("$.a", "$.", "syntax error at end of jsonpath input"),
    "point": ("(1,2)", "(1)", "invalid input syntax for type point"),
    "tsvector": ("'a' 'b'", "'a", "syntax error in tsvector"),
    "pg_lsn": ("0/1", "0", "invalid input syntax for type pg_lsn"),
    "oid": ("7", "-x", "invalid input syntax for type oid"),
    "mood[]": ("{glad}", "{glad,blue}", "invalid input value for enum"),
    "pair": ("(1,a)", "(x,a)", "invalid input syntax for type integer"),
    "even": ("4", "3", "value for domain "),
    "mail[]": ("{a@b}", "{ab}", "value for domain "),
}


@pytest.mark.parametrize("first", [False, True], ids=["merged", "filled"])
def test_a_value_that_does_not_fit_rejects_its_row(house: Warehouse, first: bool) -> None:
    execute(house.url, *TYPES)
    names = {type_: f"c{place}" for place, type_ in enumerate(MISFITS)}
    batches = made_up(
        house,
        {"id": "integer"} | dict.fromkeys(names.values(), "text"),
        "id integer PRIMARY KEY, " + ", ".join(f"{name} {type_}" for type_, name in names.items()),
        schema="SELECT 1",
    )
    valid = {names[type_]: case[0] for type_, case in MISFITS.items()}
    if not first:
        house.bring(batches.batch({"t": [{"id": 1} | valid]}))
    rows = [{"id": 2} | valid] + [
        {"id": number} | valid | {names[type_]: case[1]}
        for number, (type_, case) in enumerate(MISFITS.items(), 10)
    ]
    counts = house.bring(batches.batch({"t": rows}))["dim_t"]
    assert (counts.added, counts.rejected) == (1, len(MISFITS))
    assert ids(house) == ([2] if first else [1, 2])
    actual = reasons(house)
    for number, (type_, (_, invalid, message)) in enumerate(MISFITS.items(), 10):
        assert actual[number].startswith(f"{names[type_]}: {message}"), type_
        if len(invalid) > 2:
            assert invalid not in actual[number]
    kept = dict(house.query("SELECT (key ->> 'id')::int, \"row\" FROM etl.rejected"))
    assert kept[10] == {"id": "10"} | valid | {"c0": "10.0.0.256"}
    corrected = [{"id": number} | valid for number in range(10, 10 + len(MISFITS))]
    assert house.bring(batches.batch({"t": corrected}))["dim_t"].added == len(MISFITS)
    assert house.rejected() == []


def test_domains_over_domains_keep_their_precision_and_labels(house: Warehouse) -> None:
    execute(
        house.url,
        *TYPES,
        "CREATE DOMAIN price AS numeric(10, 2)",
        "CREATE DOMAIN fee AS price CHECK (VALUE < 100)",
        "CREATE DOMAIN state AS mood",
    )
    columns = {"id": "integer", "fee": "numeric", "state": "text"}
    batches = made_up(house, columns, "id integer PRIMARY KEY, fee fee, state state", schema="SELECT 1")
    rows: list[Row] = [
        {"id": number, "fee": fee, "state": state}
        for number, (fee, state) in enumerate(
            [("3.45", "glad"), ("3.456", "sad"), ("1", "blue"), ("100", "sad")]
        )
    ]
    house.bring(batches.batch({"t": rows}))
    assert house.query("SELECT id, fee::text, state::text FROM dim_t") == [(0, "3.45", "glad")]
    assert {number: message.split(":")[0].split(" ")[0] for number, message in reasons(house).items()} == {
        1: "fee",
        2: "state",
        3: "fee",
    }


def test_a_rejected_row_is_accepted_once_the_column_type_fits_it(house: Warehouse) -> None:
    execute(house.url, *TYPES)
    columns = {"id": "integer", "moods": "text", "mails": "text"}
    batches = made_up(house, columns, "id integer PRIMARY KEY, moods mood[], mails mail[]", schema="SELECT 1")
    rows: list[Row] = [
        {"id": 1, "moods": "{glad}", "mails": "{}"},
        {"id": 2, "moods": "{blue}", "mails": "{}"},
        {"id": 3, "moods": "{}", "mails": "{ab}"},
    ]
    house.bring(batches.batch({"t": rows}))
    assert (ids(house), sorted(reasons(house))) == ([1], [2, 3])
    execute(house.url, "ALTER TYPE mood ADD VALUE 'blue'", "ALTER DOMAIN mail DROP CONSTRAINT mail_check")
    house.bring(batches.batch({"t": rows[:1]}))
    assert house.query("SELECT id, moods::text, mails::text FROM dim_t ORDER BY 1") == [
        (1, "{glad}", "{}"),
        (2, "{blue}", "{}"),
        (3, "{}", "{ab}"),
    ]
    assert house.rejected() == []


@pytest.mark.parametrize("kind", ["dim", "fact"])
def test_a_character_that_the_warehouse_cannot_encode_rejects_its_row(
    postgres: Postgres, raw: Bucket, processed: Bucket, tmp_path: Path, kind: str
) -> None:
    with database(postgres, "latin", "ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0") as url:
        house = Warehouse(url, tmp_path / "models", raw, processed)
        columns = {"id": "integer", "code": "text", "day": "text"}
        batches = made_up(house, columns, "id integer NOT NULL, code text, day date", kind=kind)
        rows: list[Row] = [
            {"id": 1, "code": "café", "day": None},
            {"id": 2, "code": "5 €", "day": None},
            {"id": 3, "code": "5 € \0", "day": "soon"},
        ]
        for number, batch in enumerate((rows, [row | {"id": int(row["id"]) + 10} for row in rows])):
            counts = house.bring(batches.batch({"t": batch}))[f"{kind}_t"]
            assert (counts.added, counts.rejected) == (1, 2)
            assert ids(house, f"{kind}_t") == [1, 11][: number + 1]
        assert value(url, f"SELECT code FROM {kind}_t WHERE id = 1") == "café"
        assert reasons(house)[2].startswith("code: character with byte sequence 0xe2 0x82 0xac")
        kept = dict(house.query("SELECT (key ->> 'id')::int, \"row\" ->> 'code' FROM etl.rejected"))
        assert (kept[2], kept[3]) == ("\\x3520e282ac", "5 \\u20ac \\x00")


def test_such_a_row_stays_rejected_if_its_model_is_computed_as_a_whole(
    shared: Pair, postgres: Postgres
) -> None:
    models = {
        "dim_t": "SELECT id, max(code) AS code FROM t GROUP BY id",
        "schema": "CREATE TABLE IF NOT EXISTS dim_t (id int PRIMARY KEY, code text NOT NULL);",
    }
    source = "CREATE TABLE t (id int, code text)", "INSERT INTO t VALUES (1, 'a'), (2, '5 €'), (3, NULL)"
    with database(postgres, "latin", "ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0") as url:
        latin = replace(shared, house=replace(shared.house, url=url, prepared=None))
        latin.fresh(models, *source)
        latin.run()
        latin.do("UPDATE t SET code = 'b' WHERE id = 1")
        latin.run()
        assert [key for _, key, _ in latin.house.rejected()] == [{"id": "2"}, {"id": "3"}]
        latin.do("UPDATE t SET code = NULL WHERE id = 2", "UPDATE t SET code = 'c' WHERE id = 3")
        latin.run()
        assert [(key, reason) for _, key, reason in latin.house.rejected()] == [
            ({"id": "2"}, "code is missing (NULL)")
        ]
        latin.do("UPDATE t SET code = 'd' WHERE id = 2")
        latin.run()
        assert latin.house.rejected() == []


@pytest.mark.campaign
@pytest.mark.parametrize("kind", [pytest.param("dim", marks=pytest.mark.campaign), "fact"])
def test_a_table_may_have_as_many_columns_as_postgres_allows(house: Warehouse, kind: str) -> None:
    names = [f"c{number}" for number in range(1_590)]
    declared = ", ".join(f"{name} smallint" for name in names)
    files = {
        "dim_shop": "SELECT shop_id FROM shop",
        f"{kind}_t": "-- key: id\nSELECT * FROM t",
        "schema": "CREATE TABLE IF NOT EXISTS dim_shop (shop_id int PRIMARY KEY);"
        f"CREATE TABLE IF NOT EXISTS {kind}_t (id int NOT NULL, shop_id int REFERENCES dim_shop,"
        f" {declared});",
    }
    write_models(house.folder, files)
    columns = {"id": "integer", "shop_id": "integer"} | dict.fromkeys(names, "smallint")
    batches = MadeUp(house.raw, {"t": (columns, ("id",)), "shop": ({"shop_id": "integer"}, ("shop_id",))})

    def row(number: int, shop: int, filler: int | None = None) -> Row:
        return {"id": number, "shop_id": shop} | dict.fromkeys(names, filler)

    house.bring(batches.batch({"t": [row(1, 1), row(2, 2, 5)], "shop": [{"shop_id": 1}]}))
    counts = house.bring(batches.batch({"t": [row(1, 1, 7), row(3, 2)], "shop": [{"shop_id": 2}]}))[
        f"{kind}_t"
    ]
    assert (counts.added, counts.changed, counts.rejected) == (2, 1, 0)
    assert house.query(f"SELECT id, c1589 FROM {kind}_t_history WHERE valid_to IS NULL ORDER BY 1") == [
        (1, 7),
        (2, 5),
        (3, None),
    ]
    if kind == "fact":
        house.bring(batches.batch({"t": [row(1, 1, 7)], "shop": [{"shop_id": 1}]}, reconcile=True))
        assert ids(house, "fact_t_current") == [1]
