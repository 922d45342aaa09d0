"""What ends a benchmark."""

from __future__ import annotations


class BenchError(Exception):
    """What keeps the benchmark from going on, or what makes its figures worthless, in one line."""
