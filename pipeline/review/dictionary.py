"""The data dictionary: what the tables, views and functions of a warehouse mean, from its catalogue."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Literal

from psycopg import sql

from pipeline.columns import Frozen
from pipeline.lake.buckets import Bucket
from pipeline.models.library import Model
from pipeline.models.lineage import Lineage
from pipeline.models.marts import Mart
from pipeline.models.target import ADDED_TO_FACTS, DELETED, Target
from pipeline.postgres import Connection, select, statement, transaction
from pipeline.review.sources import lineage_of
from pipeline.warehouse import catalogue, comments
from pipeline.warehouse.marts import meaning_of
from pipeline.warehouse.schemas import reporting_schema

Kind = Literal["fact", "dimension", "bridge"]


class DescribedColumn(Frozen):
    """A column with its meaning, which is empty if nothing says it.

    ``refers_to`` is the table that it refers to, and ``sources`` the columns of the source that feed it.
    """

    name: str
    type: str
    meaning: str | None = None
    required: bool = False
    in_key: bool = False
    refers_to: str | None = None
    sources: tuple[str, ...] = ()


class Days(Frozen):
    """The days that a fact's present rows cover, by its first column of dates; None without rows."""

    column: str
    first_day: str | None
    last_day: str | None


class DescribedTable(Frozen):
    """A table of the warehouse; ``rows`` and ``versions`` are those of its last load, if they are known."""

    name: str
    kind: Kind
    meaning: str
    columns: tuple[DescribedColumn, ...]
    rows: int | None
    versions: int | None
    row_sources: tuple[str, ...]
    days: Days | None = None


class DescribedView(Frozen):
    """A view for readers, or a function if it has ``arguments``; ``questions`` are some that it answers."""

    name: str
    arguments: str | None
    meaning: str | None
    columns: tuple[DescribedColumn, ...]
    questions: tuple[str, ...] = ()


class State(Frozen):
    """How current a warehouse is; its batches are None if they are not known any more."""

    up_to_date_at: datetime
    last_batch: datetime | None
    first_batch: datetime | None
    rejected_rows: int


class Dictionary(Frozen):
    """Everything that readers of a warehouse can use.

    ``beside`` says what stands beside each table, by the end of its name. ``of_facts`` are the columns that
    facts have besides their own, and ``of_history`` those that every history has.
    """

    schema_name: str
    reporting: str
    state: State
    tables: tuple[DescribedTable, ...]
    views: tuple[DescribedView, ...]
    beside: Mapping[str, str] = comments.BESIDE
    of_facts: Mapping[str, str] = {each: comments.OF_ENGINE[each] for each in ADDED_TO_FACTS}
    of_history: Mapping[str, str] = {
        each: comments.OF_ENGINE[each] for each in ("valid_from", "valid_to")
    } | {"deleted, of a dimension": comments.ENDED[DELETED]}


class _Loaded(Frozen):
    table_name: str
    row_count: int | None
    version_count: int | None
    meanings: dict[str, str | None] | None


def read(
    url: str, schema: str, models: Mapping[str, Model], marts: Iterable[Mart], raw: Bucket
) -> Dictionary:
    """The dictionary of a warehouse's schema.

    Raises SettingsError before the first batch, and ModelError if a model does not fit the last one.
    """
    by_name = {mart.name: mart for mart in marts}
    lineages = lineage_of(url, schema, models, raw, None)
    with transaction(url, "warehouse", reading=True) as connection:
        targets = catalogue.existing_targets(connection, schema, models)
        (state,) = select(connection, State, "review/state_of_warehouse.sql", schema=schema)
        rows = select(connection, _Loaded, "review/loaded_rows.sql", schema=schema)
        loaded = {each.table_name: each for each in rows}
        days = {name: days_of(connection, schema, target) for name, target in targets.items() if target.fact}
        reporting = reporting_schema(schema)
        views = select(connection, DescribedView, "review/readable_objects.sql", schema=reporting)
    return Dictionary(
        schema_name=schema,
        reporting=reporting,
        state=state,
        tables=tuple(
            _table(target, models[name], loaded.get(name), lineages[name], days.get(name))
            for name, target in targets.items()
        ),
        views=tuple(_view(view, by_name.get(view.name)) for view in views if view.name not in targets),
    )


def _view(view: DescribedView, mart: Mart | None) -> DescribedView:
    """The view; the columns that a function returns have no comments in the catalogue."""
    questions = mart.questions if mart else ()
    if mart is None or not mart.is_function:
        return view.model_copy(update={"meaning": meaning_of(view.meaning), "questions": questions})
    columns = [each.model_copy(update={"meaning": mart.columns.get(each.name)}) for each in view.columns]
    return view.model_copy(
        update={"meaning": mart.meaning, "columns": tuple(columns), "questions": questions}
    )


def days_of(connection: Connection, schema: str, fact: Target) -> Days | None:
    """The days that a fact covers; None if it has no column of dates."""
    column = next((column.name for column in fact.columns if column.type == "date"), None)
    if column is None:
        return None
    query = statement("review/covered_days.sql").format(
        day=sql.Identifier(column), facts=sql.Identifier(schema, f"{fact.name}_current")
    )
    first_day, last_day = connection.execute(query).fetchone() or (None, None)
    return Days(column=column, first_day=first_day, last_day=last_day)


def _table(
    target: Target, model: Model, loaded: _Loaded | None, lineage: Lineage, days: Days | None
) -> DescribedTable:
    return DescribedTable(
        name=target.name,
        kind="fact" if target.fact else "bridge" if target.bridge else "dimension",
        meaning=model.meaning,
        columns=tuple(_columns(target, loaded, lineage)),
        rows=loaded.row_count if loaded else None,
        versions=loaded.version_count if loaded else None,
        row_sources=lineage.rows,
        days=days,
    )


def _columns(target: Target, loaded: _Loaded | None, lineage: Lineage) -> Iterator[DescribedColumn]:
    refers_to = {column: each.to_table for each in target.references for column in each.columns}
    meanings = loaded.meanings if loaded and loaded.meanings else {}
    for column in target.columns:
        yield DescribedColumn(
            name=column.name,
            type=column.type,
            meaning=meanings.get(column.name),
            required=column.required,
            in_key=column.name in target.key,
            refers_to=refers_to.get(column.name),
            sources=lineage.columns.get(column.name, ()),
        )
