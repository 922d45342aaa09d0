"""Write the data dictionary of the warehouse, one HTML page without links to the internet: ``make docs``."""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, select_autoescape

from pipeline.models import library, marts
from pipeline.review import dictionary
from pipeline.review.dictionary import Dictionary
from pipeline.words import counted
from tasks import erd
from tasks.arguments import Parser, written_to
from tasks.connections import connections, in_line

_PAGE = "data_dictionary.html"


def main(words: Sequence[str] | None = None, folder: Path = Path()) -> int:
    """Write the page, and print where it is; returns the exit status.

    ``words`` are the arguments, by default those of the command line. The file is relative to ``folder``.
    """
    arguments = _arguments(words)
    file = folder / arguments.file
    try:
        at = connections(arguments.environment)
        models, shown = library.load(at.transforms), marts.load(at.transforms)
        found = dictionary.read(at.url, at.schema, models, shown, at.raw)
        with written_to("--file", file):
            file.write_text(page(found, datetime.now(UTC)), encoding="utf-8")
    except Exception as error:  # noqa: BLE001  a person always gets one line
        print(f"error: {in_line(error)}", file=sys.stderr)
        return 1
    tables, views = (
        counted(len(found.tables), "table"),
        counted(len(found.views), "view or function", "views and functions"),
    )
    print(f"{file}: {tables}, {views}")
    return 0


def page(found: Dictionary, now: datetime) -> str:
    """The page as HTML; ``now`` is the moment that its ages refer to."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=select_autoescape(),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(_PAGE).render(dictionary=found, now=now, diagram=erd.draw(found.tables))


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser("tasks.data_dictionary", __doc__)
    parser.add_argument(
        "--file", type=Path, default=Path("data-dictionary.html"), help="where to write the page"
    )
    parser.add_environment()
    return parser.parse_args(words)


if __name__ == "__main__":
    sys.exit(main())
