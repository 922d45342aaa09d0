"""The image contains what the flows need, and runs as a plain user on a read-only root."""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import packages_distributions
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
import yaml  # type: ignore[import-untyped]
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL

from demo import shop
from demo.home import PROJECT
from pipeline.lake.buckets import Bucket
from pipeline.models import library
from tests.support import KEY, value

ROOT = PROJECT
COPIED = re.findall(
    r"^COPY ([^-]\S*) (\S+)$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE
)
FOLDERS = [name for name, place in COPIED if place == name]
BASE = "localhost/python:3.12-slim"
BUILT = "localhost/totesys:test"
ORDERS = 60
SECONDS_TO_WAIT = 120

IMPORTS = """
import sys
sys.modules.update(dict.fromkeys(sys.argv[1:])) # as if they were not installed
import flows.etl, flows.rebuild, tasks.save_blocks
from pathlib import Path
from pipeline.models import library
print(*library.load(Path("transforms")))
"""


def test_what_is_copied_is_there_and_nothing_else_is_sent() -> None:
    sent = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(name for name, _ in COPIED) == sorted(sent)
    assert [name for name in sent if not (ROOT / name).exists()] == []


def test_the_copied_folders_and_the_locked_packages_suffice(tmp_path: Path) -> None:
    for name in FOLDERS:
        shutil.copytree(ROOT / name, tmp_path / name)
    bare = {name: os.environ[name] for name in ("HOME", "PATH") if name in os.environ}
    locked = _pins("requirements.lock").keys()
    others = [
        module
        for module, packages in packages_distributions().items()
        if locked.isdisjoint(map(_normal, packages))
    ]
    assert "pytest" in others
    command = (sys.executable, "-c", IMPORTS, *others)
    done = subprocess.run(command, cwd=tmp_path, env=bare, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == library.load(ROOT / "transforms").keys()


def test_the_image_gets_the_versions_that_were_tested() -> None:
    assert _pins("requirements.lock").items() <= _pins("requirements-dev.lock").items()


def test_what_may_write_packages_runs_nothing_of_the_repository() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    assert workflow["permissions"] == {}
    writing = {name: job for name, job in workflow["jobs"].items() if "packages" in job["permissions"]}
    assert writing.keys() == {"publish"}
    publish = writing["publish"]
    assert publish["if"] == "github.event_name == 'push'"
    assert {"tests", "lint", "image"} <= set(publish["needs"])
    assert [step["uses"].partition("@")[0] for step in publish["steps"] if "uses" in step] == [
        "actions/download-artifact"
    ]
    commands = [line.strip() for step in publish["steps"] for line in step.get("run", "").splitlines()]
    assert all(re.match(r"published=|docker (load|tag|push) |echo .*\| docker login ", it) for it in commands)


def _pins(lock: str) -> dict[str, set[str]]:
    """Versions by package; some packages have one version for each of several platforms."""
    pins: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)==(\S+)", (ROOT / lock).read_text(), re.MULTILINE):
        pins.setdefault(_normal(name), set()).add(version)
    return pins


