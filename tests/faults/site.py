"""A made-up shop and its pipeline, everything of its own, so that anything may be broken."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import psycopg
from moto.server import ThreadedMotoServer

from demo.postgres import Postgres
from tests.faults import child
from tests.faults.oracle import Broken, Oracle
from tests.faults.proxy import Proxy
from tests.faults.shops import ROOT, SHOPS

SECONDS_FOR_A_RUN = 150
_QUICK = {"fsync": "off", "full_page_writes": "off"}
_NOT_INHERITED = ("TOTESYS_", "AWS_", "PG")
_KEY = "testing"

# A run is forked from a process that has imported everything and done nothing yet.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([child.__name__, __name__])

Strike = Callable[["Flow"], None]


@dataclass
class Job:
    """What a run is told: its arguments, where it is met for the nth time, and what happens then."""

    point: str | None = None
    nth: int = 1
    clock: float = 0.0
    no_space: bool = False
    file_limit: int | None = None
    dies: bool = False
    arguments: list[str] = field(default_factory=list)


class Flow:
    """A run of the flow in a process of its own.

    ``strike`` is called when it is met at the job's point, and it waits there meanwhile.
    """

    def __init__(self, site: Site, job: Job, strike: Strike = lambda _: None) -> None:
        self.reached = False
        self.ended = threading.Event()
        self._said: list[str] = []
        self._states, self._strike = site.oracle.states, strike
        self._fault: BaseException | None = None
        self._channel, theirs = _FORKS.Pipe()
        self._words, written = _FORKS.Pipe(duplex=False)
        self.process = _FORKS.Process(
            target=child.main, args=(theirs, written, site.environment, site.home, vars(job), site.kind)
        )
        self.process.start()
        theirs.close()
        written.close()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._listen, self._read)]
        for thread in self._threads:
            thread.start()

    def wait(self) -> int:
        """Its exit status, as soon as it ends; a run that hangs is a promise broken."""
        self.process.join(SECONDS_FOR_A_RUN)
        hangs = self.process.exitcode is None
        if hangs:
            self.process.kill()
            self.process.join()
        for thread in self._threads:
            thread.join()
        if hangs:
            raise Broken(f"a run hangs: {self.words[-2000:]}")
        if self._fault:
            raise self._fault
        return self.status

    @property
    def status(self) -> int:
        """Its exit status, once it has ended."""
        assert self.process.exitcode is not None
        return self.process.exitcode

    @property
    def words(self) -> str:
        """All that it wrote for people."""
        return "".join(self._said)

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Hold the whole process for the block."""
        pid = self.process.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "TZ":
            time.sleep(0.01)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def _read(self) -> None:
        with open(self._words.fileno(), encoding="utf-8", errors="replace", closefd=False) as words:
            self._said.extend(words)

    def _listen(self) -> None:
        with suppress(OSError, EOFError):  # it was killed, or has ended
            while True:
                self._hear(self._channel.recv())
                self._channel.send("go on")
        self.ended.set()

    def _hear(self, said: dict[str, Any]) -> None:
        if said["event"] == "seal":
            self._states[said["batch"]] = said["state"]
        else:
            self.reached = True
            try:
                self._strike(self)
            except BaseException as fault:  # noqa: BLE001  raised again where the run is waited for
                self._fault = fault


class Servers:
    """Two Postgres servers and an S3 server, each behind a proxy."""

    def __init__(self, home: Path) -> None:
        self.source = Postgres(home / "source", settings=_QUICK)
        self.warehouse = Postgres(home / "warehouse", settings=_QUICK)
        self.s3 = ThreadedMotoServer(port=0, verbose=False)
        self.to_source = Proxy(lambda: self.source.port)
        self.to_warehouse = Proxy(lambda: self.warehouse.port)
        self.to_s3 = Proxy(lambda: int(self.s3.get_host_and_port()[1]))

    @contextmanager
    def running(self) -> Iterator[Servers]:
        """Have all of them for the block."""
        try:
            for server in (self.source, self.warehouse):
                server.folder.mkdir(parents=True)
                server.folder.chmod(0o755)
                server.start()
            self.s3.start()
            yield self
        finally:
            for proxy in (self.to_source, self.to_warehouse, self.to_s3):
                proxy.close()
            self.s3.stop()
            for server in (self.source, self.warehouse):
                server.remove()

    def mend(self) -> None:
        """Have everything run without trouble."""
        for proxy in (self.to_source, self.to_warehouse, self.to_s3):
            proxy.arm(None)
        for server in (self.source, self.warehouse):
            server.start()


