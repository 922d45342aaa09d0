"""Ctrl-C, or a wrong setting, ends a command with one line instead of a traceback."""

import sys
from types import TracebackType

from pipeline.errors import SettingsError

STOPPED = "stopped by Ctrl-C; run it again"
# What DuckDB raises if the signal comes while it computes.
_OF_DUCKDB = "Query interrupted"


def is_interrupt(error: BaseException) -> bool:
    """Whether somebody has stopped the command."""
    return isinstance(error, KeyboardInterrupt) or (
        isinstance(error, RuntimeError) and str(error) == _OF_DUCKDB
    )


def show_in_one_line() -> None:
    """Print one line for what nothing catches of these, also while modules are imported."""
    print_traceback = sys.excepthook

    def show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if is_interrupt(error):
            sys.stderr.write(f"error: {STOPPED}\n")
        elif isinstance(error, SettingsError):
            sys.stderr.write(f"error: {error}\n")
        else:
            print_traceback(kind, error, trace)

    sys.excepthook = show
