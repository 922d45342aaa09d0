"""Hold the lake against its manifests, and the warehouse against a rebuild: ``python -m tasks.verify``.

Nothing is written to either. Exits with 0 where a rebuild would bring back all that the warehouse has, with 1
where anything is lost, damaged or different, or where that could not be found out.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from time import monotonic
from typing import TypeVar

from rich.filesize import decimal

from pipeline import settings
from pipeline.lake.walk import Walk, walk
from pipeline.models import library
from pipeline.recovery import rehearsal
from pipeline.recovery.rehearsal import Rehearsal
from pipeline.redaction import safe
from pipeline.settings import Settings
from pipeline.words import counted
from tasks import blocks
from tasks.failures import in_some_line

# Seconds between lines that say how far it is.
_PAUSE = 5.0
_PROBLEMS = 50
_State = TypeVar("_State")


def main() -> int:
    """Verify, and say what a rebuild would bring back."""
    arguments = _arguments()
    try:
        config = settings.load()
        return _verify(config, config.environment_for(arguments.environment), quick=arguments.quick)
    except Exception as error:  # noqa: BLE001  whatever it is, a person gets one line
        print(f"error: {in_some_line(error)}", file=sys.stderr)
        return 1


def _verify(config: Settings, environment: str, *, quick: bool) -> int:
    raw, processed = (blocks.bucket(name, environment) for name in (blocks.RAW, blocks.PROCESSED))
    url, schema = blocks.database_url(blocks.WAREHOUSE, environment), config.warehouse_schema
    results = [] if quick else rehearsal.results(url, schema)
    walked = _shown(walk(raw, processed, results), _progress_of_walk)
    _print(_story_of_walk(walked))
    if quick:
        return 1 if walked.problems else 0
    known = library.load(config.transforms)
    rebuilt = _shown(rehearsal.rehearse(url, schema, known, config.transforms, raw), _progress_of_rebuild)
    _print(_story_of_rebuild(rebuilt))
    return 1 if walked.problems or rebuilt.gaps or rebuilt.differences else 0


def _shown(steps: Iterator[_State], line: Callable[[_State], str]) -> _State:
    """What has come of it in the end; meanwhile a line now and then says how far it is."""
    said = monotonic()
    for state in steps:
        if monotonic() - said > _PAUSE:
            print(line(state), flush=True)
            said = monotonic()
    return state


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print(safe(line))


def _progress_of_walk(walked: Walk) -> str:
    read = f"{walked.objects:,} of {counted(walked.of, 'object')}"
    return f"{read}, {decimal(walked.bytes)}, {walked.rate:,.0f} MB/s"


def _progress_of_rebuild(found: Rehearsal) -> str:
    return f"rebuilt, to be compared: {counted(len(found.batches), 'batch', 'batches')}, up to {found.at}"


def _story_of_walk(walked: Walk) -> Iterator[str]:
    read = f"{counted(walked.manifests, 'manifest')} and {counted(walked.objects, 'object')}"
    much = f"{decimal(walked.bytes)}, {counted(walked.rows, 'row')}, {walked.rate:,.0f} MB/s"
    wrong = len(walked.problems)
    yield f"Read {read} ({much}): {f'{wrong:,} lost or damaged' if wrong else 'all are as they were written'}"
    if walked.unchecked:
        yield f"Of an earlier release, which kept no checksums: {counted(walked.unchecked, 'object')}"
    yield from (f"  {problem}" for problem in walked.problems[:_PROBLEMS])
    if wrong > _PROBLEMS:
        yield f"  and {wrong - _PROBLEMS:,} more"


def _story_of_rebuild(found: Rehearsal) -> Iterator[str]:
    if not found.batches:
        yield "A rebuild brings nothing back"
    else:
        brought = counted(len(found.batches), "batch", "batches")
        yield f"A rebuild brings back {brought}, from {found.batches[0]} to {found.at}"
    for gap in found.gaps:
        after = f"After batch {gap.after}" if gap.after else "At the beginning"
        goes_on = f"it goes on at batch {gap.at}, without what changed between" if gap.at else _end(found)
        yield f"  {after}: {gap.why}; {goes_on}"
    for each in found.differences:
        yield (
            f"  {each.table} differs: {counted(each.in_warehouse, 'row')} of it only in the warehouse,"
            f" {each.in_rebuild:,} only in a rebuild"
        )
    if found.last is None:
        yield "The warehouse has no batch, so nothing was compared"
    elif not found.differences:
        compared = counted(len(found.compared), "table")
        yield f"Its rows and versions are those of the warehouse: {compared} compared, nothing written"


def _end(found: Rehearsal) -> str:
    return f"it ends there, and the warehouse is at batch {found.last}" if found.last else "it ends there"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tasks.verify", description=__doc__)
    parser.add_argument(
        "--environment", default="", metavar="NAME", help="whose blocks; TOTESYS_ENVIRONMENT by default"
    )
    parser.add_argument(
        "--quick", action="store_true", help="read the objects only, without trying a rebuild and comparing"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
