"""``python -m tests.dashboard.pictures ADDRESS FOLDER [PATH…]``: pages in both themes and widths."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.dashboard.chromium import browser

WIDTHS = {"desktop": (1440, 900), "phone": (390, 844)}
PATHS = ("/", "/sales", "/purchases", "/owed", "/amendments", "/table", "/health")


def main(address: str, folder: str, *paths: str) -> None:
    """Take the pictures."""
    with browser() as chromium:
        for path in paths or PATHS:
            name = path.partition("?")[0].strip("/") or "overview"
            for width, size in WIDTHS.items():
                for theme in ("light", "dark"):
                    chromium.resize(*size)
                    seconds = chromium.open(address + path, theme)
                    file = Path(folder) / f"dashboard-{name}-{theme}-{width}.png"
                    chromium.picture(file)
                    wide = chromium.evaluate("document.documentElement.scrollWidth")
                    print(f"{file} {seconds:.2f} s, {wide} pixels wide")  # noqa: T201  a command prints
        print(chromium.problems(address))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
