"""Fixtures of all tests: Postgres servers, fresh databases, buckets, an S3 and a Prefect server."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from moto.server import ThreadedMotoServer
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from demo.postgres import Postgres
from pipeline.lake.buckets import Bucket, folder
from tests import s3_server
from tests.pair import Pair, pair
from tests.prefect_server import running as prefect_server_running
from tests.servers import memory, remove_homes_of_dead_processes, running_server
from tests.support import database, s3_client, s3_filesystem
from tests.system import own_version, use_own_programs

# Quick and always the same; `pytest --hypothesis-profile=long` looks further, anew each time, and for the
# smallest example, which takes longer than a test may.
slow = (HealthCheck.too_slow, HealthCheck.data_too_large)
settings.register_profile(
    "quick",
    max_examples=3,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=slow,
    phases=(Phase.explicit, Phase.generate),
)
settings.register_profile("long", max_examples=300, deadline=None, suppress_health_check=slow)
# More than twenty thousand steps for tests/engine/test_model_based.py.
settings.register_profile(
    "campaign", max_examples=350, stateful_step_count=100, deadline=None, suppress_health_check=slow
)
settings.load_profile("quick")

DEFAULT_VERSION = 18
# Each worker would make the runs anew, see tests/flows/shop_runs.py.
SHARE_THE_SHOP = {f"tests/flows/test_{name}.py": "the shop" for name in ("etl", "s3", "watching")}
use_own_programs(pytest.MonkeyPatch())


def pytest_configure() -> None:
    """Have pytest's own folders in memory, too."""
    remove_homes_of_dead_processes()
    if folder := memory():
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", folder)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling:
    """All tests of a file run in one worker, and so do those of all files that share the runs of the shop."""
    scheduler = LoadFileScheduling(config, log)
    scheduler._split_scope = lambda test: SHARE_THE_SHOP.get(file := test.split("::")[0], file)
    return scheduler


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave to the campaign what a test's mark ``rarely`` names of its parameters."""
    for item in items:
        if any(word in item.name for mark in item.iter_markers("rarely") for word in mark.args):
            item.add_marker(pytest.mark.campaign)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what the server whose programs the environment names is too old for; of others nothing is."""
    for mark in item.iter_markers("since"):
        version, what = mark.args
        if own_version() < version:
            pytest.skip(f"{what} came with Postgres {version}")


@pytest.fixture(scope="session")
def servers() -> Iterator[Callable[[int], Postgres]]:
    """A running Postgres server of a major version, started when first asked for."""
    running: dict[int, Postgres] = {}
    with ExitStack() as stack:

        def server(version: int) -> Postgres:
            if version not in running:
                running[version] = stack.enter_context(running_server("postgres", version))
            return running[version]

        yield server


@pytest.fixture(scope="session")
def postgres(servers: Callable[[int], Postgres]) -> Postgres:
    """The session's Postgres server, in the version that most tests use."""
    return servers(DEFAULT_VERSION)


@pytest.fixture
def source_version() -> int:
    """The source's major version; parametrize a test with this name to change it."""
    return DEFAULT_VERSION


@pytest.fixture
def source_url(servers: Callable[[int], Postgres], source_version: int) -> Iterator[str]:
    """A fresh, empty source database."""
    with database(servers(source_version), "source") as url:
        yield url


@pytest.fixture
def warehouse_url(postgres: Postgres) -> Iterator[str]:
    """A fresh, empty warehouse database."""
    with database(postgres, "warehouse") as url:
        yield url


@pytest.fixture
def raw(tmp_path: Path) -> Bucket:
    """An empty raw bucket that is a folder."""
    return folder(str(tmp_path / "raw"))


@pytest.fixture
def processed(tmp_path: Path) -> Bucket:
    """An empty processed bucket that is a folder."""
    return folder(str(tmp_path / "processed"))


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One Prefect server for the session, and results that do not outlive it."""
    with prefect_server_running(tmp_path_factory.mktemp("results"), tmp_path_factory.getbasetemp().parent):
        yield


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """The URL of an S3 server that takes any credentials."""
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def recording_s3() -> Iterator[s3_server.Server]:
    """An S3 server that records requests and can refuse them; its data are those of the other one."""
    with s3_server.running() as server:
        yield server


@pytest.fixture
def s3_bucket(s3_endpoint: str) -> Callable[[str], Bucket]:
    """A function that makes a fresh bucket of that purpose on the S3 server."""

    def bucket(purpose: str) -> Bucket:
        name = f"{purpose}-{uuid.uuid4().hex[:12]}"
        s3_client(s3_endpoint).create_bucket(Bucket=name)
        return Bucket(s3_filesystem(s3_endpoint), name, f"s3://{name}")

    return bucket


@pytest.fixture(scope="module")
def shared(postgres: Postgres) -> Iterator[Pair]:
    """A source and a warehouse for a whole module; ``Pair.fresh`` empties them for a test."""
    with pair(postgres) as made:
        yield made
