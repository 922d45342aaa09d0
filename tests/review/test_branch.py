"""Changed models in a schema of their own: row by row against the live tables, which nothing touches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from demo.postgres import Postgres
from pipeline.errors import SettingsError, WarehouseError
from pipeline.models import library
from pipeline.recovery.table_copies import TableCopies
from pipeline.review import branch, hiding
from pipeline.review.branch import Branch
from pipeline.review.versions import TableDifference
from tasks.branch import sections
from tests.pair import Pair
from tests.review.conftest import MODELS, SCHEMA, everything
from tests.support import execute, query, write_models

DOUBLED = MODELS["fact_sale"].replace("amount", "amount * 2 AS amount")


def computed(
    shop: Pair, name: str, models: Mapping[str, str], url: str | None = None, removed: Sequence[str] = ()
) -> Branch:
    """A branch of the models with these changes, which are then taken back."""
    house = shop.house
    before = {path: path.read_text() for path in house.folder.iterdir()}
    for each in removed:
        (house.folder / f"{each}.sql").unlink()
    write_models(house.folder, models)
    try:
        known = library.load(house.folder)
        return branch.compute(url or house.url, "public", known, house.folder, house.raw, name, first=2)
    finally:
        for path in set(house.folder.iterdir()) - before.keys():
            path.unlink()
        for path, text in before.items():
            path.write_text(text)


def tables(found: Branch) -> dict[str, TableDifference]:
    return {each.table: each for each in found.tables}


@pytest.fixture
def untouched(shop: Pair) -> Iterator[Pair]:
    """The shop, in which everything is as before once the branches are dropped."""
    before = everything(shop)
    yield shop
    for (name,) in query(shop.house.url, r"SELECT nspname FROM pg_namespace WHERE nspname LIKE 'branch\_%'"):
        branch.drop(shop.house.url, name.removeprefix("branch_"))
    assert everything(shop) == before


def test_a_branch_shows_how_changed_models_and_their_readers_differ(untouched: Pair) -> None:
    shop = untouched
    live = {name: value for name, value in everything(shop).items() if "." not in name and "/" not in name}
    found = computed(shop, "double", {"fact_sale": DOUBLED})
    assert (found.schema_name, found.batches) == ("branch_double", 4)
    assert tables(found).keys() == {"fact_sale", "dim_total"}
    fact = tables(found)["fact_sale"]
    # 20 sales, one of them changed twice, one deleted, one that was rejected until its shop came.
    assert (fact.versions, fact.added, fact.changed, fact.missing) == (24, 0, 24, 0)
    first = fact.first_changed[0]
    assert (first.key["sale_id"], first.columns) == ("1", {"amount": ("1.00", "2.00")})
    rows = "SELECT sale_id, amount FROM {}.fact_sale_history WHERE sale_id = 7 ORDER BY valid_from"
    url = shop.house.url
    assert query(url, rows.format("branch_double")) == [(7, 14), (7, 140), (7, 142)]
    assert query(url, rows.format("public")) == [(7, 7), (7, 70), (7, 71)]
    now = everything(shop)
    assert {name: now[name] for name in live if name not in {"relations", "schemas", "functions"}} == {
        name: value for name, value in live.items() if name not in {"relations", "schemas", "functions"}
    }
    assert query(url, "SELECT count(*) FROM etl.rejected WHERE schema_name <> 'public'") == [(0,)]
    headings = [heading for heading, _ in sections(found)]
    assert headings[0] == "branch_double: 2 tables, computed over 4 batches; live tables are unchanged"
    assert headings[1] == "fact_sale: 24 versions: 0 added, 24 changed, 0 missing"


def test_an_ordinary_run_ignores_a_branch(shop: Pair) -> None:
    computed(shop, "other", {"fact_sale": DOUBLED})
    assert shop.run() is None
    branch.drop(shop.house.url, "other")


def test_two_branches_side_by_side_and_one_that_replaces_itself(untouched: Pair) -> None:
    url = untouched.house.url
    computed(untouched, "one", {"fact_sale": DOUBLED})
    other = computed(untouched, "two", {"dim_shop": MODELS["dim_shop"] + " WHERE shop_id < 3"})
    assert tables(other)["dim_shop"].missing == 1
    assert tables(other)["dim_shop"].first_missing[0]["city"] == "Ely"
    again = computed(untouched, "one", {"fact_sale": MODELS["fact_sale"] + " WHERE sale_id > 4"})
    assert (tables(again)["fact_sale"].changed, tables(again)["fact_sale"].missing) == (0, 5)
    assert query(url, "SELECT min(sale_id) FROM branch_one.fact_sale") == [(5,)]
    names = "SELECT relname FROM pg_class WHERE relnamespace = 'branch_two'::regnamespace AND relkind = 'r'"
    assert query(url, names + " ORDER BY 1") == [("dim_shop",), ("dim_shop_version",)]
    assert computed(untouched, "one", {}).tables == ()


def test_new_columns_new_tables_and_personal_values(untouched: Pair) -> None:
    changed = {
        "dim_shop": "-- personal: manager\nSELECT shop_id, upper(manager) AS manager, city, opened FROM shop",
        "fact_visit": "-- key: sale_id\nSELECT sale_id, shop_id FROM sale",
        "schema": SCHEMA.replace("manager text", "manager text, opened date")
        + "CREATE TABLE IF NOT EXISTS fact_visit (sale_id integer, shop_id integer REFERENCES dim_shop);",
    }
    found = hiding.of_branch(computed(untouched, "wide", changed))
    shop = tables(found)["dim_shop"]
    assert (shop.new_columns, shop.changed, shop.added, shop.missing) == (("opened",), 4, 0, 0)
    assert shop.first_changed[0].columns == {"manager": ("…", "…")}
    visit = tables(found)["fact_visit"]
    assert (visit.is_new, visit.versions, visit.rejected) == (True, 22, 0)


def test_new_names_of_tables_and_columns(untouched: Pair) -> None:
    changed = {
        "fact_deal": f"-- renamed: fact_sale -> fact_deal\n{DOUBLED}",
        "dim_shop": "-- renamed: manager -> boss\nSELECT shop_id, city, upper(manager) AS boss FROM shop",
        "dim_total": MODELS["dim_total"].replace("fact_sale", "fact_deal"),
        "schema": SCHEMA.replace("fact_sale", "fact_deal").replace("manager text", "boss text"),
    }
    found = tables(computed(untouched, "names", changed, removed=["fact_sale"]))
    deal, shop = found["fact_deal"], found["dim_shop"]
    assert (deal.is_new, deal.versions, deal.added, deal.changed, deal.missing) == (False, 24, 0, 24, 0)
    assert (shop.new_columns, shop.added, shop.changed, shop.missing) == ((), 0, 4, 0)
    assert shop.first_changed[0].columns == {"boss": ("Ann", "ANN")}


def test_a_branch_that_fails_or_is_killed_leaves_nothing(
    untouched: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        WarehouseError, match=r"branch_bad: batch .* cannot be computed by the changed models"
    ):
        computed(untouched, "bad", {"dim_shop": "SELECT shop_id, city, closed AS manager FROM shop"})
    loads = 0
    load = TableCopies.load

    def killed(self: TableCopies, manifest: object) -> None:
        nonlocal loads
        loads += 1
        if loads == 3:
            pid = self.connection.info.backend_pid
            execute(untouched.house.url, f"SELECT pg_terminate_backend({pid})")
        load(self, manifest)  # type: ignore[arg-type]

    monkeypatch.setattr(TableCopies, "load", killed)
    with pytest.raises(psycopg.OperationalError):
        computed(untouched, "killed", {"fact_sale": DOUBLED})


def test_names_and_what_is_no_branch_are_refused(untouched: Pair) -> None:
    url = untouched.house.url
    for name in ("", "A", "1a", 'a"; DROP', "a" * 41):
        with pytest.raises(SettingsError, match="a name is up to 40 lower-case letters"):
            branch.drop(url, name)
    with pytest.raises(SettingsError, match="there is no schema branch_none, so there is nothing to drop"):
        branch.drop(url, "none")
    execute(url, "CREATE SCHEMA branch_mine")
    try:
        for action in (
            lambda: branch.drop(url, "mine"),
            lambda: computed(untouched, "mine", {"fact_sale": DOUBLED}),
        ):
            with pytest.raises(SettingsError, match="schema branch_mine was not made as a branch"):
                action()
    finally:
        execute(url, "DROP SCHEMA branch_mine")


def test_the_right_that_a_role_lacks_is_named(untouched: Pair, postgres: Postgres) -> None:
    url = untouched.house.url
    database = str(conninfo_to_dict(url)["dbname"])
    execute(
        url,
        "CREATE ROLE brancher LOGIN PASSWORD 'of-the-brancher'",
        "GRANT pg_read_all_data TO brancher",
        "GRANT ALL ON ALL TABLES IN SCHEMA etl TO brancher",
    )
    try:
        login = make_conninfo(url, user="brancher", password="of-the-brancher")
        with pytest.raises(WarehouseError, match=r"GRANT CREATE ON DATABASE .* TO .brancher.") as caught:
            computed(untouched, "poor", {"fact_sale": DOUBLED}, login)
        assert "\n" not in str(caught.value)
        assert database in str(caught.value)
    finally:
        execute(
            url,
            "REVOKE ALL ON ALL TABLES IN SCHEMA etl FROM brancher",
            "REVOKE pg_read_all_data FROM brancher",
            "DROP ROLE brancher",
        )
