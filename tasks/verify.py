"""Compare the lake with its manifests, and the warehouse with a rebuild: ``python -m tasks.verify``.

Nothing is written to either. The exit status is 0 if a rebuild would load everything that the warehouse
has, and 1 if anything is lost, damaged or different, or after an error.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from time import monotonic
from typing import TypeVar

from rich.filesize import decimal

from pipeline import settings
from pipeline.lake import verification as lake_verification
from pipeline.lake.verification import Verification
from pipeline.models import library
from pipeline.recovery import rehearsal as engine
from pipeline.recovery.rehearsal import Rehearsal
from pipeline.redaction import safe
from pipeline.settings import Settings
from pipeline.words import counted
from tasks import blocks
from tasks.arguments import Parser
from tasks.failures import in_some_line, print_error

_PROBLEMS = 50
_State = TypeVar("_State")


def main(pause: float = 5.0) -> int:
    """Verify, and print what a rebuild would load; returns the exit status.

    ``pause`` is the number of seconds between progress lines.
    """
    arguments = _arguments()
    try:
        config = settings.load()
        return _verify(config, config.environment_for(arguments.environment), pause, quick=arguments.quick)
    except Exception as error:  # noqa: BLE001  a person always gets one line
        print_error(in_some_line(error))
        return 1


def _verify(config: Settings, environment: str, pause: float, *, quick: bool) -> int:
    raw, processed = blocks.buckets(environment)
    url, schema = blocks.database_url(blocks.WAREHOUSE, environment), config.warehouse_schema
    results = [] if quick else engine.results(url, schema)
    verified = _with_progress(
        lake_verification.verify(raw, processed, results), _verification_progress, pause
    )
    _print(_verification_report(verified))
    if quick:
        return 1 if verified.problems else 0
    models = library.load(config.transforms)
    rebuilt = _with_progress(
        engine.rehearse(url, schema, models, config.transforms, raw), _rebuild_progress, pause
    )
    _print(_rebuild_report(rebuilt))
    return 1 if verified.problems or rebuilt.gaps or rebuilt.differences else 0


def _with_progress(steps: Iterator[_State], line: Callable[[_State], str], pause: float) -> _State:
    """The last of the states; prints a progress line every ``pause`` seconds."""
    printed = monotonic()
    for state in steps:
        if monotonic() - printed > pause:
            print(line(state), flush=True)
            printed = monotonic()
    return state


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print(safe(line))


def _verification_progress(verified: Verification) -> str:
    read = f"{verified.objects:,} of {counted(verified.of, 'object')}"
    return f"{read}, {decimal(verified.bytes)}, {verified.rate:,.0f} MB/s"


def _rebuild_progress(rehearsal: Rehearsal) -> str:
    return f"rebuilt so far: {counted(len(rehearsal.batches), 'batch', 'batches')}, up to {rehearsal.at}"


def _verification_report(verified: Verification) -> Iterator[str]:
    read = f"{counted(verified.manifests, 'manifest')} and {counted(verified.objects, 'object')}"
    size = f"{decimal(verified.bytes)}, {counted(verified.rows, 'row')}, {verified.rate:,.0f} MB/s"
    wrong = len(verified.problems)
    yield f"Read {read} ({size}): {f'{wrong:,} lost or damaged' if wrong else 'all are as they were written'}"
    if verified.unchecked:
        yield f"Without a checksum, as an earlier release wrote them: {counted(verified.unchecked, 'object')}"
    yield from (f"  {problem}" for problem in verified.problems[:_PROBLEMS])
    if wrong > _PROBLEMS:
        yield f"  and {wrong - _PROBLEMS:,} more"


def _rebuild_report(rehearsal: Rehearsal) -> Iterator[str]:
    if not rehearsal.batches:
        yield "A rebuild would load nothing"
    else:
        batches = counted(len(rehearsal.batches), "batch", "batches")
        yield f"A rebuild would load {batches}, from {rehearsal.batches[0]} to {rehearsal.at}"
    for gap in rehearsal.gaps:
        after = f"After batch {gap.after}" if gap.after else "At the beginning"
        outcome = f"it continues at batch {gap.at}, without the changes between"
        yield f"  {after}: {gap.why}; {outcome if gap.at else _end(rehearsal)}"
    for each in rehearsal.differences:
        yield (
            f"  {each.table} differs: {counted(each.in_warehouse, 'row')} only in the warehouse,"
            f" {each.in_rebuild:,} only in the rebuild"
        )
    for reference in rehearsal.unenforced:
        yield (
            f"  schema.sql declares a reference of {reference}, which the warehouse lacks: rows that violate"
            " it are not rejected; add it by ALTER TABLE"
        )
    if rehearsal.last is None:
        yield "The warehouse has no batch, so nothing was compared"
    elif not rehearsal.differences:
        compared = counted(len(rehearsal.compared), "table")
        same = "Its rows, and its versions since then, equal those of the warehouse"
        yield f"{same}: {compared} compared, nothing written"


def _end(rehearsal: Rehearsal) -> str:
    return (
        f"it ends there, and the warehouse is at batch {rehearsal.last}"
        if rehearsal.last
        else "it ends there"
    )


def _arguments() -> argparse.Namespace:
    parser = Parser("tasks.verify", __doc__)
    parser.add_environment()
    parser.add_argument("--quick", action="store_true", help="check the objects only, without a rebuild")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
