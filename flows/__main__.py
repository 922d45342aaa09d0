"""One local run of the flow: ``python -m flows``."""

import argparse
import sys

from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from flows.etl import etl
from pipeline.duck import leave
from tasks.failures import in_one_line


def main() -> int:
    """Run the flow; status 0 only when the warehouse is up to date."""
    parser = argparse.ArgumentParser(prog="python -m flows", description=etl.description)
    parser.add_argument(
        "--reconcile", action="store_true", help="also find facts that the source no longer has"
    )
    parser.add_argument("--full", action="store_true", help="read every table whole")
    parser.add_argument("--max-rejected", type=int, metavar="N", help="fail if more rows would be set aside")
    arguments = parser.parse_args()
    try:
        # Heartbeats tell a server that a deployed run is alive; here they cost a second at the end.
        with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
            reports = etl(**vars(arguments))
    except Exception as error:  # noqa: BLE001  whatever it is, a person gets one line; the log has the rest
        line = in_one_line(error) or f"{type(error).__name__}: {' '.join(str(error).split())}"
        print(f"error: {line}", file=sys.stderr)
        return 1
    for report in reports:
        print(report.summary)
    if not reports:
        print("up to date: nothing changed in the source")
    return 0


if __name__ == "__main__":
    leave(main())
