"""Hide the values of columns that personal columns of the source feed."""

import json
from collections.abc import Collection

from pipeline.review.branch import Branch
from pipeline.review.live import Changed, Difference, Row
from pipeline.review.trial import Trial

HIDDEN = "…"


def of_trial(tried: Trial) -> Trial:
    """The trial without personal values."""
    personal = {column.name for column in tried.columns if column.personal}
    found = tried.difference
    rejected = [
        each.model_copy(update={"first_key": json.dumps(_row(json.loads(each.first_key), personal))})
        for each in tried.rejected
    ]
    update: dict[str, object] = {
        "first": _rows(tried.first, personal),
        "rejected": tuple(rejected) if personal else tried.rejected,
        "difference": found and found.model_copy(update=_of_difference(found, personal)),
    }
    return tried.model_copy(update=update)


def of_branch(found: Branch) -> Branch:
    """The branch without personal values."""
    tables = [each.model_copy(update=_of_difference(each, set(each.personal))) for each in found.tables]
    return found.model_copy(update={"tables": tuple(tables)})


def _of_difference(found: Difference, personal: Collection[str]) -> dict[str, object]:
    return {
        "first_added": _rows(found.first_added, personal),
        "first_missing": _rows(found.first_missing, personal),
        "first_changed": tuple(_changed(each, personal) for each in found.first_changed),
    }


def _rows(rows: Collection[Row], personal: Collection[str]) -> tuple[Row, ...]:
    return tuple(_row(row, personal) for row in rows)


def _row(row: Row, personal: Collection[str]) -> Row:
    return {name: HIDDEN if name in personal else value for name, value in row.items()}


def _changed(each: Changed, personal: Collection[str]) -> Changed:
    columns = {
        name: (HIDDEN, HIDDEN) if name in personal else values for name, values in each.columns.items()
    }
    return Changed(key=_row(each.key, personal), columns=columns)
