"""The campaign: ``python -m tests.faults --rounds 100``."""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from tests.faults.campaign import Result
from tests.faults.report import page
from tests.faults.shops import ROOT
from tests.faults.worker import one_shop


def main() -> int:
    """Run a campaign; status 0 only when nothing was lost, doubled or left broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--rounds", type=int, default=100, help="faults beside the stage boundaries")
    parser.add_argument("--seed", type=int, default=1, help="another one chooses other faults")
    parser.add_argument("--jobs", type=int, default=2, help="shops at the same time")
    parser.add_argument("--write", action="store_true", help="write the figures to docs/faults.md")
    arguments = parser.parse_args()
    started = time.monotonic()
    result = _campaign(arguments.rounds, arguments.seed, arguments.jobs)
    text = page(result, arguments.rounds, arguments.seed, time.monotonic() - started)
    print(text)
    if arguments.write:
        (ROOT / "docs" / "faults.md").write_text(text, encoding="utf-8")
    return 1 if result.broken else 0


def _campaign(rounds: int, seed: int, jobs: int) -> Result:
    """Faults over folders as buckets and over S3, on Totesys and on other people's habits, and boundaries."""
    result = Result()
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, fresh, max_tasks_per_child=1) as pool:
        for done in [
            pool.submit(one_shop, "over folders", rounds - rounds // 2, seed),
            pool.submit(one_shop, "over S3", rounds // 2, seed),
            pool.submit(one_shop, "killed", 0, seed),
            pool.submit(one_shop, "habits over folders", rounds // 4, seed, "habits"),
            pool.submit(one_shop, "habits over S3", rounds // 4, seed, "habits"),
        ]:
            result.add(done.result())
    return result


if __name__ == "__main__":
    sys.exit(main())
