"""Rows set aside: one row of each kind from its rejection to its acceptance, on a real source."""

from __future__ import annotations

from typing import Any

import pytest

from tests.bench import Bench
from tests.support import execute

MODELS = {
    "dim_currency": """
        SELECT currency_id, currency.code, iso_4217.name AS currency_name
        FROM currency LEFT JOIN iso_4217 ON currency.code = iso_4217.code
    """,
    "dim_shop": "SELECT shop_id, label, currency_id, mother_id FROM shop",
    "fact_sale": """
        -- key: sale_id
        SELECT sale_id, shop_id, sold_on, units, amount FROM sale
    """,
    "fact_report": """
        -- key: sale_id
        SELECT sale_id, shop_id, label FROM sale LEFT JOIN shop USING (shop_id)
    """,
    "schema": """
        CREATE TABLE IF NOT EXISTS dim_currency (
            currency_id integer PRIMARY KEY, code varchar NOT NULL, currency_name varchar NOT NULL
        );
        CREATE TABLE IF NOT EXISTS dim_shop (
            shop_id integer PRIMARY KEY,
            label varchar(5) NOT NULL,
            currency_id integer NOT NULL REFERENCES dim_currency,
            mother_id integer REFERENCES dim_shop
        );
        CREATE TABLE IF NOT EXISTS fact_sale (
            sale_id integer NOT NULL,
            shop_id integer NOT NULL REFERENCES dim_shop,
            sold_on date NOT NULL,
            units smallint NOT NULL,
            amount numeric(6, 2) NOT NULL
        );
        CREATE TABLE IF NOT EXISTS fact_report (
            sale_id integer NOT NULL, shop_id integer REFERENCES dim_shop, label varchar
        );
    """,
}
SOURCE = (
    "CREATE TABLE currency (currency_id int PRIMARY KEY, code varchar(3))",
    "CREATE TABLE shop (shop_id int PRIMARY KEY, label text, currency_id int, mother_id int)",
    "CREATE TABLE sale (sale_id int PRIMARY KEY, shop_id int, sold_on text, units bigint, amount numeric)",
    "INSERT INTO currency VALUES (1, 'GBP')",
    "INSERT INTO shop VALUES (1, 'York', 1, NULL)",
    "INSERT INTO sale VALUES (1, 1, '2024-02-29', 1, 1.50)",
)
Open = tuple[str, str, str]


@pytest.fixture
def bench(shared: Bench) -> Bench:
    """A source with one good row in each table, not read yet."""
    shared.fresh(MODELS, *SOURCE)
    return shared


def aside(bench: Bench) -> list[Open]:
    """Table, key and reason of what is set aside and not resolved."""
    return [(table, next(iter(key.values())), reason) for table, key, reason in bench.house.rejected()]


def sales(bench: Bench) -> list[int]:
    return [sale for (sale,) in bench.house.query("SELECT sale_id FROM fact_sale_current ORDER BY 1")]


def log(bench: Bench) -> list[tuple[Any, ...]]:
    """Every record of a rejection: which batches it stood in, counted from 1, and whether it is over."""
    return bench.house.query(
        """
        WITH numbered AS (SELECT batch_id, row_number() OVER (ORDER BY batch_id) AS n FROM etl.batch)
        SELECT r.table_name, r.waits, f.n, l.n, r.resolved
        FROM etl.rejected AS r
        INNER JOIN numbered AS f ON f.batch_id = r.first_batch
        INNER JOIN numbered AS l ON l.batch_id = r.last_batch
        ORDER BY r.table_name, f.n
        """
    )


