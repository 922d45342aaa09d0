"""Models that read tables of several schemas of the source, some with equal names."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from demo.postgres import Postgres
from pipeline.errors import ModelError, SourceError
from pipeline.lake import manifests
from pipeline.lake.formats import with_digest
from pipeline.lake.manifest import Manifest
from pipeline.lake.paths import is_path, table_folder
from pipeline.models import library, lineage
from pipeline.review import branch, preview, sources, trial
from pipeline.source import snapshots, witnesses
from pipeline.source.catalogue import describe
from pipeline.source.table_names import spelled
from pipeline.warehouse import ledger
from tests.house import Warehouse, plan_batch
from tests.pair import Pair
from tests.support import database, execute

KEY = "-- key: id\n"
# A table of each kind of model, over tables with equal names in three schemas, two of which differ by case.
MODELS = {
    "fact_order": f'{KEY}SELECT orders.id, orders.amount FROM "tenant 1".orders',
    "fact_main": f"{KEY}SELECT id, amount FROM orders",
    "dim_person": """
        SELECT p.id, p.name, o.amount FROM crm.person AS p LEFT JOIN "tenant 1".orders AS o ON o.id = p.id
    """,
    "dim_total": """
        SELECT 'main' AS tenant, sum(amount) AS total, count(*) AS orders FROM orders
        UNION ALL SELECT 'one', sum(amount), count(*) FROM "tenant 1".orders
        UNION ALL SELECT 'TWO', sum(amount), count(*) FROM "Tenant 1".orders
        UNION ALL SELECT 'odd', sum(amount), count(*) FROM "a.b"."c""d"
        UNION ALL SELECT 'dot', sum(amount), count(*) FROM "a.b.c""d"
    """,
}
SCHEMA = """
    CREATE TABLE fact_order (id int NOT NULL, amount int);
    CREATE TABLE fact_main (id int NOT NULL, amount int);
    CREATE TABLE dim_person (id int PRIMARY KEY, name text, amount int);
    CREATE TABLE dim_total (tenant text PRIMARY KEY, total bigint, orders bigint);
"""
ORDERS = ("orders", '"tenant 1".orders', '"Tenant 1".orders', '"a.b"."c""d"', '"a.b.c""d"')
SOURCE = (
    'DROP SCHEMA IF EXISTS "tenant 1", "Tenant 1", crm, "a.b" CASCADE',
    *(f"CREATE SCHEMA {name}" for name in ('"tenant 1"', '"Tenant 1"', "crm", '"a.b"')),
    "CREATE TABLE crm.person (id int PRIMARY KEY, name text) PARTITION BY RANGE (id)",
    'CREATE TABLE "tenant 1".person_of_one PARTITION OF crm.person FOR VALUES FROM (0) TO (10)',
    "CREATE TABLE person_of_all PARTITION OF crm.person DEFAULT",
    "INSERT INTO crm.person SELECT n, 'person ' || n FROM generate_series(1, 20) AS n",
    *(f"CREATE TABLE {name} (id int PRIMARY KEY, amount int)" for name in ORDERS),
    *(
        f"INSERT INTO {name} SELECT n, n * {place} FROM generate_series(1, 30) AS n"
        for place, name in enumerate(ORDERS, 1)
    ),
)
DAYS = (
    ('UPDATE "tenant 1".orders SET amount = 7 WHERE id < 5', "DELETE FROM orders WHERE id = 3"),
    ('DELETE FROM "tenant 1".orders WHERE id = 2', 'UPDATE "tenant 1".orders SET id = 99 WHERE id = 4'),
    ("INSERT INTO crm.person VALUES (21, 'new')", 'INSERT INTO "a.b"."c""d" VALUES (31, 5)'),
    ('TRUNCATE "Tenant 1".orders', 'DELETE FROM "a.b.c""d" WHERE id = 1', "UPDATE orders SET amount = 1"),
    ('DELETE FROM "tenant 1".orders WHERE id = 5', 'INSERT INTO "tenant 1".orders VALUES (5, 6)'),
)


def present(house: Warehouse) -> dict[str, list[tuple[object, ...]]]:
    """The rows of all tables."""
    columns = {"fact_order": "id, amount", "fact_main": "id, amount", "dim_person": "*", "dim_total": "*"}
    return {
        name: house.query(f"SELECT {listed} FROM {name}_as_of('infinity') ORDER BY 1")
        for name, listed in columns.items()
    }


def in_source(shared: Pair) -> dict[str, list[tuple[object, ...]]]:
    """The rows that the models' SQL yields in Postgres."""
    return {
        name: shared.source(f"SELECT * FROM ({sql.removeprefix(KEY)}) AS m ORDER BY 1")
        for name, sql in MODELS.items()
    }


