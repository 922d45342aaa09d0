"""Rows may exchange unique values, and rows of one batch may refer to each other."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from pipeline.lake.manifest import Manifest
from tests.house import Warehouse
from tests.support import Row, execute
from tests.warehouse.rejections.tables import CODED, CODES, coded, made_up, reasons


def test_rows_that_refer_to_each_other_are_accepted_in_any_order(house: Warehouse) -> None:
    """New and changed rows, in both directions, and beside a rejected row."""
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
def test_rows_may_exchange_unique_values(house: Warehouse, case: str) -> None:
    """In pairs, circles and chains, and beside a row that takes a value that another one keeps."""
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


def test_rows_may_exchange_unique_values_beside_what_is_checked_at_the_end(house: Warehouse) -> None:
    """A deferred trigger that is pending forbids to create the unique index again."""
    columns = {"id": "integer", "parent": "integer", "code": "text"}
    made = made_up(
        house,
        columns,
        "id integer PRIMARY KEY, code text UNIQUE,"
        " parent integer REFERENCES dim_t DEFERRABLE INITIALLY DEFERRED",
    )

    def batch(*rows: tuple[int, int | None, str]) -> Manifest:
        return made.batch({"t": [dict(zip(columns, row, strict=True)) for row in rows]})

    house.bring(batch((1, None, "a"), (2, 1, "b")))
    counts = house.bring(batch((1, 2, "b"), (2, 3, "a"), (3, 1, "c")))["dim_t"]
    assert (counts.added, counts.changed, counts.rejected) == (1, 2, 0)
    house.bring(batch((1, 9, "a"), (2, 3, "b")))
    assert reasons(house).keys() == {1, 2}


def test_rows_may_exchange_referenced_values_or_are_rejected(house: Warehouse) -> None:
    """The unique index of a referenced column cannot be dropped."""
    made = made_up(house, {"id": "integer", "code": "text"}, "id integer PRIMARY KEY, code text UNIQUE")
    house.prepare()
    execute(house.url, "CREATE TABLE other (code text REFERENCES dim_t (code))")
    house.bring(made.batch({"t": [{"id": n, "code": c} for n, c in ((1, "a"), (2, "b"))]}))
    batch = [{"id": 1, "code": "b"}, {"id": 2, "code": "a"}, {"id": 3, "code": "c"}]
    counts = house.bring(made.batch({"t": batch}))["dim_t"]
    assert (counts.added, counts.rejected) == (1, 2)