class Site:
    """One shop with its warehouse and its buckets, on servers that it may break."""

    def __init__(
        self,
        servers: Servers,
        home: Path,
        api: str,
        *,
        s3: bool,
        rng: random.Random,
        kind: str = "totesys",
    ) -> None:
        self.servers, self.home, self.s3, self.rng = servers, home, s3, rng
        self.kind, self.shop = kind, SHOPS[kind]
        self.oracle = Oracle(self.shop)
        self.arguments: list[str] = []
        self.name = f"shop_{uuid.uuid4().hex[:8]}"
        home.mkdir(parents=True)
        for server in (servers.source, servers.warehouse):
            server.create_database(self.name)
        self.environment = self._environment(api)
        self.shop.open(self.source_url, rng)
        self.shop.prepare(self.warehouse_url)
        self.oracle.learn(self.source_url)
        if s3:
            for bucket in ("raw", "processed"):
                self.client().create_bucket(Bucket=f"{self.name}-{bucket}".replace("_", "-"))
        subprocess.run(
            [sys.executable, "-m", "tasks.save_blocks"],
            env=self.environment,
            cwd=home,
            check=True,
            capture_output=True,
        )

    @property
    def source_url(self) -> str:
        """Straight to the source, for whom nothing is broken on the way."""
        return self.servers.source.url(self.name)

    @property
    def warehouse_url(self) -> str:
        """Straight to the warehouse."""
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
        host, port = self.servers.s3.get_host_and_port()
        return boto3.client(
            "s3",
            endpoint_url=f"http://{host}:{port}",
            region_name="us-east-1",
            aws_access_key_id=_KEY,
            aws_secret_access_key=_KEY,
        )

    def objects(self, bucket: str, below: str) -> list[str]:
        """Paths of a bucket's objects below a folder."""
        if not self.s3:
            root = Path(self.uri(bucket))
            return [str(path.relative_to(root)) for path in (root / below).rglob("*") if path.is_file()]
        pages = self.client().get_paginator("list_objects_v2")
        found = pages.paginate(Bucket=self.uri(bucket).removeprefix("s3://"), Prefix=f"{below}/")
        return [entry["Key"] for page in found for entry in page.get("Contents", [])]

    def sealed(self) -> list[tuple[str, str | None]]:
        """Every sealed batch, with the one that it follows, as the manifests' names say."""
        paths = [path.split("/") for path in self.objects("raw", "_manifests") if path.endswith(".json")]
        found = [(batch.removesuffix(".json"), after.removeprefix("after=")) for _, after, batch in paths]
        return [(batch, None if previous == "nothing" else previous) for batch, previous in found]

    def wipe(self, bucket: str, below: str) -> None:
        """Delete all objects below a folder of a bucket."""
        if not self.s3:
            shutil.rmtree(Path(self.uri(bucket)) / below, ignore_errors=True)
            return
        for key in self.objects(bucket, below):
            self.client().delete_object(Bucket=self.uri(bucket).removeprefix("s3://"), Key=key)

    def lose_warehouse(self) -> None:
        """Drop everything in the warehouse."""
        with psycopg.connect(self.warehouse_url, autocommit=True) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("DROP SCHEMA etl CASCADE")
            connection.execute("CREATE SCHEMA public")
        self.shop.prepare(self.warehouse_url)
        self.oracle.forget()

    def terminate(self, server: Postgres) -> None:
        """End all of the pipeline's sessions on a server."""
        with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s"
                " AND application_name = 'totesys-etl'",
                [self.name],
            )

    def trade(self, times: int) -> None:
        """Let some small things happen in the shop."""
        self.shop.trade(self.source_url, times, self.rng)

    def cancel(self) -> None:
        """Delete something; now and then the run that sees it reconciles."""
        self.arguments = ["--reconcile"] if self.rng.random() < 0.2 else []
        self.shop.cancel(self.source_url, self.rng)

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

    def _environment(self, api: str) -> dict[str, str]:
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
            "AWS_ACCESS_KEY_ID": _KEY,
            "AWS_SECRET_ACCESS_KEY": _KEY,
            "AWS_REGION": "us-east-1",
            "PREFECT_API_URL": api,
            "PREFECT_HOME": str(self.home.parent / "prefect"),
            "PREFECT_LOGGING_COLORS": "false",
            "PYTHONPATH": str(ROOT),
        }  # fmt: skip


def _by(url: str, port: int, proxy: Proxy) -> str:
    """The same URL by way of a proxy."""
    return url.replace(f":{port}/", f":{proxy.port}/")
