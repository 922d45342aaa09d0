"""The campaign: ``python -m tests.faults --failures 500``."""

from __future__ import annotations

import argparse
import math
import random
import sys
import time

from tests.faults.report import page, summary
from tests.faults.scenarios import Budget
from tests.faults.shops import ROOT


def main() -> int:
    """Run a campaign; status 0 only when nothing was lost or duplicated and nothing else was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--failures", type=int, default=500, help="how many have to happen")
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin no round after so many")
    parser.add_argument("--seed", type=int, help="repeat the campaign of this seed; drawn anew by default")
    parser.add_argument("--jobs", type=int, default=2, help="scenarios at the same time")
    parser.add_argument("--engine", action="store_true", help="the engine alone, without Prefect: faster")
    parser.add_argument("--write", action="store_true", help="write the figures to docs/faults.md")
    arguments = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if arguments.seed is None else arguments.seed
    print(f"{arguments.failures} failures, --seed {seed}", flush=True)
    progress = Progress(arguments.failures)
    budget = Budget(arguments.failures, seed, arguments.engine, arguments.minutes)
    result = budget.spend(arguments.jobs, progress)
    seconds = time.monotonic() - progress.started
    print(summary(result, seconds))
    if arguments.write:
        text = page(result, command(arguments, seed), seconds)
        (ROOT / "docs" / "faults.md").write_text(text, encoding="utf-8")
    return 1 if result.broken else 0


def command(arguments: argparse.Namespace, seed: int) -> str:
    """The command that repeats a campaign, with everything that decides which failures happen."""
    parts = [f"--failures {arguments.failures}", f"--seed {seed}", f"--jobs {arguments.jobs}"]
    if arguments.minutes != math.inf:
        parts.append(f"--minutes {arguments.minutes:g}")
    if arguments.engine:
        parts.append("--engine")
    return " ".join(["python -m tests.faults", *parts])


class Progress:
    """Prints a line per round: how many failures have happened, how much time is left, and how it ended."""

    def __init__(self, failures: int) -> None:
        self.started = time.monotonic()
        self._failures, self._done, self._broken = failures, 0, 0

    def __call__(self, line: str, failures: int) -> None:
        """Print a round's line, with the number of failures in it."""
        self._done += failures
        self._broken += "BROKEN" in line
        minutes = (time.monotonic() - self.started) / 60
        left = minutes / self._done * max(0, self._failures - self._done) if self._done else 0
        head = f"{self._done} of {self._failures}, {self._broken} broken, {left:.0f} min left"
        print(f"[{head}] {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
