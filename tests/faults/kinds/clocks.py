"""A machine's clock is wrong."""

from __future__ import annotations

import random

import psycopg

from tests.faults.flow import Job
from tests.faults.kinds.fault import Fault
from tests.faults.site import Site

_SECONDS = [-86_400.0 * 366, -86_400.0, -3_600.0, -1.0, 30.0, 3_600.0, 86_400.0]


def of_source(site: Site, rng: random.Random) -> Fault:
    """The source's clock goes back, or some seconds ahead: a batch never goes back behind the last one."""
    seconds = rng.choice([each for each in _SECONDS if each <= 30])
    return _wrong(seconds, Job(source_clock=seconds))


def of_worker(site: Site, rng: random.Random) -> Fault:
    """The worker's clock is wrong."""
    seconds = rng.choice(_SECONDS)
    return _wrong(seconds, Job(worker_clock=seconds))


def of_warehouse(site: Site, rng: random.Random) -> Fault:
    """The warehouse's clock is wrong, of which a batch keeps when it was loaded."""
    seconds = rng.choice(_SECONDS)
    fault = _wrong(seconds, Job())

    def before() -> None:
        clock = f"clock_timestamp() + interval '{seconds} s'"
        with psycopg.connect(site.warehouse_url, autocommit=True) as connection:
            if connection.execute("SELECT to_regclass('etl.batch')").fetchone() != (None,):
                connection.execute(f"ALTER TABLE etl.batch ALTER loaded_at SET DEFAULT {clock}".encode())

    fault.before = before
    return fault


def _wrong(seconds: float, job: Job) -> Fault:
    return Fault(f"by {seconds:g} s", job, may_fail=False, hit=lambda _: True)