# A row of the sales that is wrong in one way, its key left out; the reason, and what mends it.
KINDS = {
    "text that is no date": (
        "1, '2024-02-30', 1, 1",
        "sold_on does not fit date",
        "sold_on = '2024-03-01'",
    ),
    "text that is a date and a time": (
        "1, '2024-02-28 10:00', 1, 1",
        "sold_on does not fit date",
        "sold_on = '2024-02-28'",
    ),
    "no date at all": ("1, NULL, 1, 1", "sold_on is missing (NULL)", "sold_on = '2024-03-01'"),
    "an empty date": ("1, '', 1, 1", "sold_on does not fit date", "sold_on = '2024-03-01'"),
    "a NULL where none may be": ("1, '2024-03-01', 1, NULL", "amount is missing (NULL)", "amount = 0"),
    "a reference that is NULL": ("NULL, '2024-03-01', 1, 1", "shop_id is missing (NULL)", "shop_id = 1"),
    "a whole number too large": (
        "1, '2024-03-01', 32768, 1",
        "units does not fit smallint",
        "units = 32767",
    ),
    "an amount too large": (
        "1, '2024-03-01', 1, 10000",
        "amount does not fit numeric(6,2)",
        "amount = 9999.99",
    ),
    "an amount with too many decimals": (
        "1, '2024-03-01', 1, 0.005",
        "amount does not fit numeric(6,2)",
        "amount = 0.01",
    ),
    "an amount that is no number": (
        "1, '2024-03-01', 1, 'NaN'",
        "amount does not fit numeric(6,2)",
        "amount = 0",
    ),
    "two things at once": (
        "1, 'soon', 99999, 1",
        "sold_on does not fit date; units does not fit smallint",
        "sold_on = '2024-03-01', units = 1",
    ),
}


def test_a_row_of_each_kind_from_its_rejection_to_its_acceptance(bench: Bench) -> None:
    """One after the other: each is accepted alone, in the batch that mends it."""
    expected = {str(sale): reason for sale, (_, reason, _) in enumerate(KINDS.values(), 10)}
    for sale, (row, _, _) in enumerate(KINDS.values(), 10):
        bench.do(f"INSERT INTO sale VALUES ({sale}, {row})")
    bench.do("INSERT INTO sale VALUES (3, 1, '2024-03-01', 3, 3)")
    bench.run()
    assert {key: reason for _, key, reason in aside(bench)} == expected
    assert sales(bench) == [1, 3], "the others come in"
    kept = bench.house.query('SELECT key, "row" FROM etl.rejected')
    assert all(row["sale_id"] == key["sale_id"] for key, row in kept)
    assert {tuple(sorted(row)) for _, row in kept} == {("amount", "sale_id", "shop_id", "sold_on", "units")}
    bench.do("INSERT INTO sale VALUES (4, 1, '2024-03-01', 4, 4)")
    bench.run()
    assert {key: reason for _, key, reason in aside(bench)} == expected, "another batch changes nothing"
    bench.run(reconcile=True)
    assert {key: reason for _, key, reason in aside(bench)} == expected, "nor does reading all of it"
    for sale, (_, _, mended) in enumerate(KINDS.values(), 10):
        bench.do(f"UPDATE sale SET {mended} WHERE sale_id = {sale}")
        if sale % 4:
            continue
        counts = bench.run()
        assert counts is not None
        assert counts["fact_sale"].rejected == 0
        assert sales(bench) == [1, 3, 4, *range(10, sale + 1)]
        assert {int(key) for _, key, _ in aside(bench)} == set(range(sale + 1, 10 + len(KINDS)))
    assert log(bench) == [("fact_sale", False, 1, 3, True)] * len(KINDS)
    assert bench.run() is None


