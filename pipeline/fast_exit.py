"""Ends a process without tearing its modules down, which takes half a second with Prefect and DuckDB."""

import atexit
import os
import sys
import threading
from typing import NoReturn


def fast_exit(status: int) -> NoReturn:
    """End the process: wait for its threads, run exit handlers and flush output, as ``sys.exit`` does.

    Python has no public call for the first two steps of its shutdown. The private ones are those of
    CPython 3.11 to 3.14; tests/engine/test_fast_exit.py fails where they change.
    """
    threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001
    atexit._run_exitfuncs()  # noqa: SLF001
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
