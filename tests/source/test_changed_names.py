"""Values that Postgres prints as the name of an object change when the object is renamed."""

from __future__ import annotations

import pytest

from tests.pair import Pair

MODELS = {
    "dim_t": "SELECT id, v::varchar AS v FROM t",
    "schema": "CREATE TABLE dim_t (id int PRIMARY KEY, v text)",
}
TYPES = {
    "a table": ("regclass", "'thing'", "ALTER TABLE thing RENAME TO other", "public.other"),
    "a function": ("regproc", "'f'", "ALTER FUNCTION f RENAME TO g", "public.g"),
    "a table in an array": ("regclass[]", "'{thing}'", "ALTER TABLE thing RENAME TO other", "{public.other}"),
    "a table in a composite": (
        "pair",
        "(1, 'thing')",
        "ALTER TABLE thing RENAME TO other",
        "(1,public.other)",
    ),
    "a type under a domain": ("named", "'pair'", "ALTER TYPE pair RENAME TO two", "public.two"),
    "a schema in a range": ("span", "'[s,s]'", "ALTER SCHEMA s RENAME TO u", "[u,u]"),
}


@pytest.mark.parametrize(("type_", "value", "change", "shown"), TYPES.values(), ids=TYPES)
def test_a_value_that_is_an_objects_name_follows_its_renaming(
    shared: Pair, type_: str, value: str, change: str, shown: str
) -> None:
    shared.fresh(
        MODELS,
        "DROP SCHEMA IF EXISTS s, u",
        "CREATE SCHEMA s",
        "CREATE TABLE thing ()",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE TYPE pair AS (a int, b regclass)",
        "CREATE DOMAIN named AS regtype",
        "CREATE TYPE span AS RANGE (subtype = regnamespace, subtype_opclass = oid_ops)",
        f"CREATE TABLE t (id int PRIMARY KEY, v {type_})",
        f"INSERT INTO t VALUES (1, {value})",
    )
    shared.run()
    shared.do(change)
    shared.run()
    assert shared.house.query("SELECT v FROM dim_t") == [(shown,)]
