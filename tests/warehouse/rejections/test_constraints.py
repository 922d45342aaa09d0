"""A row that a constraint, trigger or partition of its table rejects is rejected alone."""

from __future__ import annotations

import hashlib

import pytest

from tests.house import Warehouse
from tests.made_up import MadeUp
from tests.support import Row, execute, value, write_models
from tests.warehouse.rejections.tables import CODED, CODES, coded, ids, made_up, reasons

# Constraints: the statement that creates one, and the reason. Row 3 violates it.
REFUSED = {
    "a unique column": ("CREATE UNIQUE INDEX one ON dim_t (code)", "code: duplicate key value violates"),
    "a unique expression": (
        "CREATE UNIQUE INDEX one ON dim_t (lower(code))",
        "lower(code): duplicate key value violates",
    ),
    "an exclusion": (
        "ALTER TABLE dim_t ADD CONSTRAINT apart EXCLUDE USING gist (days WITH &&)",
        'days: conflicting key value violates exclusion constraint "apart"',
    ),
    "a deferred exclusion": (
        (
            "ALTER TABLE dim_t ADD CONSTRAINT apart EXCLUDE USING gist (days WITH &&)"
            " DEFERRABLE INITIALLY DEFERRED"
        ),
        'days: conflicting key value violates exclusion constraint "apart"',
    ),
    "a reference that is there in part": (
        (
            "CREATE TABLE pair (a int, b int, PRIMARY KEY (a, b)); INSERT INTO pair VALUES (1, 1);"
            "ALTER TABLE dim_t ADD FOREIGN KEY (a, b) REFERENCES pair MATCH FULL"
        ),
        'insert or update on table "dim_t" violates foreign key constraint',
    ),
    "a trigger": (
        (
            "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " IF NEW.id = 3 THEN RAISE EXCEPTION 'three is one too many'; END IF; RETURN NEW; END $$;"
            "CREATE TRIGGER no BEFORE INSERT OR UPDATE ON dim_t FOR EACH ROW EXECUTE FUNCTION no()"
        ),
        "a trigger or function of the database refuses the row (SQLSTATE P0001)",
    ),
    "a deferred trigger": (
        (
            "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " IF NEW.id = 3 THEN RAISE EXCEPTION 'no' USING ERRCODE = 'ZZ001'; END IF; RETURN NEW; END $$;"
            "CREATE CONSTRAINT TRIGGER no AFTER INSERT OR UPDATE ON dim_t DEFERRABLE INITIALLY DEFERRED"
            " FOR EACH ROW EXECUTE FUNCTION no()"
        ),
        "a trigger or function of the database refuses the row (SQLSTATE ZZ001)",
    ),
    "a trigger with a code of Postgres's": (
        (
            "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.id = 3 THEN"
            " RAISE check_violation USING MESSAGE = 'not ' || NEW.code, COLUMN = 'code'; END IF; RETURN NEW;"
            " END $$; CREATE TRIGGER no BEFORE INSERT OR UPDATE ON dim_t FOR EACH ROW EXECUTE FUNCTION no()"
        ),
        "a trigger or function of the database refuses the row (SQLSTATE 23514)",
    ),
    "a statement that a trigger runs": (
        (
            "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.id = 3 THEN"
            " PERFORM NEW.code::int; END IF; RETURN NEW;"
            " END $$; CREATE TRIGGER no BEFORE INSERT OR UPDATE ON dim_t FOR EACH ROW EXECUTE FUNCTION no()"
        ),
        "a trigger or function of the database refuses the row (SQLSTATE 22P02)",
    ),
    "an index whose entries are short": ("CREATE INDEX long ON dim_t (long)", "index row requires"),
}


# Too long for an index entry, even compressed.
LONG = "".join(hashlib.sha256(str(number).encode()).hexdigest() for number in range(150))


@pytest.mark.parametrize("case", REFUSED)
def test_a_row_that_the_table_rejects_is_rejected_alone(house: Warehouse, case: str) -> None:
    """In an empty table, and then as a change and as a new row."""
    statements, message = REFUSED[case]
    batches = made_up(house, CODES, CODED, schema="SELECT 1")
    house.prepare()
    execute(house.url, statements)
    house.prepared = None
    first = [
        coded(number, f"c{number}", f"[2024-01-{number:02},2024-01-{number + 1:02})") for number in (1, 2)
    ]
    invalid = coded(3, "C1" if "expression" in case else "c1", "[2024-01-01,2024-01-09)", None, LONG)
    valid = coded(4, "c4", "[2024-01-20,2024-01-21)")
    counts = house.bring(batches.batch({"t": [*first, invalid, valid]}))["dim_t"]
    assert (counts.added, counts.rejected, ids(house)) == (3, 1, [1, 2, 4])
    assert reasons(house)[3].startswith(message)
    counts = house.bring(batches.batch({"t": [coded(5, "c5", "[2024-01-25,2024-01-26)"), invalid]}))["dim_t"]
    assert (counts.added, counts.rejected, ids(house)) == (1, 1, [1, 2, 4, 5])
    kept = house.query("SELECT \"row\" ->> 'days', \"row\" ->> 'long' FROM etl.rejected")
    assert kept == [("[2024-01-01,2024-01-09)", LONG)]


