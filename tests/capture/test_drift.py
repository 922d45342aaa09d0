"""Drift: tables and columns that change their shape under the pipeline, in the source and the warehouse."""

from __future__ import annotations

import pytest

from pipeline.errors import ModelError, PipelineError
from pipeline.lake.manifests import read_manifest, sealed_after
from pipeline.models.check import verify
from pipeline.warehouse import ledger
from tests.bench import Bench
from tests.support import execute, parquet_rows, plan_batch, query, value, write_models

MODELS = {
    "dim_shop": "SELECT shop_id, town.name AS town FROM shop LEFT JOIN town USING (town_id)",
    "fact_sale": "-- key: sale_id\nSELECT sale_id, shop_id, amount FROM sale",
    "schema": """
        CREATE TABLE IF NOT EXISTS dim_shop (shop_id integer PRIMARY KEY, town varchar);
        CREATE TABLE IF NOT EXISTS fact_sale (
            sale_id integer NOT NULL,
            shop_id integer NOT NULL REFERENCES dim_shop,
            amount numeric(10, 2) NOT NULL
        );
    """,
}
SOURCE = (
    "CREATE TABLE town (town_id int PRIMARY KEY, name text)",
    "CREATE TABLE shop (shop_id int PRIMARY KEY, town_id int)",
    "CREATE TABLE sale (sale_id int PRIMARY KEY, shop_id int, amount numeric)",
    "INSERT INTO town VALUES (1, 'York'), (2, 'Bath')",
    "INSERT INTO shop VALUES (1, 1), (2, 2)",
    "INSERT INTO sale SELECT i, 1 + i % 2, i FROM generate_series(1, 5) AS i",
)
SALES = "SELECT sale_id, shop_id, amount FROM sale ORDER BY 1"
CURRENT = "SELECT sale_id, shop_id, amount FROM fact_sale_current ORDER BY 1"
SHOPS = "SELECT shop_id, name FROM shop LEFT JOIN town USING (town_id) ORDER BY 1"


@pytest.fixture
def bench(shared: Bench) -> Bench:
    """A source and a warehouse after the first run."""
    shared.fresh(MODELS, *SOURCE)
    shared.run()
    return shared


def equal(bench: Bench) -> None:
    """The warehouse shows what plain SQL on the source says."""
    assert bench.house.query(CURRENT) == query(bench.source_url, SALES)
    assert bench.house.query("SELECT * FROM dim_shop ORDER BY 1") == query(bench.source_url, SHOPS)


def versions(bench: Bench) -> int:
    return int(value(bench.house.url, "SELECT count(*) FROM fact_sale"))


# Rows that move, and stay what they were

REWRITES = {
    "vacuum full": "VACUUM FULL sale",
    "vacuum freeze": "VACUUM FREEZE sale",
    "cluster": "CLUSTER sale USING sale_pkey",
    "a wider type": "ALTER TABLE sale ALTER sale_id TYPE bigint",
    "a type that rewrites": "ALTER TABLE sale ALTER amount TYPE numeric(20, 5)",
    "a volatile default": "ALTER TABLE sale ADD COLUMN more float DEFAULT random()",
    "an index": "CREATE INDEX ON sale (amount)",
    "statistics": "ANALYZE sale",
    "another key": (
        "ALTER TABLE sale DROP CONSTRAINT sale_pkey; ALTER TABLE sale ADD PRIMARY KEY (shop_id, sale_id)"
    ),
}


@pytest.mark.parametrize("how", REWRITES)
def test_a_rewritten_table_gives_no_version_and_hides_no_change(bench: Bench, how: str) -> None:
    """A change from before and one from after the rewrite come with the same batch."""
    bench.do("UPDATE sale SET amount = 20 WHERE sale_id = 2", *REWRITES[how].split("; "))
    bench.do("UPDATE sale SET amount = 30 WHERE sale_id = 3")
    bench.run()
    equal(bench)
    assert versions(bench) == 7
    bench.do(*REWRITES[how].replace("ADD COLUMN more", "ADD COLUMN yet_more").split("; "))
    bench.run()
    assert versions(bench) == 7


