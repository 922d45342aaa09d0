"""S3 refuses, is slow, loses connections, or lists late."""

from __future__ import annotations

import random

from tests.faults.flow import Flow, Job
from tests.faults.kinds.fault import Fault, Maker, troubled
from tests.faults.proxy import Trouble
from tests.faults.site import Site


def answers(status: int) -> Maker:
    """An S3 server that refuses for a while."""

    def make(site: Site, rng: random.Random) -> Fault:
        after, times = rng.randrange(60), rng.choice([1, 2, 5, 12, 10_000])
        trouble = Trouble("answer", after=after, times=times, status=status)
        return troubled(site.servers.to_s3, trouble, f"{times} times from request {after}")

    return make


def slow(site: Site, rng: random.Random) -> Fault:
    """An S3 server that takes its time for everything."""
    trouble = Trouble("slow", times=10_000, seconds=rng.choice([0.01, 0.04]))
    fault = troubled(site.servers.to_s3, trouble, f"{trouble.seconds} s a packet")
    fault.may_fail = False
    return fault


def cut(site: Site, rng: random.Random) -> Fault:
    """Bodies that end half-way, on their way there or back."""
    up, after, times = rng.random() < 0.5, rng.randrange(100, 60_000), rng.choice([1, 3, 10_000])
    trouble = Trouble("cut", after=after, times=times, up=up)
    detail = f"after {after} bytes {'to' if up else 'from'} it, {times} times"
    return troubled(site.servers.to_s3, trouble, detail)


def lists_late(site: Site, rng: random.Random) -> Fault:
    """New objects are in no listing for some seconds, a batch that a killed run has sealed among them."""
    server, seconds = site.servers.s3, rng.choice([5.0, 30.0, 60.0])
    point = rng.choice(["after seal", "before load"])
    seen: list[int] = []

    def before() -> None:
        seen.append(server.hidden)
        server.delay = seconds
        Flow(site, Job(point=point), Flow.kill).wait()
        site.trade(1)

    def after() -> None:
        seen.append(server.hidden)
        server.delay = 0.0

    fault = Fault(f"{seconds:g} s, a run killed {point}", Job(), before=before, after=after)
    fault.hit = lambda _: seen[-1] > seen[0]
    return fault
