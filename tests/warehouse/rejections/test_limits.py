"""A load fails if it would reject too many rows of a table."""

from __future__ import annotations

import pytest

from pipeline.errors import WarehouseError
from tests.house import Warehouse
from tests.support import Row
from tests.warehouse.rejections.tables import made_up


def test_rejecting_all_rows_of_a_table_fails(house: Warehouse) -> None:
    made = made_up(house, {"id": "integer", "code": "text"}, "id integer PRIMARY KEY, code inet")
    with pytest.raises(
        WarehouseError,
        match=r"table dim_t: 3 of 3 rows would be rejected"
        r" \(code: invalid input syntax for type inet\); correct the model.*nothing was loaded",
    ):
        house.bring(made.batch({"t": [{"id": n, "code": "x"} for n in range(3)]}))
    assert house.query("SELECT * FROM etl.batch") == []


def test_rejecting_a_large_share_of_the_rows_fails_early(house: Warehouse) -> None:
    made = made_up(house, {"id": "integer", "code": "text"}, "id integer PRIMARY KEY, code inet")
    rows: list[Row] = [{"id": n, "code": "x" if n % 2 else "::1"} for n in range(5_000)]
    batch = made.batch({"t": rows})
    with pytest.raises(WarehouseError, match="more than 1,000 of 5,000 rows would be rejected"):
        house.bring(batch)
    counts = house.bring(batch, max_rejected_share=1)["dim_t"]
    assert (counts.added, counts.rejected) == (2_500, 2_500)


def test_a_table_that_loses_most_of_its_rows_fails(house: Warehouse) -> None:
    made = made_up(house, {"id": "integer", "code": "text"}, "id integer PRIMARY KEY, code inet")
    rows: list[Row] = [{"id": n, "code": "x" if n else "::1"} for n in range(1_000)]
    with pytest.raises(WarehouseError, match="more than 200 of 1,000 rows would be rejected"):
        house.bring(made.batch({"t": rows}))


def test_a_hundred_rows_of_a_table_may_be_rejected(house: Warehouse) -> None:
    made = made_up(house, {"id": "integer", "code": "text"}, "id integer PRIMARY KEY, code inet")
    rows: list[Row] = [{"id": n, "code": "x" if n < 100 else "::1"} for n in range(150)]
    counts = house.bring(made.batch({"t": rows}))["dim_t"]
    assert (counts.added, counts.rejected) == (50, 100)


def test_a_batch_of_one_row_may_be_rejected(house: Warehouse) -> None:
    made = made_up(house, {"id": "integer", "code": "text"}, "id integer PRIMARY KEY, code inet")
    house.bring(made.batch({"t": [{"id": 1, "code": "::1"}]}))
    assert house.bring(made.batch({"t": [{"id": n, "code": "x"} for n in (2, 3)]}))["dim_t"].rejected == 2