def test_a_currency_outside_iso_4217_holds_up_all_that_hangs_on_it_and_lets_it_go_at_once(
    bench: Bench,
) -> None:
    """A dimension row that is refused, one that refers to it, one below that, and a fact."""
    bench.do(
        "INSERT INTO currency VALUES (2, 'ZZZ')",
        "INSERT INTO shop VALUES (2, 'Bath', 2, NULL), (3, 'Hull', 1, 2)",
        "INSERT INTO sale VALUES (2, 3, '2024-03-01', 1, 1), (3, 1, '2024-03-01', 1, 1)",
    )
    bench.run()
    assert aside(bench) == [
        ("dim_currency", "2", "currency_name is missing (NULL)"),
        ("dim_shop", "2", "currency_id is not in dim_currency"),
        ("dim_shop", "3", "mother_id is not in dim_shop"),
        ("fact_report", "2", "shop_id is not in dim_shop"),
        ("fact_sale", "2", "shop_id is not in dim_shop"),
    ]
    assert sales(bench) == [1, 3]
    bench.do("UPDATE currency SET code = 'EUR' WHERE currency_id = 2")
    counts = bench.run()
    assert counts is not None
    assert {name: count.added for name, count in counts.items()} == {
        "dim_currency": 1,
        "dim_shop": 2,
        "fact_report": 1,
        "fact_sale": 1,
    }
    assert aside(bench) == []
    assert all(resolved for *_, resolved in log(bench))
    assert bench.house.query("SELECT sale_id, label FROM fact_report_current ORDER BY 1") == [
        (1, "York"),
        (2, "Hull"),
        (3, "York"),
    ]
    counts = bench.run(reconcile=True)
    assert counts is not None
    assert all(count.summary == "nothing new" for count in counts.values())


def test_a_code_that_is_no_code_any_more_keeps_the_last_version(bench: Bench) -> None:
    bench.run()
    bench.do("UPDATE currency SET code = 'gbp'", "INSERT INTO sale VALUES (2, 1, '2024-03-01', 1, 1)")
    bench.run()
    assert aside(bench) == [("dim_currency", "1", "currency_name is missing (NULL)")]
    assert bench.house.query("SELECT code FROM dim_currency") == [("GBP",)]
    assert sales(bench) == [1, 2], "what refers to it has a version to refer to"
    bench.do("UPDATE currency SET code = 'GBP'")
    counts = bench.run()
    assert counts is not None
    assert counts["dim_currency"].summary == "nothing new"
    assert aside(bench) == []


def test_a_reason_may_change_while_a_row_waits(bench: Bench) -> None:
    bench.do("INSERT INTO sale VALUES (2, 9, 'soon', 1, 1)")
    bench.run()
    assert aside(bench) == [
        ("fact_report", "2", "shop_id is not in dim_shop"),
        ("fact_sale", "2", "sold_on does not fit date"),
    ]
    bench.do("UPDATE sale SET sold_on = '2024-03-01' WHERE sale_id = 2")
    bench.run()
    assert aside(bench)[1] == ("fact_sale", "2", "shop_id is not in dim_shop")
    bench.do("UPDATE sale SET units = 99999 WHERE sale_id = 2", "INSERT INTO shop VALUES (9, 'Hull', 1)")
    bench.run()
    assert aside(bench) == [("fact_sale", "2", "units does not fit smallint")]
    assert sales(bench) == [1], "an older version that would fit by now must not come in"
    bench.do("UPDATE sale SET units = 5 WHERE sale_id = 2")
    bench.run()
    assert bench.house.query("SELECT units FROM fact_sale WHERE sale_id = 2") == [(5,)]
    assert log(bench)[1] == ("fact_sale", False, 1, 3, True)


@pytest.mark.parametrize(
    ("row", "table"),
    [
        ("INSERT INTO sale VALUES (2, 1, 'soon', 1, 1)", "fact_sale"),
        ("INSERT INTO sale VALUES (2, 9, '2024-03-01', 1, 1)", "fact_report"),
        ("INSERT INTO shop VALUES (2, NULL, 1)", "dim_shop"),
        ("INSERT INTO shop VALUES (2, 'Bath', 9)", "dim_shop"),
        ("INSERT INTO currency VALUES (2, 'ZZZ')", "dim_currency"),
    ],
)
def test_what_is_gone_from_the_source_is_resolved_by_the_next_run(bench: Bench, row: str, table: str) -> None:
    bench.do(row)
    bench.run()
    assert table in {name for name, _, _ in aside(bench)}
    bench.do(f"DELETE FROM {row.split()[2]} WHERE {row.split()[2]}_id = 2")
    bench.run()
    assert aside(bench) == []
    assert all(resolved for *_, resolved in log(bench))
    bench.run(reconcile=True)
    assert aside(bench) == []
    assert sales(bench) == [1]
    assert bench.house.query("SELECT FROM fact_sale WHERE deleted") == [], "it never was in"


