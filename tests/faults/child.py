"""A run of the flow, as ``python -m flows`` does it, in a process of its own."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

from tasks import failures
from tests.faults.meetings import SOONER, begin

# Before the tasks are made of it.
failures.RETRY_IF_TRANSIENT["retry_delay_seconds"] = SOONER
program = import_module("flows.__main__")


def main(*arguments: Any) -> None:
    """Run the flow; for ``arguments`` see ``meetings.begin``."""
    meeting = begin(*arguments)
    # Their modules' names are hidden by the tasks of the same name.
    reading, modelling = sys.modules["tasks.extract"], sys.modules["tasks.transform"]
    meeting.around("compact", reading, "compacted")
    meeting.around("model", modelling, "run_model")
    meeting.within_copy(reading, "within a read")
    meeting.within_copy(sys.modules["tasks.load"], "within a copy")
    sys.argv[1:] = meeting.job["arguments"]
    program.fast_exit(program.main())
