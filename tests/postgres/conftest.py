"""A source and a warehouse with the roles of docs/."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import psycopg
import pytest
from psycopg import sql

from demo.binaries import account_for, programs, run
from demo.postgres import Postgres
from tasks.grants import grants
from tests.bench import Bench
from tests.house import Warehouse
from tests.postgres.roles import MODELS, PASSWORD, SOURCE, NewRole, drop, script_of
from tests.support import execute


@pytest.fixture
def bench(shared: Bench) -> Bench:
    """A source and models, before the first run."""
    shared.fresh(MODELS, *SOURCE)
    return shared


@pytest.fixture
def new_role(postgres: Postgres) -> Iterator[NewRole]:
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


@pytest.fixture
def reader_url(bench: Bench, new_role: NewRole, monkeypatch: pytest.MonkeyPatch) -> str:
    """The source's role after `make grants`."""
    url = new_role("source-role.sql", bench.source_url)
    monkeypatch.setenv("TOTESYS_TRANSFORMS", str(bench.house.folder))
    execute(bench.source_url, *grants(unquote(urlsplit(url).username or "")))
    return url


@pytest.fixture
def least(bench: Bench, new_role: NewRole, reader_url: str) -> Bench:
    """The source and the warehouse with the two roles."""
    house = bench.house
    url = new_role("warehouse-role.sql", house.url)
    return Bench(reader_url, Warehouse(url, house.folder, house.raw, house.processed), bench.home)