def test_a_looked_up_table_may_get_another_key(bench: Bench) -> None:
    """Rows that were kept under the old key are not matched by the new one."""
    bench.do(
        "ALTER TABLE town ADD COLUMN code int",
        "UPDATE town SET code = town_id",
        "ALTER TABLE town DROP CONSTRAINT town_pkey",
        "ALTER TABLE town ADD PRIMARY KEY (code)",
    )
    bench.run()
    equal(bench)
    bench.do("ALTER TABLE town DROP CONSTRAINT town_pkey", "ALTER TABLE town ADD PRIMARY KEY (town_id)")
    bench.run()
    bench.do("UPDATE town SET code = 7, name = 'Hull' WHERE town_id = 1")
    bench.run()
    equal(bench)
    bench.do(
        "ALTER TABLE town DROP CONSTRAINT town_pkey",
        "UPDATE town SET name = 'Ayr' WHERE town_id = 2",
    )
    bench.run()
    equal(bench)


def test_a_table_that_was_emptied_and_filled_again(bench: Bench) -> None:
    """The same rows are no versions, others are, and what is missing is deleted."""
    bench.do(
        "CREATE TABLE kept AS SELECT * FROM sale",
        "TRUNCATE sale",
        "INSERT INTO sale SELECT sale_id, shop_id, amount * CASE sale_id WHEN 2 THEN 10 ELSE 1 END"
        " FROM kept WHERE sale_id < 5",
        "TRUNCATE town",
        "INSERT INTO town VALUES (1, 'York'), (2, 'Hull')",
    )
    counts = bench.run()
    assert counts is not None
    assert (counts["fact_sale"].changed, counts["fact_sale"].deleted) == (1, 1)
    assert versions(bench) == 7
    assert bench.house.query("SELECT town FROM dim_shop ORDER BY shop_id") == [("York",), ("Hull",)]
    equal(bench)
    bench.run(reconcile=True)
    assert versions(bench) == 7


def test_a_table_that_is_emptied_and_stays_so(bench: Bench) -> None:
    bench.do("TRUNCATE sale")
    bench.run()
    equal(bench)
    assert versions(bench) == 10
    assert bench.run() is None


@pytest.mark.parametrize("attached", [True, False], ids=["attached", "copied"])
def test_a_table_that_becomes_partitioned(bench: Bench, attached: bool) -> None:
    bench.do("UPDATE sale SET amount = 20 WHERE sale_id = 2", "ALTER TABLE sale RENAME TO old")
    bench.do("CREATE TABLE sale (LIKE old INCLUDING DEFAULTS) PARTITION BY RANGE (sale_id)")
    bench.do("CREATE TABLE sale_2 PARTITION OF sale FOR VALUES FROM (100) TO (200)")
    if attached:
        bench.do("ALTER TABLE sale ATTACH PARTITION old FOR VALUES FROM (0) TO (100)")
    else:
        bench.do("CREATE TABLE sale_1 PARTITION OF sale DEFAULT", "INSERT INTO sale SELECT * FROM old")
    bench.do("INSERT INTO sale VALUES (100, 1, 1)")
    bench.run()
    equal(bench)
    assert versions(bench) == 7
    bench.do(
        "UPDATE sale SET sale_id = 101 WHERE sale_id = 3", "UPDATE sale SET amount = 0 WHERE sale_id = 4"
    )
    bench.run()
    equal(bench)
    assert versions(bench) == 10, "a new key, the end of the old one, and a change"
    bench.do("CREATE TABLE sale_3 (LIKE old)", "INSERT INTO sale_3 VALUES (300, 2, 3)")
    bench.run()
    bench.do("ALTER TABLE sale ATTACH PARTITION sale_3 FOR VALUES FROM (300) TO (400)")
    bench.run()
    equal(bench)
    bench.do("ALTER TABLE sale DETACH PARTITION sale_3")
    bench.run()
    equal(bench)


# The source's columns


def test_an_added_column_is_carried_from_its_first_batch(bench: Bench) -> None:
    bench.do("ALTER TABLE sale ADD COLUMN note text DEFAULT 'new'")
    bench.run()
    mark = ledger.watermark(bench.house.url, "public")
    assert mark is not None
    read = read_manifest(bench.house.raw, mark.manifest).tables["sale"]
    assert {row["note"] for row in parquet_rows(bench.house.raw, read.files)} == {"new"}
    assert versions(bench) == 5, "a column that no model reads makes no version"
    write_models(
        bench.house.folder,
        {"fact_sale": "-- key: sale_id\nSELECT sale_id, shop_id, length(note) + 90 AS amount FROM sale"},
    )
    bench.run()
    assert versions(bench) == 10, "a model may read it from now on"


