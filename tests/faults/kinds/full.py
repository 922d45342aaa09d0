"""A disk is full: the worker's, or that of a database server."""

from __future__ import annotations

import random

from tests.faults.disks import Disk
from tests.faults.flow import Flow
from tests.faults.kinds.fault import Fault, Maker, meeting
from tests.faults.site import Site

_WRITES = ["before write rows", "before seal", "before model", "after seal", "after write rows"]


def files_cannot_grow(site: Site, rng: random.Random) -> Fault:
    """The worker's files end at some size, as under ``ulimit -f``."""
    job = meeting(site, rng, _WRITES)
    job.file_limit = rng.choice([0, 1, 300, 2_000, 6_000])
    return Fault(f"{job.point}, files end at {job.file_limit} bytes", job)


def no_space(site: Site, rng: random.Random) -> Fault:
    """A write of the worker ends in ENOSPC."""
    job = meeting(site, rng, ["before write rows", "after write rows", "before seal", "before model"])
    job.no_space = True
    return Fault(str(job.point), job)


def disk_of_worker(site: Site, rng: random.Random) -> Fault:
    """The disk with the buckets and temporary files is full from some point on."""
    assert site.disk is not None
    return _full(site, rng, site.disk, rng.choice([0, 0, 4_096, 65_536]))


def disk_of(name: str) -> Maker:
    """The disk with a server's data is full from some point on, until the run has ended."""

    def make(site: Site, rng: random.Random) -> Fault:
        disk = site.servers.disk_of(getattr(site.servers, name))
        return _full(site, rng, disk, rng.choice([0, 0, 65_536, 1_000_000]))

    return make


def _full(site: Site, rng: random.Random, disk: Disk, left: int) -> Fault:
    job = meeting(site, rng)

    def strike(flow: Flow) -> None:
        disk.fill(left)

    return Fault(f"{job.point}, {left} bytes left", job, strike=strike, after=disk.empty)
