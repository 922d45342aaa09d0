"""Tables whose models were removed are erased by the models that etl.model records."""

from __future__ import annotations

from collections.abc import Mapping

from tests.erasure.people import MODELS, forgotten, looks, names_in, token
from tests.pair import Pair
from tests.recovery.restating import restated
from tests.warehouse.test_renames import write

DIM_TEAM = {"dim_team": "SELECT team_id, team FROM team"}
# In its rows are the values of several persons.
DIM_STAFF = {
    "dim_staff": """
        -- personal: last_name
        SELECT team_id, string_agg(last_name, ',' ORDER BY person_id) AS people FROM person GROUP BY team_id
    """
}
TABLES = """
    CREATE TABLE IF NOT EXISTS dim_team (team_id integer PRIMARY KEY, team text);
    CREATE TABLE IF NOT EXISTS dim_staff (team_id integer PRIMARY KEY, people text);
"""


def models(*kept: str, **more: str) -> Mapping[str, str]:
    return {**{name: MODELS[name] for name in kept}, **more, "schema": MODELS["schema"] + TABLES}


def test_frozen_tables_and_their_versions_are_erased(shop: Pair) -> None:
    before = looks(shop.house)
    write(shop, models(**DIM_TEAM))
    shop.run()
    shop.do("UPDATE team SET team = 'far south' WHERE team_id = 2")
    shop.run()
    certificate = forgotten(shop)
    assert certificate["hits"] == []
    assert certificate["frozen"] == {}
    assert names_in(shop) == []
    assert shop.house.miscounted() == [], "although equal versions were merged"
    after, hidden = looks(shop.house), token(shop)
    assert [row for row in after["persons"] if row[0] == 7] == [
        (7, hidden, hidden, f"{hidden} {hidden}", hidden, None, "deep south")
    ]
    assert [len([row for row in each["versions"] if 7 in row[:4]]) for each in (before, after)] == [5, 3]
    assert after["teams"] == before["teams"]
    write(shop, models("dim_person", "fact_sale", "fact_team", **DIM_TEAM))
    shop.do("UPDATE team SET team = 'deep south' WHERE team_id = 2")
    shop.run()
    assert names_in(shop) == []


def test_a_frozen_table_of_aggregates_is_named_and_erased_when_its_model_returns(shop: Pair) -> None:
    everything = models("dim_person", "fact_sale", "fact_team", **DIM_STAFF)
    write(shop, everything)
    shop.run()
    write(shop, {name: text for name, text in everything.items() if name != "dim_staff"})
    shop.run()
    certificate = forgotten(shop)
    assert certificate["frozen"] == {"dim_staff": "its rows cannot be erased one by one"}
    assert certificate["hits"] == ["warehouse public.dim_staff", "warehouse public.dim_staff_version"]
    assert restated(shop, dict(everything)) == ["dim_staff"]
    assert names_in(shop) == []
