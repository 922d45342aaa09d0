"""The right to erasure: personal values are removed from warehouse and lake, permanently."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from demo.postgres import Postgres
from pipeline.errors import ModelError, SettingsError
from pipeline.lake import erasures
from pipeline.postgres import transaction
from pipeline.recovery.imported_rows import from_csv
from pipeline.recovery.imports import import_versions
from tests.erasure.people import NAMES, entry, forgotten, looks, names_in, token
from tests.pair import Pair
from tests.recovery.test_retain import rebuilt
from tests.support import database, execute


def test_personal_values_are_erased_everywhere_and_nothing_else_changes(
    shop: Pair, servers: Callable[[int], Postgres]
) -> None:
    before = looks(shop.house)
    assert names_in(shop) == list(NAMES)
    shop.house.processed.write_text("_restating/id/public/batch=1/rows.json", NAMES[0])
    certificate = forgotten(shop)
    assert certificate["hits"] == []
    assert certificate["texts"] == 5
    assert names_in(shop) == []
    assert shop.house.processed.list("_restating", deep=True) == [], "rows of a killed restate"
    after, hidden = looks(shop.house), token(shop)
    assert [row for row in after["persons"] if row[0] == 7] == [
        (7, hidden, hidden, f"{hidden} {hidden}", hidden, None, "deep south")
    ]
    assert [row for row in after["persons"] if row[0] != 7] == [
        row for row in before["persons"] if row[0] != 7
    ]
    versions = [[row for row in each["versions"] if 7 in row[:4]] for each in (before, after)]
    # Of five versions two differed in names alone.
    assert [len(rows) for rows in versions] == [5, 3]
    sold = [[(row[0], row[1], row[3]) for row in each["sales"] if row[5] is None] for each in (before, after)]
    assert sold[0] == sold[1]
    assert after["teams"] == before["teams"]
    with database(servers(16), "rebuilt") as url:
        assert looks(rebuilt(shop, (shop.house.raw, shop.house.processed), url)) == after
    shop.run(reconcile=True)
    assert names_in(shop) == []
    assert looks(shop.house) == after


def test_imported_versions_are_erased_although_the_lake_does_not_have_them(shop: Pair) -> None:
    path = shop.home / "old.csv"
    path.write_text(
        "person_id,first_name,last_name,full_name,mail,valid_from\n"
        "7,Anna,Maidenname,Anna Maidenname,old@x.org,2001-01-01\n8,Jo,Other,Jo Other,jo@x.org,2001-01-01\n",
        encoding="utf-8",
    )
    with transaction(shop.house.url, "warehouse") as connection, from_csv(path) as rows:
        import_versions(connection, "public", shop.house.targets()["dim_person"], rows)
    assert forgotten(shop)["hits"] == []
    early = (
        "SELECT person_id, last_name, mail FROM dim_person_history WHERE valid_from = '2001-01-01' ORDER BY 1"
    )
    hidden = token(shop)
    assert shop.house.query(early) == [(7, hidden, hidden), (8, "Other", "jo@x.org")]
    assert names_in(shop) == []


def test_a_text_in_rows_of_another_table_is_listed_but_no_hit(shop: Pair) -> None:
    shop.do("UPDATE team SET team = 'Marriedname and Sons' WHERE team_id = 1")
    shop.run()
    certificate = forgotten(shop)
    assert certificate["hits"] == []
    assert certificate["texts"] == 4
    assert all(": team" in place for place in certificate["in other tables"])
    assert certificate["in other tables"]
    assert shop.house.query("SELECT count(*) FROM dim_person WHERE last_name = 'Marriedname'") == [(0,)]
    shop.do("UPDATE team SET team = 'north' WHERE team_id = 1")


def test_a_change_in_the_source_does_not_restore_erased_values(shop: Pair) -> None:
    forgotten(shop)
    shop.do("UPDATE person SET last_name = 'Marriedname', team_id = 1 WHERE person_id IN (7)")
    shop.run()
    assert names_in(shop) == []
    team = "SELECT team, last_name FROM dim_person WHERE person_id = 7"
    assert shop.house.query(team) == [("north", token(shop))]
    shop.run(full=True)
    assert names_in(shop) == []
    shop.do("UPDATE person SET team_id = 2 WHERE person_id = 7")


def test_aggregates_and_models_keyed_by_names_are_refilled(
    shop: Pair, servers: Callable[[int], Postgres]
) -> None:
    (shop.house.folder / "fact_name.sql").write_text(
        "-- key: last_name\nSELECT last_name, count(*) AS people FROM person GROUP BY last_name"
    )
    (shop.house.folder / "dim_team.sql").write_text(
        "-- key: team_id\nSELECT team_id, string_agg(last_name, ',' ORDER BY person_id) AS people"
        " FROM person GROUP BY team_id"
    )
    with (shop.house.folder / "schema.sql").open("a") as schema:
        schema.write("CREATE TABLE IF NOT EXISTS fact_name (last_name text NOT NULL, people bigint);")
        schema.write("CREATE TABLE IF NOT EXISTS dim_team (team_id integer PRIMARY KEY, people text);")
    shop.house.prepared = None
    shop.run()
    shop.do("UPDATE person SET last_name = 'Thirdname' WHERE person_id IN (7)")
    shop.run()  # the key Marriedname is deleted, and that is stored, too
    shop.do("UPDATE person SET last_name = 'Marriedname' WHERE person_id IN (7)")
    certificate = forgotten(shop)
    assert certificate["hits"] == []
    assert names_in(shop) == []
    assert shop.house.query("SELECT people FROM fact_name_current WHERE last_name LIKE 'erased%'") == [(1,)]
    assert shop.house.query("SELECT people LIKE '%erased %' FROM dim_team WHERE team_id = 2") == [(True,)]
    assert not shop.house.refill()


def test_rejected_rows_are_erased_too(shop: Pair) -> None:
    shop.do("UPDATE person SET last_name = 'Rejectedname' WHERE person_id = 6")
    execute(shop.house.url, "ALTER TABLE dim_person DROP CONSTRAINT dim_person_person_id_check")
    execute(shop.house.url, "ALTER TABLE dim_person ADD CHECK (last_name NOT LIKE 'Reject%')")
    shop.house.prepared = None
    shop.run()
    assert "Rejectedname" in str(looks(shop.house)["rejected"])
    assert forgotten(shop, "6")["hits"] == []
    assert "Rejectedname" not in str(looks(shop.house)["rejected"])
    shop.do("UPDATE person SET last_name = 'last6' WHERE person_id = 6")


def test_an_impossible_erasure_is_refused_in_one_line(shop: Pair) -> None:
    for table, key, words in (
        ("nothing", ("1",), "TABLE: no batch has a table nothing of the source"),
        ("Person", ("1",), "TABLE: no batch has a table Person of the source; did you mean person?"),
        ("team", ("1",), "TABLE: no column of team is declared personal; write `-- personal: column`"),
        ("person", ("x",), "KEY: does not fit the key of person, which is person_id integer"),
        ("person", ("1", "2"), "KEY: the key of person is person_id; give one value for each"),
    ):
        with pytest.raises(SettingsError) as refused:
            entry(shop, table, *key)
        assert str(refused.value) == words
    execute(shop.house.url, "ALTER TABLE dim_person ALTER COLUMN born SET NOT NULL")
    shop.house.prepared = None
    with pytest.raises(ModelError, match=r"born would be NULL after the erasure, .* DROP NOT NULL"):
        forgotten(shop)
    assert names_in(shop) == list(NAMES)
    assert erasures.in_lake(shop.house.raw, {}) == {}


def test_an_unknown_row_changes_nothing(shop: Pair) -> None:
    before = looks(shop.house)
    assert forgotten(shop, "4711")["hits"] == []
    assert looks(shop.house) == before


def test_the_server_log_of_the_warehouse_does_not_show_the_values(
    shop: Pair, servers: Callable[[int], Postgres]
) -> None:
    execute(shop.house.url, "CREATE TABLE public.notes AS SELECT 'Ms. Marriedname' AS note")
    execute(shop.house.url, f"ALTER DATABASE {shop.house.url.rpartition('/')[2]} SET log_statement = 'all'")
    log = servers(16).log
    began = log.stat().st_size
    assert forgotten(shop)["hits"] == ["warehouse public.notes"]
    written = log.read_text(encoding="utf-8")[began:]
    assert "pg_temp" in written
    assert not [name for name in NAMES if name in written]
