"""The analysis of a model's SQL over a few tables."""

from __future__ import annotations

from pathlib import Path

from pipeline.columns import Column
from pipeline.duck import session
from pipeline.models import inputs, library, properties
from pipeline.models.analysis import Analysis
from pipeline.models.inputs import RESULT
from pipeline.models.target import Target
from tests.made_up import made_target
from tests.support import write_models

TABLES = {
    name: tuple(
        Column(name=column, type=type_)
        for column, type_ in {"a": "integer", "b": "integer", "c": "text", "f": "double precision"}.items()
    )
    for name in ("t", "u", "T")
}
TABLES["docs"] = (
    Column(name="a", type="integer"),
    Column(name="b", type="integer"),
    Column(name="j", type="jsonb"),
)


TYPES = {"INTEGER": "integer", "BIGINT": "bigint", "DOUBLE": "double precision", "BOOLEAN": "boolean"}


KEYS: dict[str, tuple[str, ...]] = dict.fromkeys(TABLES, ("a",))


def analysed(folder: Path, *texts: str, keys: dict[str, tuple[str, ...]] | None = KEYS) -> Analysis:
    """The analysis of the last of some models, m0, m1, …, whose tables have their columns."""
    files = {f"m{place}": f"-- kind: dimension\n{text}" for place, text in enumerate(texts)}
    all_models = write_models(folder, files)
    targets: dict[str, Target] = {}
    for name in all_models:
        below = library.closure(all_models, name)
        with session() as connection:
            inputs.bind_empty(connection, below, targets, TABLES)
            actual = connection.execute(f"DESCRIBE FROM {RESULT}").fetchall()
        types = {str(row[0]): TYPES.get(str(row[1]), "text") for row in actual}
        targets[name] = made_target(name, (next(iter(types)),), **types)
    below = library.closure(all_models, f"m{len(texts) - 1}")
    return properties.analysed(below, targets, TABLES, keys)[0]
