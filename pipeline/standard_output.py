"""A command ends its work also if nobody reads its output any more, as in ``make status | head -1``."""

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


def drop_unread() -> None:
    """Replace standard output and error, unless they are closed or another program has replaced them."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, io.TextIOWrapper) or stream is not getattr(sys, f"__{name}__"):
            continue
        stream.flush()
        raw = io.BufferedWriter(_Unread(stream.fileno(), "w", closefd=False))
        new = io.TextIOWrapper(
            raw, stream.encoding, stream.errors,
            line_buffering=stream.line_buffering, write_through=stream.write_through,
        )  # fmt: skip
        setattr(sys, name, new)
