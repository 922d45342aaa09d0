"""Tables that can hold the versions of a fact, and those that cannot."""

from __future__ import annotations

import pytest

from pipeline.errors import WarehouseError
from tests.house import Warehouse
from tests.support import value, write_models
from tests.warehouse.rejections.tables import CODED, CODES, made_up


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
def test_a_fact_whose_unique_index_forbids_versions_is_refused(house: Warehouse, unique: str) -> None:
    made_up(house, CODES, f"{CODED.replace(' PRIMARY KEY', '')}, {unique}", kind="fact")
    with pytest.raises(WarehouseError, match=r"public\.fact_t keeps the versions of a row.*forbids; drop it"):
        house.prepare()


@pytest.mark.parametrize("kind", ["fact", "bridge"])
@pytest.mark.parametrize("type_", ["xid", "json", "point"])
def test_a_key_of_a_type_without_an_order_is_refused(house: Warehouse, kind: str, type_: str) -> None:
    """The index of versions needs an order. The first type can only be hashed, the others cannot."""
    files = {
        f"{kind}_t": "-- key: k\nSELECT k FROM t",
        "schema": f"CREATE TABLE IF NOT EXISTS {kind}_t (k {type_});",
    }
    write_models(house.folder, files)
    message = rf"public\.{kind}_t cannot have the key k: data type {type_} has no .*; name other columns"
    with pytest.raises(WarehouseError, match=message):
        house.prepare()


def test_a_fact_may_have_a_unique_index_that_distinguishes_versions(house: Warehouse) -> None:
    table = (
        "record bigint GENERATED ALWAYS AS IDENTITY, id integer NOT NULL, code text, recorded_at timestamptz"
        " NOT NULL, token uuid DEFAULT gen_random_uuid(), UNIQUE (code, recorded_at), UNIQUE (id, token)"
    )
    made = made_up(house, {"id": "integer", "code": "text"}, table + ", PRIMARY KEY (record)", kind="fact")
    for code in "ab":
        house.bring(made.batch({"t": [{"id": 1, "code": code}]}))
    assert value(house.url, "SELECT count(*) FROM fact_t") == 2
