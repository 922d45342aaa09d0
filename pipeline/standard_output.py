"""A command ends its work whatever becomes of its output.

Nobody may read it any more, as in ``make status | head -1``, or its encoding may lack a character.
"""

import io
import sys
from typing import Any


class _Unread(io.FileIO):
    """An open file descriptor; what is written to it is dropped once nobody reads it."""

    def write(self, data: Any, /) -> int:  # noqa: ANN401  a buffer of any kind
        """Write, unless the reader has gone."""
        try:
            return super().write(data)
        except BrokenPipeError:
            return memoryview(data).nbytes


def keep_printing() -> None:
    """Replace standard output and error, unless they are closed or another program has replaced them.

    What nobody reads is dropped, and a character that the encoding lacks is written as its number.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, io.TextIOWrapper) or stream is not getattr(sys, f"__{name}__"):
            continue
        stream.flush()
        raw = _Unread(stream.fileno(), "w", closefd=False)
        # With PYTHONUNBUFFERED each line has to arrive when it is printed, as Python itself does it.
        below: Any = raw if stream.write_through else io.BufferedWriter(raw)
        errors = "backslashreplace" if stream.errors == "strict" else stream.errors
        new = io.TextIOWrapper(
            below, stream.encoding, errors,
            line_buffering=stream.line_buffering, write_through=stream.write_through,
        )  # fmt: skip
        setattr(sys, name, new)