def test_a_rejected_row_is_accepted_once_its_reason_is_gone(house: Warehouse) -> None:
    batches = made_up(house, CODES, CODED + ", UNIQUE (code)")
    house.bring(
        batches.batch({"t": [coded(1, "a", "empty"), coded(2, "a", "empty"), coded(3, "c", "empty")]})
    )
    assert (ids(house), list(reasons(house))) == ([1, 3], [2])
    house.bring(batches.batch({"t": [coded(3, "d", "empty")]}))
    assert list(reasons(house)) == [2]
    counts = house.bring(batches.batch({"t": [coded(1, "b", "empty")]}))["dim_t"]
    assert (counts.added, counts.changed, counts.rejected) == (1, 1, 0)
    assert house.query("SELECT id, code FROM dim_t ORDER BY 1") == [(1, "b"), (2, "a"), (3, "d")]
    assert house.rejected() == []


def test_a_row_without_a_partition_is_rejected(house: Warehouse) -> None:
    parts = "PARTITION BY RANGE (id); CREATE TABLE one PARTITION OF dim_t FOR VALUES FROM (0) TO (50);"
    schema = "CREATE TABLE IF NOT EXISTS dim_t (id int PRIMARY KEY, code text) " + parts
    batches = made_up(house, {"id": "integer", "code": "text"}, "id int", schema=schema)
    rows: list[Row] = [{"id": number, "code": "x"} for number in (1, 49, 50, 7)]
    assert house.bring(batches.batch({"t": rows}))["dim_t"].rejected == 1
    assert ids(house) == [1, 7, 49]
    assert reasons(house)[50].startswith('no partition of relation "dim_t" found')


@pytest.mark.parametrize("kind", ["dim", "fact"])
def test_rows_move_between_partitions(house: Warehouse, kind: str) -> None:
    parts = "".join(
        f"CREATE TABLE IF NOT EXISTS p{n} PARTITION OF {kind}_t FOR VALUES WITH (MODULUS 4, REMAINDER {n});"
        for n in range(4)
    )
    schema = (
        "CREATE TABLE IF NOT EXISTS dim_shop (shop_id int PRIMARY KEY);"
        f"CREATE TABLE IF NOT EXISTS {kind}_t (id int NOT NULL, shop_id int REFERENCES dim_shop)"
        f" PARTITION BY HASH (id); {parts}"
    )
    batches = made_up(house, {"id": "integer", "shop_id": "integer"}, "id int", kind=kind, schema=schema)
    write_models(house.folder, {"dim_shop": "SELECT shop_id FROM shop"})
    batches = MadeUp(house.raw, {**batches.tables, "shop": ({"shop_id": "integer"}, ("shop_id",))})
    rows: list[Row] = [{"id": n, "shop_id": 2 if n % 10 == 0 else 1} for n in range(100)]
    for batch in (rows, [row | {"id": int(row["id"]) + 100} for row in rows]):
        counts = house.bring(batches.batch({"t": batch, "shop": [{"shop_id": 1}]}))[f"{kind}_t"]
        assert (counts.added, counts.rejected) == (90, 10)
    assert ids(house, f"{kind}_t") == [n for n in range(200) if n % 10]
    house.bring(batches.batch({"shop": [{"shop_id": 2}]}))
    assert ids(house, f"{kind}_t") == list(range(200))


def test_views_that_group_by_a_primary_key_are_kept(house: Warehouse) -> None:
    batches = made_up(house, {"id": "integer", "code": "text"}, "id integer PRIMARY KEY, code text")
    house.prepare()
    execute(house.url, "CREATE VIEW codes AS SELECT id, code, count(*) FROM dim_t GROUP BY id")
    house.prepared = None
    house.bring(batches.batch({"t": [{"id": 1, "code": "a"}]}))
    assert house.query("SELECT * FROM codes") == [(1, "a", 1)]


@pytest.mark.since(18, "NOT ENFORCED")
def test_references_that_are_not_enforced_reject_no_row(house: Warehouse) -> None:
    table = (
        "id integer PRIMARY KEY, parent integer REFERENCES dim_t NOT ENFORCED,"
        " code text CHECK (code <> 'x') NOT ENFORCED"
    )
    batches = made_up(house, {"id": "integer", "parent": "integer", "code": "text"}, table)
    for first in (1, 2):
        counts = house.bring(batches.batch({"t": [{"id": first, "parent": 99, "code": "x"}]}))["dim_t"]
        assert (counts.added, counts.rejected) == (1, 0)


def test_constraints_that_old_rows_may_break_hold_for_new_ones(house: Warehouse) -> None:
    batches = made_up(house, {"id": "integer", "code": "text"}, "id integer PRIMARY KEY, code text")
    house.prepare()
    execute(house.url, "ALTER TABLE dim_t ADD CONSTRAINT short CHECK (length(code) < 3) NOT VALID")
    house.prepared = None
    house.bring(batches.batch({"t": [{"id": 1, "code": "ab"}, {"id": 2, "code": "abcd"}]}))
    assert (ids(house), list(reasons(house))) == ([1], [2])
    assert value(house.url, "SELECT convalidated FROM pg_constraint WHERE conname = 'short'") is False
