"""A database or a bucket is lost, or restored to an earlier day, and one ordinary run repairs it.

In some rounds this run is killed, and the next one repairs it.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.faults import backups
from tests.faults.flow import Flow, Job
from tests.faults.kinds.fault import Fault, Maker, meeting
from tests.faults.site import Site

_SHARE_KILLED = 0.4
_RESULTS = "_results"


def _lost(harm: Callable[[Site, random.Random], str]) -> Maker:
    def make(site: Site, rng: random.Random) -> Fault:
        job, strike = Job(), Flow.kill
        if rng.random() < _SHARE_KILLED:
            job = meeting(site, rng)
        fault = Fault("", job, strike=strike, settled=False, may_fail=False, hit=lambda _: True)

        def before() -> None:
            fault.detail = f"{harm(site, rng)}, then {f'killed {job.point}' if job.point else 'a run'}"

        fault.before = before
        return fault

    return make


@_lost
def warehouse_lost(site: Site, rng: random.Random) -> str:
    """Nothing of the warehouse is left."""
    site.lose_warehouse()
    return "both schemas"


@_lost
def etl_lost(site: Site, rng: random.Random) -> str:
    """The tables are there, without the schema etl, as after ``pg_dump -n public``."""
    site.drop("etl")
    return "etl"


def restored(what: str) -> Maker:
    """The whole warehouse (``all``) or a schema of it is restored from a backup."""

    @_lost
    def make(site: Site, rng: random.Random) -> str:
        assert site.backup is not None
        backups.restore(site, site.backup, what)
        return what

    return make


@_lost
def processed_lost(site: Site, rng: random.Random) -> str:
    """The processed bucket is lost: all of it, or all but Prefect's results, or every other object."""
    how = rng.choice(["all", "all but results", "every other object"])
    contents = site.contents("processed")
    kept = {
        path: data
        for number, (path, data) in enumerate(sorted(contents.items()))
        if (how == "all but results" and path.startswith(_RESULTS))
        or (how == "every other object" and number % 2)
    }
    site.put("processed", kept)
    return how


@_lost
def raw_lost(site: Site, rng: random.Random) -> str:
    """The raw bucket is lost; what is in the warehouse stays."""
    site.wipe("raw")
    _batches_are_lost(site)
    return "all"


@_lost
def raw_restored(site: Site, rng: random.Random) -> str:
    """The raw bucket is as it was at the backup; what is in the warehouse stays."""
    assert site.backup is not None
    site.put("raw", site.backup.raw)
    _batches_are_lost(site)
    return "to the backup"


@_lost
def raw_and_warehouse_lost(site: Site, rng: random.Random) -> str:
    """The raw bucket and the warehouse are lost: history begins again."""
    site.wipe("raw")
    site.lose_warehouse()
    site.oracle.forget()
    _batches_are_lost(site)
    return "all"


def _batches_are_lost(site: Site) -> None:
    site.lake_is_whole, site.backup = False, None
