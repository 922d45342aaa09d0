"""Rounds of trade, a run with a failure, and a clean run, each compared with plain SQL on the source."""

from __future__ import annotations

import random
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic

from tests.faults import backups
from tests.faults.disks import Disk
from tests.faults.flow import Flow, Job
from tests.faults.kinds import KINDS, LOSING_BATCHES, REBUILD, STAGES, Fault, Kind
from tests.faults.kinds.processes import killed_at
from tests.faults.oracle import Broken, Tally
from tests.faults.servers import Servers
from tests.faults.site import Site

# Some runs fail one after the other before one may repair it all.
_SHARE_REPAIRED = 0.5
_SHARE_BACKED_UP = 0.4
_SHARE_RECONCILED = 0.05
_SHARE_FROM_SOURCE = 0.25
# How many rounds follow the one that may lose batches.
_LAST = 3
_LONGEST_LINE = 300
_SIZE_OF_WORKERS_DISK = 300

Draw = Callable[[Site], Kind | None]


@dataclass
class Figures:
    """How the runs with a kind of failure ended, and what was wrong afterwards."""

    tried: int = 0
    killed: int = 0
    failed: int = 0
    succeeded: int = 0
    missed: int = 0
    lost: int = 0
    duplicated: int = 0
    broken: int = 0

    def add(self, other: Figures) -> None:
        """Count others, too."""
        _sum(self, other)


@dataclass
class Result:
    """What came of a campaign."""

    kinds: dict[str, Figures] = field(default_factory=lambda: defaultdict(Figures))
    tally: Tally = field(default_factory=Tally)
    clean_runs: int = 0
    broken: list[str] = field(default_factory=list)
    otherwise: int = 0  # of these, without a row that was lost or duplicated
    failed: bool = False

    def fail(self, scenario: str, reason: str) -> None:
        """Note that the campaign itself failed in a scenario: no more are begun."""
        self.failed = True
        self.otherwise += 1
        self.broken.append(f"{scenario}: the campaign itself failed: {reason.strip().splitlines()[-1]}")

    @property
    def tried(self) -> int:
        """Failures that happened."""
        return sum(figures.tried for figures in self.kinds.values())

    def add(self, other: Result) -> None:
        """Count what another campaign did, too."""
        for kind, figures in other.kinds.items():
            self.kinds[kind].add(figures)
        _sum(self.tally, other.tally)
        self.clean_runs += other.clean_runs
        self.broken += other.broken
        self.otherwise += other.otherwise
        self.failed |= other.failed


def _sum(one: Figures | Tally, other: Figures | Tally) -> None:
    for name, number in vars(other).items():
        setattr(one, name, getattr(one, name) + number)


