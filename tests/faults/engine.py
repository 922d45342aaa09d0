"""A run of the engine alone, without Prefect, in a process of its own."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import Any

import psycopg

from pipeline.errors import PipelineError
from pipeline.fast_exit import fast_exit
from pipeline.lake.buckets import Bucket, folder
from pipeline.messages import message
from tests import house
from tests.faults.meetings import begin
from tests.house import Warehouse
from tests.pair import Pair
from tests.support import s3_filesystem


def main(*arguments: Any) -> None:
    """Run once; for ``arguments`` see ``meetings.begin``."""
    meeting = begin(*arguments)
    meeting.around("compact", house, "compacted")
    meeting.around("model", house, "transform")
    fast_exit(_run("--reconcile" in meeting.job["arguments"]))


def _run(reconcile: bool) -> int:
    """A run, with the flow's exit status and line."""
    try:
        warehouse = Warehouse(
            os.environ["TOTESYS_WAREHOUSE_URL"],
            Path(os.environ["TOTESYS_TRANSFORMS"]),
            _bucket(os.environ["TOTESYS_RAW_URI"]),
            _bucket(os.environ["TOTESYS_PROCESSED_URI"]),
        )
        warehouse.prepare()
        pair = Pair(os.environ["TOTESYS_SOURCE_URL"], warehouse, Path.cwd())
        pair.run(reconcile=reconcile, max_rejected_share=1, max_deleted_share=1)
    except (PipelineError, psycopg.Error, OSError) as error:
        print(f"error: {message(error)}", file=sys.stderr)  # noqa: T201  as the flow does
        return 1
    except Exception:  # noqa: BLE001  the process leaves without it else
        traceback.print_exc()
        return 1
    return 0


def _bucket(uri: str) -> Bucket:
    if not uri.startswith("s3://"):
        return folder(uri)
    filesystem = s3_filesystem(os.environ["AWS_ENDPOINT_URL_S3"])
    return Bucket(filesystem, uri.removeprefix("s3://"), uri)
