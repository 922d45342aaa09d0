"""What the flow tests share: worlds for the flows to run in."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from demo.postgres import Postgres
from pipeline import postgres as connecting
from tests.flows.story import TRANSFORMS, Story, s3_access, s3_client, tell
from tests.flows.support import HERE, World, execute_file


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up on an unreachable server at once."""
    monkeypatch.setattr(connecting, "PAUSES", ())


@pytest.fixture(scope="session")
def make_world(
    prefect_server: None, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., World]]:
    """A function that makes a world: fresh databases, folders as buckets unless told otherwise."""
    with ExitStack() as stack:

        def make(purpose: str, transforms: Path, **changes: Any) -> World:
            home = tmp_path_factory.mktemp(purpose)
            world: dict[str, Any] = {
                "home": home,
                "source_url": _database(stack, postgres, f"{purpose}_source"),
                "warehouse_url": _database(stack, postgres, f"{purpose}_warehouse"),
                "raw_uri": str(home / "raw"),
                "processed_uri": str(home / "processed"),
                "transforms": transforms,
            }
            return World(**(world | changes))

        yield make


def _database(stack: ExitStack, server: Postgres, purpose: str) -> str:
    name = f"{purpose}_{uuid.uuid4().hex[:12]}"
    server.create_database(name)
    stack.callback(_drop, server, name)
    return server.url(name)


def _drop(server: Postgres, name: str) -> None:
    drop = sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(drop)


@pytest.fixture(scope="session")
def stories(make_world: Callable[..., World], request: pytest.FixtureRequest) -> Callable[[str], Story]:
    """A function that tells the shop's story over folders or over S3, once a session."""
    told: dict[str, Story] = {}

    def story(buckets: str) -> Story:
        if buckets not in told:
            changes = s3_buckets(request.getfixturevalue("s3_endpoint")) if buckets == "s3" else {}
            told[buckets] = tell(make_world(f"shop_{buckets}", TRANSFORMS, **changes))
        return told[buckets]

    return story


def s3_buckets(endpoint: str) -> dict[str, Any]:
    """Settings for two fresh buckets that keep every version of their objects."""
    s3 = s3_client(endpoint)
    uris = {}
    for purpose in ("raw", "processed"):
        name = f"{purpose}-{uuid.uuid4().hex[:12]}"
        s3.create_bucket(Bucket=name)
        s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        uris[f"{purpose}_uri"] = f"s3://{name}/some/prefix"
    return uris | {"more": s3_access(endpoint)}


@pytest.fixture
def kiosk(make_world: Callable[..., World]) -> World:
    """A source of two small tables, and models of its own in a folder that may be changed."""
    return open_kiosk(make_world)


def open_kiosk(make_world: Callable[..., World]) -> World:
    """Make a kiosk's world."""
    world = make_world("kiosk", Path())
    models = world.home / "models"
    shutil.copytree(HERE / "kiosk" / "models", models)
    execute_file(world.source_url, HERE / "kiosk" / "source.sql")
    return World(**(vars(world) | {"transforms": models}))
