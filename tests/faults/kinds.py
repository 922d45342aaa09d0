"""Everything that goes wrong, by kind: what a run is told, what strikes it, and what is mended after it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from demo.postgres import Postgres
from tests.faults.proxy import Proxy, Trouble
from tests.faults.site import Flow, Job, Site

_STAGES = "prepare snapshot plan write_rows compact seal model load claim merge commit".split()  # noqa: SIM905
BOUNDARIES = [f"{side} {stage.replace('_', ' ')}" for stage in _STAGES for side in ("before", "after")]
BOUNDARIES += ["within a read", "within a copy"]
# A run opens, writes and loads several times over: how often a point is passed, at the least.
_PASSED = {"write rows": 5, "model": 3, "merge": 3, "within a read": 2, "within a copy": 2, "prepare": 2}
_SECONDS_OF_A_RUN = 5.0


Maker = Callable[[Site, random.Random], "Fault"]


def _nothing() -> None:
    pass


@dataclass
class Fault:
    """One fault: ``kind`` is what the figures are kept by, ``run`` makes it happen to a run.

    ``hit`` tells afterwards whether it happened at all.
    """

    kind: str
    detail: str
    job: Job
    strike: Callable[[Flow], None] = lambda _: None
    before: Callable[[], None] = _nothing
    after: Callable[[], None] = _nothing
    hit: Callable[[Flow], bool] = lambda flow: flow.reached
    may_fail: bool = True
    alone: bool = False
    drive: Callable[[Flow], None] | None = field(default=None)


def meeting(rng: random.Random, points: list[str] = BOUNDARIES) -> Job:
    """Some point at which to meet a run."""
    point = rng.choice(points)
    most = next((times for name, times in _PASSED.items() if point.endswith(name)), 1)
    return Job(point=point, nth=rng.randint(1, most))


def killed_at(point: str) -> Maker:
    """Kill -9 at one end of a stage."""

    def make(site: Site, rng: random.Random) -> Fault:
        return Fault("process killed at a stage's end", point, Job(point=point), strike=Flow.kill)

    return make


def killed_at_random(site: Site, rng: random.Random) -> Fault:
    """Kill -9 at whatever moment."""
    seconds, job = rng.uniform(0.0, _SECONDS_OF_A_RUN), Job()

    def drive(flow: Flow) -> None:
        if not flow.ended.wait(seconds):
            flow.kill()

    fault = Fault("process killed at random", f"after {seconds:.1f} s", job, drive=drive)
    fault.hit = lambda flow: flow.status == -9
    return fault


def killed_half_way_through_a_file(site: Site, rng: random.Random) -> Fault:
    """The kernel ends the process in the middle of a write."""
    job = meeting(rng, ["before write rows", "before seal", "before model", "after seal", "after model"])
    job.file_limit, job.dies = rng.choice([0, 1, 300, 2_000, 6_000]), True
    detail = f"{job.point}, file cut at {job.file_limit} bytes"
    return Fault("process killed half-way through a file", detail, job)


def disk_full(site: Site, rng: random.Random) -> Fault:
    """Files that cannot grow, or no space at all."""
    if rng.random() < 0.5:
        job = meeting(rng, ["before write rows", "before seal", "before model", "after seal"])
        job.file_limit = rng.choice([0, 1, 300, 2_000, 6_000])
        return Fault("disk full", f"{job.point}, files end at {job.file_limit} bytes", job)
    job = meeting(rng, ["before write rows", "after write rows", "before seal", "before model"])
    job.no_space = True
    return Fault("disk full", f"no space left on device {job.point}", job)


def server_down(site: Site, rng: random.Random) -> Fault:
    """A database killed or stopped at once; back immediately, or only when the run has ended."""
    name = rng.choice(["source", "warehouse"])
    server: Postgres = getattr(site.servers, name)
    way, back = rng.choice(["killed", "stopped with -m immediate"]), rng.random() < 0.5
    job = meeting(rng)

    def strike(flow: Flow) -> None:
        if way == "killed":
            server.kill()
        else:
            server.stop("immediate")
        if back:
            server.start()

    when = "back at once" if back else "back later"
    return Fault(f"{name} {way}", f"{job.point}, {when}", job, strike=strike)


def sessions_ended(site: Site, rng: random.Random) -> Fault:
    """pg_terminate_backend from outside."""
    name = rng.choice(["source", "warehouse"])
    server: Postgres = getattr(site.servers, name)
    job = meeting(rng)
    return Fault(f"{name}: sessions terminated", str(job.point), job, strike=lambda _: site.terminate(server))


def cable_cut(site: Site, rng: random.Random) -> Fault:
    """TCP connections that end after some bytes, which is mid-COPY as often as not."""
    name = rng.choice(["source", "warehouse"])
    up = name == "warehouse" and rng.random() < 0.8
    after, times = rng.randrange(200, 12_000 if name == "source" else 40_000), rng.choice([1, 1, 2, 30])
    return _troubled(
        f"{name}: connection cut",
        getattr(site.servers, f"to_{name}"),
        Trouble("cut", after=after, times=times, up=up),
        f"after {after} bytes {'to' if up else 'from'} it, {times} times",
    )


def s3_answers(site: Site, rng: random.Random) -> Fault:
    """An S3 server that refuses for a while."""
    status, after, times = rng.choice([500, 503]), rng.randrange(60), rng.choice([1, 2, 5, 12, 10_000])
    trouble = Trouble("answer", after=after, times=times, status=status)
    return _troubled(
        f"S3 answers {status}", site.servers.to_s3, trouble, f"{times} times from request {after}"
    )


def s3_slow(site: Site, rng: random.Random) -> Fault:
    """An S3 server that takes its time for everything."""
    trouble = Trouble("slow", times=10_000, seconds=rng.choice([0.01, 0.04]))
    fault = _troubled("S3 slow", site.servers.to_s3, trouble, f"{trouble.seconds} s a packet")
    fault.may_fail = False
    return fault


def s3_cut(site: Site, rng: random.Random) -> Fault:
    """Bodies that end half-way, on their way there or back."""
    up, after, times = rng.random() < 0.5, rng.randrange(100, 60_000), rng.choice([1, 3, 10_000])
    trouble = Trouble("cut", after=after, times=times, up=up)
    detail = f"after {after} bytes {'to' if up else 'from'} it, {times} times"
    return _troubled("S3 cut half-way", site.servers.to_s3, trouble, detail)


def results_wiped(site: Site, rng: random.Random) -> Fault:
    """A run ends half-way, and what Prefect remembers of it is gone, or half gone."""
    job = meeting(rng, ["after seal", "after model", "before load", "after write rows", "before commit"])
    buckets = rng.choice([["raw"], ["processed"], ["raw", "processed"]])

    def after() -> None:
        for bucket in buckets:
            site.wipe(bucket, "_results")

    detail = f"killed {job.point}, {' and '.join(buckets)}"
    return Fault("result storage wiped", detail, job, strike=Flow.kill, after=after)


def two_runs(site: Site, rng: random.Random) -> Fault:
    """Two runs at the same time."""
    job = Job()

    def drive(flow: Flow) -> None:
        other = Flow(site, job)
        first, second = flow.wait(), other.wait()
        if min(first, second) != 0:
            raise AssertionError(f"neither of two runs came through: {flow.words} {other.words}")

    fault = Fault("two runs started together", "", job, drive=drive)
    fault.hit = lambda _: True
    return fault


def paused(site: Site, rng: random.Random) -> Fault:
    """A run held past its snapshot and its sessions, and let go after another run came through."""
    job = meeting(rng)
    lost = rng.random() < 0.8

    def strike(flow: Flow) -> None:
        with flow.paused():
            if lost:
                site.terminate(site.servers.warehouse)
                if rng.random() < 0.5:
                    site.terminate(site.servers.source)
            site.trade(2)
            other = site.run()
            if lost != (other.status == 0):
                raise AssertionError(f"the other run, lock {lost=}: {other.words}")

    detail = f"{job.point}, its sessions {'lost' if lost else 'kept'}"
    return Fault("run paused while another ran", detail, job, strike=strike, alone=True)


def clock_moved(site: Site, rng: random.Random) -> Fault:
    """A source whose clock goes back, or far ahead."""
    seconds = rng.choice([-1.0, -3_600.0, -86_400.0, -86_400.0 * 366, 30.0])
    fault = Fault("source's clock moved", f"by {seconds:g} s", Job(clock=seconds), may_fail=False)
    fault.hit = lambda _: True
    return fault


def _troubled(kind: str, proxy: Proxy, trouble: Trouble, detail: str) -> Fault:
    hits: list[int] = []

    def after() -> None:
        hits.append(proxy.hits)
        proxy.arm(None)

    fault = Fault(kind, detail, Job(), before=lambda: proxy.arm(trouble), after=after)
    fault.hit = lambda _: bool(hits and hits[-1])
    return fault


EVERYWHERE = [
    killed_at_random, server_down, sessions_ended, cable_cut, results_wiped, two_runs, paused, clock_moved,
]  # fmt: skip
IN_FOLDERS = [disk_full, killed_half_way_through_a_file]
IN_S3 = [s3_answers, s3_answers, s3_slow, s3_cut]
