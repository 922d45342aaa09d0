"""Servers, databases and roles that the tests of the source share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from demo.postgres import Postgres
from tests.pair import Pair
from tests.pair import pair as new_pair
from tests.servers import running_server
from tests.source.server import MODELS, SOURCE
from tests.support import database, execute
from tests.system import system_server


@pytest.fixture
def reader_url(source_url: str) -> Iterator[str]:
    """A role that may connect and nothing else, named after its database."""
    role = "reader_" + source_url.rsplit("_", 1)[1]
    execute(source_url, f"CREATE ROLE {role} LOGIN PASSWORD 'S3cret-word'")
    _, _, tail = source_url.partition("@")
    yield f"postgresql://{role}:S3cret-word@{tail}"
    execute(source_url, f"DROP OWNED BY {role}; DROP ROLE {role}")


@pytest.fixture(scope="module", params=[18, 16])
def types_url(servers: Callable[[int], Postgres], request: pytest.FixtureRequest) -> Iterator[str]:
    """One database for all types, in the newest and an older Postgres."""
    with database(servers(request.param), "types") as url:
        execute(
            url,
            "CREATE TYPE mood AS ENUM ('glad', 'so so', 'O''Keefe')",
            "CREATE DOMAIN price AS numeric(10,2) CHECK (value >= 0)",
            "CREATE DOMAIN word AS text",
            "CREATE DOMAIN dear AS price CHECK (value > 1)",
            "CREATE DOMAIN code AS char(5)",
        )
        yield url


@pytest.fixture(scope="module", params=[18, 16, "system"])
def server(servers: Callable[[int], Postgres], request: pytest.FixtureRequest) -> Iterator[Postgres]:
    """The newest, an older and this machine's own Postgres."""
    if request.param == "system":
        with system_server() as system:
            yield system
    else:
        yield servers(request.param)


@pytest.fixture(scope="module")
def pair_of_version(server: Postgres, postgres: Postgres) -> Iterator[Pair]:
    """A source on each of these servers, and a warehouse."""
    with new_pair(server, postgres) as new:
        yield new


@pytest.fixture(scope="module", params=[18, 16])
def old_and_new(
    servers: Callable[[int], Postgres], postgres: Postgres, request: pytest.FixtureRequest
) -> Iterator[Pair]:
    """A source on the newest and an older Postgres, and a warehouse."""
    with new_pair(servers(request.param), postgres) as new:
        yield new


@pytest.fixture(scope="module")
def primary() -> Iterator[Postgres]:
    """A server of the module's own, which may be stopped."""
    with running_server("primary", autovacuum="off", max_prepared_transactions="5") as server:
        yield server


@pytest.fixture
def pair(primary: Postgres, postgres: Postgres) -> Iterator[Pair]:
    """A source on that server, after the first run and one with changes, which has witnesses."""
    with new_pair(primary, postgres) as new:
        new.fresh(MODELS, *SOURCE)
        new.run()
        new.do("UPDATE shop SET shop_id = shop_id")
        new.run()
        yield new
