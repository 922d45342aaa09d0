"""One row never stops a batch: whatever Postgres refuses is rejected alone, and all others load."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import pytest

from demo.postgres import Postgres
from pipeline.errors import WarehouseError
from pipeline.lake.buckets import Bucket
from tests.support import MadeUp, Row, Warehouse, database, execute, value, write_models

# Warehouse type: a text that it takes, one that it does not, and what Postgres says of that.
MISFITS: dict[str, tuple[str, str, str]] = {
    "inet": ("10.0.0.1", "10.0.0.256", "invalid input syntax for type inet"),
    "cidr": ("10.0.0.0/8", "10.0.0.1/8", "invalid cidr value"),
    "macaddr": ("08:00:2b:01:02:03", "x", "invalid input syntax for type macaddr"),
    "interval": ("1 day", "soon", "invalid input syntax for type interval"),
    "integer[]": ("{1,NULL}", "{1,x}", "invalid input syntax for type integer"),
    "numeric(5,2)[]": ("{1.25}", "{1000}", "numeric field overflow"),
    "int4range": ("[1,2)", "[2,1)", "range lower bound must be less than or equal to range upper bound"),
    "bytea": ("\\x00", "\\xzz", "invalid hexadecimal digit"),
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
TYPES = (
    "CREATE TYPE mood AS ENUM ('glad', 'sad')",
    "CREATE TYPE pair AS (number integer, word text)",
    "CREATE DOMAIN even AS integer CHECK (VALUE % 2 = 0)",
    "CREATE DOMAIN mail AS text CHECK (VALUE LIKE '%@%')",
)


def made_up(
    house: Warehouse, columns: Mapping[str, str], table: str, *, kind: str = "dim", schema: str = ""
) -> MadeUp:
    """A source table ``t`` of these columns, and a model that hands all of them on."""
    files = {
        f"{kind}_t": f"-- key: id\nSELECT {', '.join(columns)} FROM t",
        "schema": f"{schema}; CREATE TABLE IF NOT EXISTS {kind}_t ({table});",
    }
    write_models(house.folder, files)
    return MadeUp(house.raw, {"t": (columns, ("id",))})


@pytest.fixture
def house(warehouse_url: str, raw: Bucket, processed: Bucket, tmp_path: Path) -> Warehouse:
    return Warehouse(warehouse_url, tmp_path / "models", raw, processed)


def ids(house: Warehouse, table: str = "dim_t") -> list[int]:
    return [number for (number,) in house.query(f"SELECT id FROM {table} ORDER BY 1")]


def reasons(house: Warehouse) -> dict[int, str]:
    return {int(key["id"]): reason for _, key, reason in house.rejected()}


@pytest.mark.parametrize("first", [False, True], ids=["merged", "filled"])
def test_a_value_of_any_type_that_does_not_fit(house: Warehouse, first: bool) -> None:
    execute(house.url, *TYPES)
    names = {type_: f"c{place}" for place, type_ in enumerate(MISFITS)}
    made = made_up(
        house,
        {"id": "integer"} | dict.fromkeys(names.values(), "text"),
        "id integer PRIMARY KEY, " + ", ".join(f"{name} {type_}" for type_, name in names.items()),
        schema="SELECT 1",
    )
    good = {names[type_]: case[0] for type_, case in MISFITS.items()}
    if not first:
        house.bring(made.batch({"t": [{"id": 1} | good]}))
    rows = [{"id": 2} | good] + [
        {"id": number} | good | {names[type_]: case[1]}
        for number, (type_, case) in enumerate(MISFITS.items(), 10)
    ]
    counts = house.bring(made.batch({"t": rows}))["dim_t"]
    assert (counts.added, counts.rejected) == (1, len(MISFITS))
    assert ids(house) == ([2] if first else [1, 2])
    found = reasons(house)
    for number, (type_, (_, bad, words)) in enumerate(MISFITS.items(), 10):
        assert found[number].startswith(f"{names[type_]}: {words}"), type_
        if len(bad) > 2:
            assert bad not in found[number]
    kept = dict(house.query("SELECT (key ->> 'id')::int, \"row\" FROM etl.rejected"))
    assert kept[10] == {"id": "10"} | good | {"c0": "10.0.0.256"}
    mended = [{"id": number} | good for number in range(10, 10 + len(MISFITS))]
    assert house.bring(made.batch({"t": mended}))["dim_t"].added == len(MISFITS)
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
    made = made_up(house, columns, "id integer PRIMARY KEY, fee fee, state state", schema="SELECT 1")
    rows: list[Row] = [
        {"id": number, "fee": fee, "state": state}
        for number, (fee, state) in enumerate(
            [("3.45", "glad"), ("3.456", "sad"), ("1", "blue"), ("100", "sad")]
        )
    ]
    house.bring(made.batch({"t": rows}))
    assert house.query("SELECT id, fee::text, state::text FROM dim_t") == [(0, "3.45", "glad")]
    assert {number: words.split(":")[0].split(" ")[0] for number, words in reasons(house).items()} == {
        1: "fee",
        2: "state",
        3: "fee",
    }


def test_a_row_that_did_not_fit_comes_in_once_its_type_takes_it(house: Warehouse) -> None:
    execute(house.url, *TYPES)
    columns = {"id": "integer", "moods": "text", "mails": "text"}
    made = made_up(house, columns, "id integer PRIMARY KEY, moods mood[], mails mail[]", schema="SELECT 1")
    rows: list[Row] = [
        {"id": 1, "moods": "{glad}", "mails": "{}"},
        {"id": 2, "moods": "{blue}", "mails": "{}"},
        {"id": 3, "moods": "{}", "mails": "{ab}"},
    ]
    house.bring(made.batch({"t": rows}))
    assert (ids(house), sorted(reasons(house))) == ([1], [2, 3])
    execute(house.url, "ALTER TYPE mood ADD VALUE 'blue'", "ALTER DOMAIN mail DROP CONSTRAINT mail_check")
    house.bring(made.batch({"t": rows[:1]}))
    assert house.query("SELECT id, moods::text, mails::text FROM dim_t ORDER BY 1") == [
        (1, "{glad}", "{}"),
        (2, "{blue}", "{}"),
        (3, "{}", "{ab}"),
    ]
    assert house.rejected() == []


# What a table refuses beside a misfit: what makes it do so, and the words. Row 3 is the one to blame.
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
    "an index whose entries are short": (
        "CREATE INDEX long ON dim_t (long)",
        "index row requires",
    ),
}
CODES = {"id": "integer", "code": "text", "days": "text", "a": "integer", "b": "integer", "long": "text"}
# Longer than an index entry may be, and not to be compressed below that.
LONG = "".join(hashlib.sha256(str(number).encode()).hexdigest() for number in range(150))
CODED = "id integer PRIMARY KEY, code text, days daterange, a integer, b integer, long text"


def coded(number: int, code: str, days: str, b: int | None = 1, long: str = "") -> Row:
    return {"id": number, "code": code, "days": days, "a": 1, "b": b, "long": long}


@pytest.mark.parametrize("case", REFUSED)
def test_a_row_that_the_table_itself_refuses(house: Warehouse, case: str) -> None:
    """Into an empty table, and again as a change and as a new row of a filled one."""
    statements, words = REFUSED[case]
    made = made_up(house, CODES, CODED, schema="SELECT 1")
    house.prepare()
    execute(house.url, statements)
    house.prepared = None
    first = [
        coded(number, f"c{number}", f"[2024-01-{number:02},2024-01-{number + 1:02})") for number in (1, 2)
    ]
    bad = coded(3, "C1" if "expression" in case else "c1", "[2024-01-01,2024-01-09)", None, LONG)
    good = coded(4, "c4", "[2024-01-20,2024-01-21)")
    counts = house.bring(made.batch({"t": [*first, bad, good]}))["dim_t"]
    assert (counts.added, counts.rejected, ids(house)) == (3, 1, [1, 2, 4])
    assert reasons(house)[3].startswith(words)
    counts = house.bring(made.batch({"t": [coded(5, "c5", "[2024-01-25,2024-01-26)"), bad]}))["dim_t"]
    assert (counts.added, counts.rejected, ids(house)) == (1, 1, [1, 2, 4, 5])
    kept = house.query("SELECT \"row\" ->> 'days', \"row\" ->> 'long' FROM etl.rejected")
    assert kept == [("[2024-01-01,2024-01-09)", LONG)]


def test_a_rejected_row_comes_in_when_what_it_lacked_is_there(house: Warehouse) -> None:
    made = made_up(house, CODES, CODED + ", UNIQUE (code)")
    house.bring(made.batch({"t": [coded(1, "a", "empty"), coded(2, "a", "empty"), coded(3, "c", "empty")]}))
    assert (ids(house), list(reasons(house))) == ([1, 3], [2])
    house.bring(made.batch({"t": [coded(3, "d", "empty")]}))
    assert list(reasons(house)) == [2]
    counts = house.bring(made.batch({"t": [coded(1, "b", "empty")]}))["dim_t"]
    assert (counts.added, counts.changed, counts.rejected) == (1, 1, 0)
    assert house.query("SELECT id, code FROM dim_t ORDER BY 1") == [(1, "b"), (2, "a"), (3, "d")]
    assert house.rejected() == []


def test_no_partition_takes_a_row(house: Warehouse) -> None:
    parts = "PARTITION BY RANGE (id); CREATE TABLE one PARTITION OF dim_t FOR VALUES FROM (0) TO (50);"
    schema = "CREATE TABLE IF NOT EXISTS dim_t (id int PRIMARY KEY, code text) " + parts
    made = made_up(house, {"id": "integer", "code": "text"}, "id int", schema=schema)
    rows: list[Row] = [{"id": number, "code": "x"} for number in (1, 49, 50, 7)]
    assert house.bring(made.batch({"t": rows}))["dim_t"].rejected == 1
    assert ids(house) == [1, 7, 49]
    assert reasons(house)[50].startswith('no partition of relation "dim_t" found')


@pytest.mark.parametrize("kind", ["dim", "fact"])
def test_rows_leave_partitioned_tables_one_by_one(house: Warehouse, kind: str) -> None:
    parts = "".join(
        f"CREATE TABLE IF NOT EXISTS p{n} PARTITION OF {kind}_t FOR VALUES WITH (MODULUS 4, REMAINDER {n});"
        for n in range(4)
    )
    schema = (
        "CREATE TABLE IF NOT EXISTS dim_shop (shop_id int PRIMARY KEY);"
        f"CREATE TABLE IF NOT EXISTS {kind}_t (id int NOT NULL, shop_id int REFERENCES dim_shop)"
        f" PARTITION BY HASH (id); {parts}"
    )
    made = made_up(house, {"id": "integer", "shop_id": "integer"}, "id int", kind=kind, schema=schema)
    write_models(house.folder, {"dim_shop": "SELECT shop_id FROM shop"})
    made = MadeUp(house.raw, {**made.tables, "shop": ({"shop_id": "integer"}, ("shop_id",))})
    rows: list[Row] = [{"id": n, "shop_id": 2 if n % 10 == 0 else 1} for n in range(100)]
    for batch in (rows, [row | {"id": int(row["id"]) + 100} for row in rows]):
        counts = house.bring(made.batch({"t": batch, "shop": [{"shop_id": 1}]}))[f"{kind}_t"]
        assert (counts.added, counts.rejected) == (90, 10)
    assert ids(house, f"{kind}_t") == [n for n in range(200) if n % 10]
    house.bring(made.batch({"shop": [{"shop_id": 2}]}))
    assert ids(house, f"{kind}_t") == list(range(200))


def test_rows_that_refer_to_each_other_come_in_any_order(house: Warehouse) -> None:
    """New rows and changes, both ways, and beside a row that keeps the batch from coming in as a whole."""
    table = "id integer PRIMARY KEY, parent integer REFERENCES dim_t, code text UNIQUE"
    made = made_up(house, {"id": "integer", "parent": "integer", "code": "text"}, table)

    def row(number: int, parent: int | None, code: str) -> Row:
        return {"id": number, "parent": parent, "code": code}

    house.bring(made.batch({"t": [row(1, None, "a"), row(2, 1, "b")]}))
    counts = house.bring(made.batch({"t": [row(2, 9, "b"), row(9, 8, "i"), row(8, 2, "h")]}))["dim_t"]
    assert (counts.added, counts.changed, counts.rejected) == (2, 1, 0)
    chain = [row(number, number + 1, f"n{number}") for number in range(20, 40)] + [row(40, 1, "n40")]
    counts = house.bring(made.batch({"t": [*chain, row(50, None, "a")]}))["dim_t"]
    assert (counts.added, counts.rejected) == (21, 1)
    assert list(reasons(house)) == [50]


UNIQUES = {
    "a constraint": "ALTER TABLE dim_t ADD UNIQUE (code)",
    "a deferrable constraint": "ALTER TABLE dim_t ADD UNIQUE (code) DEFERRABLE",
    "an index on an expression": "CREATE UNIQUE INDEX one ON dim_t (lower(code)) WHERE code <> ''",
    "an exclusion by a hash": "ALTER TABLE dim_t ADD EXCLUDE USING hash (code WITH =)",
    "an exclusion": "ALTER TABLE dim_t ADD EXCLUDE USING gist (days WITH &&)",
}


@pytest.mark.parametrize("case", UNIQUES)
def test_rows_may_swap_what_only_one_may_have(house: Warehouse, case: str) -> None:
    """In pairs, circles and chains, and beside a row that takes what another keeps."""
    made = made_up(house, CODES, CODED)
    house.prepare()
    execute(house.url, UNIQUES[case])
    house.prepared = None

    def batch(codes: Mapping[int, int]) -> list[Row]:
        return [
            coded(number, f"c{code}", f"[2024-01-{code:02},2024-01-{code + 1:02})")
            for number, code in codes.items()
        ]

    def codes() -> dict[int, str]:
        return dict(house.query("SELECT id, code FROM dim_t ORDER BY 1"))

    definitions = "SELECT indexdef FROM pg_indexes WHERE tablename = 'dim_t' ORDER BY 1"
    before = house.query(definitions)
    house.bring(made.batch({"t": batch({number: number for number in range(1, 9)})}))
    counts = house.bring(made.batch({"t": batch({1: 2, 2: 1, 3: 4, 4: 5, 5: 3, 6: 20, 9: 6})}))["dim_t"]
    assert (counts.added, counts.changed, counts.rejected) == (1, 6, 0)
    assert codes() == {1: "c2", 2: "c1", 3: "c4", 4: "c5", 5: "c3", 6: "c20", 7: "c7", 8: "c8", 9: "c6"}
    counts = house.bring(made.batch({"t": batch({1: 1, 2: 2, 8: 8, 10: 7, 11: 7, 12: 21})}))["dim_t"]
    assert (counts.added, counts.changed) == (1, 2)
    assert sorted(reasons(house)) == [10, 11]
    assert (codes()[1], codes()[2], codes()[12]) == ("c1", "c2", "c21")
    assert house.query(definitions) == before


def test_rows_may_swap_what_references_point_to_or_be_rejected(house: Warehouse) -> None:
    """A unique column that another table refers to cannot be dropped for a moment."""
    made = made_up(house, {"id": "integer", "code": "text"}, "id integer PRIMARY KEY, code text UNIQUE")
    house.prepare()
    execute(house.url, "CREATE TABLE other (code text REFERENCES dim_t (code))")
    house.bring(made.batch({"t": [{"id": n, "code": c} for n, c in ((1, "a"), (2, "b"))]}))
    batch = [{"id": 1, "code": "b"}, {"id": 2, "code": "a"}, {"id": 3, "code": "c"}]
    counts = house.bring(made.batch({"t": batch}))["dim_t"]
    assert (counts.added, counts.rejected) == (1, 2)


# Whatever hangs on a table, or names what we name


def test_views_that_group_by_a_primary_key_stay(house: Warehouse) -> None:
    made = made_up(house, {"id": "integer", "code": "text"}, "id integer PRIMARY KEY, code text")
    house.prepare()
    execute(house.url, "CREATE VIEW codes AS SELECT id, code, count(*) FROM dim_t GROUP BY id")
    house.prepared = None
    house.bring(made.batch({"t": [{"id": 1, "code": "a"}]}))
    assert house.query("SELECT * FROM codes") == [(1, "a", 1)]


@pytest.mark.since(18, "NOT ENFORCED")
def test_references_that_are_not_enforced_are_not(house: Warehouse) -> None:
    table = (
        "id integer PRIMARY KEY, parent integer REFERENCES dim_t NOT ENFORCED,"
        " code text CHECK (code <> 'x') NOT ENFORCED"
    )
    made = made_up(house, {"id": "integer", "parent": "integer", "code": "text"}, table)
    for first in (1, 2):
        counts = house.bring(made.batch({"t": [{"id": first, "parent": 99, "code": "x"}]}))["dim_t"]
        assert (counts.added, counts.rejected) == (1, 0)


def test_constraints_that_old_rows_may_break_hold_for_new_ones(house: Warehouse) -> None:
    made = made_up(house, {"id": "integer", "code": "text"}, "id integer PRIMARY KEY, code text")
    house.prepare()
    execute(house.url, "ALTER TABLE dim_t ADD CONSTRAINT short CHECK (length(code) < 3) NOT VALID")
    house.prepared = None
    house.bring(made.batch({"t": [{"id": 1, "code": "ab"}, {"id": 2, "code": "abcd"}]}))
    assert (ids(house), list(reasons(house))) == ([1], [2])
    assert value(house.url, "SELECT convalidated FROM pg_constraint WHERE conname = 'short'") is False


def test_a_fact_may_have_columns_of_any_name(house: Warehouse) -> None:
    names = "is_first", "is_first_", "recorded", "added", "changed", "new", "bad", "f", "place", "counts"
    columns = {"id": "integer"} | dict.fromkeys(names, "integer")
    made = made_up(
        house, columns, "id integer NOT NULL, " + ", ".join(f"{n} integer" for n in names), kind="fact"
    )
    for number in (1, 2):
        counts = house.bring(made.batch({"t": [{"id": 1} | dict.fromkeys(names, number)]}))["fact_t"]
        assert (counts.added, counts.changed) == ((1, 0) if number == 1 else (0, 1))


@pytest.mark.parametrize(
    "unique",
    [
        "UNIQUE (code)",
        "PRIMARY KEY (id)",
        "EXCLUDE USING gist (days WITH &&)",
        "UNIQUE (code) DEFERRABLE INITIALLY DEFERRED",
    ],
)
def test_a_fact_that_leaves_no_place_for_versions_is_named(house: Warehouse, unique: str) -> None:
    made_up(house, CODES, f"{CODED.replace(' PRIMARY KEY', '')}, {unique}", kind="fact")
    with pytest.raises(WarehouseError, match=r"public\.fact_t keeps the versions of a row.*forbids; drop it"):
        house.prepare()


@pytest.mark.parametrize("kind", ["fact", "bridge"])
@pytest.mark.parametrize("type_", ["xid", "json", "point"])
def test_a_key_without_an_order_is_named(house: Warehouse, kind: str, type_: str) -> None:
    """Versions of a key lie in an index. Of these the first can be hashed, the others not even that."""
    files = {
        f"{kind}_t": "-- key: k\nSELECT k FROM t",
        "schema": f"CREATE TABLE IF NOT EXISTS {kind}_t (k {type_});",
    }
    write_models(house.folder, files)
    words = rf"public\.{kind}_t cannot have the key k: data type {type_} has no .*; name other columns"
    with pytest.raises(WarehouseError, match=words):
        house.prepare()


def test_a_fact_may_have_unique_columns_that_tell_versions_apart(house: Warehouse) -> None:
    table = (
        "record bigint GENERATED ALWAYS AS IDENTITY, id integer NOT NULL, code text, recorded_at timestamptz"
        " NOT NULL, token uuid DEFAULT gen_random_uuid(), UNIQUE (code, recorded_at), UNIQUE (id, token)"
    )
    made = made_up(house, {"id": "integer", "code": "text"}, table + ", PRIMARY KEY (record)", kind="fact")
    for code in "ab":
        house.bring(made.batch({"t": [{"id": 1, "code": code}]}))
    assert value(house.url, "SELECT count(*) FROM fact_t") == 2


# How many rows a table may lose


def test_a_table_that_loses_all_its_rows_fails(house: Warehouse) -> None:
    made = made_up(house, {"id": "integer", "code": "text"}, "id integer PRIMARY KEY, code inet")
    with pytest.raises(
        WarehouseError,
        match=r"table dim_t: 3 of 3 rows would be rejected"
        r" \(code: invalid input syntax for type inet\); correct the model.*nothing was loaded",
    ):
        house.bring(made.batch({"t": [{"id": n, "code": "x"} for n in range(3)]}))
    assert house.query("SELECT * FROM etl.batch") == []


def test_a_table_that_loses_a_large_share_of_its_rows_fails_soon(house: Warehouse) -> None:
    made = made_up(house, {"id": "integer", "code": "text"}, "id integer PRIMARY KEY, code inet")
    rows: list[Row] = [{"id": n, "code": "x" if n % 2 else "::1"} for n in range(5_000)]
    batch = made.batch({"t": rows})
    with pytest.raises(WarehouseError, match="more than 1,000 of 5,000 rows would be rejected"):
        house.bring(batch)
    counts = house.bring(batch, max_rejected_share=1)["dim_t"]
    assert (counts.added, counts.rejected) == (2_500, 2_500)


def test_one_row_of_a_batch_may_be_lost_though_it_is_all_there_is(house: Warehouse) -> None:
    made = made_up(house, {"id": "integer", "code": "text"}, "id integer PRIMARY KEY, code inet")
    house.bring(made.batch({"t": [{"id": 1, "code": "::1"}]}))
    assert house.bring(made.batch({"t": [{"id": n, "code": "x"} for n in (2, 3)]}))["dim_t"].rejected == 2


# Encodings


@pytest.mark.parametrize("kind", ["dim", "fact"])
def test_a_character_that_the_warehouse_lacks(
    postgres: Postgres, raw: Bucket, processed: Bucket, tmp_path: Path, kind: str
) -> None:
    with database(postgres, "latin", "ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0") as url:
        house = Warehouse(url, tmp_path / "models", raw, processed)
        columns = {"id": "integer", "code": "text", "day": "text"}
        made = made_up(house, columns, "id integer NOT NULL, code text, day date", kind=kind)
        rows: list[Row] = [
            {"id": 1, "code": "café", "day": None},
            {"id": 2, "code": "5 €", "day": None},
            {"id": 3, "code": "5 € \0", "day": "soon"},
        ]
        for number, batch in enumerate((rows, [row | {"id": int(row["id"]) + 10} for row in rows])):
            counts = house.bring(made.batch({"t": batch}))[f"{kind}_t"]
            assert (counts.added, counts.rejected) == (1, 2)
            assert ids(house, f"{kind}_t") == [1, 11][: number + 1]
        assert value(url, f"SELECT code FROM {kind}_t WHERE id = 1") == "café"
        assert reasons(house)[2].startswith("code: character with byte sequence 0xe2 0x82 0xac")
        kept = dict(house.query("SELECT (key ->> 'id')::int, \"row\" ->> 'code' FROM etl.rejected"))
        assert (kept[2], kept[3]) == ("\\x3520e282ac", "5 \\u20ac \\x00")


# Width


@pytest.mark.campaign
@pytest.mark.parametrize("kind", [pytest.param("dim", marks=pytest.mark.campaign), "fact"])
def test_as_many_columns_as_postgres_has(house: Warehouse, kind: str) -> None:
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
    made = MadeUp(house.raw, {"t": (columns, ("id",)), "shop": ({"shop_id": "integer"}, ("shop_id",))})

    def row(number: int, shop: int, filler: int | None = None) -> Row:
        return {"id": number, "shop_id": shop} | dict.fromkeys(names, filler)

    house.bring(made.batch({"t": [row(1, 1), row(2, 2, 5)], "shop": [{"shop_id": 1}]}))
    counts = house.bring(made.batch({"t": [row(1, 1, 7), row(3, 2)], "shop": [{"shop_id": 2}]}))[f"{kind}_t"]
    assert (counts.added, counts.changed, counts.rejected) == (2, 1, 0)
    assert house.query(f"SELECT id, c1589 FROM {kind}_t_history WHERE valid_to IS NULL ORDER BY 1") == [
        (1, 7),
        (2, 5),
        (3, None),
    ]
    if kind == "fact":
        house.bring(made.batch({"t": [row(1, 1, 7)], "shop": [{"shop_id": 1}]}, reconcile=True))
        assert ids(house, "fact_t_current") == [1]
