"""A part of the campaign in a process of its own, on servers of its own."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from demo.processes import PrefectServer
from tests.faults.campaign import Campaign, Result, mixed, stages
from tests.faults.site import Servers


def one_shop(name: str, rounds: int, seed: int, kind: str = "totesys") -> Result:
    """So many mixed faults for a shop, or a kill at each stage boundary; what came of it."""
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
            campaign = Campaign(home, servers, prefect.api, seed, _say)
            over_s3 = "over S3" in name
            makers = mixed(rounds, seed, s3=over_s3) if rounds else stages(seed)
            campaign.shop(name, makers, s3=over_s3, kind=kind)
        return campaign.result
    finally:
        prefect.stop()
        shutil.rmtree(home, ignore_errors=True)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
