"""Tables and columns of any name."""

from __future__ import annotations

import pytest

from pipeline.errors import PipelineError
from tests.engine.hostile import NAMES, all_rows, insert, quoted
from tests.pair import Pair
from tests.support import value

# A model is named like its file, and the names of its views must not be too long.
TABLES = [name for name in NAMES if len(name.encode()) <= 50 and "/" not in name]


def test_columns_of_any_name(shared: Pair) -> None:
    """In a fact and a dimension, with a key of such a name; rejected, changed, deleted and restored."""
    columns = ", ".join(f"{quoted(name)} text" for name in NAMES)
    selected = ", ".join(map(quoted, NAMES))
    key = quoted(NAMES[3])
    required = columns.replace(f"{key} text", f"{key} text NOT NULL")
    shared.fresh(
        {
            "dim_odd": f"-- key: id\nSELECT id, {selected} FROM odd",
            "fact_odd": f"-- key: id\nSELECT id, {selected} FROM odd",
            "fact_join": f"-- key: id\nSELECT o.id, o.{key} FROM odd AS o JOIN odd AS p USING (id)",
            "schema": f"""
                CREATE TABLE dim_odd (id int PRIMARY KEY, {columns});
                CREATE TABLE fact_odd (id int NOT NULL, {required});
                CREATE TABLE fact_join (id int NOT NULL REFERENCES dim_odd, {key} text);
                CREATE TABLE canary ();
            """,
        },
        f"CREATE TABLE odd (id int PRIMARY KEY, {columns})",
        "CREATE TABLE canary ()",
    )
    good = tuple(f"value of {name}" for name in NAMES)
    insert(shared.source_url, "odd", [(1, *good), (2, *good), (3, *([None] * len(NAMES)))])
    shared.run()
    assert all_rows(shared.house.url, "dim_odd") == all_rows(shared.source_url, "odd")
    assert all_rows(shared.house.url, "fact_odd_current") == [(1, *good), (2, *good)]
    assert shared.house.rejected() == [("fact_odd", {"id": "3"}, f"{NAMES[3]} is missing (NULL)")]
    ((kept,),) = shared.house.query('SELECT "row" FROM etl.rejected')
    assert set(kept) == {"id", *NAMES}
    shared.do(f"UPDATE odd SET {key} = 'other' WHERE id > 1")
    shared.run()
    shared.do("DELETE FROM odd WHERE id = 1")
    shared.run(reconcile=True)
    assert [row[0] for row in all_rows(shared.house.url, "fact_odd_current")] == [2, 3]
    assert value(shared.house.url, "SELECT count(*) FROM fact_odd_history") == 5
    assert value(shared.house.url, "SELECT count(*) FROM dim_odd_history") == 5
    assert shared.house.query(f"SELECT id, {key} FROM fact_join_as_of('infinity') ORDER BY 1") == [
        (2, "other"),
        (3, "other"),
    ]
    assert value(shared.source_url, "SELECT to_regclass('canary') IS NOT NULL")
    assert value(shared.house.url, "SELECT to_regclass('canary') IS NOT NULL")


# Names that DuckDB has for rows, and the pipeline for columns of its own beside those of users.
OWN = ("rowid", "k0", "keys", "fits", "FITS", "place", "is rejected (pipeline)", "Is Rejected (Pipeline)")