def last(house: Warehouse) -> Manifest:
    """The manifest of the last batch."""
    watermark = ledger.fetch_watermark(house.url, house.schema)
    found = manifests.last_manifest(house.raw, watermark)
    assert found
    return found


def test_tables_of_all_schemas_are_captured_by_changes_and_rebuilt(shared: Pair, postgres: Postgres) -> None:
    shared.fresh({**MODELS, "schema": SCHEMA}, *SOURCE)
    shared.run()
    looks = []
    for day in DAYS:
        shared.do(*day)
        planned, manifest = plan_batch(shared.source_url, shared.house)
        assert {each.mode for each in planned.tables.values()} == {"changes"}, planned.summary
        assert manifest
        shared.house.bring(manifest)
        assert present(shared.house) == in_source(shared)
        looks.append((last(shared.house).snapshot_at, present(shared.house)))
    assert {name: table.key for name, table in last(shared.house).tables.items()} == dict.fromkeys(
        ["orders", "tenant 1.orders", "Tenant 1.orders", "crm.person", '"a.b"."c""d"', '"a.b.c""d"'], ("id",)
    )
    assert last(shared.house).source_schema == "public"
    _witnesses_are_found(shared)
    shared.run(reconcile=True)
    assert present(shared.house) == looks[-1][1]
    with database(postgres, "rebuilt") as url:
        house = Warehouse(url, shared.house.folder, shared.house.raw, shared.house.processed)
        house.prepare()
        house.rebuild()
        assert present(house) == looks[-1][1]
        assert house.query("SELECT count(*) FROM fact_order_history") == shared.house.query(
            "SELECT count(*) FROM fact_order_history"
        )


def _witnesses_are_found(shared: Pair) -> None:
    """Those of the last batch, as a run looks for them after the source's server was restarted."""
    proof = last(shared.house).continuity
    assert proof
    assert {witness.table for witness in proof.witnesses} == {"tenant 1.orders"}
    with snapshots.snapshot(shared.source_url) as (connection, _):
        table = describe(connection, "public", ["tenant 1.orders"])["tenant 1.orders"]
        readable = {table.name: table.columns}
        assert witnesses.prove(connection, "public", proof, readable, has_commit_times=False)


def test_a_lake_of_an_earlier_release_continues_with_any_name(shared: Pair) -> None:
    """It has names of tables as they are, without double quotes and without the main schema."""
    models = {"fact_dot": f'{KEY}SELECT id, amount FROM "a.b.c""d"'}
    shared.fresh({**models, "schema": "CREATE TABLE fact_dot (id int NOT NULL, amount int)"}, *SOURCE)
    shared.run()
    data = json.loads(last(shared.house).model_dump_json())
    del data["source_schema"]
    text = json.dumps(data, indent=1).replace(json.dumps('"a.b.c""d"'), json.dumps('a.b.c"d'))
    shared.house.raw.write_text(last(shared.house).path, with_digest(text))
    shared.do('UPDATE "a.b.c""d" SET amount = 7 WHERE id = 3')
    planned, manifest = plan_batch(shared.source_url, shared.house)
    assert [(name, each.mode) for name, each in planned.tables.items()] == [('"a.b.c""d"', "changes")]
    assert manifest
    shared.house.bring(manifest)
    assert shared.house.query("SELECT amount FROM fact_dot_current WHERE id IN (2, 3)") == [(10,), (7,)]


