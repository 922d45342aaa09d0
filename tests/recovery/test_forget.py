"""The right to erasure: a person's values leave warehouse and lake, and do not come back."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from demo.postgres import Postgres
from pipeline.erasure import forget, rewriting
from pipeline.errors import ModelError, SettingsError
from pipeline.lake import erasures, manifests
from pipeline.lake.buckets import Bucket, folder
from pipeline.lake.erasures import Entry
from pipeline.recovery import refill
from tests.bench import Bench, bench
from tests.recovery.test_retain import rebuilt
from tests.support import Warehouse, database, execute

MODELS = {
    "dim_person": """
        -- personal: first_name, last_name, mail, born
        SELECT person_id, first_name, last_name, first_name || ' ' || last_name AS full_name, mail, born, team
        FROM person JOIN team USING (team_id)
    """,
    "fact_sale": """
        -- key: sale_id
        SELECT sale_id, person_id, last_name AS seller, amount FROM sale JOIN person USING (person_id)
    """,
    "fact_team": """
        -- key: team
        SELECT team, sum(amount) AS amount, count(DISTINCT mail) AS people
        FROM sale JOIN dim_person USING (person_id) GROUP BY team
    """,
    "schema": """
        CREATE TABLE IF NOT EXISTS dim_person (
            person_id integer PRIMARY KEY, first_name varchar(40) NOT NULL, last_name text NOT NULL,
            full_name text NOT NULL, mail text UNIQUE, born date, team text, CHECK (person_id <> 6)
        );
        CREATE TABLE IF NOT EXISTS fact_sale (
            record_id serial PRIMARY KEY, sale_id integer NOT NULL,
            person_id integer REFERENCES dim_person, seller text NOT NULL, amount integer NOT NULL
        );
        CREATE TABLE IF NOT EXISTS fact_team (team text NOT NULL, amount bigint, people bigint);
    """,
}
SOURCE = (
    "CREATE TABLE team (team_id integer PRIMARY KEY, team text)",
    """CREATE TABLE person (
        person_id integer PRIMARY KEY, first_name varchar(40), last_name text, mail text, born date,
        team_id integer
    )""",
    "CREATE TABLE sale (sale_id integer PRIMARY KEY, person_id integer, amount integer)",
    "INSERT INTO team VALUES (1, 'north'), (2, 'south')",
    """INSERT INTO person
        SELECT n, 'first' || n, 'last' || n, 'mail' || n || '@x.org', date '1980-01-01' + n, 1
        FROM generate_series(1, 50) AS n""",
    "UPDATE person SET first_name = 'Ann', last_name = 'O\"Neil', mail = 'ann@x.org' WHERE person_id = 7",
    "UPDATE person SET first_name = 'Ann', mail = 'joann@x.org' WHERE person_id = 8",
    "INSERT INTO sale SELECT n, n % 10 + 1, n FROM generate_series(1, 200) AS n",
)
DAYS: Sequence[Sequence[str]] = (
    ("UPDATE person SET last_name = 'Marriedname' WHERE person_id = 7",),
    ("UPDATE person SET team_id = 2 WHERE person_id IN (7, 9)", "DELETE FROM sale WHERE sale_id = 6"),
    ("UPDATE person SET mail = 'ann2@x.org', first_name = 'Anna' WHERE person_id IN (7)",),
    (
        "UPDATE sale SET amount = 1000 WHERE sale_id = 16",
        "UPDATE team SET team = 'deep south' WHERE team_id = 2",
    ),
)
NAMES = ('O"Neil', "Marriedname", "'ann@x.org'", "ann2@x.org", "Anna")
LOOKS = {
    "persons": "SELECT * FROM dim_person ORDER BY 1",
    "versions": "SELECT * FROM dim_person_version ORDER BY person_id, valid_from",
    "sales": "SELECT sale_id, person_id, seller, amount, recorded_at, superseded_at, deleted FROM fact_sale"
    " ORDER BY sale_id, recorded_at",
    "teams": "SELECT team, amount, people, recorded_at, superseded_at, deleted FROM fact_team ORDER BY 1, 4",
    "rejected": 'SELECT table_name, key, "row", resolved FROM etl.rejected ORDER BY 1, 2::text, 3::text',
}


@pytest.fixture(scope="module")
def life(servers: Callable[[int], Postgres]) -> Iterator[Bench]:
    """A shop of some days, which tests copy."""
    with bench(servers(16)) as made:
        made.fresh(MODELS, *SOURCE)
        made.run()
        for day in DAYS:
            made.do(*day)
            made.run()
        yield made


@pytest.fixture
def shop(life: Bench, servers: Callable[[int], Postgres], tmp_path: Path) -> Iterator[Bench]:
    """A copy of that shop's warehouse and lake."""
    with database(servers(16), "copy", f"TEMPLATE {life.house.url.rpartition('/')[2]}") as url:
        home = Path(shutil.copytree(life.house.folder.parent, tmp_path / "home"))
        house = Warehouse(url, home / "models", folder(f"{home}/raw"), folder(f"{home}/processed"))
        yield replace(life, house=house, home=home)


