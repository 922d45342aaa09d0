"""A worker whose clock is wrong.

No clock of this machine is moved, nor that of a Postgres server, which would need libfaketime: a run's own
process reads the time with an offset, in the pipeline and in Prefect.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from typing import Any

_MOVED = ("pipeline", "tasks", "flows", "prefect")
_PREFECTS_NOW = "prefect.types._datetime"


class _Kind(type):
    """Whatever is a time is one of the moved clock's, too."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, datetime)


def move_clock(seconds: float) -> None:
    """Let this process read the time with an offset from now on."""
    if not seconds:
        return
    offset, true_time = timedelta(seconds=seconds), time.time

    class Moved(datetime, metaclass=_Kind):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + offset

    time.time = lambda: true_time() + seconds
    _replace("datetime", datetime, Moved)
    if prefect := sys.modules.get(_PREFECTS_NOW):
        now: Callable[..., datetime] = prefect.now
        _replace("now", now, lambda *zone: now(*zone) + offset)


def _replace(name: str, real: object, moved: Any) -> None:
    """Give every module that knows the real one the moved one."""
    for known, module in list(sys.modules.items()):
        if known.partition(".")[0] in _MOVED and vars(module).get(name) is real:
            setattr(module, name, moved)