def test_what_reviews_changes_names_tables_of_other_schemas(shared: Pair) -> None:
    shared.fresh({**MODELS, "schema": SCHEMA}, *SOURCE)
    shared.run()
    house = shared.house
    found = sources.lineage_of(house.url, "public", house.models, house.raw, "crm.person")
    assert found["dim_person"].columns["name"] == ("crm.person.name",)
    assert lineage.fed(found, "crm.person").keys() == {"crm.person.id", "crm.person.name"}
    path = house.folder / "dim_person.sql"
    path.write_text("SELECT id, upper(name) AS name, 1 AS amount FROM crm.person", encoding="utf-8")
    tried = trial.run(house.url, "public", house.folder, path, house.raw, first=1)
    assert [row["name"] for row in tried.first] == ["PERSON 1"]
    (changed,) = [
        each
        for each in preview.preview(house.url, "public", library.load(house.folder), house.folder, house.raw)
        if each.table == "dim_person"
    ]
    assert {feed.column for feed in changed.feeds} >= {"amount"}
    path.write_text("SELECT id, 'x' AS name, amount FROM public.orders", encoding="utf-8")
    message = r"dim_person\.sql:1: names public\.orders; write orders, as public is the main schema"
    with pytest.raises(ModelError, match=message):
        trial.run(house.url, "public", house.folder, path, house.raw)
    with pytest.raises(ModelError, match=message):
        sources.lineage_of(house.url, "public", library.load(house.folder), house.raw, None)
    models = library.load(house.folder)
    changes = preview.preview(house.url, "public", models, house.folder, house.raw)
    assert re.search(message, "".join(each.error for each in changes))


def test_tables_are_restated_refilled_and_verified(shared: Pair) -> None:
    shared.live({**MODELS, "schema": SCHEMA.replace("TABLE", "TABLE IF NOT EXISTS")}, SOURCE, DAYS)
    house = shared.house
    sql = MODELS["dim_person"].replace("p.name", "upper(p.name) AS name")
    (house.folder / "dim_person.sql").write_text(sql, encoding="utf-8")
    found = branch.compute(house.url, "public", house.models, house.folder, house.raw, "x", first=1)
    assert found.tables[0].first_changed[0].columns == {"name": ("person 1", "PERSON 1")}
    names = house.changed_models()
    (done,) = house.restate(names)
    assert (done.table, done.updated) == ("dim_person", 21)
    execute(house.url, "TRUNCATE fact_order")
    assert not house.refill()
    assert present(house)["fact_order"] == in_source(shared)["fact_order"]
    compared = house.rehearse()
    assert (compared.differences, compared.gaps) == ([], [])


def test_no_two_tables_share_a_folder_even_where_case_is_ignored() -> None:
    schemas = ["A", "a", "Ä", "ä", "a.b", ".a", "_a", 'a"', "%41", "schema=a"]
    tables = ["b", "B", "b.c", "..", "_b", '"b"', "%42", "a/b", "batch=b"]
    of_main = {table_folder(spelled(name)) for name in [*schemas, *tables]}
    folders = {table_folder(spelled(table, schema)).lower() for schema in schemas for table in tables}
    assert len(folders) == len(schemas) * len(tables)
    assert all(map(is_path, of_main | folders))
    assert all(each.startswith("schema=") for each in folders)
    assert not any("=" in each for each in of_main)


