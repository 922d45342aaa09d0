"""Persons in tables of several schemas, with equal names and keys: only one of them is erased."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pipeline.columns import Column
from pipeline.duck import session
from pipeline.errors import SettingsError
from pipeline.lake import erasures
from pipeline.postgres import transaction
from pipeline.source.hashing import HashKey
from tests.erasure.people import carry_out, entry, find, forgotten
from tests.pair import Pair

MODELS = {
    "dim_person": "-- personal: crm.person.name\nSELECT p.id, p.name, o.name AS other FROM crm.person AS p"
    " JOIN person AS o ON o.id = p.id",
    "dim_other": "-- personal: person.name\n-- personal: hash hr.person.name\nSELECT o.id, o.name,"
    " h.name AS hash FROM person AS o JOIN hr.person AS h USING (id)",
    "schema": """
        CREATE TABLE dim_person (id int PRIMARY KEY, name text, other text);
        CREATE TABLE dim_other (id int PRIMARY KEY, name text, hash text);
    """,
}
SOURCE = (
    "DROP SCHEMA IF EXISTS crm, hr CASCADE",
    "CREATE SCHEMA crm",
    "CREATE SCHEMA hr",
    *(
        f"CREATE TABLE {name} (id int PRIMARY KEY, name text)"
        for name in ("person", "crm.person", "hr.person")
    ),
    *(
        f"INSERT INTO {name} SELECT n, '{kind} person ' || n FROM generate_series(1, 9) AS n"
        for name, kind in {"person": "main", "crm.person": "client", "hr.person": "staff"}.items()
    ),
)


def test_only_the_person_of_that_schema_is_erased(shared: Pair) -> None:
    shared.key = HashKey("x" * 40)
    shared.fresh(MODELS, *SOURCE)
    shared.run()
    with pytest.raises(
        SettingsError, match=r"no batch has a table acc\.person .*; did you mean crm\.person\?"
    ):
        entry(shared, "acc.person", "7")
    shared.do("UPDATE crm.person SET name = 'client person 7, renamed' WHERE id = 7")
    shared.run()
    row = entry(shared, "crm.person", "7")
    assert carry_out(shared, find(shared, row))["hits"] == []
    hidden = f"erased {row.key_hash[:12]}"
    shared.run(full=True)
    shared.do("UPDATE crm.person SET name = name || '!'", "UPDATE person SET name = name || '!'")
    shared.run()
    persons = shared.house.query("SELECT * FROM dim_person WHERE id > 5 ORDER BY 1")
    assert persons == [
        (n, hidden if n == 7 else f"client person {n}!", f"main person {n}!") for n in range(6, 10)
    ]
    others = shared.house.query("SELECT name, length(hash) FROM dim_other WHERE id = 7")
    assert others == [("main person 7!", 64)]
    with transaction(shared.house.url, "warehouse") as connection:
        assert [each.table for each in erasures.in_warehouse(connection, "public").values()] == ["crm.person"]
    shared.key = None


def test_entries_of_a_table_whose_name_has_a_dot_are_kept_apart() -> None:
    """Earlier releases, which read the main schema only, wrote such a name as it is."""
    key = (Column(name="id", type="integer"),)
    of_main, of_schema = (
        erasures.entry(table, key, ["7"], [], datetime.now(UTC), None) for table in ('"a.b"', "a.b")
    )
    earlier = of_main.model_copy(update={"table": "a.b"})
    with session() as connection:
        connection.execute("CREATE TEMP TABLE rows (id int, name text)")
        connection.execute("INSERT INTO rows VALUES (7, 'Ann')")
        for table, entries, expected in (
            ('"a.b"', [earlier], 1),
            ("a.b", [earlier], 0),
            ("a.b", [of_schema], 1),
            ('"a.b"', [of_schema], 0),
        ):
            erasure = erasures.Erasure(
                key=key,
                columns=(Column(name="name", type="text"),),
                entries=erasures.entries_of(entries, table),
            )
            rows = (
                connection.execute(erasure.forgotten_rows(["id", "name"], "rows")).fetchall()
                if erasure.entries
                else []
            )
            assert len(rows) == expected, (table, entries)


@pytest.mark.parametrize("names", [("crm.person", "crm.people"), ("people", "crm.people")])
def test_an_erased_person_stays_erased_when_the_table_moves(shared: Pair, names: tuple[str, str]) -> None:
    """The list of erased rows has the table's name of that time."""
    model = "-- personal: name\nSELECT id, name FROM {}"
    shared.fresh(
        {
            "dim_person": model.format("person"),
            "schema": "CREATE TABLE dim_person (id int PRIMARY KEY, name text)",
        },
        "DROP SCHEMA IF EXISTS crm CASCADE",
        "CREATE SCHEMA crm",
        "CREATE TABLE person (id int PRIMARY KEY, name text)",
        "INSERT INTO person SELECT n, 'person ' || n FROM generate_series(1, 9) AS n",
    )
    shared.run()
    forgotten(shared)
    for old, new in zip(("person", *names), names, strict=False):
        moved = new.startswith("crm.") and not old.startswith("crm.")
        after = f"crm.{old}" if moved else old
        if moved:
            shared.do(f"ALTER TABLE {old} SET SCHEMA crm")
        if after != new:
            shared.do(f"ALTER TABLE {after} RENAME TO {new.removeprefix('crm.')}")
        (shared.house.folder / "dim_person.sql").write_text(model.format(new), encoding="utf-8")
        shared.run()
        shared.do(f"UPDATE {new} SET name = name || '!'")
        shared.run()
        shared.run(reconcile=True)
        persons = dict(shared.house.query("SELECT id, name FROM dim_person"))
        assert len(persons) == 9, new
        assert persons[7].startswith("erased "), new
        assert persons[8].startswith("person 8!"), new
