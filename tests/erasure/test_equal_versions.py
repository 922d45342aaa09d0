"""After an erasure, versions that have become equal are one, as in a rebuild."""

from __future__ import annotations

from collections.abc import Callable

from demo.postgres import Postgres
from tests.erasure.people import forgotten
from tests.pair import pair
from tests.recovery.test_retain import rebuilt
from tests.support import database

SELECT = "-- personal: name\n-- untracked: note\n{}SELECT pet_id, name, weight, note FROM pet"
COLUMNS = "name text, weight numeric, note text"
MODELS = {
    "dim_pet": SELECT.format(""),
    "fact_pet": SELECT.format("-- key: pet_id\n"),
    "schema": f"""
        CREATE TABLE IF NOT EXISTS dim_pet (pet_id integer PRIMARY KEY, {COLUMNS});
        CREATE TABLE IF NOT EXISTS fact_pet (pet_id integer NOT NULL, {COLUMNS});
    """,
}
SOURCE = (
    f"CREATE TABLE pet (pet_id integer PRIMARY KEY, {COLUMNS})",
    "INSERT INTO pet VALUES (1, 'Rex', 1.5, 'a'), (2, 'Max', 2, 'a')",
)
DAYS = (
    ("UPDATE pet SET name = 'Rexy', weight = 1.50 WHERE pet_id = 1",),
    ("UPDATE pet SET name = 'Rexi', note = 'b' WHERE pet_id = 1",),
    ("DELETE FROM pet WHERE pet_id = 1",),
    ("INSERT INTO pet VALUES (1, 'Rexo', 1.5, 'c')",),
    ("UPDATE pet SET name = 'Roxy' WHERE pet_id = 1",),
    ("DELETE FROM pet WHERE pet_id = 1", "UPDATE pet SET name = 'Mux' WHERE pet_id = 2"),
)
# Values of untracked columns may be out of date.
HISTORY = "SELECT pet_id, name, weight, valid_from, valid_to, deleted FROM {}_history ORDER BY 1, 4"


def test_versions_that_an_erasure_makes_equal_are_one_as_in_a_rebuild(
    servers: Callable[[int], Postgres],
) -> None:
    with pair(servers(16)) as shop, database(servers(16), "rebuilt") as url:
        shop.live(MODELS, SOURCE, DAYS)
        forgotten(shop, "1", "pet")
        house = rebuilt(shop, (shop.house.raw, shop.house.processed), url)
        for name in ("dim_pet", "fact_pet"):
            assert shop.house.query(HISTORY.format(name)) == house.query(HISTORY.format(name))
