"""Models over tables of special types."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from demo.postgres import Postgres
from tests.models.both import Both
from tests.models.comparison_cases import SCHEMA, TABLES, VALUES, Models
from tests.support import database, execute


@pytest.fixture(scope="module")
def models(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Models]:
    with database(postgres, "compared") as url:
        execute(url, *SCHEMA)
        for type_, values in VALUES.items():
            execute(url, f"CREATE TABLE {TABLES[type_]} (id int PRIMARY KEY, v {type_})")
            rows = [*values, values[0], None]
            with psycopg.connect(url) as connection:
                cast = type_.partition(" COLLATE")[0]
                query = f"INSERT INTO {TABLES[type_]} VALUES (%s, %s::text::{cast})"
                connection.cursor().executemany(query, list(enumerate(rows)))
        models = Models(url, tmp_path_factory.mktemp("models"))
        with models.postgres:
            yield models


@pytest.fixture(scope="module")
def both(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    with database(postgres, "computing") as url:
        made = Both(url, tmp_path_factory.mktemp("computing"))
        with made.postgres:
            yield made
