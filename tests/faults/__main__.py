"""The campaign: ``python -m tests.faults --rounds 100``."""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from demo.prefect_server import PrefectServer
from tests.faults.campaign import Campaign, Result, mixed, stages
from tests.faults.report import page
from tests.faults.site import ROOT, Servers


def main() -> int:
    """Run a campaign; status 0 only when nothing was lost, doubled or left broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument(
        "--rounds", type=int, default=100, help="faults besides a kill at each stage boundary"
    )
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
    """Half of the faults over folders as buckets, half over S3, and the boundaries."""
    result = Result()
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, fresh, max_tasks_per_child=1) as pool:
        for done in [
            pool.submit(_shop, "over folders", rounds - rounds // 2, seed),
            pool.submit(_shop, "over S3", rounds // 2, seed),
            pool.submit(_shop, "killed", 0, seed),
        ]:
            result.add(done.result())
    return result


def _shop(name: str, rounds: int, seed: int) -> Result:
    """One shop after the other, on servers of their own."""
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
    prefect = PrefectServer()
    try:
        prefect.wait()
        # Runs are forked from a process that starts with this environment.
        os.environ["PREFECT_API_URL"] = prefect.api
        with Servers(home).running() as servers:
            campaign = Campaign(home, servers, prefect.api, seed, lambda line: print(line, flush=True))
            over_s3 = name == "over S3"
            campaign.shop(name, mixed(rounds, seed, s3=over_s3) if rounds else stages(seed), s3=over_s3)
        return campaign.result
    finally:
        prefect.stop()
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