def test_a_rejected_row_that_is_deleted_ends_the_version_that_fitted(bench: Bench) -> None:
    for shop, wrong in ((8, "sold_on = 'soon'"), (9, "shop_id = 9")):
        bench.do("INSERT INTO sale VALUES (2, 1, '2024-03-01', 1, 1)")
        bench.run()
        bench.do(f"UPDATE sale SET {wrong} WHERE sale_id = 2")
        bench.run()
        assert sales(bench) == [1, 2], "the last version that fitted"
        bench.do("DELETE FROM sale WHERE sale_id = 2")
        bench.run()
        assert (sales(bench), aside(bench)) == ([1], [])
        bench.do(f"INSERT INTO shop VALUES ({shop}, 'Hull', 1)")
        bench.run()
        assert sales(bench) == [1], "what waited for the shop is gone"


def test_a_key_that_two_rows_have_in_different_batches_is_rejected_until_one_goes(shared: Bench) -> None:
    shared.fresh(
        {
            "fact_sale": "-- key: code\nSELECT code, units FROM sale",
            "schema": "CREATE TABLE IF NOT EXISTS fact_sale (code varchar, units integer)",
        },
        "CREATE TABLE sale (sale_id int PRIMARY KEY, code text, units int)",
        "INSERT INTO sale VALUES (1, 'a', 1)",
    )
    rows = "SELECT code, units FROM fact_sale_current"
    shared.run()
    shared.do("INSERT INTO sale VALUES (2, 'a', 2)")
    shared.run()
    assert aside(shared) == [("fact_sale", "a", "more than one row has this key")]
    shared.do("UPDATE sale SET units = 3 WHERE sale_id = 2")
    shared.run()
    assert aside(shared) == [("fact_sale", "a", "more than one row has this key")]
    assert shared.house.query(rows) == [("a", 1)], "no made-up history"
    shared.do("DELETE FROM sale WHERE sale_id = 1")
    shared.run()
    assert (shared.house.query(rows), aside(shared)) == ([("a", 3)], [])


def test_a_row_that_comes_back_wrong_is_another_rejection(bench: Bench) -> None:
    for sold_on in ("soon", "2024-03-01", "later"):
        bench.do("DELETE FROM sale WHERE sale_id = 2", f"INSERT INTO sale VALUES (2, 1, '{sold_on}', 1, 1)")
        bench.run()
    assert log(bench) == [("fact_sale", False, 1, 1, True), ("fact_sale", False, 3, 3, False)]
    assert sales(bench) == [1, 2], "the last version that fitted"


RULED = {
    "dim_mood": "SELECT mood_id, mood FROM mood",
    "fact_sale": "-- key: sale_id\nSELECT sale_id, units, code FROM sale",
    "schema": """
        CREATE TABLE IF NOT EXISTS dim_mood (mood_id integer PRIMARY KEY, mood mood NOT NULL);
        CREATE TABLE IF NOT EXISTS fact_sale (
            sale_id integer NOT NULL,
            units integer NOT NULL CONSTRAINT some_units CHECK (units > 0),
            code varchar CHECK (code ~ '^[a-z]{2}$'),
            CHECK (units % 100 < 50)
        );
    """,
}


@pytest.fixture
def ruled(shared: Bench) -> Bench:
    """Tables with an enum and with rules of their own."""
    shared.fresh(
        RULED,
        "CREATE TABLE mood (mood_id int PRIMARY KEY, mood text)",
        "CREATE TABLE sale (sale_id int PRIMARY KEY, units int, code text)",
        "INSERT INTO mood VALUES (1, 'calm')",
    )
    execute(shared.house.url, "CREATE TYPE public.mood AS ENUM ('calm', 'it''s \"fine\"')")
    return shared


