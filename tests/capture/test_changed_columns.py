"""Columns that are added, lost, renamed or swapped in the source."""

from __future__ import annotations

import pytest

from pipeline.errors import ModelError
from pipeline.lake.manifests import read_manifest, sealed_after
from pipeline.models.dry_run import verify
from pipeline.warehouse import ledger
from tests.capture.sales import CURRENT, MODELS, SALES, SOURCE, STAR, equal, versions
from tests.house import plan_batch
from tests.pair import Pair
from tests.support import execute, parquet_rows, write_models


def test_an_added_column_is_read_from_its_first_batch(pair: Pair) -> None:
    pair.do("ALTER TABLE sale ADD COLUMN note text DEFAULT 'new'")
    pair.run()
    mark = ledger.fetch_watermark(pair.house.url, "public")
    assert mark is not None
    read = read_manifest(pair.house.raw, mark.manifest).tables["sale"]
    assert {row["note"] for row in parquet_rows(pair.house.raw, read.files)} == {"new"}
    assert versions(pair) == 5, "a column that no model reads makes no version"
    write_models(
        pair.house.folder,
        {"fact_sale": "-- key: sale_id\nSELECT sale_id, shop_id, length(note) + 90 AS amount FROM sale"},
    )
    pair.run()
    assert versions(pair) == 10, "a model may read it from now on"


# What the source does, what the error says, and a model that works with it.
LOSSES = {
    "dropped": (
        "ALTER TABLE sale DROP COLUMN amount",
        r"fact_sale\.sql:2: reads sale\.amount, which the source no longer has",
        "-- key: sale_id\nSELECT sale_id, shop_id, 0 AS amount FROM sale",
    ),
    "renamed": (
        "ALTER TABLE sale RENAME amount TO total",
        r"fact_sale\.sql:2: reads sale\.amount, which the source no longer has",
        "-- key: sale_id\nSELECT sale_id, shop_id, total AS amount FROM sale",
    ),
    "retyped": (
        "ALTER TABLE sale ALTER amount TYPE date USING '2024-02-29'",
        r"fact_sale\.sql:2: column amount is DATE, the warehouse column is numeric\(10,2\)",
        "-- key: sale_id\nSELECT sale_id, shop_id, extract(year FROM amount) AS amount FROM sale",
    ),
    "retyped in an expression": (
        "ALTER TABLE town ALTER name TYPE int USING 7",
        r"dim_shop\.sql:1: .*",
        "SELECT shop_id, upper(town.name::varchar) AS town FROM shop LEFT JOIN town USING (town_id)",
    ),
    "dropped from a lookup": (
        "ALTER TABLE town DROP COLUMN name",
        r"dim_shop\.sql:1: reads town\.name, which",
        "SELECT shop_id, 'x' || town.town_id AS town FROM shop LEFT JOIN town USING (town_id)",
    ),
}


@pytest.mark.parametrize("case", LOSSES)
def test_a_lost_column_is_named_and_nothing_is_read_until_its_model_is_fixed(pair: Pair, case: str) -> None:
    change, words, fixed = LOSSES[case]
    name = "dim_shop" if "town" in change else "fact_sale"
    if case == "retyped in an expression":
        write_models(pair.house.folder, {name: fixed.replace("::varchar", "")})
        pair.run()
    before = ledger.fetch_watermark(pair.house.url, "public"), pair.house.query(CURRENT)
    pair.do(change)
    for _ in range(2):
        with pytest.raises(ModelError, match=words) as caught:
            pair.run()
        assert "\n" not in str(caught.value)
    assert pair.sealed() is None
    assert (ledger.fetch_watermark(pair.house.url, "public"), pair.house.query(CURRENT)) == before
    write_models(pair.house.folder, {name: fixed})
    pair.run()
    assert pair.run() is None
    if name == "fact_sale":
        expected = {"dropped": 0, "renamed": 1, "retyped": 2024}[case]
        assert pair.house.query(CURRENT)[0] == (1, 2, expected)
    else:
        towns = {"retyped in an expression": ["7", "7"], "dropped from a lookup": ["x1", "x2"]}[case]
        assert pair.house.query("SELECT town FROM dim_shop ORDER BY shop_id") == [(town,) for town in towns]


def test_a_column_whose_name_is_taken_by_another_column(pair: Pair) -> None:
    """Names and types stay, and rows that nobody wrote have other contents."""
    pair.do(
        "ALTER TABLE sale ADD COLUMN other numeric DEFAULT 7",
        "ALTER TABLE sale RENAME amount TO old",
        "ALTER TABLE sale RENAME other TO amount",
    )
    pair.run()
    equal(pair)


