"""A shop with personal values, and what is left of them after an erasure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pipeline.erasure import forget, frozen, pending
from pipeline.erasure.declared import Undeclared, the_table
from pipeline.erasure.forget import Findings
from pipeline.erasure.frozen import FrozenTables
from pipeline.lake import erasures
from pipeline.lake.erasures import Entry
from pipeline.lake.manifests import all_manifests
from pipeline.postgres import transaction
from tests.house import Warehouse
from tests.pair import Pair

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


NAMES = ('O"Neil', "Marriedname", "'ann@x.org'", "ann2@x.org", "Anna")


LOOKS = {
    "persons": "SELECT * FROM dim_person ORDER BY 1",
    "versions": "SELECT * FROM dim_person_version ORDER BY person_id, valid_from",
    "sales": "SELECT sale_id, person_id, seller, amount, recorded_at, superseded_at, deleted FROM fact_sale"
    " ORDER BY sale_id, recorded_at",
    "teams": "SELECT team, amount, people, recorded_at, superseded_at, deleted FROM fact_team ORDER BY 1, 4",
    "rejected": 'SELECT table_name, key, "row", resolved FROM etl.rejected ORDER BY 1, 2::text, 3::text',
}


def without_model(shop: Pair) -> FrozenTables:
    with transaction(shop.house.url, "warehouse") as connection:
        return frozen.read(connection, "public", shop.house.models)


def entry(shop: Pair, table: str, *key: str) -> Entry:
    known = list(erasures.in_lake(shop.house.raw, {}).values())
    manifests = all_manifests(shop.house.raw)
    _, _, erased = the_table(shop.house.models, manifests, table, without_model(shop).models)
    return erasures.entry(table, erased.key, key, known, datetime.now(UTC), None)


def find(shop: Pair, row: Entry) -> Findings:
    """What to erase of a row."""
    house, manifests = shop.house, all_manifests(shop.house.raw)
    return forget.find(house.url, "public", house.replayer(), manifests, row, without_model(shop))


def carry_out(shop: Pair, findings: Findings) -> Mapping[str, Any]:
    """Erase it; returns the certificate."""
    return forget.carry_out(shop.house.url, "public", shop.house.replayer(), findings, lambda _: None)


def forgotten(shop: Pair, key: str = "7", table: str = "person") -> Mapping[str, Any]:
    """Erase the row of this key; returns the certificate."""
    return carry_out(shop, find(shop, entry(shop, table, key)))


def again(shop: Pair) -> list[str]:
    """Complete pending erasures, as every run does first; returns the tables of those that are left."""
    left, house = list[str](), shop.house
    for each in pending.find(house.url, "public", house.raw, house.models):
        try:
            found = find(shop, each)
        except Undeclared:
            pending.leave(house.url, "public", house.replayer(), each)
            left.append(each.table)
        else:
            assert carry_out(shop, found)["hits"] == []
    return left


def looks(house: Warehouse) -> dict[str, list[tuple[Any, ...]]]:
    return {name: house.query(text) for name, text in LOOKS.items()}


def names_in(shop: Pair) -> list[str]:
    """The person's names that are left in the lake or the warehouse."""
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


def token(shop: Pair, key: str = "7") -> str:
    return f"erased {entry(shop, 'person', key).key_hash[:12]}"