@pytest.mark.parametrize(
    "first", ["INSERT INTO sale VALUES (1, 1, 'ab')", "SELECT 1"], ids=["merged", "filled"]
)
def test_a_row_that_breaks_a_rule_of_its_table_is_set_aside(ruled: Bench, first: str) -> None:
    """Into a table that has rows, and into an empty one."""
    ruled.do(first)
    ruled.run()
    known = len(sales(ruled))
    ruled.do("INSERT INTO sale VALUES (2, 0, 'ab'), (3, 3, NULL), (4, 75, 'ABC'), (5, 5, 'cd')")
    ruled.run()
    assert [reason.split(", ")[0] for _, _, reason in aside(ruled)] == [
        "breaks the rule some_units",
        "breaks the rule fact_sale_code_check",
    ]
    assert "breaks the rule fact_sale_units_check, CHECK" in aside(ruled)[1][2]
    assert sales(ruled) == [1, 3, 5][1 - known :], "a rule that is NULL for a row is kept"
    constraints = (
        "SELECT count(*) FROM pg_constraint WHERE contype = 'c' AND conrelid = 'fact_sale'::regclass"
    )
    assert ruled.house.query(constraints) == [(3,)]
    ruled.do("UPDATE sale SET units = 7, code = 'zz' WHERE sale_id IN (2, 4)")
    ruled.run()
    assert sales(ruled) == [1, 2, 3, 4, 5][1 - known :]
    assert aside(ruled) == []


def test_a_rule_that_is_given_up_lets_its_rows_in(ruled: Bench) -> None:
    ruled.do("INSERT INTO sale VALUES (2, 0, 'ab'), (3, 3, 'ab')")
    ruled.run()
    execute(ruled.house.url, "ALTER TABLE fact_sale DROP CONSTRAINT some_units")
    ruled.house.prepared = None
    ruled.do("INSERT INTO sale VALUES (4, 4, 'ab')")
    ruled.run()
    assert sales(ruled) == [2, 3, 4]
    assert aside(ruled) == []


def test_a_label_that_an_enum_lacks_is_set_aside_until_it_has_it(ruled: Bench) -> None:
    ruled.do("INSERT INTO mood VALUES (2, 'it''s \"fine\"'), (3, 'blue')")
    ruled.run()
    assert aside(ruled) == [("dim_mood", "3", "mood does not fit public.mood")]
    assert ruled.house.query("SELECT mood_id FROM dim_mood ORDER BY 1") == [(1,), (2,)]
    execute(ruled.house.url, "ALTER TYPE public.mood ADD VALUE 'blue'")
    ruled.house.prepared = None
    ruled.run(full=True)
    assert ruled.house.query("SELECT mood_id FROM dim_mood ORDER BY 1") == [(1,), (2,), (3,)]
    assert aside(ruled) == []


def test_all_rows_of_a_shared_key_are_kept(shared: Bench) -> None:
    """None of them is lost because the key can stand only once."""
    shared.fresh(
        {
            "fact_sale": "-- key: code\nSELECT code, units FROM sale",
            "schema": "CREATE TABLE IF NOT EXISTS fact_sale (code varchar, units integer)",
        },
        "CREATE TABLE sale (sale_id int PRIMARY KEY, code text, units int)",
        "INSERT INTO sale VALUES (1, NULL, 1), (2, NULL, 2), (3, 'a', 3), (4, 'a', 4), (5, 'b', 5)",
    )
    shared.run()
    kept = shared.house.query('SELECT key, reason, "row" FROM etl.rejected ORDER BY key')
    assert kept == [
        (
            {"code": None},
            "code is missing (NULL)",
            [{"code": None, "units": "1"}, {"code": None, "units": "2"}],
        ),
        (
            {"code": "a"},
            "more than one row has this key",
            [{"code": "a", "units": "3"}, {"code": "a", "units": "4"}],
        ),
    ]
