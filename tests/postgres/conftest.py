"""A source and a warehouse with the roles of docs/."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

import pytest

from demo.postgres import Postgres
from tasks.grants import grants
from tests.house import Warehouse
from tests.pair import Pair
from tests.postgres.roles import MODELS, SOURCE, NewRole, roles_of
from tests.support import execute


@pytest.fixture
def pair(shared: Pair) -> Pair:
    """A source and models, before the first run."""
    shared.fresh(MODELS, *SOURCE)
    return shared


@pytest.fixture
def new_role(postgres: Postgres) -> Iterator[NewRole]:
    """A function that runs a script of ``docs/`` with psql and returns the URL of the role."""
    with roles_of(postgres) as make:
        yield make


@pytest.fixture
def reader_url(pair: Pair, new_role: NewRole, monkeypatch: pytest.MonkeyPatch) -> str:
    """The source's role after `make grants`."""
    url = new_role("source-role.sql", pair.source_url)
    monkeypatch.setenv("TOTESYS_TRANSFORMS", str(pair.house.folder))
    execute(pair.source_url, *grants(unquote(urlsplit(url).username or "")))
    return url


@pytest.fixture
def least(pair: Pair, new_role: NewRole, reader_url: str) -> Pair:
    """The source and the warehouse with the two roles."""
    house = pair.house
    url = new_role("warehouse-role.sql", house.url)
    return Pair(reader_url, Warehouse(url, house.folder, house.raw, house.processed), pair.home)