def lake(shop: Bench) -> refill.Lake:
    targets = shop.house.targets()
    return refill.Lake(shop.house.models, targets, shop.house.raw, shop.house.processed)


def entry(shop: Bench, table: str, *key: str) -> Entry:
    known = list(erasures.in_lake(shop.house.raw).values())
    _, _, erased = forget.the_table(shop.house.models, forget.sealed(shop.house.raw), table)
    return erasures.entry(table, erased.key, key, known, datetime.now(UTC), None)


def forgotten(shop: Bench, key: str = "7") -> dict[str, Any]:
    found = forget.find(lake(shop), forget.sealed(shop.house.raw), entry(shop, "person", key))
    return forget.carry_out(shop.house.url, "public", lake(shop), found, lambda _: None)


def again(shop: Bench) -> None:
    """What a run does first."""
    for each in forget.pending(shop.house.url, "public", shop.house.raw):
        found = forget.find(lake(shop), forget.sealed(shop.house.raw), each)
        assert forget.carry_out(shop.house.url, "public", lake(shop), found, lambda _: None)["hits"] == []


def looks(house: Warehouse) -> dict[str, list[tuple[Any, ...]]]:
    return {name: house.query(text) for name, text in LOOKS.items()}


def names_in(shop: Bench) -> list[str]:
    """Those of the person's names that stand anywhere in lake or warehouse."""
    texts = []
    for bucket in (shop.house.raw, shop.house.processed):
        for path in bucket.all_paths():
            if path.endswith(".parquet"):
                texts.append(str(bucket.scan(path).to_table().to_pylist()))
            else:
                texts.append(bucket.read_text(path))
    tables = (
        "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname IN ('public', 'etl')"
    )
    texts += [str(shop.house.query(f"SELECT * FROM {name}")) for (name,) in shop.house.query(tables)]
    return [name for name in NAMES if any(name in text for text in texts)]


def token(shop: Bench, key: str = "7") -> str:
    return f"erased {entry(shop, 'person', key).key_hash[:12]}"


def test_a_persons_values_are_nowhere_and_all_else_is_as_it_was(
    shop: Bench, servers: Callable[[int], Postgres]
) -> None:
    before = looks(shop.house)
    assert names_in(shop) == list(NAMES)
    certificate = forgotten(shop)
    assert certificate["hits"] == []
    assert certificate["texts"] == 5
    assert names_in(shop) == []
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


def test_a_text_that_rows_of_another_table_have_is_named_and_no_hit(shop: Bench) -> None:
    shop.do("UPDATE team SET team = 'Marriedname and Sons' WHERE team_id = 1")
    shop.run()
    certificate = forgotten(shop)
    assert certificate["hits"] == []
    assert certificate["texts"] == 4
    assert all(": team" in place for place in certificate["in other tables"])
    assert certificate["in other tables"]
    assert shop.house.query("SELECT count(*) FROM dim_person WHERE last_name = 'Marriedname'") == [(0,)]
    shop.do("UPDATE team SET team = 'north' WHERE team_id = 1")


def test_a_change_in_the_source_does_not_bring_them_back(shop: Bench) -> None:
    forgotten(shop)
    shop.do("UPDATE person SET last_name = 'Marriedname', team_id = 1 WHERE person_id IN (7)")
    shop.run()
    assert names_in(shop) == []
    team = "SELECT team, last_name FROM dim_person WHERE person_id = 7"
    assert shop.house.query(team) == [("north", token(shop))]
    shop.run(full=True)
    assert names_in(shop) == []
    shop.do("UPDATE person SET team_id = 2 WHERE person_id = 7")


class Killed(BaseException):
    """Ends a process for the test."""


STEPS = (
    (erasures, "write_to_lake"),
    (forget, "rewritten"),
    (forget, "erase_in_warehouse"),
    (rewriting, "without"),
    (manifests, "seal"),
    (forget, "search_lake"),
    (Bucket, "remove"),
    (erasures, "certify"),
)


OFTEN = ("erase_in_warehouse", "seal", "remove")


