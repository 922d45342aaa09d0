"""Runs commands in a test world and captures their output, log and exit status."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from tests.flows.support import World, warehouse_state

WRONG = "hunter2-is-wrong"


@dataclass(frozen=True)
class Attempt:
    """A command's output, log and exit status."""

    status: int
    out: str
    err: str
    log: str

    def fails_with(self, *words: str) -> None:
        """Require one error line that matches all these regular expressions, and no traceback."""
        assert self.status != 0
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("error: ")
        for pattern in words:
            assert re.search(pattern, lines[0]), f"{pattern!r} is not in: {lines[0]}"
        self.keeps_secrets()
        assert "Traceback" not in self.log + self.out

    def keeps_secrets(self) -> None:
        everything = self.out + self.err + self.log
        assert WRONG not in everything
        assert PASSWORDS.isdisjoint(re.split(r"[^\w-]+", everything))


PASSWORDS: set[str] = set()


class KeptLines(logging.Handler):
    """Keeps formatted log records."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@contextmanager
def kept_log() -> Iterator[KeptLines]:
    kept = KeptLines()
    loggers = [logging.getLogger(name) for name in ("prefect", "prefect.flow_runs", "prefect.task_runs")]
    for logger in loggers:
        logger.addHandler(kept)
    yield kept
    for logger in loggers:
        logger.removeHandler(kept)


Try = Callable[..., Attempt]


@contextmanager
def nothing_changes(world: World) -> Iterator[None]:
    """Require that the warehouse has the same rows after the block."""
    before = warehouse_state(world.warehouse_url)
    yield
    assert warehouse_state(world.warehouse_url) == before


def with_parts(url: str, **changes: str) -> str:
    """The URL with another user, password, host, port or database."""
    parts = urlsplit(url)
    has = {
        "user": parts.username,
        "password": parts.password,
        "host": parts.hostname,
        "port": parts.port,
        "database": parts.path.strip("/"),
    } | changes
    where = f"{has['user']}:{has['password']}@{has['host']}:{has['port']}"
    return urlunsplit(parts._replace(netloc=where, path=f"/{has['database']}"))


def with_changes(world: World, name: str, value: str, **more: Any) -> World:
    """The world with one field changed."""
    changes: dict[str, Any] = {name: value, **more}
    return replace(world, **changes)
