"""One local run of the flow: ``python -m flows``."""

import argparse
import sys

from flows.etl import etl
from pipeline.errors import PipelineError


def main() -> int:
    """Run the flow; status 0 only when the warehouse is up to date."""
    parser = argparse.ArgumentParser(prog="python -m flows", description=etl.description)
    parser.add_argument("--reconcile", action="store_true", help="also find facts that the source no longer has")
    parser.add_argument("--full", action="store_true", help="read every table whole")
    parser.add_argument("--max-rejected", type=int, metavar="N", help="fail if more rows would be set aside")
    arguments = parser.parse_args()
    try:
        reports = etl(**vars(arguments))
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except Exception as error:  # whatever it is, a person gets one line; the log has the rest
        print(f"error: {type(error).__name__}: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    for report in reports:
        print(f"batch {report.batch_id}: {report.story}")
    if not reports:
        print("up to date: nothing changed in the source")
    return 0


if __name__ == "__main__":
    sys.exit(main())
