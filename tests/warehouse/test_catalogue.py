"""Missing tables are created, and the catalogue gives each model's table its contract."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.errors import ModelError, PipelineError, RightMissing, SettingsError, WarehouseError
from tests.house import Warehouse
from tests.made_up import MadeUp
from tests.support import execute, value, write_models
from tests.warehouse.shops import FACTS, FIRST, MODELS, SECOND, contents, keys_and_indexes, order, shop


def test_preparing_twice_changes_nothing(house: Warehouse, batches: MadeUp) -> None:
    one = house.prepare()
    house.bring(batches.batch(FIRST))
    before = contents(house), keys_and_indexes(house)
    assert house.prepare() == one
    assert (contents(house), keys_and_indexes(house)) == before


def test_concurrent_first_runs_prepare_the_same_tables(house: Warehouse) -> None:
    with ThreadPoolExecutor(3) as pool:
        targets = list(pool.map(lambda _: house.prepare(), range(3)))
    assert targets[0] == targets[1] == targets[2]


def test_a_contract_describes_the_table_in_the_catalogue(house: Warehouse) -> None:
    fact = house.prepare()["fact_order"]
    assert (fact.fact, fact.key) == (True, ("order_id",))
    assert [(column.name, column.type, column.required, column.filled) for column in fact.columns] == [
        ("record_id", "integer", True, True),
        ("order_id", "integer", True, False),
        ("shop_id", "integer", True, False),
        ("amount", "numeric(10,2)", True, False),
        ("note", "character varying", False, False),
    ]
    assert [(reference.columns, reference.to_table) for reference in fact.references] == [
        (("shop_id",), "dim_shop")
    ]
    assert house.prepare()["dim_shop"].key == ("shop_id",)


def test_a_fact_has_its_own_columns_and_those_of_versions(house: Warehouse) -> None:
    house.prepare()
    columns = house.query(
        "SELECT table_name::text, array_agg(column_name::text ORDER BY ordinal_position)"
        " FROM information_schema.columns"
        " WHERE table_schema = 'public' AND table_name LIKE 'fact_order%' GROUP BY 1 ORDER BY 1"
    )
    models = ["record_id", "order_id", "shop_id", "amount", "note"]
    assert columns == [
        ("fact_order", [*models, "recorded_at", "superseded_at", "deleted", "committed_at"]),
        ("fact_order_current", models),
        ("fact_order_history", ["valid_from", "valid_to", "deleted", *models]),
    ]


def test_tables_older_than_the_pipeline_keep_their_rows(house: Warehouse, batches: MadeUp) -> None:
    execute(
        house.url,
        MODELS["schema"],
        "INSERT INTO dim_shop VALUES (1, 'York', NULL), (7, 'Hull', 1)",
        "INSERT INTO fact_order (order_id, shop_id, amount) VALUES (1, 1, 3.50), (2, 7, 1.00)",
    )
    batch = batches.batch({"shops": [shop(1)], "orders": [order(1), order(2, 1)]})
    house.bring(batch)
    assert house.query(FACTS) == [(1, 1, "3.50", None), (2, 1, "3.50", None)]
    assert house.query(
        "SELECT order_id, shop_id, valid_from::text, valid_to FROM fact_order_history ORDER BY 1, valid_from"
    ) == [
        (1, 1, "-infinity", None),
        (2, 7, "-infinity", batch.snapshot_at),
        (2, 1, str(value(house.url, "SELECT max(recorded_at)::text FROM fact_order")), None),
    ]
    assert value(house.url, f"SELECT count(*) FROM fact_order_as_of('{batch.snapshot_at}')") == 2
    assert value(house.url, "SELECT count(*) FROM dim_shop") == 2


def test_a_new_column_of_table_and_model_is_in_the_views(house: Warehouse, batches: MadeUp) -> None:
    house.bring(batches.batch(FIRST))
    execute(
        house.url,
        "ALTER TABLE fact_order ADD COLUMN size varchar",
        "ALTER TABLE dim_shop ADD COLUMN size varchar",
    )
    write_models(
        house.folder,
        {
            "dim_shop": "SELECT shop_id, city, rating, 'big' AS size FROM shops",
            "fact_order": "-- key: order_id\nSELECT *, 'small' AS size FROM orders",
        },
    )
    house.bring(batches.batch(FIRST, full=True))
    assert house.query("SELECT order_id, size FROM fact_order_current") == [(1, "small")]
    assert house.query("SELECT size FROM fact_order_history ORDER BY valid_from") == [(None,), ("small",)]
    assert house.query("SELECT size FROM dim_shop_history ORDER BY valid_to") == [(None,), ("big",)]
    assert house.query("SELECT size FROM fact_order_as_of('infinity')") == [("small",)]


@pytest.mark.parametrize(
    ("files", "error", "message"),
    [
        ({"schema": "SELECT 1"}, WarehouseError, r"public\.dim_shop is missing; add it to .*schema\.sql"),
        ({"schema": "CREATE TABLE dim_shop ("}, WarehouseError, r"schema\.sql:1: syntax error"),
        (
            {"fact_order": "SELECT order_id FROM orders"},
            ModelError,
            r"fact_order\.sql:1: no business key; add a line `-- key: ",
        ),
        (
            {"fact_order": "-- key: id\nSELECT 1 AS id"},
            ModelError,
            "key column id is not in the warehouse table fact_order",
        ),
        ({"dim_typo": "SELECT 1 AS id"}, WarehouseError, r"public\.dim_typo is missing"),
    ],
)
def test_a_mismatch_of_models_and_schema_is_refused_before_tables_are_created(
    house: Warehouse, files: dict[str, str], error: type[PipelineError], message: str
) -> None:
    write_models(house.folder, files)
    with pytest.raises(error, match=message) as raised:
        house.prepare()
    assert "\n" not in str(raised.value)
    assert value(house.url, "SELECT count(*) FROM pg_class WHERE relname IN ('dim_shop', 'watermark')") == 0


def test_a_primary_key_that_somebody_has_dropped_is_asked_for_in_the_warehouse(house: Warehouse) -> None:
    house.prepare()
    execute(house.url, "ALTER TABLE dim_shop DROP CONSTRAINT dim_shop_pkey CASCADE")
    with pytest.raises(ModelError, match=r"dim_shop a PRIMARY KEY .*ALTER TABLE in the warehouse"):
        house.prepare()
    execute(house.url, "ALTER TABLE dim_shop ADD PRIMARY KEY (shop_id)")
    house.prepare()


@pytest.mark.parametrize(
    ("table", "rows", "told"),
    [
        ("fact_order (order_id integer, shop_id integer)", "(1, 1), (1, 1)", "fact_order"),
        ("dim_shop (shop_id integer PRIMARY KEY, valid_to date)", "(1, NULL)", "valid_to AS source_valid_to"),
        ("dim_shop (shop_id integer PRIMARY KEY, deleted boolean)", "(1, true)", "deleted AS source_deleted"),
        ("fact_order (order_id integer, valid_from date)", "(1, NULL)", "valid_from AS source_valid_from"),
    ],
    ids=["two rows of one key", "an end", "a mark of deletions", "a beginning in a fact"],
)
def test_a_table_that_cannot_have_a_history_is_refused(
    house: Warehouse, table: str, rows: str, told: str
) -> None:
    name = table.split(maxsplit=1)[0]
    execute(house.url, f"CREATE TABLE {table}", f"INSERT INTO {name} VALUES {rows}")
    with pytest.raises(PipelineError, match=told) as raised:
        house.prepare()
    assert "\n" not in str(raised.value)


def test_a_fact_is_partitioned_by_what_its_versions_are_unique_by(house: Warehouse) -> None:
    execute(house.url, "CREATE TABLE fact_order (order_id int, shop_id int) PARTITION BY LIST (shop_id)")
    with pytest.raises(
        WarehouseError, match=r"; partition it by columns of its key \(order_id\) or by"
    ) as raised:
        house.prepare()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("is_new", [True, False])
def test_a_warehouse_that_can_only_be_read_is_named(house: Warehouse, is_new: bool) -> None:
    """As on a standby."""
    if not is_new:
        house.prepare()
    name = house.url.rpartition("/")[2]
    execute(house.url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with pytest.raises(SettingsError, match="read-only transaction; name the primary server") as raised:
        house.prepare()
    assert "\n" not in str(raised.value)


def test_missing_tables_without_a_schema_file_are_refused(house: Warehouse) -> None:
    (house.folder / "schema.sql").unlink()
    with pytest.raises(WarehouseError, match=r"tables are missing and there is no .*schema\.sql"):
        house.prepare()


def test_a_reference_that_postgres_cannot_make_is_an_error_of_the_schema_file(house: Warehouse) -> None:
    (house.folder / "schema.sql").write_text(
        "CREATE TABLE a (x int UNIQUE DEFERRABLE, y int REFERENCES a (x));", encoding="utf-8"
    )
    with pytest.raises(WarehouseError, match=r"schema\.sql: cannot use a deferrable .*; correct it$"):
        house.prepare()


@pytest.fixture
def owner_url(warehouse_url: str) -> Iterator[str]:
    """A role without superuser that owns the warehouse's database."""
    name = warehouse_url.rsplit("/", 1)[1]
    role = f"owner_{name}"
    _, _, tail = warehouse_url.partition("@")
    execute(
        warehouse_url, f"CREATE ROLE {role} LOGIN PASSWORD 'S3cret'", f"ALTER DATABASE {name} OWNER TO {role}"
    )
    yield f"postgresql://{role}:S3cret@{tail}"
    execute(
        warehouse_url,
        f"ALTER DATABASE {name} OWNER TO postgres",
        f"REASSIGN OWNED BY {role} TO postgres; DROP OWNED BY {role}; DROP ROLE {role}",
    )


def test_no_superuser_is_needed(house: Warehouse, batches: MadeUp, owner_url: str) -> None:
    house.url = owner_url
    house.bring(batches.batch(FIRST))
    house.bring(batches.batch(SECOND))
    assert len(house.query(FACTS)) == 2


def test_a_role_without_privileges_gets_a_one_line_error(house: Warehouse, owner_url: str) -> None:
    name = owner_url.rsplit("/", 1)[1]
    execute(
        house.url, f"ALTER DATABASE {name} OWNER TO postgres", f"REVOKE ALL ON DATABASE {name} FROM PUBLIC"
    )
    execute(house.url, f"GRANT CONNECT ON DATABASE {name} TO owner_{name}")
    house.url = owner_url
    with pytest.raises(RightMissing, match="warehouse: permission denied") as raised:
        house.prepare()
    assert "\n" not in str(raised.value)
