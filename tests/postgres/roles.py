"""The scripts that make the roles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from demo.binaries import account_for, programs, run
from demo.home import PROJECT
from demo.postgres import Postgres

ROOT = PROJECT
PASSWORD = "its/own:pass@word"
MODELS = {
    "dim_shop": "SELECT shop_id, label FROM shop",
    "fact_sale": "-- key: sale_id\nSELECT sale_id, shop_id, amount FROM sale",
    "schema": """
        CREATE TABLE IF NOT EXISTS dim_shop (shop_id integer PRIMARY KEY, label varchar);
        CREATE TABLE IF NOT EXISTS fact_sale (
            sale_record_id serial PRIMARY KEY,
            sale_id integer NOT NULL,
            shop_id integer NOT NULL REFERENCES dim_shop,
            amount numeric NOT NULL
        );
    """,
}
SOURCE = (
    "CREATE TABLE shop (shop_id int PRIMARY KEY, label text)",
    "CREATE TABLE sale (sale_id serial PRIMARY KEY, shop_id int, amount numeric)",
    "INSERT INTO shop VALUES (1, 'York')",
    "INSERT INTO sale (shop_id, amount) VALUES (1, 1), (2, 2)",
)
NewRole = Callable[..., str]


def script_of(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def drop(url: str, role: str) -> None:
    name = sql.Identifier(role)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("REASSIGN OWNED BY {} TO CURRENT_USER").format(name))
        connection.execute(sql.SQL("DROP OWNED BY {}; DROP ROLE {}").format(name, name))


@contextmanager
def roles_of(postgres: Postgres) -> Iterator[NewRole]:
    """A function that runs a script of ``docs/`` with psql and returns the URL of the role."""
    with ExitStack() as stack:
        made = set[str]()

        def make(script: str, url: str, **settings: str) -> str:
            role = f"{Path(script).stem} {url.rsplit('_', 1)[1]}"
            account = account_for(postgres.home)
            options = [f"--set={name}={text}" for name, text in (settings | {"role": role}).items()]
            psql = programs(postgres.version, account) / "psql"
            finished = run(
                [psql, "--no-psqlrc", "--quiet", *options, "--file=-", url], account, script_of(script)
            )
            assert (finished.returncode, finished.stderr) == (0, "")
            name = sql.Identifier(role)
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(name, PASSWORD))
            if role not in made:
                stack.callback(drop, url, role)
            made.add(role)
            return f"postgresql://{quote(role)}:{quote(PASSWORD, safe='')}@{url.partition('@')[2]}"

        yield make
