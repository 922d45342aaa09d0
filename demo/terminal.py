"""The output of the demo: steps with their times, and then tables.

All other output of this process and its children goes to a log file.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.status import Status
from rich.table import Table
from rich.text import Text

WIDTH = 100
_PREFECT_LINES = ("Beginning ", "Created ", "Executing ", "Finished ", "View at ")
# Clears the line and shows the cursor.
_CLEARED = "\r\x1b[2K\x1b[?25h"
_BLANK_ENDS = re.compile(r" +((?:\x1b\[[0-9;]*m)*)$", re.MULTILINE)
_TITLE, _RESULT, _SECONDS = 22, 68, 6


class Terminal:
    """The terminal, or a pipe or file in its place."""

    def __init__(self) -> None:
        """Take over standard output and error."""
        self.out = _console(sys.stdout.fileno())
        self.err = _console(sys.stderr.fileno())
        self._moves = self.out.is_terminal and not self.out.is_dumb_terminal
        self._status: Status | None = None
        self._title = ""

    def divert(self, log: Path) -> None:
        """Send all output but this object's to a log file."""
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.write(handle, f"\n{time.strftime('%Y-%m-%d %H:%M:%S')} demo\n".encode())
        for standard in (1, 2):
            os.dup2(handle, standard)
        os.close(handle)

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Show a step while it runs, then its result and its duration."""
        step, began = Step(), time.monotonic()
        self._title = title
        if self._moves:
            self._status = self.out.status(Text(title))
            self._status.start()
        else:
            self._write(_first_column(title))
        try:
            yield step
        except BaseException:
            step.result = "failed"
            raise
        finally:
            self._end_status()
            if self._moves:
                self._write(_first_column(title))
            self._write(f"{step.result:<{_RESULT}}{time.monotonic() - began:>{_SECONDS}.1f} s\n")

    def progress(self, text: str) -> None:
        """Show the progress of the current step, if the terminal can overwrite a line."""
        if self._status:
            room = max(0, self.out.width - _TITLE - 4)
            self._status.update(Text.assemble(f"{self._title:<{_TITLE}}", (text[:room], "dim")))

    def heading(self, words: str, remark: str = "") -> None:
        """Show a heading after an empty line."""
        self.out.print()
        self.out.print(Text.assemble((words, "bold"), ("  " + remark if remark else "", "dim")))

    def show(self, *shown: RenderableType) -> None:
        """Show tables or text, without trailing blanks."""
        with self.out.capture() as capture:
            self.out.print(*shown, sep="\n")
        self.out.file.write(_BLANK_ENDS.sub(r"\1", capture.get()))
        self.out.file.flush()

    def show_verbatim(self, *blocks: str) -> None:
        """Show text to copy: indented, without line breaks of its own."""
        for line in "\n".join(blocks).splitlines():
            self.out.print(Text("  " + line), soft_wrap=True)

    def fail(self, words: str) -> None:
        """Show an error in one line."""
        self.err.print(Text.assemble(("error: ", "bold red"), words), soft_wrap=True)

    def silence(self) -> Callable[[str], None]:
        """Stop all output; returns a function that shows one last line.

        For signal handlers: it uses no buffer and no lock, which the main thread may hold.
        """
        to = os.dup(self.out.file.fileno())
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.out.file.fileno())
        before = _CLEARED if self._moves else "\n"

        def last_words(words: str) -> None:
            with suppress(OSError):
                os.write(to, f"{before}{words}\n".encode())

        return last_words

    def _end_status(self) -> None:
        status, self._status = self._status, None
        if status:
            status.stop()

    def _write(self, words: str) -> None:
        self.out.print(Text(words), end="", soft_wrap=True)
        self.out.file.flush()


class Step:
    """A running step, with its result."""

    result = ""

    def finish(self, text: str) -> None:
        """Set the result, in at most 68 characters."""
        self.result = text


class Progress(logging.Handler):
    """Shows the flow's log lines as progress of the current step."""

    def __init__(self, terminal: Terminal) -> None:
        """Show lines in this terminal."""
        super().__init__(logging.INFO)
        self._terminal = terminal

    def emit(self, record: logging.LogRecord) -> None:
        """Show one message, or the task's name if the message is Prefect's own."""
        text = record.getMessage().split("\n", 1)[0]
        if text.startswith(_PREFECT_LINES):
            text = getattr(record, "task_run_name", "")
        if text:
            self._terminal.progress(text)


def table(head: Iterable[str], rows: Iterable[Iterable[str | Text]], right: Iterable[int] = ()) -> Padding:
    """An indented table; ``right`` are the indexes of columns that are aligned to the right."""
    result, numbers = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim"), set(right)
    for number, name in enumerate(head):
        result.add_column(name, justify="right" if number in numbers else "left")
    for row in rows:
        result.add_row(*row)
    return Padding(result, (0, 0, 0, 2))


def pairs(rows: Iterable[tuple[str, str]]) -> Padding:
    """An indented list of names and texts."""
    result = Table.grid(padding=(0, 3, 0, 0))
    for name, words in rows:
        result.add_row(Text(name, "dim"), words)
    return Padding(result, (0, 0, 0, 2))


def _first_column(title: str) -> str:
    return f"  {title:<{_TITLE}}"


def _console(standard: int) -> Console:
    """A console on a copy of standard output or error, at most WIDTH wide."""
    file = os.fdopen(os.dup(standard), "w", encoding=sys.stdout.encoding, errors="replace", buffering=1)
    width = min(WIDTH, os.get_terminal_size(standard).columns) if file.isatty() else WIDTH
    return Console(file=file, width=width, highlight=False, markup=False, emoji=False)