@pytest.mark.parametrize("name", OWN)
def test_columns_with_names_of_the_pipelines_own(shared: Pair, name: str) -> None:
    """As key and as value: of rows for which the model fails, share a key, or leave a whole result."""
    column = quoted(name)
    groups = f"SELECT g AS {column}, max(code) AS code FROM odd GROUP BY g"
    shared.fresh(
        {
            "dim_cast": f"SELECT id, {column}, CAST(code AS int) AS code FROM odd",
            "dim_repeated": f"{groups} UNION ALL SELECT 1, ''",
            "fact_whole": f"-- key: id\nSELECT id, max({column}) AS {column} FROM odd GROUP BY id",
            "schema": f"""
                CREATE TABLE dim_cast (id int PRIMARY KEY, {column} text, code int);
                CREATE TABLE dim_repeated ({column} int PRIMARY KEY, code text);
                CREATE TABLE fact_whole (id int NOT NULL, {column} int);
            """,
        },
        f"CREATE TABLE odd (id int PRIMARY KEY, {column} text, code text, g int)",
        "INSERT INTO odd SELECT n, n, n, n % 3 FROM generate_series(1, 4) AS n",
    )
    shared.run()
    shared.do(
        "INSERT INTO odd VALUES (5, '5', 'bad', 2), (6, 'bad', '6', 2)",
        f"UPDATE odd SET {column} = 9 WHERE id = 1",
        "DELETE FROM odd WHERE id = 3",
    )
    shared.run()
    rows = [(1, "9", 1), (2, "2", 2), (4, "4", 4)]
    assert shared.house.query("SELECT * FROM dim_cast_as_of(now()) ORDER BY 1") == [*rows, (6, "bad", 6)]
    whole = shared.house.query(f"SELECT id, {column} FROM fact_whole_current ORDER BY 1")
    assert whole == [(1, 9), (2, 2), (4, 4), (5, 5)]
    assert shared.house.query(f"SELECT {column} FROM dim_repeated_as_of(now())") == [(2,)]
    rejected = {(table, *key.values()) for table, key, _ in shared.house.rejected()}
    assert rejected == {("dim_cast", "5"), ("fact_whole", "6"), ("dim_repeated", "1")}


def test_tables_of_any_name(shared: Pair) -> None:
    """In the source and, as a fact with key and reference, in the warehouse."""
    parent = "dim_" + TABLES[3]
    models = {f"fact_{name}": f"-- key: id\nSELECT id, v FROM {quoted(name)}" for name in TABLES}
    made = "".join(
        f"CREATE TABLE {quoted(f'fact_{name}')} (id int NOT NULL REFERENCES {quoted(parent)}, v text);\n"
        for name in TABLES
    )
    shared.fresh(
        models
        | {
            parent: f"SELECT id FROM {quoted(TABLES[0])}",
            "schema": f"CREATE TABLE canary (); CREATE TABLE {quoted(parent)} (id int PRIMARY KEY);\n{made}",
        },
        "CREATE TABLE canary ()",
        *(f"CREATE TABLE {quoted(name)} (id int PRIMARY KEY, v text)" for name in TABLES),
    )
    for name in TABLES:
        insert(shared.source_url, name, [(1, name)])
    shared.run()
    for name in TABLES[1:]:
        insert(shared.source_url, name, [(2, name)])
    shared.run()
    assert len(shared.house.rejected()) == len(TABLES) - 1
    assert shared.house.rejected()[0][2] == f"id is not in {parent}"
    insert(shared.source_url, TABLES[0], [(2, TABLES[0])])
    shared.run()
    assert shared.house.rejected() == []
    for name in TABLES:
        assert all_rows(shared.house.url, f"fact_{name}_current") == [(1, name), (2, name)]
        assert len(all_rows(shared.house.url, f"fact_{name}_history")) == 2
    assert value(shared.source_url, "SELECT to_regclass('canary') IS NOT NULL")
    assert value(shared.house.url, "SELECT to_regclass('canary') IS NOT NULL")


@pytest.mark.parametrize("kind", ["fact", "dimension"])
@pytest.mark.parametrize("length", [55, 56, 63])
def test_a_name_that_leaves_no_room_for_its_views_is_refused(shared: Pair, kind: str, length: int) -> None:
    name = "x" * length
    shared.fresh(
        {
            name: f"-- kind: {kind}\n-- key: id\nSELECT id FROM t",
            "schema": f"CREATE TABLE {name} (id int NOT NULL)",
        },
        "CREATE TABLE t (id int)",
        "INSERT INTO t VALUES (1)",
    )
    if length == 55:
        shared.run()
        assert len(all_rows(shared.house.url, f"{name}_history")) == 1
        return
    with pytest.raises(PipelineError, match=name) as caught:
        shared.run()
    assert "\n" not in str(caught.value)
    assert shared.house.query("SELECT FROM pg_tables WHERE schemaname IN ('public', 'etl')") == []


