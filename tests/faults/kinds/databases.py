"""A database server goes down, restarts, ends sessions, loses connections, or its standby takes over.

``name`` is ``reading``, the server that the pipeline reads, or ``warehouse``.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import psycopg

from demo.postgres import Postgres
from tests.faults.flow import Flow
from tests.faults.kinds.fault import Fault, Maker, meeting, troubled
from tests.faults.proxy import Trouble
from tests.faults.servers import Mode
from tests.faults.site import Site


def _server(site: Site, name: str) -> Postgres:
    server: Postgres = getattr(site.servers, name)
    return server


def _down(name: str, stop: Callable[[Postgres], None]) -> Maker:
    """A server goes down; it is back at once, or only when the run has ended."""

    def make(site: Site, rng: random.Random) -> Fault:
        job, back = meeting(site, rng), rng.random() < 0.5

        def strike(flow: Flow) -> None:
            server = _server(site, name)
            stop(server)
            if back:
                server.start()

        return Fault(f"{job.point}, {'back at once' if back else 'back later'}", job, strike=strike)

    return make


def killed(name: str) -> Maker:
    """All of a server's processes are killed with SIGKILL."""
    return _down(name, Postgres.kill)


def stopped(name: str) -> Maker:
    """A server is stopped with ``-m immediate``."""
    return _down(name, lambda server: server.stop("immediate"))


def restarted(name: str, mode: Mode) -> Maker:
    """A server is restarted with pg_ctl."""

    def make(site: Site, rng: random.Random) -> Fault:
        job = meeting(site, rng)
        return Fault(str(job.point), job, strike=lambda _: site.servers.restart(_server(site, name), mode))

    return make


def sessions_ended(name: str) -> Maker:
    """pg_terminate_backend ends all of the pipeline's sessions on a server."""

    def make(site: Site, rng: random.Random) -> Fault:
        job = meeting(site, rng)
        return Fault(str(job.point), job, strike=lambda _: site.terminate(_server(site, name)))

    return make


def connection_cut(name: str) -> Maker:
    """TCP connections end after some bytes, which is in the middle of a COPY as often as not."""

    def make(site: Site, rng: random.Random) -> Fault:
        proxy = site.servers.to_warehouse if name == "warehouse" else site.servers.to_source
        up = name == "warehouse" and rng.random() < 0.8
        after, times = (
            rng.randrange(200, 40_000 if name == "warehouse" else 12_000),
            rng.choice([1, 1, 2, 30]),
        )
        trouble = Trouble("cut", after=after, times=times, up=up)
        return troubled(proxy, trouble, f"after {after} bytes {'to' if up else 'from'} it, {times} times")

    return make


def failed_over(site: Site, rng: random.Random) -> Fault:
    """The source is lost while its standby is read, and the standby promoted."""
    job, losing = meeting(site, rng), rng.random() < 0.4
    return Fault(
        f"{job.point}, {'some commits lost' if losing else 'no commit lost'}",
        job,
        strike=lambda _: site.servers.fail_over(losing=losing),
    )


def standby_behind(site: Site, rng: random.Random) -> Fault:
    """After a run that read the source, its standby is read, which is behind."""
    job = meeting(site, rng, ["after snapshot"])

    def before() -> None:
        _on(site.servers.standby, "SELECT pg_wal_replay_pause()")
        site.trade(3)
        site.servers.reading = site.servers.source
        site.run()
        site.servers.reading = site.servers.standby or site.servers.source

    def after() -> None:
        _on(site.servers.standby, "SELECT pg_wal_replay_resume()")

    fault = Fault("", job, before=before, after=after)
    fault.hit = lambda flow: flow.status != 0
    return fault


def read_cancelled(site: Site, rng: random.Random) -> Fault:
    """The source removes rows that the run's snapshot on the standby still sees, so the standby ends it."""
    job = meeting(site, rng, ["after snapshot", "after plan", "before write rows", "after write rows"])

    def strike(flow: Flow) -> None:
        site.trade(5)
        with psycopg.connect(site.source_url, autocommit=True) as connection:
            connection.execute("VACUUM")
        site.servers.catch_up()

    return Fault(str(job.point), job, strike=strike, alone=True)


def _on(server: Postgres | None, statement: str) -> None:
    assert server is not None
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(statement.encode())