@pytest.mark.parametrize(
    "place",
    [
        pytest.param(place, id=name, marks=() if name in OFTEN else pytest.mark.campaign)
        for place, (_, name) in enumerate(STEPS)
    ],
)
def test_one_that_was_killed_goes_on(shop: Bench, monkeypatch: pytest.MonkeyPatch, place: int) -> None:
    holder, name = STEPS[place]
    real, calls = getattr(holder, name), []

    def dies(*given: Any, **named: Any) -> Any:
        calls.append(name)
        if len(calls) == 2:
            raise Killed
        result = real(*given, **named)
        if name in {"write_to_lake", "erase_in_warehouse", "certify"}:
            raise Killed
        return result

    with monkeypatch.context() as patch:
        patch.setattr(holder, name, dies)
        with pytest.raises(Killed):
            forgotten(shop)
    for manifest in forget.sealed(shop.house.raw):
        for table in manifest.tables.values():
            runs = [table.files, *(run.files for run in table.state or ())]
            assert all(map(shop.house.raw.holds, runs))
    again(shop)
    assert names_in(shop) == []
    assert len([row for row in looks(shop.house)["versions"] if 7 in row[:4]]) == 3
    assert forget.pending(shop.house.url, "public", shop.house.raw) == []
    assert not shop.house.fill_again()


@pytest.mark.parametrize("lost", ["the warehouse", "the raw bucket"])
def test_a_restore_of_either_side_is_erased_again(
    shop: Bench, life: Bench, servers: Callable[[int], Postgres], tmp_path: Path, lost: str
) -> None:
    forgotten(shop)
    after = looks(shop.house)
    if lost == "the warehouse":
        with database(servers(16), "restored", f"TEMPLATE {life.house.url.rpartition('/')[2]}") as url:
            house = replace(shop.house, url=url, prepared=None)
            restored = replace(shop, house=house)
            assert names_in(restored)
            again(restored)
            assert names_in(restored) == []
            assert looks(house) == after
        return
    shutil.rmtree(shop.house.raw.root)
    shutil.copytree(life.house.raw.root, shop.house.raw.root)
    assert names_in(shop)
    again(shop)
    assert names_in(shop) == []
    assert looks(shop.house) == after


def test_models_that_aggregate_or_are_keyed_by_names_are_filled_again(
    shop: Bench, servers: Callable[[int], Postgres]
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
    certificate = forgotten(shop)
    assert certificate["hits"] == []
    assert names_in(shop) == []
    assert shop.house.query("SELECT people FROM fact_name_current WHERE last_name LIKE 'erased%'") == [(1,)]
    assert shop.house.query("SELECT people LIKE '%erased %' FROM dim_team WHERE team_id = 2") == [(True,)]
    assert not shop.house.fill_again()


def test_rejected_rows_lose_the_values(shop: Bench) -> None:
    shop.do("UPDATE person SET last_name = 'Rejectedname' WHERE person_id = 6")
    execute(shop.house.url, "ALTER TABLE dim_person DROP CONSTRAINT dim_person_person_id_check")
    execute(shop.house.url, "ALTER TABLE dim_person ADD CHECK (last_name NOT LIKE 'Reject%')")
    shop.house.prepared = None
    shop.run()
    assert "Rejectedname" in str(looks(shop.house)["rejected"])
    assert forgotten(shop, "6")["hits"] == []
    assert "Rejectedname" not in str(looks(shop.house)["rejected"])
    shop.do("UPDATE person SET last_name = 'last6' WHERE person_id = 6")


def test_what_cannot_be_forgotten_is_refused_in_a_line(shop: Bench) -> None:
    for table, key, words in (
        ("nothing", ("1",), "TABLE: no batch has a table nothing of the source"),
        ("team", ("1",), "TABLE: no column of team is declared personal; write `-- personal: column`"),
        ("person", ("x",), "KEY: does not fit the key of person, which is person_id integer"),
        ("person", ("1", "2"), "KEY: the key of person is person_id; give one value for each"),
    ):
        with pytest.raises(SettingsError) as refused:
            entry(shop, table, *key)
        assert str(refused.value) == words
    execute(shop.house.url, "ALTER TABLE dim_person ALTER COLUMN born SET NOT NULL")
    shop.house.prepared = None
    with pytest.raises(ModelError, match=r"born would be NULL once it is erased, .* DROP NOT NULL"):
        forgotten(shop)
    assert names_in(shop) == list(NAMES)
    assert erasures.in_lake(shop.house.raw) == {}


def test_one_that_nobody_knows_leaves_everything_as_it_is(shop: Bench) -> None:
    before = looks(shop.house)
    assert forgotten(shop, "4711")["hits"] == []
    assert looks(shop.house) == before