# Names that the engine uses for relations and columns, and names that DuckDB folds.
OURS = [
    "order", "Order", "ORDER", "iso_4217", "written", "repeated", "result", "last_result", "computed",
    "present", "before", "gone",
]  # fmt: skip
COLUMNS = ["k0", "fits_the_contract", "kept", "later", "moment", "order"]


def test_tables_and_columns_may_have_internal_names(shared: Pair) -> None:
    """Row by row, and as a whole through a CTE with the name of the table."""
    columns = ", ".join(f'"{name}"' for name in COLUMNS)
    typed = ", ".join(f'"{name}" int' for name in COLUMNS)
    row = "-- key: id\nSELECT id, {columns} FROM {name}"
    whole = (
        "WITH {name} AS (SELECT * FROM {name})"
        " SELECT id, {columns} FROM {name} AS t JOIN {name} AS u USING (id)"
    )
    listed = ", ".join(f't."{name}"' for name in COLUMNS)
    models: dict[str, str] = {}
    for place, name in enumerate(OURS):
        models[f"fact_{place}"] = row.format(columns=columns, name=quoted(name))
        models[f"dim_{place}"] = whole.format(columns=listed, name=quoted(name))
    made = "".join(f"CREATE TABLE {name} (id int PRIMARY KEY, {typed});" for name in models if name[0] == "d")
    made += "".join(f"CREATE TABLE {name} (id int, {typed});" for name in models if name[0] == "f")
    zeros = ", ".join("0" for _ in COLUMNS[1:])
    shared.fresh(
        models | {"schema": made},
        *(f"CREATE TABLE {quoted(name)} (id int PRIMARY KEY, {typed})" for name in OURS),
        *(f"INSERT INTO {quoted(name)} VALUES (1, {n}, {zeros})" for n, name in enumerate(OURS)),
    )
    shared.run()
    shared.do(*(f"INSERT INTO {quoted(name)} VALUES (2, {n}, {zeros})" for n, name in enumerate(OURS)))
    shared.run()
    shared.do(*(f"DELETE FROM {quoted(name)} WHERE id = 1" for name in OURS))
    shared.run()
    for place in range(len(OURS)):
        assert shared.house.query(f"SELECT id, k0 FROM fact_{place}_current") == [(2, place)]
        assert shared.house.query(f"SELECT id, k0 FROM dim_{place} ORDER BY 1") == [(1, place), (2, place)]
    assert shared.run() is None


def test_an_alias_may_differ_from_its_column_in_case_only(shared: Pair) -> None:
    """As of a source in mixed case: row by row, in a join, and in a model that reads another."""
    shared.live(
        {
            "dim_user": 'SELECT "Id" AS id, "Name" AS name FROM "User"',
            "fact_pet": '-- key: ID\nSELECT p."Id" AS "ID", u."Name" AS name FROM "Pet" AS p JOIN "User" AS u'
            ' ON p."UserId" = u."Id"',
            "fact_name": '-- key: NAME\nSELECT name AS "NAME", count(*) AS n FROM dim_user GROUP BY name',
            "schema": """
                CREATE TABLE dim_user (id int PRIMARY KEY, name text);
                CREATE TABLE fact_pet ("ID" int, name text);
                CREATE TABLE fact_name ("NAME" text, n bigint);
            """,
        },
        (
            'CREATE TABLE "User" ("Id" int PRIMARY KEY, "Name" text)',
            'CREATE TABLE "Pet" ("Id" int PRIMARY KEY, "UserId" int)',
            """INSERT INTO "User" VALUES (1, 'ann'), (2, 'ben')""",
            'INSERT INTO "Pet" VALUES (7, 1), (8, 2)',
        ),
        [("""UPDATE "User" SET "Name" = 'ann' WHERE "Id" = 2""",)],
    )
    assert all_rows(shared.house.url, "dim_user") == [(1, "ann"), (2, "ann")]
    assert shared.house.query('SELECT "ID", name FROM fact_pet_current ORDER BY 1') == [
        (7, "ann"),
        (8, "ann"),
    ]
    assert shared.house.query('SELECT "NAME", n FROM fact_name_current') == [("ann", 2)]
