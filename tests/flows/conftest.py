"""Fixtures of the flow tests: worlds for the flows to run in."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

import pytest
from prefect_aws.credentials import _get_client_cached

from demo.postgres import Postgres
from pipeline import postgres as connecting
from pipeline import settings
from tasks import blocks, save_blocks
from tests.flows.attempts import PASSWORDS, WRONG, Attempt, Try, kept_log
from tests.flows.s3_world import Access
from tests.flows.shop_runs import TRANSFORMS, ShopRuns, run_the_shop, s3_access
from tests.flows.support import HERE, World, blocks_were_changed, execute_file
from tests.s3_server import Server
from tests.support import new_database, s3_client


@pytest.fixture
def without_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connect without retries."""
    monkeypatch.setattr(connecting, "PAUSES", ())


@pytest.fixture(scope="session")
def make_world(
    prefect_server: None, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., World]:
    """A function that makes a world: fresh databases, folders as buckets unless changed."""

    def make(purpose: str, transforms: Path, **changes: Any) -> World:
        home = tmp_path_factory.mktemp(purpose)
        world: dict[str, Any] = {
            "home": home,
            "source_url": new_database(postgres, f"{purpose}_source"),
            "warehouse_url": new_database(postgres, f"{purpose}_warehouse"),
            "raw_uri": str(home / "raw"),
            "processed_uri": str(home / "processed"),
            "transforms": transforms,
        }
        return World(**(world | changes))

    return make


@pytest.fixture(scope="session")
def shop_runs(make_world: Callable[..., World], request: pytest.FixtureRequest) -> Callable[[str], ShopRuns]:
    """A function that makes the runs over folders or over S3, once per session."""
    made: dict[str, ShopRuns] = {}

    def runs(buckets: str) -> ShopRuns:
        if buckets not in made:
            changes = s3_buckets(request.getfixturevalue("s3_endpoint")) if buckets == "s3" else {}
            made[buckets] = run_the_shop(make_world(f"shop_{buckets}", TRANSFORMS, **changes))
        return made[buckets]

    return runs


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
    """A source of two small tables, with models in a folder that tests may change."""
    return open_kiosk(make_world)


def open_kiosk(make_world: Callable[..., World]) -> World:
    """Make a kiosk's world."""
    world = make_world("kiosk", Path())
    models = world.home / "models"
    shutil.copytree(HERE / "kiosk" / "models", models)
    execute_file(world.source_url, HERE / "kiosk" / "source.sql")
    return World(**(vars(world) | {"transforms": models}))


@pytest.fixture
def attempt(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Try:
    """A function that runs a command's main in a world, with arguments as on a command line."""

    def attempt(world: World, main: Callable[[], int], *arguments: str) -> Attempt:
        for url in (world.source_url, world.warehouse_url):
            PASSWORDS.add(urlsplit(url).password or WRONG)
        monkeypatch.setattr(sys, "argv", ["command", *arguments])
        capsys.readouterr()
        with world.entered(), kept_log() as log:
            status = main()
        shown = capsys.readouterr()
        return Attempt(status, shown.out, shown.err, "\n".join(log.lines))

    return attempt


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    """A function that calls a command's main in a world; returns its errors, and what it prints."""

    def call(main: Callable[[], int], world: World, *arguments: str, status: int = 0) -> list[str]:
        monkeypatch.setattr(sys, "argv", ["command", *arguments])
        capsys.readouterr()
        with world.entered():
            assert main() == status
        shown = capsys.readouterr()
        return shown.err.splitlines() + shown.out.splitlines()

    return call


@pytest.fixture(scope="session")
def base(make_world: Callable[..., World]) -> World:
    """A kiosk whose first batch is in the warehouse."""
    world = open_kiosk(make_world)
    world.run().reports  # noqa: B018  raises what the run failed with
    for name in ("raw", "models"):
        shutil.copytree(world.home / name, world.home / "kept" / name)
    return world


@pytest.fixture
def loaded(base: World) -> Iterator[World]:
    """The same kiosk, with raw bucket and models as they were after its first batch."""
    yield base
    for name in ("raw", "models"):
        shutil.rmtree(base.home / name, ignore_errors=True)
        shutil.copytree(base.home / "kept" / name, base.home / name)


@pytest.fixture
def closed_port() -> Iterator[str]:
    """A port that is reserved but not listened on."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield str(bound.getsockname()[1])


@pytest.fixture
def fresh_s3_clients() -> Iterator[None]:
    """Start without cached S3 clients, and restore the environment afterwards."""
    _get_client_cached.cache_clear()
    blocks_were_changed()
    with patch.dict(os.environ):
        yield
    blocks_were_changed()


@pytest.fixture
def server(recording_s3: Server) -> Server:
    return recording_s3.renewed()


@pytest.fixture
def uris(s3_endpoint: str) -> dict[str, str]:
    """Two new buckets, which all moto servers of this process share."""
    return {name: uri for name, uri in s3_buckets(s3_endpoint).items() if name != "more"}


@pytest.fixture
def access(tmp_path: Path, uris: dict[str, str]) -> Iterator[Callable[[dict[str, str]], Access]]:
    """A function that creates the raw bucket's block from settings, without Prefect's server."""
    with ExitStack() as stack:

        def reach(more: dict[str, str]) -> Access:
            world = World(tmp_path, "", "", **uris, transforms=tmp_path, more=more)
            stack.enter_context(world.entered())
            config = settings.load()
            block = save_blocks.s3_block(str(config.raw_uri), save_blocks.s3_credentials(config))
            return Access(block, blocks.s3(block))

        yield reach