# What the source does, what the error says, and a model that works with it.
LOSSES = {
    "dropped": (
        "ALTER TABLE sale DROP COLUMN amount",
        r'fact_sale\.sql:2: .*"amount"',
        "-- key: sale_id\nSELECT sale_id, shop_id, 0 AS amount FROM sale",
    ),
    "renamed": (
        "ALTER TABLE sale RENAME amount TO total",
        r'fact_sale\.sql:2: .*"amount"',
        "-- key: sale_id\nSELECT sale_id, shop_id, total AS amount FROM sale",
    ),
    "retyped": (
        "ALTER TABLE sale ALTER amount TYPE date USING '2024-02-29'",
        r"fact_sale\.sql: column amount is DATE, the warehouse wants numeric\(10,2\)",
        "-- key: sale_id\nSELECT sale_id, shop_id, extract(year FROM amount) AS amount FROM sale",
    ),
    "retyped in an expression": (
        "ALTER TABLE town ALTER name TYPE int USING 7",
        r"dim_shop\.sql:1: .*",
        "SELECT shop_id, upper(town.name::varchar) AS town FROM shop LEFT JOIN town USING (town_id)",
    ),
    "dropped from a lookup": (
        "ALTER TABLE town DROP COLUMN name",
        r'dim_shop\.sql:1: .*"name"',
        "SELECT shop_id, 'x' || town.town_id AS town FROM shop LEFT JOIN town USING (town_id)",
    ),
}


@pytest.mark.parametrize("how", LOSSES)
def test_a_lost_column_is_named_and_nothing_is_read_until_its_model_is_mended(bench: Bench, how: str) -> None:
    change, words, mended = LOSSES[how]
    name = "dim_shop" if "town" in change else "fact_sale"
    if how == "retyped in an expression":
        write_models(bench.house.folder, {name: mended.replace("::varchar", "")})
        bench.run()
    before = ledger.watermark(bench.house.url, "public"), bench.house.query(CURRENT)
    bench.do(change)
    for _ in range(2):
        with pytest.raises(ModelError, match=words) as caught:
            bench.run()
        assert "\n" not in str(caught.value)
    assert bench.sealed() is None
    assert (ledger.watermark(bench.house.url, "public"), bench.house.query(CURRENT)) == before
    write_models(bench.house.folder, {name: mended})
    bench.run()
    assert bench.run() is None
    if name == "fact_sale":
        wanted = {"dropped": 0, "renamed": 1, "retyped": 2024}[how]
        assert bench.house.query(CURRENT)[0] == (1, 2, wanted)
    else:
        towns = {"retyped in an expression": ["7", "7"], "dropped from a lookup": ["x1", "x2"]}[how]
        assert bench.house.query("SELECT town FROM dim_shop ORDER BY shop_id") == [(town,) for town in towns]


def test_a_column_that_another_one_takes_the_name_of(bench: Bench) -> None:
    """The same names and types, and other contents in rows that nobody wrote."""
    bench.do(
        "ALTER TABLE sale ADD COLUMN other numeric DEFAULT 7",
        "ALTER TABLE sale RENAME amount TO old",
        "ALTER TABLE sale RENAME other TO amount",
    )
    bench.run()
    equal(bench)


def test_two_columns_that_change_places(bench: Bench) -> None:
    """Of one type: names, types and rows' transactions are all as before, only the values are not."""
    bench.do("ALTER TABLE sale ADD COLUMN tax numeric DEFAULT 9")
    bench.run()
    bench.do(
        "ALTER TABLE sale RENAME amount TO x",
        "ALTER TABLE sale RENAME tax TO amount",
        "ALTER TABLE sale RENAME x TO tax",
    )
    bench.run()
    equal(bench)


# The warehouse's columns

