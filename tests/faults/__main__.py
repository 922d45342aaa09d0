"""The campaign: ``python -m tests.faults --rounds 100``."""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from demo.prefect_server import PrefectServer
from tests.faults.campaign import Campaign, Result, mixed, stages
from tests.faults.report import page
from tests.faults.site import ROOT, Servers


def main() -> int:
    """Run a campaign; status 0 only when nothing was lost, doubled or left broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--rounds", type=int, default=100, help="besides one kill at each stage boundary")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="write the figures to docs/faults.md")
    arguments = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="faults-"))
    home.chmod(0o755)
    os.environ |= {
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_COLORS": "false",
        "DO_NOT_TRACK": "1",
    }
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    started = time.monotonic()
    try:
        result = _campaign(home, arguments.rounds, arguments.seed)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    text = page(result, arguments.rounds, arguments.seed, time.monotonic() - started)
    print(text)
    if arguments.write:
        (ROOT / "docs" / "faults.md").write_text(text, encoding="utf-8")
    return 1 if result.broken else 0


def _campaign(home: Path, rounds: int, seed: int) -> Result:
    """Half of the faults over folders as buckets, half over S3."""
    prefect = PrefectServer()
    try:
        prefect.wait()
        os.environ["PREFECT_API_URL"] = prefect.api
        with Servers(home).running() as servers:
            campaign = Campaign(home, servers, prefect.api, seed, lambda line: print(line, flush=True))
            campaign.shop("folders", mixed(rounds // 2, seed, s3=False), s3=False)
            campaign.shop("s3", mixed(rounds - rounds // 2, seed, s3=True), s3=True)
            campaign.shop("stages", stages(seed), s3=False)
        return campaign.result
    finally:
        prefect.stop()


if __name__ == "__main__":
    sys.exit(main())