def test_two_columns_that_change_places(pair: Pair) -> None:
    """Both have one type, so names, types and transactions stay, and only the values change."""
    pair.do("ALTER TABLE sale ADD COLUMN tax numeric DEFAULT 9")
    pair.run()
    pair.do(
        "ALTER TABLE sale RENAME amount TO x",
        "ALTER TABLE sale RENAME tax TO amount",
        "ALTER TABLE sale RENAME x TO tax",
    )
    pair.run()
    equal(pair)


ALL_COLUMNS = {
    "fact_star": "SELECT * FROM sale",
    "fact_joined": "SELECT s.* FROM sale AS s JOIN shop USING (shop_id)",
    "fact_with": "WITH s AS (SELECT * FROM sale) SELECT * FROM s WHERE sale_id > 0",
    "fact_replaced": "SELECT * REPLACE (trim(CAST(amount AS text)) AS amount) FROM sale",
    "fact_columns": "SELECT COLUMNS(*) FROM sale",
    "fact_union": "SELECT * FROM sale UNION ALL SELECT * FROM sale WHERE sale_id < 0",
}


def test_a_new_source_column_waits_for_the_table(shared: Pair) -> None:
    table = "CREATE TABLE IF NOT EXISTS {} (sale_id int NOT NULL, shop_id int, amount numeric(10, 2));"
    models = {name: f"-- key: sale_id\n{model}" for name, model in ALL_COLUMNS.items()}
    shared.fresh(models | {"schema": "".join(map(table.format, ALL_COLUMNS))}, *SOURCE)
    shared.run()
    shared.do("ALTER TABLE sale ADD COLUMN tax int DEFAULT 7", "UPDATE sale SET amount = 9 WHERE sale_id = 2")
    planned, manifest = plan_batch(shared.source_url, shared.house)
    assert manifest
    left = verify(shared.house.models, shared.house.targets(), planned.columns)
    assert left == dict.fromkeys(ALL_COLUMNS, ("tax",))
    shared.house.bring(manifest)
    for name in ALL_COLUMNS:
        current = CURRENT.replace("fact_sale", name)
        assert shared.house.query(current) == shared.source(SALES), name
        assert shared.house.query(f"SELECT count(*) FROM {name}") == [(6,)], name
    execute(shared.house.url, *(f"ALTER TABLE {name} ADD COLUMN tax int" for name in ALL_COLUMNS))
    shared.house.prepared = None
    shared.run()
    for name in ALL_COLUMNS:
        assert shared.house.query(f"SELECT DISTINCT tax FROM {name}_current") == [(7,)], name
    assert verify(shared.house.models, shared.house.targets(), planned.columns) == {}


def test_a_column_that_the_model_writes_is_not_left_out(shared: Pair) -> None:
    shared.fresh(MODELS | {"fact_sale": "-- key: sale_id\nSELECT *, 1 AS more FROM sale"}, *SOURCE)
    with pytest.raises(ModelError, match=r"column more is not in the warehouse table fact_sale"):
        shared.run()


@pytest.mark.parametrize(
    "name", ["deleted", "recorded_at", "superseded_at", "committed_at", "valid_from", "valid_to"]
)
def test_a_source_column_with_a_reserved_name_is_refused_with_an_alias(shared: Pair, name: str) -> None:
    alias = rf"write `{name} AS source_{name}`, and rename it in the table"
    source = (*SOURCE, f"ALTER TABLE sale ADD COLUMN {name} int DEFAULT 1")
    shared.fresh(STAR, *source)
    with pytest.raises(ModelError, match=rf"fact_sale\.sql: column {name} has the name of .*; {alias}"):
        shared.run()
    assert sealed_after(shared.house.raw, None) is None, "nothing is read"
    table = STAR["schema"].replace("sale_id integer NOT NULL,", f"sale_id integer NOT NULL, {name} integer,")
    shared.fresh(STAR | {"schema": table}, *source)
    with pytest.raises(ModelError, match=rf"fact_sale\.sql.*: .*column {name}.*{alias}"):
        shared.run()
    assert sealed_after(shared.house.raw, None) is None
    model = f"-- key: sale_id\nSELECT sale_id, shop_id, amount, {name} AS source_{name} FROM sale"
    table = table.replace(f" {name} ", f" source_{name} ")
    shared.fresh(STAR | {"schema": table, "fact_sale": model}, *source)
    shared.run()
    assert shared.house.query(f"SELECT DISTINCT source_{name} FROM fact_sale_current") == [(1,)]
