"""What a person sees: steps with their times while the demo works, tables afterwards.

Everything else that anything in this process or its children prints goes into a log file.
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
_OF_PREFECT = ("Beginning ", "Created ", "Executing ", "Finished ", "View at ")
# Back to the beginning of a clean line, the cursor visible.
_CLEARED = "\r\x1b[2K\x1b[?25h"
_BLANK_ENDS = re.compile(r" +((?:\x1b\[[0-9;]*m)*)$", re.MULTILINE)
_TITLE, _RESULT, _SECONDS = 22, 68, 6


class Terminal:
    """The terminal, or the pipe or file in its place, with output of its own."""

    def __init__(self) -> None:
        """Take over standard output and error."""
        self.out = _console(sys.stdout.fileno())
        self.err = _console(sys.stderr.fileno())
        self._moves = self.out.is_terminal and not self.out.is_dumb_terminal
        self._status: Status | None = None
        self._title = ""

    def divert(self, log: Path) -> None:
        """From now on send to a log file what anybody but this object prints."""
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.write(handle, f"\n{time.strftime('%Y-%m-%d %H:%M:%S')} demo\n".encode())
        for standard in (1, 2):
            os.dup2(handle, standard)
        os.close(handle)

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Show a step while it goes on, and then what came of it and how long it took."""
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

    def news(self, words: str) -> None:
        """Show what the present step is at, where there is a terminal that can move."""
        if self._status:
            room = max(0, self.out.width - _TITLE - 4)
            self._status.update(Text.assemble(f"{self._title:<{_TITLE}}", (words[:room], "dim")))

    def heading(self, words: str, remark: str = "") -> None:
        """Show a heading after an empty line."""
        self.out.print()
        self.out.print(Text.assemble((words, "bold"), ("  " + remark if remark else "", "dim")))

    def show(self, *shown: RenderableType) -> None:
        """Show tables or text, without the blanks at the ends of lines that rich fills up with."""
        with self.out.capture() as capture:
            self.out.print(*shown, sep="\n")
        self.out.file.write(_BLANK_ENDS.sub(r"\1", capture.get()))
        self.out.file.flush()

    def show_verbatim(self, *blocks: str) -> None:
        """Show what people copy: set in a little, and never broken into lines."""
        for line in "\n".join(blocks).splitlines():
            self.out.print(Text("  " + line), soft_wrap=True)

    def fail(self, words: str) -> None:
        """Show in one line what went wrong."""
        self.err.print(Text.assemble(("error: ", "bold red"), words), soft_wrap=True)

    def silence(self) -> Callable[[str], None]:
        """Show nothing more, except by the function returned.

        Made for signal handlers: it touches no buffer and no lock, which the main thread may
        hold that very moment.
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
    """A step under way: what comes of it is for the step to say."""

    result = ""

    def say(self, words: str) -> None:
        """Say what came of it, in at most 68 characters."""
        self.result = words


class News(logging.Handler):
    """Passes on to the terminal what the flow logs."""

    def __init__(self, terminal: Terminal) -> None:
        """Pass on to this terminal."""
        super().__init__(logging.INFO)
        self._terminal = terminal

    def emit(self, record: logging.LogRecord) -> None:
        """Pass on one message, or the task's name where the message is Prefect's own."""
        words = record.getMessage().split("\n", 1)[0]
        if words.startswith(_OF_PREFECT):
            words = getattr(record, "task_run_name", "")
        if words:
            self._terminal.news(words)


def table(head: Iterable[str], rows: Iterable[Iterable[str | Text]], right: Iterable[int] = ()) -> Padding:
    """A table set in a little; ``right`` are the numbers of the columns that hold numbers."""
    made, numbers = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim"), set(right)
    for number, name in enumerate(head):
        made.add_column(name, justify="right" if number in numbers else "left")
    for row in rows:
        made.add_row(*row)
    return Padding(made, (0, 0, 0, 2))


def pairs(rows: Iterable[tuple[str, str]]) -> Padding:
    """Names and what they stand for, set in a little."""
    made = Table.grid(padding=(0, 3, 0, 0))
    for name, words in rows:
        made.add_row(Text(name, "dim"), words)
    return Padding(made, (0, 0, 0, 2))


def _first_column(title: str) -> str:
    return f"  {title:<{_TITLE}}"


def _console(standard: int) -> Console:
    """A console on a copy of standard output or error; never wider than reads well."""
    file = os.fdopen(os.dup(standard), "w", encoding=sys.stdout.encoding, errors="replace", buffering=1)
    width = min(WIDTH, os.get_terminal_size(standard).columns) if file.isatty() else WIDTH
    return Console(file=file, width=width, highlight=False, markup=False, emoji=False)