WAREHOUSE = {
    "missing": (
        "ALTER TABLE fact_sale DROP COLUMN amount CASCADE",
        r"fact_sale\.sql: column amount is not in the warehouse table fact_sale",
    ),
    "renamed": (
        "ALTER TABLE fact_sale RENAME amount TO total",
        r'public\.fact_sale cannot have a history: .* "amount" to "total"; .* drop its fact_sale_\* views',
    ),
    "one more that is required": (
        "DELETE FROM fact_sale; ALTER TABLE fact_sale ADD COLUMN more int NOT NULL",
        r"fact_sale\.sql: yields no column more, which the warehouse table fact_sale requires",
    ),
    "retyped": (
        "DROP TABLE fact_sale CASCADE; CREATE TABLE fact_sale (sale_id int, shop_id date, amount text)",
        r"fact_sale\.sql: column shop_id is INTEGER, the warehouse wants date; cast it in the model",
    ),
    "its key missing": (
        "ALTER TABLE fact_sale DROP COLUMN sale_id CASCADE",
        r"fact_sale\.sql: key column sale_id is not in the warehouse table fact_sale",
    ),
}


@pytest.mark.parametrize("how", WAREHOUSE)
def test_a_warehouse_column_that_is_not_what_it_was_is_named(bench: Bench, how: str) -> None:
    change, words = WAREHOUSE[how]
    execute(bench.house.url, *change.split("; "))
    bench.house.prepared = None
    bench.do("UPDATE sale SET amount = 20 WHERE sale_id = 2")
    before = ledger.watermark(bench.house.url, "public")
    with pytest.raises(PipelineError, match=words) as caught:
        bench.run()
    assert "\n" not in str(caught.value)
    assert ledger.watermark(bench.house.url, "public") == before


def test_views_that_somebody_dropped_are_made_again(bench: Bench) -> None:
    execute(bench.house.url, "DROP VIEW fact_sale_current, fact_sale_history, dim_shop_history CASCADE")
    bench.house.prepared = None
    bench.do("UPDATE sale SET amount = 20 WHERE sale_id = 2")
    bench.run()
    equal(bench)
    assert value(bench.house.url, "SELECT count(*) FROM fact_sale_as_of(now())") == 5
    assert value(bench.house.url, "SELECT count(*) FROM dim_shop_history") == 2


def test_a_fact_may_get_another_key(bench: Bench) -> None:
    """Its index, views and function go by the new one."""
    models = MODELS | {
        "fact_sale": MODELS["fact_sale"].replace("-- key: sale_id", "-- key: sale_id, shop_id")
    }
    write_models(bench.house.folder, models)
    bench.house.prepared = None
    bench.do("UPDATE sale SET shop_id = 3 - shop_id WHERE sale_id = 1")
    bench.run()
    equal(bench)
    assert bench.house.query("SELECT shop_id FROM fact_sale WHERE sale_id = 1 AND deleted") == [(2,)]
    assert bench.house.query("SELECT count(*) FROM fact_sale_as_of(now())") == [(5,)]
    assert bench.house.query("SELECT count(*) FROM fact_sale") == [(7,)]
    bench.do("UPDATE sale SET shop_id = 3 - shop_id WHERE sale_id = 2")
    bench.run()
    equal(bench)


# Columns that come by a star

STAR = MODELS | {"fact_sale": "-- key: sale_id\nSELECT * FROM sale"}


@pytest.mark.parametrize(
    "model",
    [
        "SELECT * FROM sale",
        "SELECT s.* FROM sale AS s JOIN shop USING (shop_id)",
        "WITH s AS (SELECT * FROM sale) SELECT * FROM s WHERE sale_id > 0",
        "SELECT * REPLACE (trim(amount) AS amount) FROM sale",
        "SELECT COLUMNS(*) FROM sale",
        "SELECT * FROM sale UNION ALL SELECT * FROM sale WHERE sale_id < 0",
    ],
)
def test_one_more_column_in_the_source_waits_for_the_table(shared: Bench, model: str) -> None:
    shared.fresh(MODELS | {"fact_sale": f"-- key: sale_id\n{model}"}, *SOURCE)
    shared.run()
    shared.do("ALTER TABLE sale ADD COLUMN tax int DEFAULT 7", "UPDATE sale SET amount = 9 WHERE sale_id = 2")
    planned, manifest = plan_batch(shared.source_url, shared.house)
    assert manifest
    left = verify(shared.house.models, shared.house.targets(), planned.columns)
    assert left == {"fact_sale": ("tax",)}
    shared.house.bring(manifest)
    equal(shared)
    assert versions(shared) == 6
    execute(shared.house.url, "ALTER TABLE fact_sale ADD COLUMN tax int")
    shared.house.prepared = None
    shared.run()
    assert shared.house.query("SELECT DISTINCT tax FROM fact_sale_current") == [(7,)]
    assert verify(shared.house.models, shared.house.targets(), planned.columns) == {}


