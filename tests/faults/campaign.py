"""Rounds of trade, a run with a fault, and a clean run, each compared with plain SQL on the source."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from tests.faults import kinds
from tests.faults.kinds import Fault, Maker
from tests.faults.oracle import Broken, Tally
from tests.faults.site import Flow, Job, Servers, Site

# Some runs go wrong one after the other before one may repair it all.
_SHARE_REPAIRED = 0.5
_SHARE_CANCELLED = 0.15
Say = Callable[[str], None]


@dataclass
class Figures:
    """How the runs with a kind of fault ended."""

    tried: int = 0
    killed: int = 0
    failed: int = 0
    came_through: int = 0
    missed: int = 0


@dataclass
class Result:
    """What came of a campaign."""

    kinds: dict[str, Figures] = field(default_factory=lambda: defaultdict(Figures))
    tally: Tally = field(default_factory=Tally)
    clean_runs: int = 0
    broken: list[str] = field(default_factory=list)

    @property
    def tried(self) -> int:
        """Faults that happened."""
        return sum(figures.tried for figures in self.kinds.values())

    def add(self, other: Result) -> None:
        """Count what another campaign did, too."""
        for kind, figures in other.kinds.items():
            _sum(self.kinds[kind], figures)
        _sum(self.tally, other.tally)
        self.clean_runs += other.clean_runs
        self.broken += other.broken


def _sum(one: Figures | Tally, other: Figures | Tally) -> None:
    for name, number in vars(other).items():
        setattr(one, name, getattr(one, name) + number)


class Campaign:
    """Faults for one shop after the other, on the same servers."""

    def __init__(self, home: Path, servers: Servers, api: str, seed: int, say: Say) -> None:
        self.home, self.servers, self.api, self.say = home, servers, api, say
        self.seed = seed
        self.result = Result()

    def shop(self, name: str, makers: Iterable[Maker], *, s3: bool, kind: str = "totesys") -> None:
        """Open a shop and let the faults come over it; a broken one is left for a new one."""
        rng = random.Random(f"{self.seed} {name}")
        with ExitStack() as shops:
            site = self._open(shops, name, rng, s3=s3, kind=kind)
            for number, make in enumerate(makers):
                if not self._round(site, make(site, rng), repair=rng.random() < _SHARE_REPAIRED):
                    self.servers.mend()
                    site = self._open(shops, f"{name} {number}", rng, s3=s3, kind=kind)
            if self._round(site, None, repair=True) and not s3:
                self._rebuild(site)

    def _open(self, shops: ExitStack, name: str, rng: random.Random, *, s3: bool, kind: str) -> Site:
        site = Site(self.servers, self.home / name, self.api, s3=s3, rng=rng, kind=kind)
        shops.callback(_sum, self.result.tally, site.oracle.tally)
        return site

    def _round(self, site: Site, fault: Fault | None, *, repair: bool) -> bool:
        """A run with a fault and a clean one; what it breaks is told and counted."""
        what = f"{site.home.name}: {fault.kind}, {fault.detail}" if fault else f"{site.home.name}: at the end"
        started, ended = monotonic(), "came through"
        try:
            site.trade(site.rng.randint(1, 6))
            if site.rng.random() < _SHARE_CANCELLED:
                site.cancel()
            if fault:
                ended = self._run_with(site, fault)
            if repair:
                self._clean_run(site)
        except AssertionError as broken:
            self.result.broken.append(f"{what}: {str(broken).partition(':')[0]}")
            self.say(f"BROKEN {what}: {broken}")
            return False
        self.say(f"{what}: {ended}{', repaired' if repair else ''} ({monotonic() - started:.0f} s)")
        return True

    def _rebuild(self, site: Site) -> None:
        """Lose the warehouse, bring it back with a kill half-way, and find it as it was."""
        kind, chain = "rebuild killed at a batch's end", site.oracle.check(site.warehouse_url)
        site.lose_warehouse()
        self.servers.source.stop("immediate")
        point, nth = site.rng.choice(["before commit", "after commit"]), site.rng.randint(1, len(chain))
        try:
            flow = Flow(site, Job(point=point, nth=nth, arguments=["--rebuild"]), Flow.kill)
            _expect(flow.wait() < 0, f"the rebuild was not killed: {flow.words[-3000:]}")
            site.oracle.check(site.warehouse_url)
            again = site.run(Job(arguments=["--rebuild"]))
            _expect(again.status == 0, f"the rebuild failed: {again.words[-3000:]}")
            rebuilt = site.oracle.check(site.warehouse_url)
            _expect(rebuilt == chain, f"rebuilt from other batches: {rebuilt} instead of {chain}")
        except AssertionError as broken:
            self.result.broken.append(f"{site.home.name}: {kind}: {str(broken).partition(':')[0]}")
            self.say(f"BROKEN {site.home.name}: {kind}: {broken}")
        self.servers.mend()
        self.result.kinds[kind].tried += 1
        self.result.kinds[kind].killed += 1
        self.result.clean_runs += 1
        self.say(f"{site.home.name}: {kind}, {point} {nth} of {len(chain)}")

    def _run_with(self, site: Site, fault: Fault) -> str:
        fault.job.arguments = site.arguments
        fault.before()
        quiet = fault.alone or site.rng.random() < 0.5
        with nullcontext() if quiet else site.busy():
            flow = Flow(site, fault.job, fault.strike)
            if fault.drive:
                fault.drive(flow)
            status = flow.wait()
        fault.after()
        site.servers.mend()
        site.oracle.check(site.warehouse_url)
        return self._ended(fault, flow, status)

    def _ended(self, fault: Fault, flow: Flow, status: int) -> str:
        """Count how a run ended, and see that it says what went wrong."""
        figures = self.result.kinds[fault.kind]
        if not fault.hit(flow):
            figures.missed += 1
            _expect(status == 0, f"a run without a fault failed: {flow.words[-3000:]}")
            return "did not happen"
        figures.tried += 1
        if status < 0:
            figures.killed += 1
            return "killed"
        if status == 0:
            figures.came_through += 1
            return "came through"
        figures.failed += 1
        _expect(fault.may_fail, f"failed: {flow.words[-3000:]}")
        lines = [line for line in flow.words.splitlines() if line.startswith("error: ")]
        _expect(len(lines) == 1 and len(lines[0]) < 1_000, f"no clear line: {flow.words[-3000:]}")
        _expect("Traceback" not in flow.words, f"a traceback: {flow.words[-6000:]}")
        return f"failed, {lines[0]}"

    def _clean_run(self, site: Site) -> None:
        """One run with nothing in its way leaves the warehouse equal to the source."""
        flow = site.run(Job(arguments=site.arguments))
        self.result.clean_runs += 1
        _expect(flow.status == 0, f"the clean run failed: {flow.words[-3000:]}")
        loaded = {batch.batch_id: batch for batch in site.oracle.check(site.warehouse_url)}
        followed = {batch.previous for batch in loaded.values()}
        waiting = [id_ for id_, previous in site.sealed() if id_ not in loaded and previous not in followed]
        _expect(not waiting, f"sealed and never loaded: {waiting}")
        site.oracle.check_current(site.source_url, site.warehouse_url)
        site.arguments = []


def _expect(kept: object, otherwise: str) -> None:
    if not kept:
        raise Broken(otherwise)


def stages(seed: int) -> list[Maker]:
    """A kill at every stage boundary, in an order of chance."""
    points = random.Random(seed).sample(kinds.BOUNDARIES, len(kinds.BOUNDARIES))
    return [kinds.killed_at(point) for point in points]


def mixed(rounds: int, seed: int, *, s3: bool) -> Iterator[Maker]:
    """Faults of all kinds that can come over such buckets, each about as often."""
    rng = random.Random(seed)
    makers = kinds.EVERYWHERE + (kinds.IN_S3 if s3 else kinds.IN_FOLDERS)
    for number in range(rounds):
        if number % len(makers) == 0:
            rng.shuffle(makers)
        yield makers[number % len(makers)]
