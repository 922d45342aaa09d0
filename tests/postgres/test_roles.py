"""The roles of docs/ are enough for the whole job."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import psycopg
import pytest

import tasks.grants
from pipeline.errors import RightMissing, WarehouseError
from pipeline.postgres import transaction
from pipeline.warehouse import ledger, references
from pipeline.warehouse.mismatches import examine_tables
from tests.house import Warehouse
from tests.pair import Pair
from tests.postgres.roles import NewRole, drop
from tests.support import execute, query, value, write_models


def test_the_whole_job_works_with_these_roles(pair: Pair, least: Pair) -> None:
    with ledger.lock(least.house.url, "public"):
        least.run()
    pair.do(
        "UPDATE sale SET amount = 3 WHERE sale_id = 1",
        "INSERT INTO shop VALUES (2, 'Bath')",
        "UPDATE shop SET label = 'Leeds' WHERE shop_id = 1",
    )
    with ledger.lock(least.house.url, "public"):
        least.run()
    pair.do("DELETE FROM sale WHERE sale_id = 1")
    least.run(reconcile=True)
    assert least.run() is None
    assert least.house.query("SELECT sale_id, amount FROM fact_sale_current") == [(2, 2)]
    assert value(least.house.url, "SELECT count(*) FROM fact_sale_history") == 4
    assert value(least.house.url, "SELECT count(*) FROM fact_sale_as_of(now())") == 1
    assert value(least.house.url, "SELECT count(*) FROM dim_shop_history") == 3
    assert least.house.rejected() == []


def test_a_warehouse_that_was_there_before_becomes_the_roles(pair: Pair, new_role: NewRole) -> None:
    pair.run()
    loader_url = new_role("warehouse-role.sql", pair.house.url)
    pair.do("INSERT INTO sale (shop_id, amount) VALUES (1, 9)")
    house = pair.house
    Pair(pair.source_url, Warehouse(loader_url, house.folder, house.raw, house.processed), pair.home).run()
    assert value(house.url, "SELECT count(*) FROM fact_sale_current") == 2


LOST = {
    "another owner of a ledger's table": "ALTER TABLE etl.batch OWNER TO postgres",
    "another owner of a table": "ALTER TABLE fact_sale OWNER TO postgres",
    "policies that hide rows": "ALTER TABLE fact_sale ENABLE ROW LEVEL SECURITY; ALTER TABLE fact_sale FORCE"
    " ROW LEVEL SECURITY",
    "no schema": "REVOKE USAGE ON SCHEMA etl FROM PUBLIC, {0}",
}


def examine_and_run(pair: Pair) -> None:
    examine_tables(pair.house.url, "public", pair.house.models)
    pair.run()


@pytest.mark.parametrize("harm", LOST)
def test_a_right_that_a_role_has_lost_is_named(pair: Pair, new_role: NewRole, harm: str) -> None:
    house = pair.house
    loader_url = new_role("warehouse-role.sql", house.url)
    least = Pair(pair.source_url, Warehouse(loader_url, house.folder, house.raw, house.processed), pair.home)
    least.run()
    role = '"{}"'.format(unquote(urlsplit(loader_url).username or ""))
    execute(house.url, *LOST[harm].format(role).split("; "))
    pair.do("INSERT INTO sale (shop_id, amount) VALUES (1, 9)")
    with pytest.raises((RightMissing, WarehouseError), match=r"^warehouse: .*(permission|policy)") as caught:
        examine_and_run(least)
    assert "\n" not in str(caught.value)


@pytest.mark.since(15, "GRANT SET ON PARAMETER")
def test_the_role_may_skip_checked_references_if_this_is_wanted(pair: Pair, new_role: NewRole) -> None:
    url = new_role("warehouse-role.sql", pair.house.url)
    with transaction(url, "warehouse") as connection:
        assert not references.may_skip(connection)
    drop(pair.house.url, unquote(urlsplit(url).username or ""))
    url = new_role("warehouse-role.sql", pair.house.url, skip_checked_references="on")
    with transaction(url, "warehouse") as connection:
        assert references.may_skip(connection)


def test_the_role_reads_only_tables_that_models_name(pair: Pair, reader_url: str) -> None:
    """Neither existing tables nor later ones."""
    pair.do(
        "CREATE TABLE app_user (id int, password_hash text)", "CREATE VIEW sale_view AS SELECT * FROM sale"
    )
    for name in ("app_user", "sale_view"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            query(reader_url, f"SELECT * FROM {name}")
    assert query(reader_url, "SELECT count(*) FROM sale") == [(2,)]


def test_names_in_grants_are_quoted(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_models(
        pair.house.folder,
        {
            "dim_shop": 'SELECT * FROM "a ""table""; --" JOIN shop USING (shop_id)',
            "dim_currency": 'SELECT code AS currency_id FROM iso_4217 JOIN "Tenant 1".sale ON true',
        },
    )
    monkeypatch.setenv("TOTESYS_TRANSFORMS", str(pair.house.folder))
    monkeypatch.setenv("TOTESYS_SOURCE_SCHEMA", "Sales")
    monkeypatch.setattr("sys.argv", ["grants", "--role", 'the "reader"'])
    assert tasks.grants.main() == 0
    assert capsys.readouterr().out.splitlines() == [
        'GRANT USAGE ON SCHEMA "Tenant 1" TO "the ""reader""";',
        'GRANT SELECT ON TABLE "Sales"."a ""table""; --" TO "the ""reader""";',
        'GRANT SELECT ON TABLE "Tenant 1"."sale" TO "the ""reader""";',
        'GRANT SELECT ON TABLE "Sales"."sale" TO "the ""reader""";',
        'GRANT SELECT ON TABLE "Sales"."shop" TO "the ""reader""";',
    ]
