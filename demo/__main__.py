"""``python -m demo``: see demo/commands.py, which takes a moment to import."""

from __future__ import annotations

import os
import sys

from demo.interrupts import STOPPED, Interrupts


def main() -> int:
    """Handle Ctrl-C first, because the imports take a moment."""
    interrupts = Interrupts()
    interrupts.catch(_leave)
    from demo import commands

    return commands.main(interrupts)


def _leave(number: int) -> int:
    os.write(sys.stdout.fileno(), f"\n{STOPPED}\n".encode())
    return 128 + number


if __name__ == "__main__":
    sys.exit(main())
