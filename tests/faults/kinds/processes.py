"""The run's own process is killed or held, or another run is at work."""

from __future__ import annotations

import random

from tests.faults.flow import Flow, Job
from tests.faults.kinds.fault import Fault, Maker, meeting
from tests.faults.site import Site

_SECONDS_OF_A_RUN = 5.0


def killed_at(point: str) -> Maker:
    """Kill -9 at one end of a stage."""

    def make(site: Site, rng: random.Random) -> Fault:
        return Fault(point, Job(point=point), strike=Flow.kill)

    return make


def killed_at_a_stage(site: Site, rng: random.Random) -> Fault:
    """Kill -9 at one end of some stage."""
    job = meeting(site, rng)
    return Fault(f"{job.point}, time {job.nth}", job, strike=Flow.kill)


def killed_at_random(site: Site, rng: random.Random) -> Fault:
    """Kill -9 at whatever moment."""
    seconds, job = rng.uniform(0.0, _SECONDS_OF_A_RUN if "Prefect" in site.has else 0.8), Job()

    def drive(flow: Flow) -> None:
        if not flow.ended.wait(seconds):
            flow.kill()

    fault = Fault(f"after {seconds:.1f} s", job, drive=drive)
    fault.hit = lambda flow: flow.status == -9
    return fault


def killed_half_way_through_a_file(site: Site, rng: random.Random) -> Fault:
    """The kernel ends the process in the middle of a write."""
    points = ["before write rows", "before seal", "before model", "after seal", "after model"]
    job = meeting(site, rng, points)
    job.file_limit, job.dies = rng.choice([0, 1, 300, 2_000, 6_000]), True
    return Fault(f"{job.point}, file cut at {job.file_limit} bytes", job)


def two_runs(site: Site, rng: random.Random) -> Fault:
    """Two runs at the same time."""
    job = Job()

    def drive(flow: Flow) -> None:
        other = Flow(site, job)
        first, second = flow.wait(), other.wait()
        if min(first, second) != 0:
            raise AssertionError(f"neither of two runs succeeded: {flow.words} {other.words}")

    return Fault("", job, drive=drive, hit=lambda _: True)


def paused(site: Site, rng: random.Random) -> Fault:
    """A run held past its snapshot and its sessions, which goes on after another run has succeeded."""
    job = meeting(site, rng)
    lost = rng.random() < 0.8

    def strike(flow: Flow) -> None:
        with flow.paused():
            if lost:
                site.terminate(site.servers.warehouse)
                if rng.random() < 0.5:
                    site.terminate(site.servers.reading)
            site.trade(2)
            site.servers.catch_up()
            other = site.run()
            if lost != (other.status == 0):
                raise AssertionError(f"the other run, lock {lost=}: {other.words}")

    detail = f"{job.point}, its sessions {'lost' if lost else 'kept'}"
    return Fault(detail, job, strike=strike, alone=True)


def results_wiped(site: Site, rng: random.Random) -> Fault:
    """A run ends half-way, and what Prefect remembers of it is lost, or half of that."""
    job = meeting(
        site, rng, ["after seal", "after model", "before load", "after write rows", "before commit"]
    )
    buckets = rng.choice([["raw"], ["processed"], ["raw", "processed"]])

    def after() -> None:
        for bucket in buckets:
            site.wipe(bucket, "_results")

    return Fault(f"killed {job.point}, {' and '.join(buckets)}", job, strike=Flow.kill, after=after)
