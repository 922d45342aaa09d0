"""A made-up shop and its pipeline, everything of its own, so that anything may be broken."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg

from demo.postgres import Postgres
from tests.faults.backups import Backup
from tests.faults.disks import Disk
from tests.faults.flow import Flow, Job
from tests.faults.oracle import Oracle
from tests.faults.proxy import Proxy
from tests.faults.servers import Servers
from tests.faults.shops import ROOT, SHOPS
from tests.support import KEY, s3_client

# Where the flow is met in addition: it reads tables in chunks, and has tasks of its own.
_STAGES = ["prepare", "snapshot", "plan", "write rows", "compact", "seal", "model", "load", "claim", "merge",
           "commit"]  # fmt: skip
BOUNDARIES = [f"{side} {stage}" for stage in _STAGES for side in ("before", "after")]
WITHIN = ["within a read", "within a copy"]
_NOT_INHERITED = ("TOTESYS_", "AWS_", "PG")


class Site:
    """One shop with its warehouse and its buckets, on servers that it may break.

    Its runs are runs of the flow, with the Prefect server at ``api``, or without one of the engine alone.
    ``lake_is_whole`` as long as the raw bucket has every batch since the first.
    """

    def __init__(
        self,
        servers: Servers,
        home: Path,
        api: str | None,
        *,
        s3: bool,
        rng: random.Random,
        kind: str = "totesys",
        disk: Disk | None = None,
    ) -> None:
        self.servers, self.home, self.s3, self.rng = servers, home, s3, rng
        self.kind, self.shop = kind, SHOPS[kind]
        self.disk = disk
        self.lake_is_whole = True
        self.backup: Backup | None = None
        self.program = "tests.faults.child" if api else "tests.faults.engine"
        self.points = [*BOUNDARIES, *WITHIN] if api else BOUNDARIES
        self.oracle = Oracle(self.shop)
        self.arguments: list[str] = []
        self.name = f"shop_{uuid.uuid4().hex[:8]}"
        home.mkdir(parents=True)
        for server in (servers.source, servers.warehouse):
            server.create_database(self.name)
        self.environment = self._environment(api)
        self.shop.open(self.source_url, rng)
        servers.catch_up()
        self.shop.prepare(self.warehouse_url)
        self.oracle.learn(self.source_url)
        if s3:
            for bucket in ("raw", "processed"):
                self.client().create_bucket(Bucket=f"{self.name}-{bucket}".replace("_", "-"))
        if api:
            subprocess.run(
                [sys.executable, "-m", "tasks.save_blocks"],
                env=self.environment,
                cwd=home,
                check=True,
                capture_output=True,
            )

    @property
    def has(self) -> set[str]:
        """What kinds of failure may need."""
        found = {"S3" if self.s3 else "folders"}
        conditions = {
            "Prefect": self.program == "tests.faults.child",
            "a standby": self.servers.standby is not None,
            "small disks": self.servers.small_disks,
            "a small disk": self.disk is not None,
            "a backup": self.backup is not None,
            "all batches": self.lake_is_whole,
        }
        return found | {what for what, met in conditions.items() if met}

    @property
    def source_url(self) -> str:
        """Straight to the source, also where the pipeline reads its standby, past the proxy."""
        return self.servers.source.url(self.name)

    @property
    def warehouse_url(self) -> str:
        """Straight to the warehouse, past the proxy."""
        return self.servers.warehouse.url(self.name)

    def run(self, job: Job | None = None) -> Flow:
        """Run the flow to its end, with nothing in its way."""
        flow = Flow(self, job or Job())
        flow.wait()
        return flow

    def uri(self, bucket: str) -> str:
        """Where a bucket is."""
        return f"s3://{self.name}-{bucket}".replace("_", "-") if self.s3 else str(self.home / bucket)

    def client(self) -> Any:
        """A client of the S3 server, not through the proxy."""
        return s3_client(f"http://127.0.0.1:{self.servers.s3.port}")

    def objects(self, bucket: str, below: str = "") -> list[str]:
        """Paths of a bucket's objects, or of those below a folder."""
        if not self.s3:
            root = Path(self.uri(bucket))
            return [str(path.relative_to(root)) for path in (root / below).rglob("*") if path.is_file()]
        pages = self.client().get_paginator("list_objects_v2")
        found = pages.paginate(
            Bucket=self.uri(bucket).removeprefix("s3://"), Prefix=f"{below}/" if below else ""
        )
        return [entry["Key"] for page in found for entry in page.get("Contents", [])]

    def sealed(self) -> list[tuple[str, str | None]]:
        """Every sealed batch, with the one that it follows, as the manifests' names say."""
        paths = [path.split("/") for path in self.objects("raw", "_manifests") if path.endswith(".json")]
        found = [(batch.removesuffix(".json"), after.removeprefix("after=")) for _, after, batch in paths]
        return [(batch, None if previous == "nothing" else previous) for batch, previous in found]

    def contents(self, bucket: str) -> dict[str, bytes]:
        """All objects of a bucket, by path."""
        if not self.s3:
            root = Path(self.uri(bucket))
            return {path: (root / path).read_bytes() for path in self.objects(bucket)}
        client, name = self.client(), self.uri(bucket).removeprefix("s3://")
        return {
            path: client.get_object(Bucket=name, Key=path)["Body"].read() for path in self.objects(bucket)
        }

    def put(self, bucket: str, contents: dict[str, bytes]) -> None:
        """Have these objects in a bucket and no others."""
        self.wipe(bucket)
        for path, data in contents.items():
            if self.s3:
                name = self.uri(bucket).removeprefix("s3://")
                self.client().put_object(Bucket=name, Key=path, Body=data)
            else:
                file = Path(self.uri(bucket)) / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(data)

    def wipe(self, bucket: str, below: str = "") -> None:
        """Delete all objects of a bucket, or those below a folder."""
        if not self.s3:
            shutil.rmtree(Path(self.uri(bucket)) / below, ignore_errors=True)
            return
        for key in self.objects(bucket, below):
            self.client().delete_object(Bucket=self.uri(bucket).removeprefix("s3://"), Key=key)

    def drop(self, *schemas: str) -> None:
        """Lose schemas of the warehouse; an empty one stays for its tables."""
        with psycopg.connect(self.warehouse_url, autocommit=True) as connection:
            for schema in schemas:
                connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE".encode())
            if "public" in schemas:
                connection.execute("CREATE SCHEMA public")

    def lose_warehouse(self) -> None:
        """Drop everything in the warehouse."""
        self.drop("public", "etl", "as_of", "reporting")
        self.shop.prepare(self.warehouse_url)

    def terminate(self, server: Postgres) -> None:
        """End all of the pipeline's sessions on a server."""
        with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s"
                " AND application_name = 'totesys-etl'",
                [self.name],
            )

    def trade(self, times: int) -> None:
        """Let some small things happen in the shop, deletions among them."""
        self.shop.trade(self.source_url, times, self.rng)

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Let the shop trade during the block, with one sale that is committed only at its end."""
        over, seed = threading.Event(), self.rng.randrange(1_000_000)
        trading = threading.Thread(target=self._trade_until, args=(over, random.Random(seed)))
        trading.start()
        try:
            with suppress(psycopg.OperationalError), self.shop.late_commit(self.source_url, seed):
                yield
        finally:
            over.set()
            trading.join()

    def _trade_until(self, over: threading.Event, rng: random.Random) -> None:
        for _ in range(15):
            with suppress(psycopg.OperationalError):
                self.shop.trade_beside(self.source_url, rng)
            if over.wait(rng.uniform(0.05, 0.4)):
                return

    def _environment(self, api: str | None) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_INHERITED)}
        through = {
            "TOTESYS_SOURCE_URL": _by(self.source_url, self.servers.source.port, self.servers.to_source),
            "TOTESYS_WAREHOUSE_URL": _by(
                self.warehouse_url, self.servers.warehouse.port, self.servers.to_warehouse
            ),
        }
        return inherited | through | dict(self.shop.settings) | {
            "TOTESYS_RAW_URI": self.uri("raw"),
            "TOTESYS_PROCESSED_URI": self.uri("processed"),
            "TOTESYS_TRANSFORMS": str(self.shop.transforms(self.home)),
            "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{self.servers.to_s3.port}",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": KEY,
            "AWS_REGION": "us-east-1",
            "PREFECT_HOME": str(self.servers.home / "prefect"),
            "PREFECT_LOGGING_COLORS": "false",
            "PYTHONPATH": str(ROOT),
            "TMPDIR": str(self.home),
        } | ({"PREFECT_API_URL": api} if api else {})  # fmt: skip


def _by(url: str, port: int, proxy: Proxy) -> str:
    """The same URL by way of a proxy."""
    return url.replace(f":{port}/", f":{proxy.port}/")