def test_a_column_that_the_model_writes_is_not_left_out(shared: Bench) -> None:
    shared.fresh(MODELS | {"fact_sale": "-- key: sale_id\nSELECT *, 1 AS more FROM sale"}, *SOURCE)
    with pytest.raises(ModelError, match=r"column more is not in the warehouse table fact_sale"):
        shared.run()


@pytest.mark.parametrize(
    "name", ["deleted", "recorded_at", "superseded_at", "committed_at", "valid_from", "valid_to"]
)
def test_a_column_of_the_source_with_a_name_of_ours_is_refused_with_an_alias(
    shared: Bench, name: str
) -> None:
    alias = rf"write `{name} AS source_{name}`, and call it so in the table"
    source = (*SOURCE, f"ALTER TABLE sale ADD COLUMN {name} int DEFAULT 1")
    shared.fresh(STAR, *source)
    with pytest.raises(ModelError, match=rf"fact_sale\.sql: column {name} has the name of .*; {alias}"):
        shared.run()
    assert sealed_after(shared.house.raw, None) is None, "nothing is read"
    table = STAR["schema"].replace("sale_id integer NOT NULL,", f"sale_id integer NOT NULL, {name} integer,")
    shared.fresh(STAR | {"schema": table}, *source)
    with pytest.raises(ModelError, match=rf"fact_sale\.sql: .*column {name}.*{alias}"):
        shared.run()
    assert sealed_after(shared.house.raw, None) is None
    model = f"-- key: sale_id\nSELECT sale_id, shop_id, amount, {name} AS source_{name} FROM sale"
    table = table.replace(f" {name} ", f" source_{name} ")
    shared.fresh(STAR | {"schema": table, "fact_sale": model}, *source)
    shared.run()
    assert shared.house.query(f"SELECT DISTINCT source_{name} FROM fact_sale_current") == [(1,)]


@pytest.mark.parametrize("name", ["valid_from", "valid_to"])
def test_a_dimension_cannot_have_the_columns_of_its_history(shared: Bench, name: str) -> None:
    table = STAR["schema"].replace("town varchar", f"town varchar, {name} integer")
    shared.fresh(MODELS | {"schema": table}, *SOURCE)
    with pytest.raises(ModelError, match=rf"dim_shop\.sql: its table has a column {name}.* AS source_{name}"):
        shared.run()


# Another key of a model


@pytest.mark.parametrize("key", ["sale_id, shop_id", "amount"])
def test_a_model_may_change_its_key(bench: Bench, key: str) -> None:
    bench.do("UPDATE sale SET shop_id = 2 WHERE sale_id = 2", "DELETE FROM sale WHERE sale_id = 4")
    bench.run()
    write_models(
        bench.house.folder, {"fact_sale": f"-- key: {key}\nSELECT sale_id, shop_id, amount FROM sale"}
    )
    bench.run()
    equal(bench)
    bench.do("UPDATE sale SET shop_id = 1 WHERE sale_id = 5", "DELETE FROM sale WHERE sale_id = 1")
    bench.run()
    equal(bench)


def test_a_key_that_does_not_tell_versions_apart_is_named(bench: Bench) -> None:
    write_models(
        bench.house.folder, {"fact_sale": "-- key: shop_id\nSELECT sale_id, shop_id, amount FROM sale"}
    )
    words = r"public\.fact_sale holds more than one version of a key \(shop_id\) at one moment; correct"
    before = ledger.watermark(bench.house.url, "public")
    with pytest.raises(PipelineError, match=words):
        bench.run()
    assert ledger.watermark(bench.house.url, "public") == before