def _normal(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()


@dataclass(frozen=True)
class Image:
    """An image, and what runs it: with nothing to write to but its volume."""

    engine: str
    name: str

    def run(self, *command: str, container: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        options = ["--rm", "--network=host", "--read-only", *(f"--env={name}" for name in environment)]
        if self.engine == "podman":  # which would make more writable by itself
            options.append("--read-only-tmpfs=false")
        options += [f"--name={container}"] if container else []
        return _run(self.engine, "run", *options, self.name, *command, environment=environment)


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    """The image that IMAGE names, or else one that is built from this tree."""
    given = os.environ.get("IMAGE")
    engine = next((name for name in ("docker", "podman") if _has(name, given or BASE)), None)
    if given and not engine:
        pytest.fail(f"neither docker nor podman has {given}")
    if sys.platform != "linux" or not engine:
        pytest.skip(f"needs Linux, and docker or podman with {BASE}: docs/image.md")
    if not given:
        built = _run(engine, "build", f"--build-arg=PYTHON_IMAGE={BASE}", f"--tag={BUILT}", str(ROOT))
        assert built.returncode == 0, built.stderr
    yield Image(engine, given or BUILT)
    if not given:
        _run(engine, "rmi", BUILT)


def _has(engine: str, image: str) -> bool:
    return bool(shutil.which(engine)) and _run(engine, "image", "inspect", image).returncode == 0


def _run(*command: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    together = os.environ | (environment or {})
    return subprocess.run(command, env=together, capture_output=True, text=True, check=False)


@pytest.fixture
def api(prefect_server: None) -> str:
    """The URL of a Prefect server."""
    return str(PREFECT_API_URL.value())


@pytest.fixture
def site(
    image: Image,
    api: str,
    source_url: str,
    warehouse_url: str,
    s3_bucket: Callable[[str], Bucket],
    s3_endpoint: str,
) -> Site:
    """A small shop, an empty warehouse, buckets on S3, and blocks that lead there."""
    with psycopg.connect(source_url) as connection:
        shop.create(connection)
        shop.fill(connection, orders=ORDERS)
    saved = image.run(
        "python", "-m", "tasks.save_blocks",
        PREFECT_API_URL=api,
        TOTESYS_SOURCE_URL=source_url,
        TOTESYS_WAREHOUSE_URL=warehouse_url,
        TOTESYS_RAW_URI=s3_bucket("raw").uri,
        TOTESYS_PROCESSED_URI=s3_bucket("processed").uri,
        AWS_ACCESS_KEY_ID=KEY,
        AWS_SECRET_ACCESS_KEY=KEY,
        AWS_REGION="us-east-1",
        AWS_ENDPOINT_URL_S3=s3_endpoint,
    )  # fmt: skip
    assert "saved block s3-bucket/totesys-raw" in saved.stdout, saved.stderr
    return Site(image, api, source_url, warehouse_url)


@dataclass(frozen=True)
class Site:
    """Where the image runs."""

    image: Image
    api: str
    source_url: str
    warehouse_url: str

    def schedule(self) -> UUID:
        """A flow run that waits for a worker."""
        with get_client(sync_client=True) as prefect:
            flow = prefect.create_flow_from_name("totesys-etl")
            deployment = prefect.create_deployment(flow, "image", entrypoint="flows/etl.py:etl")
            return prefect.create_flow_run_from_deployment(deployment).id

    def execute(self, run: UUID, container: str = "") -> tuple[int, str]:
        """Run it as the workers for Docker and ECS do; returns the exit status and the state's name."""
        own = {"PREFECT_API_URL": self.api, "PREFECT__FLOW_RUN_ID": str(run)}
        done = self.image.run("prefect", "flow-run", "execute", container=container, **own)
        logging.getLogger(__name__).info("%s%s", done.stdout, done.stderr)
        with get_client(sync_client=True) as prefect:
            state = prefect.read_flow_run(run).state
        return done.returncode, str(state and state.name)

    @property
    def orders(self) -> int:
        """How many the warehouse has."""
        return int(value(self.warehouse_url, "SELECT count(*) FROM fact_sales_order"))

    def wait_for_a_reader_that_waits(self) -> None:
        """Return once a task's query is held up by a lock."""
        waits = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        deadline = time.monotonic() + SECONDS_TO_WAIT
        while not value(self.source_url, waits):
            assert time.monotonic() < deadline, "no task came to wait"
            time.sleep(0.1)


@pytest.mark.campaign
@pytest.mark.timeout(1800)  # the first one builds the image
class TestImage:
    def test_a_plain_user_can_write_to_tmp_alone(self, image: Image) -> None:
        done = image.run(
            "sh", "-c", "id -u; find / -xdev -writable ! -type l; touch /tmp/here && echo written"
        )
        assert done.stdout.splitlines() == ["10001", "/tmp", "written"]

    def test_no_package_is_compiled_at_a_start(self, image: Image) -> None:
        done = image.run("python", "-v", "-c", "import flows.etl")
        assert done.returncode == 0
        assert re.findall(r"# code object from .?/opt/venv/\S+\.py\b", done.stderr) == []

    def test_prefects_command_and_the_images_command_load_rows(self, site: Site) -> None:
        assert site.execute(site.schedule()) == (0, "Completed")
        assert site.orders == ORDERS
        again = site.image.run(PREFECT_API_URL=site.api)
        assert again.stdout.endswith("up to date: nothing changed in the source\n"), again.stderr
        assert again.returncode == 0

    def test_a_run_that_is_stopped_returns_to_the_queue(self, site: Site) -> None:
        run = site.schedule()
        with ThreadPoolExecutor() as pool, psycopg.connect(site.source_url) as locking:
            locking.execute("LOCK TABLE staff")
            done = pool.submit(site.execute, run, container=f"totesys-{run}")
            site.wait_for_a_reader_that_waits()
            _run(site.image.engine, "stop", "-t", "60", f"totesys-{run}")
            assert done.result() == (0, "AwaitingRetry")
        assert site.execute(run) == (0, "Completed")
        assert site.orders == ORDERS
