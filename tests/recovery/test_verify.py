"""``make verify`` compares the lake with its manifests, and the warehouse with a rebuild."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from demo.postgres import Postgres
from pipeline.errors import ObjectDamaged, SettingsError
from pipeline.lake.buckets import Bucket, folder
from pipeline.lake.manifests import read_manifest, seal
from pipeline.lake.verification import Verification, verify
from pipeline.models.output import Loaded
from pipeline.recovery.rehearsal import Difference, Gap, rehearse, results
from pipeline.warehouse import ledger, load
from pipeline.warehouse.limits import UNLIMITED
from tests.house import plan_batch, transform_all
from tests.pair import Pair
from tests.support import database, execute, value
from tests.system import own_version

SCHEMA = """
CREATE TABLE IF NOT EXISTS dim_shop (shop_id integer PRIMARY KEY, city text);
CREATE TABLE IF NOT EXISTS bridge_shop_item (shop_id integer, item text, PRIMARY KEY (shop_id, item));
CREATE TABLE IF NOT EXISTS fact_sale (
    sale_record_id serial PRIMARY KEY,
    sale_id integer NOT NULL,
    shop_id integer NOT NULL REFERENCES dim_shop,
    amount smallint NOT NULL CHECK (amount > 0)
);
CREATE TABLE IF NOT EXISTS dim_total (shop_id integer PRIMARY KEY, total bigint);
"""
MODELS = {
    "dim_shop": "SELECT shop_id, city FROM shop",
    "bridge_shop_item": "-- key: shop_id, item\nSELECT DISTINCT shop_id, item FROM sale",
    "fact_sale": "-- key: sale_id\nSELECT sale_id, shop_id, amount FROM sale",
    "dim_total": "SELECT shop_id, CAST(sum(amount) AS bigint) AS total FROM sale GROUP BY shop_id",
    "schema": SCHEMA,
}
SOURCE = (
    "CREATE TABLE shop (shop_id integer PRIMARY KEY, city text)",
    "CREATE TABLE sale (sale_id integer PRIMARY KEY, shop_id integer, item text, amount integer)",
    "INSERT INTO shop VALUES (1, 'York'), (2, 'Hull')",
    "INSERT INTO sale SELECT n, 1 + n % 2, 'item ' || n % 3, n FROM generate_series(1, 20) AS n",
)
# What happens between one batch and the next; the last one brings nothing back that was rejected.
DAYS = (
    ("UPDATE shop SET city = 'Leeds' WHERE shop_id = 1", "UPDATE sale SET amount = 70 WHERE sale_id = 7"),
    ("DELETE FROM sale WHERE sale_id = 3", "INSERT INTO sale VALUES (30, 3, 'item 1', 5), (31, 1, 'x', -1)"),
    ("INSERT INTO shop VALUES (3, 'Ely')", "DELETE FROM shop WHERE shop_id = 9"),
    ("UPDATE sale SET amount = 71 WHERE sale_id = 7", "UPDATE shop SET city = 'York' WHERE shop_id = 1"),
)


@pytest.fixture(scope="module")
def lived(shared: Pair) -> Pair:
    """A warehouse after some batches, in which rows changed, went, were rejected and came in later."""
    shared.fresh(MODELS, *SOURCE)
    shared.run()
    for day in DAYS:
        shared.do(*day)
        shared.run(reconcile=day == DAYS[-1])
    return shared


def test_a_rehearsed_rebuild_equals_the_warehouse_and_changes_nothing(lived: Pair) -> None:
    tables = lived.house.query("SELECT oid, relname, relfilenode FROM pg_class ORDER BY 1")
    objects = sorted(Path(lived.house.raw.root).rglob("*"))
    rows = lived.house.query("SELECT xmin::text, e.* FROM etl.rejected AS e ORDER BY 1, 2::text")
    with ledger.lock(lived.house.url, "public"):  # another run is active
        found = lived.house.rehearse()
    assert (found.differences, found.gaps, len(found.batches), found.at) == ([], [], 5, found.last)
    assert sorted(found.compared) == sorted(
        ["fact_sale", "etl.rejected"]
        + [f"{name}{end}" for name in MODELS if name[0] in "db" for end in ("", "_version")]
    )
    assert lived.house.query("SELECT oid, relname, relfilenode FROM pg_class ORDER BY 1") == tables
    assert lived.house.query("SELECT xmin::text, e.* FROM etl.rejected AS e ORDER BY 1, 2::text") == rows
    assert sorted(Path(lived.house.raw.root).rglob("*")) == objects


# Of a fact a value, a version, and when one ended; of a dimension a value, one's own row, and its history;
# and a rejected row.
CHANGES = (
    "UPDATE fact_sale SET amount = 9 WHERE sale_id = 8",
    "DELETE FROM fact_sale WHERE sale_id = 7 AND amount = 7",
    "UPDATE fact_sale SET superseded_at = now() WHERE sale_id = 3 AND NOT deleted",
    "UPDATE dim_shop SET city = 'Bath' WHERE shop_id = 2",
    "INSERT INTO dim_shop VALUES (-1, 'none')",
    "DELETE FROM dim_shop_version WHERE city = 'Leeds'",
    'UPDATE etl.rejected SET resolved = true WHERE key = \'{"sale_id": "31"}\'',
)


def test_manual_changes_are_found(lived: Pair) -> None:
    tables = ("dim_shop", "fact_sale", "dim_shop_version")
    execute(
        lived.house.url,
        "CREATE SCHEMA kept",
        *(f"CREATE TABLE kept.{name} AS TABLE {name}" for name in tables),
    )
    execute(lived.house.url, *CHANGES)
    try:
        assert lived.house.rehearse().differences == [
            Difference("dim_shop", 2, 1),
            Difference("dim_shop_version", 0, 1),
            Difference("fact_sale", 2, 3),
            Difference("etl.rejected", 1, 1),
        ]
    finally:
        execute(lived.house.url, CHANGES[-1].replace("true", "false"))
        again = (f"INSERT INTO {name} TABLE kept.{name}" for name in tables)
        execute(lived.house.url, f"TRUNCATE {', '.join(tables)}", *again, "DROP SCHEMA kept CASCADE")


def test_a_reference_that_somebody_has_dropped_is_named(lived: Pair) -> None:
    reference = "CONSTRAINT fact_sale_shop_id_fkey"
    execute(lived.house.url, f"ALTER TABLE fact_sale DROP {reference}")
    found = lived.house.rehearse()
    assert (found.unenforced, found.differences) == (("fact_sale (shop_id) to dim_shop",), [])
    execute(
        lived.house.url, f"ALTER TABLE fact_sale ADD {reference} FOREIGN KEY (shop_id) REFERENCES dim_shop"
    )
    assert not lived.house.rehearse().unenforced
    if own_version() >= 18:
        execute(lived.house.url, f"ALTER TABLE fact_sale ALTER {reference} NOT ENFORCED")
        assert lived.house.rehearse().unenforced == found.unenforced
        execute(lived.house.url, f"ALTER TABLE fact_sale ALTER {reference} ENFORCED")


def test_a_missing_table_is_found(lived: Pair) -> None:
    execute(lived.house.url, "ALTER TABLE dim_total RENAME TO renamed")
    try:
        found = lived.house.rehearse()
    finally:
        execute(lived.house.url, "ALTER TABLE renamed RENAME TO dim_total")
    assert found.differences == [Difference("dim_total", 0, 3)]


@pytest.fixture
def lake(lived: Pair, tmp_path: Path) -> Bucket:
    """A copy of the raw bucket."""
    shutil.copytree(lived.house.raw.root, tmp_path / "raw")
    return folder(str(tmp_path / "raw"))


def verified(pair: Pair, lake: Bucket) -> Verification:
    found = [*verify(lake, pair.house.processed, results(pair.house.url, pair.house.schema))][-1]
    assert found.objects == found.of > 10
    return found


def test_a_whole_lake_has_no_problem(lived: Pair, lake: Bucket) -> None:
    Path(lake.root, "_manifests", ".batch.json.0123").touch()  # as a killed run leaves it
    found = verified(lived, lake)
    sizes = [path.stat().st_size for path in Path(lake.root).rglob("*.parquet")]
    assert (found.problems, found.unchecked, found.manifests) == ([], 0, 5)
    assert min(found.objects - len(sizes), found.bytes - sum(sizes)) >= 0


def test_lost_and_damaged_objects_are_named_and_left_out_of_a_rebuild(lived: Pair, lake: Bucket) -> None:
    """It goes on where all rows are: at a batch whose states were merged since, and at a reconciling one."""
    batches = lived.house.query("SELECT batch_id, manifest FROM etl.batch ORDER BY 1")
    (first, _), (_, second), (third, _), (_, fourth), (last, _) = batches
    tables = read_manifest(lake, second).tables
    damaged, lost = (Path(lake.root, tables[name].files[0].path) for name in ("sale", "shop"))
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:50] + bytes([whole[50] ^ 1]) + whole[51:])
    lost.unlink()
    manifest = Path(lake.root, fourth)
    text = manifest.read_text(encoding="utf-8")
    manifest.write_text(text.replace('"reconcile": false', '"reconcile": true'), encoding="utf-8")
    problems = "\n".join(verified(lived, lake).problems)
    for path in (damaged, lost, manifest):
        assert str(path.relative_to(lake.root)) in problems
    found = lived.house.rehearse(lake)
    assert found.batches == [first, third, last]
    assert [(gap.after, gap.at) for gap in found.gaps] == [(first, third), (third, last)]
    assert str(damaged.relative_to(lake.root)) in found.gaps[0].why
    assert {each.table for each in found.differences} >= {"fact_sale", "dim_shop_version"}


def test_a_rebuild_that_cannot_reach_the_last_batch_ends_before_it(lived: Pair, lake: Bucket) -> None:
    batches = [batch for (batch,) in lived.house.query("SELECT batch_id FROM etl.batch ORDER BY 1")]
    shutil.rmtree(Path(lake.root, "_manifests", f"after={batches[2]}"))
    shutil.rmtree(Path(lake.root, "_manifests", f"after={batches[3]}"))
    found = lived.house.rehearse(lake)
    assert found.batches == batches[:3]
    assert found.gaps == [Gap(batches[2], f"no batch follows {batches[2]}", None)]
    assert found.differences


def test_only_the_warehouses_own_batches_are_rebuilt(lived: Pair, lake: Bucket) -> None:
    """Another warehouse on the same bucket goes on from the same batch."""
    (first, _), _, (_, third), *_ = lived.house.query("SELECT batch_id, manifest FROM etl.batch ORDER BY 1")
    seal(lake, read_manifest(lake, third).model_copy(update={"previous": first}))
    found = lived.house.rehearse(lake)
    assert (found.gaps, found.differences, len(found.batches)) == ([], [], 5)


def test_a_result_with_files_of_another_folder_is_refused(lived: Pair) -> None:
    def loaded() -> Loaded:
        return ledger.fetch_loaded_models(lived.house.url, lived.house.schema)["dim_total"]

    known = loaded()
    assert known.result
    altered = (
        "UPDATE etl.model SET result = replace(result::text, {}, {})::jsonb WHERE table_name = 'dim_total'"
    )
    execute(lived.house.url, altered.format("'\"dim_total/'", "'\"../dim_total/'"))
    assert loaded() == Loaded(fingerprint=known.fingerprint)
    execute(lived.house.url, altered.format("'\"../dim_total/'", "'\"dim_total/'"))
    assert loaded() == known


def test_an_empty_warehouse_shows_what_a_rebuild_would_load(
    lived: Pair, lake: Bucket, postgres: Postgres
) -> None:
    with database(postgres, "empty") as url:
        *_, found = rehearse(url, "public", lived.house.models, lived.house.folder, lake)
        assert (found.last, len(found.batches), found.gaps, found.compared) == (None, 5, [], [])
        assert results(url, "public") == []
        assert value(url, "SELECT count(*) FROM pg_namespace WHERE nspname = 'etl'") == 0


def test_the_warehouses_role_has_the_rights_that_it_takes(lived: Pair) -> None:
    """Those that docs/warehouse-role.sql gives: its tables, and temporary ones."""
    role = f"verifier_{uuid4().hex[:8]}"
    owned = "DO $$ DECLARE t regclass; BEGIN FOR t IN SELECT c.oid FROM pg_class AS c WHERE relnamespace IN"
    owned += " ('public'::regnamespace, 'etl'::regnamespace) AND relkind = 'r' LOOP EXECUTE"
    owned += f" format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO {role}', t); END LOOP; END $$"
    execute(
        lived.house.url,
        f"CREATE ROLE {role} LOGIN PASSWORD 'x'",
        f"GRANT USAGE ON SCHEMA public, etl TO {role}",
        owned,
    )
    try:
        url = re.sub(r"//[^@]+@", f"//{role}:x@", lived.house.url)
        house = lived.house
        found = replace(house, url=url).rehearse()
        assert (found.differences, found.gaps, found.at) == ([], [], found.last)
    finally:
        execute(lived.house.url, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def test_a_warehouse_that_can_only_be_read_cannot_rehearse_a_rebuild(lived: Pair) -> None:
    """As on a standby."""
    url, house = f"{lived.house.url}?options=-c%20default_transaction_read_only%3Don", lived.house
    with pytest.raises(SettingsError, match=r"^warehouse: .* read-only transaction; name the primary server"):
        list(rehearse(url, house.schema, house.models, house.folder, house.raw))


@pytest.mark.campaign
def test_no_damaged_object_is_loaded(lived: Pair) -> None:
    """Rows, keys of deleted rows, rejected rows: if one object is damaged, nothing of the batch is loaded."""
    house = lived.house
    lived.do(
        "INSERT INTO sale VALUES (40, 1, 'x', 4), (41, 1, 'x', NULL)", "DELETE FROM sale WHERE sale_id = 5"
    )
    _, manifest = plan_batch(lived.source_url, house)
    assert manifest is not None
    loaded = ledger.fetch_loaded_models(house.url, house.schema)
    outputs = transform_all(house.models, house.targets(), manifest, loaded, house.raw, house.processed)
    files = [file for each in outputs.values() for file in (*each.files, *each.deleted, *each.rejected)]
    assert {file.path.partition("/")[0] for file in files} >= {"_gone", "_rejected", "fact_sale"}

    def bring() -> None:
        load.load(
            house.url, house.schema, manifest, house.targets(), outputs.values(), house.processed, UNLIMITED,
            lambda table, rows: None,
        )  # fmt: skip

    counts = "(SELECT count(*) FROM fact_sale), (SELECT count(*) FROM etl.rejected)"
    seen = f"SELECT max(batch_id), {counts} FROM etl.batch"
    before = house.query(seen)
    for file in files:
        path = Path(house.processed.root, file.path)
        whole = path.read_bytes()
        path.write_bytes(whole[:-9] + bytes([whole[-9] ^ 16]) + whole[-8:])
        with pytest.raises(
            ObjectDamaged, match=f"^{house.processed.uri}: {file.path} is not what was written"
        ):
            bring()
        path.write_bytes(whole)
        assert house.query(seen) == before
    bring()
    assert house.query(seen) != before