def test_a_renamed_swapped_or_lost_table_of_another_schema(shared: Pair) -> None:
    models = {"dim_person": "SELECT id, name FROM crm.person"}
    shared.fresh({**models, "schema": "CREATE TABLE dim_person (id int PRIMARY KEY, name text)"}, *SOURCE)
    shared.run()
    shared.do(
        "ALTER TABLE crm.person RENAME TO former",
        "CREATE TABLE crm.person (id int PRIMARY KEY, name text)",
        "INSERT INTO crm.person VALUES (1, 'other'), (2, 'person 2')",
    )
    planned, manifest = plan_batch(shared.source_url, shared.house)
    assert manifest
    assert planned.tables["crm.person"].reason == "another table has this name now"
    shared.house.bring(manifest)
    assert shared.house.query("SELECT * FROM dim_person_as_of('infinity') ORDER BY 1") == [
        (1, "other"),
        (2, "person 2"),
    ]
    shared.do("DROP TABLE crm.person")
    with pytest.raises(ModelError, match=r"reads table person, which schema crm of the source does not have"):
        shared.run()


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT id FROM person", r"dim_x\.sql:1: reads table person, .* public .*; write crm\.person$"),
        ("SELECT id\nFROM crm.persn", r"dim_x\.sql:2: reads table persn, .* crm .*; write crm\.person$"),
        ("SELECT id FROM cmr.person", r"reads table person, which schema cmr .*; write crm\.person$"),
        ("SELECT id FROM orderz", r"reads table orderz, which schema public .*; write orders$"),
        ("SELECT id FROM crm.orders", r'; write "Tenant 1"\.orders or orders or "tenant 1"\.orders$'),
        ("SELECT id FROM public.orders", r"names public\.orders; write orders, as public is the main schema"),
        (
            "SELECT crm.person.id FROM crm.person",
            r"crm\.person is neither a table nor an alias in this query; write person$",
        ),
        (
            'SELECT orders.id FROM orders JOIN "tenant 1".orders ON true',
            r"orders is the name of two tables in this query; give each an alias$",
        ),
    ],
)  # fmt: skip
def test_a_wrong_name_is_explained_in_one_line(shared: Pair, sql: str, message: str) -> None:
    shared.fresh({"dim_x": sql, "schema": "CREATE TABLE dim_x (id int PRIMARY KEY)"}, *SOURCE)
    with pytest.raises(ModelError, match=message) as caught:
        shared.run()
    assert "\n" not in str(caught.value)


def test_a_model_with_a_dot_in_its_name_is_not_a_table_of_a_schema(shared: Pair) -> None:
    models = {
        "dim_a.b": "SELECT id, amount FROM orders",
        "dim_sum": 'SELECT 1 AS id, sum(amount) AS n FROM "dim_a.b"',
        "schema": """
            CREATE TABLE "dim_a.b" (id int PRIMARY KEY, amount int);
            CREATE TABLE dim_sum (id int PRIMARY KEY, n bigint);
        """,
    }
    shared.fresh(models, *SOURCE)
    shared.run()
    assert shared.house.query("SELECT n FROM dim_sum_as_of('infinity')") == [(465,)]
    model: Path = shared.house.folder / "dim_sum.sql"
    model.write_text("SELECT 1 AS id, sum(amount) AS n FROM dim_a.b", encoding="utf-8")
    with pytest.raises(ModelError, match=r":1: reads b of the source's schema dim_a, and a model has"):
        shared.run()


def test_another_main_schema_is_refused_unless_it_is_the_same_renamed(shared: Pair) -> None:
    shared.fresh({**MODELS, "schema": SCHEMA}, *SOURCE)
    shared.run()
    shared.do("DROP SCHEMA IF EXISTS other, renamed CASCADE", "CREATE SCHEMA other")
    shared.do(*(f"CREATE TABLE other.{name} (id int PRIMARY KEY, amount int)" for name in ORDERS[::4]))
    with pytest.raises(SourceError, match=r"TOTESYS_SOURCE_SCHEMA is other, and .* with public: set it back"):
        plan_batch(shared.source_url, shared.house, schema="other")
    shared.do("DROP SCHEMA other CASCADE", "ALTER SCHEMA public RENAME TO renamed")
    planned, _ = plan_batch(shared.source_url, shared.house, schema="renamed")
    assert planned.nothing_new
    shared.do(
        "CREATE TABLE renamed.restored (LIKE renamed.orders INCLUDING ALL)",
        "INSERT INTO renamed.restored TABLE renamed.orders",
        "DROP TABLE renamed.orders",
        "ALTER TABLE renamed.restored RENAME TO orders",
    )
    planned, _ = plan_batch(shared.source_url, shared.house, schema="renamed")
    assert planned.tables["orders"].reason == "another table has this name now"
