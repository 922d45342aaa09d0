"""A warehouse of cities, shops, sales and rivals, whose tables refer to each other in every way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from demo.postgres import Postgres
from pipeline.lake.buckets import folder
from pipeline.postgres import transaction
from pipeline.warehouse import references
from tests.house import Warehouse
from tests.made_up import MadeUp
from tests.support import Row, database, execute, write_models

MODELS = {
    "dim_city": "SELECT city_id, label FROM cities",
    "dim_shop": "SELECT shop_id, city_id, label FROM shops",
    "fact_sale": "-- key: sale_id\nSELECT sale_id, shop_id, city_id, amount FROM sales",
    "bridge_rival": "-- kind: bridge\n-- key: shop_id, city_id\nSELECT shop_id, city_id FROM rivals",
    "schema": """
        CREATE TABLE IF NOT EXISTS dim_city (city_id bigint PRIMARY KEY, label text)
        PARTITION BY LIST (city_id);
        CREATE TABLE IF NOT EXISTS dim_city_1 PARTITION OF dim_city FOR VALUES IN (1);
        CREATE TABLE IF NOT EXISTS dim_city_2 PARTITION OF dim_city DEFAULT;
        CREATE TABLE IF NOT EXISTS dim_shop (
            shop_id integer PRIMARY KEY, city_id integer NOT NULL REFERENCES dim_city, label text
        );
        CREATE TABLE IF NOT EXISTS fact_sale (
            record_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            sale_id integer NOT NULL,
            shop_id integer NOT NULL REFERENCES dim_shop,
            city_id integer REFERENCES dim_city DEFERRABLE INITIALLY DEFERRED,
            amount integer NOT NULL CHECK (amount > 0),
            doubled integer GENERATED ALWAYS AS (amount * 2) STORED
        );
        CREATE TABLE IF NOT EXISTS bridge_rival (
            shop_id integer REFERENCES dim_shop, city_id integer REFERENCES dim_city,
            PRIMARY KEY (shop_id, city_id)
        );
    """,
}
TABLES = {
    "cities": ({"city_id": "bigint", "label": "text"}, ("city_id",)),
    "shops": ({"shop_id": "integer", "city_id": "integer", "label": "text"}, ("shop_id",)),
    "sales": (
        {"sale_id": "integer", "shop_id": "integer", "city_id": "integer", "amount": "integer"},
        ("sale_id",),
    ),
    "rivals": ({"shop_id": "integer", "city_id": "integer"}, ("shop_id", "city_id")),
}

CONTENTS = {
    "dim_city": "SELECT * FROM dim_city_version ORDER BY city_id, valid_from",
    "dim_shop": "SELECT * FROM dim_shop_version ORDER BY shop_id, valid_from",
    "fact_sale": "SELECT * FROM fact_sale ORDER BY sale_id, recorded_at",
    "bridge_rival": "SELECT * FROM bridge_rival ORDER BY 1, 2",
    "rejected": "SELECT * FROM etl.rejected ORDER BY table_name, key::text, first_batch, resolved",
    "constraints": "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), convalidated"
    " FROM pg_constraint WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2",
}


def city(city_id: int, label: str = "York") -> Row:
    return {"city_id": city_id, "label": label}


def shop(shop_id: int, city_id: int = 1, label: str = "a") -> Row:
    return {"shop_id": shop_id, "city_id": city_id, "label": label}


def sale(sale_id: int, shop_id: int = 1, city_id: int | None = 1, amount: int = 1) -> Row:
    return {"sale_id": sale_id, "shop_id": shop_id, "city_id": city_id, "amount": amount}


def rival(shop_id: int, city_id: int) -> Row:
    return {"shop_id": shop_id, "city_id": city_id}


DAYS: list[dict[str, list[Row]]] = [
    {
        "cities": [city(1), city(2)],
        "shops": [shop(1), shop(2, 2), shop(3, 9)],
        "sales": [sale(1), sale(2, 2, None), sale(3, 2, 2)],
        "rivals": [rival(1, 2), rival(2, 1)],
    },
    {
        "cities": [city(2, "Bath")],
        "sales": [sale(3, 1, 2), sale(4, 3), sale(5, 1, 8), sale(6, 1, 1, -1), sale(7)],
        "rivals": [rival(2, 2), rival(3, 1)],
    },
    {"cities": [city(9)], "sales": [sale(7, 2, 2), sale(5, 1, None)]},
]
# What the warehouse has after them.
PRESENT = {
    "fact_sale": "SELECT sale_id, shop_id, city_id FROM fact_sale_current ORDER BY 1",
    "bridge_rival": "SELECT * FROM bridge_rival ORDER BY 1, 2",
}
EXPECTED = {
    "fact_sale": [(1, 1, 1), (2, 2, None), (3, 1, 2), (4, 3, 1), (5, 1, None), (7, 2, 2)],
    "bridge_rival": [(1, 2), (2, 1), (2, 2), (3, 1)],
}


@dataclass
class Place:
    """A warehouse whose role owns the database, and has or has not the right to set the parameter."""

    url: str
    role: str
    house: Warehouse
    batches: MadeUp

    def allow(self, *, right: bool) -> None:
        """Grant the right to set the parameter, or revoke it."""
        verb, to = ("GRANT", "TO") if right else ("REVOKE", "FROM")
        execute(self.url, f"{verb} SET ON PARAMETER session_replication_role {to} {self.role}")

    def bring(self, **rows: list[Row]) -> None:
        """Load a batch of these rows."""
        self.house.bring(self.batches.batch(rows), max_rejected_share=1)

    def reasons(self, *statements: str) -> dict[str, str]:
        """The reasons after these statements, which are then undone."""
        with (
            transaction(self.house.url, "warehouse") as connection,
            connection.transaction(force_rollback=True),
        ):
            connection.execute("SET LOCAL search_path TO public")
            for text in statements:
                connection.execute(text.encode())
            connection.execute("SET LOCAL search_path TO pg_catalog, pg_temp")
            return references.checked_by_row(connection, "public", MODELS)


@contextmanager
def place(server: Postgres, home: Path) -> Iterator[Place]:
    role = f"loader_{uuid4().hex[:12]}"
    with database(server, "warehouse") as url:
        name = url.rsplit("/", 1)[1]
        execute(
            url,
            f"CREATE ROLE {role} LOGIN NOSUPERUSER PASSWORD 'secret'",
            f"ALTER DATABASE {name} OWNER TO {role}",
        )
        write_models(home / "models", MODELS)
        raw, processed = folder(f"{home}/raw"), folder(f"{home}/processed")
        house = Warehouse(server.url(name, role, "secret"), home / "models", raw, processed)
        yield Place(url, role, house, MadeUp(raw, TABLES))
        execute(url, f"REASSIGN OWNED BY {role} TO CURRENT_USER", f"DROP OWNED BY {role}")
        execute(url, f"DROP ROLE {role}")