class Campaign:
    """Failures at one shop after the other, on the same servers.

    ``api`` is Prefect's; without one, the engine runs alone. ``say`` gets a line for each round, and how many
    failures happened in it.
    """

    def __init__(
        self, home: Path, servers: Servers, api: str | None, seed: int, say: Callable[[str, int], None]
    ) -> None:
        self.home, self.servers, self.api, self.say = home, servers, api, say
        self.seed = seed
        self.result = Result()

    def shop(self, name: str, draws: Iterable[Draw], *, s3: bool, kind: str = "totesys") -> None:
        """Open a shop and let failures happen at it; a broken one is left for a new one."""
        rng = random.Random(f"{self.seed} {name}")
        with ExitStack() as shops:
            site = self._open(shops, name, rng, s3=s3, kind=kind)
            for number, draw in enumerate(draws):
                if not self._round(site, draw(site), repair=rng.random() < _SHARE_REPAIRED):
                    self.servers.repair()
                    site = self._open(shops, f"{name} {number}", rng, s3=s3, kind=kind)
            if self._round(site, None, repair=True) and site.lake_is_whole and self.api:
                self._rebuild(site)

    def _open(self, shops: ExitStack, name: str, rng: random.Random, *, s3: bool, kind: str) -> Site:
        home, disk = self.home / name, None
        if self.servers.small_disks and not s3:
            home.mkdir(parents=True)
            disk = Disk(home)
            shops.enter_context(disk.mounted(_SIZE_OF_WORKERS_DISK))
        site = Site(self.servers, home / "site", self.api, s3=s3, rng=rng, kind=kind, disk=disk)
        shops.callback(_sum, self.result.tally, site.oracle.tally)
        return site

    def _round(self, site: Site, kind: Kind | None, *, repair: bool) -> bool:
        """A run with a failure and a clean one; what is broken afterwards is said and counted."""
        fault = kind.make(site, site.rng) if kind else None
        name = kind.name if kind else "at the end"
        figures = self.result.kinds[name] if kind else Figures()
        started, tried, tally = monotonic(), figures.tried, replace(site.oracle.tally)
        try:
            ended = self._happen(site, fault, figures, repair=repair)
            line = f"{ended} ({monotonic() - started:.0f} s)"
        except AssertionError as error:
            self._count(figures, tally, site.oracle.tally)
            line = f"BROKEN {error}"
        what = f"{site.home.parent.name}: {name}{f', {fault.detail}' if fault and fault.detail else ''}"
        self._end(f"{what}: {line}", figures.tried - tried)
        return not line.startswith("BROKEN")

    def _count(self, figures: Figures, before: Tally, after: Tally) -> None:
        """Count what was found to be wrong."""
        figures.lost += after.lost - before.lost
        figures.duplicated += after.duplicated - before.duplicated
        otherwise = (after.lost, after.duplicated) == (before.lost, before.duplicated)
        figures.broken += otherwise
        self.result.otherwise += otherwise

    def _end(self, line: str, failures: int) -> None:
        """Say how a round ended; keep the line where something was wrong."""
        if "BROKEN" in line:
            self.result.broken.append(line[:_LONGEST_LINE].replace("\n", " "))
        self.say(line, failures)

    def _happen(self, site: Site, fault: Fault | None, figures: Figures, *, repair: bool) -> str:
        """What happens in a round; returns how it ended."""
        ended = []
        site.trade(site.rng.randint(1, 6))
        if site.rng.random() < _SHARE_RECONCILED:
            site.arguments = ["--reconcile"]
        self._choose_server(site)
        if fault:
            ended.append(self._run_with(site, fault, figures))
            repair = repair or not fault.settled
        if repair:
            self._clean_run(site)
            ended.append("repaired")
            if site.lake_is_whole and site.rng.random() < _SHARE_BACKED_UP:
                site.backup = backups.make(site)
        return ", ".join(ended)

    def _choose_server(self, site: Site) -> None:
        """Where there is a standby, most runs read it, and some the source."""
        servers = site.servers
        if servers.standby:
            from_source = site.rng.random() < _SHARE_FROM_SOURCE
            servers.reading = servers.source if from_source else servers.standby

    def _rebuild(self, site: Site) -> None:
        """Lose the warehouse, bring it back with a kill half-way, and find it as it was."""
        figures, chain = self.result.kinds[REBUILD], site.oracle.check(site.warehouse_url)
        site.lose_warehouse()
        site.oracle.forget()
        for server in {self.servers.source, self.servers.reading}:
            server.stop("immediate")
        point, nth = site.rng.choice(["before commit", "after commit"]), site.rng.randint(1, len(chain))
        line = f"{site.home.parent.name}: {REBUILD}, {point} {nth} of {len(chain)}"
        figures.tried += 1
        tally = replace(site.oracle.tally)
        try:
            flow = Flow(site, Job(point=point, nth=nth, arguments=["--rebuild"]), Flow.kill)
            _expect(flow.wait() < 0, f"the rebuild was not killed: {flow.words[-3000:]}")
            figures.killed += 1
            site.oracle.check(site.warehouse_url)
            again = site.run(Job(arguments=["--rebuild"]))
            _expect(again.status == 0, f"the rebuild failed: {again.words[-3000:]}")
            rebuilt = site.oracle.check(site.warehouse_url)
            _expect(rebuilt == chain, f"rebuilt from other batches: {rebuilt} instead of {chain}")
            self.result.clean_runs += 1
        except AssertionError as error:
            self._count(figures, tally, site.oracle.tally)
            line += f": BROKEN {error}"
        self._end(line, 1)
        self.servers.repair()

    def _run_with(self, site: Site, fault: Fault, figures: Figures) -> str:
        fault.job.arguments = site.arguments
        site.servers.catch_up()
        fault.before()
        quiet = fault.alone or site.rng.random() < 0.5
        with nullcontext() if quiet else site.busy():
            flow = Flow(site, fault.job, fault.strike)
            if fault.drive:
                fault.drive(flow)
            status = flow.wait()
        fault.after()
        site.servers.repair()
        if fault.settled or status == 0:
            site.oracle.check(site.warehouse_url)
        return self._ended(fault, flow, status, figures)

    def _ended(self, fault: Fault, flow: Flow, status: int, figures: Figures) -> str:
        """Count how a run ended, and see that it says what went wrong."""
        if not fault.hit(flow):
            figures.missed += 1
            _expect(status == 0, f"a run without a failure failed: {flow.words[-3000:]}")
            return "did not happen"
        figures.tried += 1
        if status < 0:
            figures.killed += 1
            return "killed"
        if status == 0:
            figures.succeeded += 1
            return "succeeded"
        figures.failed += 1
        _expect(fault.may_fail, f"failed: {flow.words[-3000:]}")
        lines = [line for line in flow.words.splitlines() if line.startswith("error: ")]
        _expect(len(lines) == 1 and len(lines[0]) < 1_000, f"no clear line: {flow.words[-3000:]}")
        _expect("Traceback" not in flow.words, f"a traceback: {flow.words[-6000:]}")
        return f"failed, {lines[0]}"

    def _clean_run(self, site: Site) -> None:
        """One run with nothing in its way leaves the warehouse equal to the source."""
        site.servers.catch_up()
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


class Deck:
    """Kinds of failure in an order of chance, each about as often."""

    def __init__(self, kinds: Iterable[Kind], rng: random.Random) -> None:
        self._kinds, self._rng = list(kinds), rng
        self._left: deque[Kind] = deque()

    def __call__(self, site: Site) -> Kind | None:
        """The next kind that can happen at a site; None where none can."""
        for _ in range(2):
            for kind in list(self._left):
                if not kind.lacking(site):
                    self._left.remove(kind)
                    return kind
            self._left = deque(self._rng.sample(self._kinds, len(self._kinds)))
        return None


def stages(site_points: Iterable[str], rng: random.Random) -> list[Draw]:
    """A kill at every stage's end, in an order of chance."""
    points = list(site_points)
    return [these(Kind(STAGES, killed_at(point))) for point in rng.sample(points, len(points))]


def these(kind: Kind) -> Draw:
    """Always the same kind."""
    return lambda _: kind


def mixed(rounds: int, rng: random.Random) -> Iterator[Draw]:
    """Failures of all kinds that can happen at a site, each about as often, and at last a loss of batches."""
    deck, losing = Deck(KINDS, rng), Deck(LOSING_BATCHES, rng)
    for number in range(rounds):
        yield losing if number == rounds - _LAST > 5 and rng.random() < 0.7 else deck
