"""A campaign's scenarios, each in a process of its own with servers of its own, until the budget is spent."""

from __future__ import annotations

import logging
import math
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count, product, takewhile
from pathlib import Path
from threading import Thread
from typing import Any

from demo.processes import PrefectServer
from tests.faults.campaign import Campaign, Result, mixed, stages
from tests.faults.servers import Servers
from tests.faults.shops import SHOPS
from tests.faults.site import BOUNDARIES, WITHIN

_ROUNDS = 25
_LEAST_ROUNDS = 4
_BUDGET_FOR_STAGES = 100
Say = Callable[[str, int], None]
_said: Any = None


@dataclass(frozen=True)
class Scenario:
    """One shop, its buckets, and what its pipeline reads; without ``rounds``, a kill at every stage's end.

    With ``engine`` the engine runs alone, without Prefect. No round begins after ``ends_at``, a time.
    """

    number: int
    seed: int
    shop: str = "totesys"
    s3: bool = False
    standby: bool = False
    rounds: int = 0
    engine: bool = False
    ends_at: float = math.inf

    @property
    def name(self) -> str:
        """What its lines begin with."""
        where = f"{self.shop} {'over S3' if self.s3 else 'over folders'}"
        return f"{self.number} {where}{' from a standby' if self.standby else ''}"

    @property
    def failures(self) -> int:
        """How many failures it should have."""
        return self.rounds or len(BOUNDARIES) + len(WITHIN)

    def within(self, failures: int, ends_at: float) -> Scenario:
        """The same where only this many failures are left, and this much time."""
        rounds = min(self.rounds, max(_LEAST_ROUNDS, failures))
        return replace(self, rounds=rounds, ends_at=ends_at)


@dataclass
class Budget:
    """A number of failures, drawn by a seed, and of minutes after which no round begins."""

    failures: int
    seed: int
    engine: bool = False
    minutes: float = math.inf

    def spend(self, jobs: int, say: Say) -> Result:
        """Run scenarios until it is spent; ``say`` gets each round's line and number of failures."""
        fresh = multiprocessing.get_context("spawn")
        lines = fresh.SimpleQueue()
        passing = Thread(target=_pass_on, args=(lines, say))
        passing.start()
        try:
            with ProcessPoolExecutor(
                jobs, fresh, initializer=_begin, initargs=(lines,), max_tasks_per_child=1
            ) as pool:
                return self._spend(pool, jobs)
        finally:
            lines.put(None)
            passing.join()

    def _spend(self, pool: ProcessPoolExecutor, jobs: int) -> Result:
        result, running = Result(), dict[Future[Result], Scenario]()
        drawn, ends_at = self._scenarios(), time.time() + 60 * self.minutes
        while True:
            planned = result.tried + sum(scenario.failures for scenario in running.values())
            ready = len(running) < jobs and planned < self.failures
            if ready and time.time() < ends_at and not result.failed:
                scenario = next(drawn).within(self.failures - planned, ends_at)
                running[pool.submit(run_one, scenario)] = scenario
                continue
            if not running:
                return result
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                scenario = running.pop(done)
                if error := done.exception():
                    result.fail(scenario.name, str(error))
                else:
                    result.add(done.result())

    def _scenarios(self) -> Iterator[Scenario]:
        """Kills at every stage's end first, then each combination of shop, buckets and server in turn."""
        common, rng = Scenario(0, self.seed, engine=self.engine), random.Random(self.seed)
        if self.failures >= _BUDGET_FOR_STAGES:
            yield common
        every = list(product(SHOPS, (False, True), (False, True)))
        for number in count(1):
            if number % len(every) == 1:
                rng.shuffle(every)
            shop, s3, standby = every[number % len(every)]
            yield replace(common, number=number, shop=shop, s3=s3, standby=standby, rounds=_ROUNDS)


def _pass_on(lines: Any, say: Say) -> None:
    """Hand on what the scenarios' processes send."""
    while line := lines.get():
        say(*line)


def _begin(lines: Any) -> None:
    global _said  # noqa: PLW0603  a process tells one scenario
    _said = lines


def run_one(scenario: Scenario) -> Result:
    """One scenario, in this process."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    home = Path(tempfile.mkdtemp(prefix="faults-"))
    home.chmod(0o755)
    os.environ |= {
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_COLORS": "false",
        "DO_NOT_TRACK": "1",
    }
    try:
        if scenario.engine:
            return _run_one(scenario, home, None)
        with _prefect() as prefect:
            return _run_one(scenario, home, prefect.api)
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def _prefect() -> Iterator[PrefectServer]:
    server = PrefectServer()
    try:
        server.wait()
        # Runs are forked from a process that starts with this environment.
        os.environ["PREFECT_API_URL"] = server.api
        yield server
    finally:
        server.stop()


def _run_one(scenario: Scenario, home: Path, api: str | None) -> Result:
    rng = random.Random(f"{scenario.seed} {scenario.number}")
    with Servers(home, standby=scenario.standby).running() as servers:
        campaign = Campaign(home, servers, api, scenario.seed, lambda *line: _said.put(line))
        points = BOUNDARIES if scenario.engine else [*BOUNDARIES, *WITHIN]
        draws = mixed(scenario.rounds, rng) if scenario.rounds else stages(points, rng)
        in_time = takewhile(lambda _: time.time() < scenario.ends_at, draws)
        try:
            campaign.shop(scenario.name, in_time, s3=scenario.s3, kind=scenario.shop)
        except Exception:  # noqa: BLE001  the other scenarios go on, and this is no success
            campaign.result.fail(scenario.name, traceback.format_exc())
            _said.put((f"{scenario.name}: BROKEN {traceback.format_exc()}", 0))
    return campaign.result
