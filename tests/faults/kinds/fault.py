"""One failure: what a run does, what strikes it, and what is repaired after it."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from dataclasses import dataclass

from tests.faults.flow import Flow, Job
from tests.faults.proxy import Proxy, Trouble
from tests.faults.site import Site

# How often a run passes a point, at the least, where that is more than once.
_PASSED = {"write rows": 5, "model": 3, "merge": 3, "within a read": 2, "within a copy": 2, "prepare": 2}

Maker = Callable[[Site, random.Random], "Fault"]


def _nothing() -> None:
    pass


@dataclass
class Fault:
    """One failure of a run.

    ``strike`` happens where the run is met, ``before`` and ``after`` around the run; ``drive`` waits for the
    run in its own way. ``hit`` says afterwards whether it happened at all. Where it is not ``settled``, the
    warehouse is not compared before a run has succeeded. Nobody trades beside one that is ``alone``.
    """

    detail: str
    job: Job
    strike: Callable[[Flow], None] = lambda _: None
    before: Callable[[], None] = _nothing
    after: Callable[[], None] = _nothing
    hit: Callable[[Flow], bool] = lambda flow: flow.reached
    may_fail: bool = True
    alone: bool = False
    settled: bool = True
    drive: Callable[[Flow], None] | None = None


@dataclass(frozen=True)
class Kind:
    """A kind of failure, and what a site needs to have for it."""

    name: str
    make: Maker
    needs: frozenset[str] = frozenset()

    def lacking(self, site: Site) -> set[str]:
        """What a site has not that this kind needs."""
        return set(self.needs - site.has)


def kind(name: str, make: Maker, *needs: str) -> Kind:
    """A kind of failure that needs these."""
    return Kind(name, make, frozenset(needs))


def meeting(site: Site, rng: random.Random, points: Collection[str] = ()) -> Job:
    """Some point at which to meet a run, one of these where some are named."""
    point = rng.choice([each for each in site.points if each in points or not points])
    most = next((times for name, times in _PASSED.items() if point.endswith(name)), 1)
    return Job(point=point, nth=rng.randint(1, most))


def troubled(proxy: Proxy, trouble: Trouble, detail: str) -> Fault:
    """A run whose traffic has trouble on its way through a proxy."""
    hits: list[int] = []

    def after() -> None:
        hits.append(proxy.hits)
        proxy.arm(None)

    fault = Fault(detail, Job(), before=lambda: proxy.arm(trouble), after=after)
    fault.hit = lambda _: bool(hits and hits[-1])
    return fault
