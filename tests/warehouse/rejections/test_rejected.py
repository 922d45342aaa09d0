"""One row of each kind, from its rejection to its acceptance, on a real source."""

from __future__ import annotations

from tests.pair import Pair
from tests.warehouse.rejections.shop import aside, log, sales

# An invalid row of sale without its key; the reason, and the correction.
KINDS = {
    "text that is no date": ("1, '2024-02-30', 1, 1", "sold_on does not fit date", "sold_on = '2024-03-01'"),
    "text that is a date and a time": (
        "1, '2024-02-28 10:00', 1, 1",
        "sold_on does not fit date",
        "sold_on = '2024-02-28'",
    ),
    "no date at all": ("1, NULL, 1, 1", "sold_on is missing (NULL)", "sold_on = '2024-03-01'"),
    "an empty date": ("1, '', 1, 1", "sold_on does not fit date", "sold_on = '2024-03-01'"),
    "a NULL where none may be": ("1, '2024-03-01', 1, NULL", "amount is missing (NULL)", "amount = 0"),
    "a reference that is NULL": ("NULL, '2024-03-01', 1, 1", "shop_id is missing (NULL)", "shop_id = 1"),
    "a whole number too large": ("1, '2024-03-01', 32768, 1", "units does not fit smallint", "units = 32767"),
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


def test_a_row_of_each_kind_from_its_rejection_to_its_acceptance(pair: Pair) -> None:
    """One after the other: each is accepted alone, in the batch that corrects it."""
    expected = {str(sale): reason for sale, (_, reason, _) in enumerate(KINDS.values(), 10)}
    for sale, (row, _, _) in enumerate(KINDS.values(), 10):
        pair.do(f"INSERT INTO sale VALUES ({sale}, {row})")
    pair.do("INSERT INTO sale VALUES (3, 1, '2024-03-01', 3, 3)")
    pair.run()
    assert {key: reason for _, key, reason in aside(pair)} == expected
    assert sales(pair) == [1, 3], "the others come in"
    kept = pair.house.query('SELECT key, "row" FROM etl.rejected')
    assert all(row["sale_id"] == key["sale_id"] for key, row in kept)
    assert {tuple(sorted(row)) for _, row in kept} == {("amount", "sale_id", "shop_id", "sold_on", "units")}
    pair.do("INSERT INTO sale VALUES (4, 1, '2024-03-01', 4, 4)")
    pair.run()
    assert {key: reason for _, key, reason in aside(pair)} == expected, "another batch changes nothing"
    pair.run(reconcile=True)
    assert {key: reason for _, key, reason in aside(pair)} == expected, "nor does reading all of it"
    for sale, (_, _, mended) in enumerate(KINDS.values(), 10):
        pair.do(f"UPDATE sale SET {mended} WHERE sale_id = {sale}")
        if sale % 4:
            continue
        counts = pair.run()
        assert counts is not None
        assert counts["fact_sale"].rejected == 0
        assert sales(pair) == [1, 3, 4, *range(10, sale + 1)]
        assert {int(key) for _, key, _ in aside(pair)} == set(range(sale + 1, 10 + len(KINDS)))
    assert log(pair) == [("fact_sale", False, 1, 3, True)] * len(KINDS)
    assert pair.run() is None


def test_rows_that_refer_to_an_unknown_currency_are_accepted_together_with_it(pair: Pair) -> None:
    """A rejected dimension row, one that refers to it, one that refers to that, and a fact."""
    pair.do(
        "INSERT INTO currency VALUES (2, 'ZZZ')",
        "INSERT INTO shop VALUES (2, 'Bath', 2, NULL), (3, 'Hull', 1, 2)",
        "INSERT INTO sale VALUES (2, 3, '2024-03-01', 1, 1), (3, 1, '2024-03-01', 1, 1)",
    )
    pair.run()
    assert aside(pair) == [
        ("dim_currency", "2", "currency_name is missing (NULL)"),
        ("dim_shop", "2", "currency_id is not in dim_currency"),
        ("dim_shop", "3", "mother_id is not in dim_shop"),
        ("fact_report", "2", "shop_id is not in dim_shop"),
        ("fact_sale", "2", "shop_id is not in dim_shop"),
    ]
    assert sales(pair) == [1, 3]
    pair.do("UPDATE currency SET code = 'EUR' WHERE currency_id = 2")
    counts = pair.run()
    assert counts is not None
    assert {name: count.added for name, count in counts.items()} == {
        "dim_currency": 1,
        "dim_shop": 2,
        "fact_report": 1,
        "fact_sale": 1,
    }
    assert aside(pair) == []
    assert all(resolved for *_, resolved in log(pair))
    assert pair.house.query("SELECT sale_id, label FROM fact_report_current ORDER BY 1") == [
        (1, "York"),
        (2, "Hull"),
        (3, "York"),
    ]
    counts = pair.run(reconcile=True)
    assert counts is not None
    assert all(count.summary == "nothing new" for count in counts.values())


def test_a_code_that_becomes_invalid_keeps_the_last_valid_version(pair: Pair) -> None:
    pair.run()
    pair.do("UPDATE currency SET code = 'gbp'", "INSERT INTO sale VALUES (2, 1, '2024-03-01', 1, 1)")
    pair.run()
    assert aside(pair) == [("dim_currency", "1", "currency_name is missing (NULL)")]
    assert pair.house.query("SELECT code FROM dim_currency") == [("GBP",)]
    assert sales(pair) == [1, 2], "what refers to it has a version to refer to"
    pair.do("UPDATE currency SET code = 'GBP'")
    counts = pair.run()
    assert counts is not None
    assert counts["dim_currency"].summary == "nothing new"
    assert aside(pair) == []


def test_the_reason_of_a_rejected_row_may_change(pair: Pair) -> None:
    pair.do("INSERT INTO sale VALUES (2, 9, 'soon', 1, 1)")
    pair.run()
    assert aside(pair) == [
        ("fact_report", "2", "shop_id is not in dim_shop"),
        ("fact_sale", "2", "sold_on does not fit date"),
    ]
    pair.do("UPDATE sale SET sold_on = '2024-03-01' WHERE sale_id = 2")
    pair.run()
    assert aside(pair)[1] == ("fact_sale", "2", "shop_id is not in dim_shop")
    pair.do("UPDATE sale SET units = 99999 WHERE sale_id = 2", "INSERT INTO shop VALUES (9, 'Hull', 1)")
    pair.run()
    assert aside(pair) == [("fact_sale", "2", "units does not fit smallint")]
    assert sales(pair) == [1], "an older version that would fit by now must not come in"
    pair.do("UPDATE sale SET units = 5 WHERE sale_id = 2")
    pair.run()
    assert pair.house.query("SELECT units FROM fact_sale WHERE sale_id = 2") == [(5,)]
    assert log(pair)[1] == ("fact_sale", False, 1, 3, True)


def test_rejected_rows_that_are_deleted_in_the_source_are_resolved(pair: Pair) -> None:
    pair.do(
        "INSERT INTO sale VALUES (2, 1, 'soon', 1, 1), (3, 9, '2024-03-01', 1, 1)",
        "INSERT INTO shop VALUES (4, NULL, 1), (5, 'Bath', 9)",
        "INSERT INTO currency VALUES (6, 'ZZZ')",
    )
    pair.run()
    rejected = {("fact_sale", "2"), ("fact_report", "3"), ("dim_shop", "4"), ("dim_shop", "5")}
    assert rejected | {("dim_currency", "6")} <= {(table, key) for table, key, _ in aside(pair)}
    pair.do(*(f"DELETE FROM {table} WHERE {table}_id > 1" for table in ("sale", "shop", "currency")))
    pair.run()
    assert aside(pair) == []
    assert all(resolved for *_, resolved in log(pair))
    pair.run(reconcile=True)
    assert aside(pair) == []
    assert sales(pair) == [1]
    assert pair.house.query("SELECT FROM fact_sale WHERE deleted") == [], "it never was in"


def test_a_deleted_rejected_row_ends_its_last_valid_version(pair: Pair) -> None:
    for shop, wrong in ((8, "sold_on = 'soon'"), (9, "shop_id = 9")):
        pair.do("INSERT INTO sale VALUES (2, 1, '2024-03-01', 1, 1)")
        pair.run()
        pair.do(f"UPDATE sale SET {wrong} WHERE sale_id = 2")
        pair.run()
        assert sales(pair) == [1, 2], "the last version that fitted"
        pair.do("DELETE FROM sale WHERE sale_id = 2")
        pair.run()
        assert (sales(pair), aside(pair)) == ([1], [])
        pair.do(f"INSERT INTO shop VALUES ({shop}, 'Hull', 1)")
        pair.run()
        assert sales(pair) == [1], "what waited for the shop is gone"
