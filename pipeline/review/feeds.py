"""Which source columns feed the columns of models that have changed, now and before."""

from __future__ import annotations  # evaluated annotations keep DuckDB alive: see duck._database

from collections.abc import Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace

from pipeline.capture.source_tables import refuse_main_schema
from pipeline.columns import Column, Frozen
from pipeline.errors import ModelError
from pipeline.models import contract, library, lineage, properties, reference_tables
from pipeline.models.library import Model, parse
from pipeline.models.lineage import Lineage
from pipeline.models.target import Target
from pipeline.review import fitting

Tables = Mapping[str, Sequence[Column]]
Keys = Mapping[str, tuple[str, ...]]


class Feed(Frozen):
    """A column that is computed from other ``sources`` than before, or the rows of the table if it is empty.

    ``before`` is None if the column is new.
    """

    column: str
    sources: tuple[str, ...]
    before: tuple[str, ...] | None


def feeds(
    models: Mapping[str, Model],
    texts: Mapping[str, str],
    targets: Mapping[str, Target],
    tables: Tables,
    keys: Keys,
    changed: AbstractSet[str],
) -> dict[str, tuple[Feed, ...]]:
    """By changed model, the columns that are fed by other columns of the source than by their former text.

    Empty if a model does not fit these tables, or reads one that is not among them.
    """
    former = dict(models)
    known = tables.keys() | models.keys() | reference_tables.NAMES
    try:
        for name in changed & texts.keys():
            former[name] = replace(parse(models[name].path, texts[name]), seeds=models[name].seeds)
        if any(library.tables_read(each) - known for each in (models, former)):
            return {}
        now = _lineages(models, targets, tables, keys, changed)
        before = _lineages(former, targets, tables, keys, changed & texts.keys())
    except ModelError:
        return {}
    return {name: tuple(_differences(each, before.get(name))) for name, each in now.items()}


def unfit(
    models: Mapping[str, Model],
    targets: Mapping[str, Target],
    tables: Tables,
    keys: Keys,
    changed: Mapping[str, Target | None],
    main_schema: str | None,
) -> dict[str, str]:
    """By changed model, why it is refused over these tables, or does not fit the table that it will have.

    One that reads a table not among them may fit, unless it names the source's ``main_schema``.
    """
    known = tables.keys() | models.keys() | reference_tables.NAMES
    reasons: dict[str, str] = {}
    for name, future in changed.items():
        wanted = library.closure(models, name)
        try:
            refuse_main_schema(main_schema, wanted)
            if not library.tables_read(wanted) - known:
                _lineages(wanted, targets, tables, keys, {name})
                if future:
                    contract.refuse_mismatch(
                        wanted[name], future, _yields(wanted, targets, tables, keys, name)
                    )
                kept = {each: target for each, target in targets.items() if each != name}
                complete = fitting.with_missing(wanted, kept, tables, keys)
                properties.analysed(wanted, complete, tables, keys)  # with keys, what a run refuses, too
        except ModelError as error:
            reasons[name] = f"the run fails if the source is as in the last batch: {error}"
    return reasons


def _yields(
    models: Mapping[str, Model], targets: Mapping[str, Target], tables: Tables, keys: Keys, name: str
) -> dict[str, str]:
    """The columns of the last of these models."""
    below = {each: model for each, model in models.items() if each != name}
    return fitting.types_of(models, fitting.with_missing(below, targets, tables, keys), tables, name)


def _lineages(
    models: Mapping[str, Model],
    targets: Mapping[str, Target],
    tables: Tables,
    keys: Keys,
    names: Collection[str],
) -> dict[str, Lineage]:
    kept = {name: target for name, target in targets.items() if name not in names}
    complete = fitting.with_missing(models, kept, tables, keys)
    found = lineage.of_models(models, complete, tables, keys)
    return {name: each for name, each in found.items() if name in names}


def _differences(now: Lineage, before: Lineage | None) -> Iterator[Feed]:
    for column, sources in now.columns.items():
        former = before.columns.get(column) if before else None
        if sources != former:
            yield Feed(column=column, sources=sources, before=former)
    if before and now.rows != before.rows:
        yield Feed(column="", sources=now.rows, before=before.rows)
