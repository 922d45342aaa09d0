"""The columns of a source table that are erased: those that models declare as personal."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from pipeline.columns import Column, arrow_type
from pipeline.errors import ModelError, SettingsError
from pipeline.lake.erasures import Erasure
from pipeline.lake.manifest import Manifest, TableBatch
from pipeline.models import personal
from pipeline.models.library import Model, source_tables
from pipeline.source.table_names import of_another_schema, spelled
from pipeline.words import did_you_mean


class Undeclared(SettingsError):
    """No batch has the table, or no model declares a column of it as personal."""


def declarations(models: Mapping[str, Model], table: str) -> list[str]:
    """The columns that models which read a table declare as personal, as their headers spell them.

    The table may be named as earlier releases did, without double quotes.
    """
    names = {table, spelled(table)}
    return sorted(
        {each.spelled for model in models.values() if names & model.reads for each in model.personal}
    )


def newest(manifests: Sequence[Manifest]) -> dict[str, TableBatch]:
    """Each table as the last batch that has it left it."""
    return {name: table for manifest in manifests for name, table in manifest.tables.items()}


def the_table(
    models: Mapping[str, Model], manifests: Sequence[Manifest], name: str, frozen: Mapping[str, Model]
) -> tuple[Manifest, TableBatch, Erasure]:
    """The newest batch with a table, the table, and its columns to erase.

    Both have the columns that the source has dropped, if a model declares them. The ``frozen`` models declare
    the columns of a table of which no other model declares any. Raises Undeclared if no batch has the table
    or it has no personal column, and SettingsError if it has no key.
    """
    manifest = next((each for each in reversed(manifests) if name in each.tables), None)
    if manifest is None or manifest.tables[name].seed is not None:
        known = newest(manifests)
        meant = of_another_schema(name, known)
        advice = f"; did you mean {meant}?" if meant else did_you_mean(name, known)
        raise Undeclared(f"TABLE: no batch has a table {name} of the source{advice}")
    table = manifest.tables[name]
    if not table.key:
        raise SettingsError(
            f"TABLE: {name} has no key that identifies its rows; only rows of a table with a primary key can"
            " be erased, and a view has none"
        )
    declared = _declared(models, frozen, manifests, name)
    dropped = tuple(_dropped(models, frozen, manifests, table))
    key = tuple(column for column in table.columns if column.name in table.key)
    for column in key:
        if column.name in declared and not column.hashed_by:
            raise SettingsError(
                f"TABLE: {name}.{column.name} is personal and part of the key, which identifies rows;"
                f" write `-- personal: hash {column.name}`"
            )
    columns = tuple(
        column for column in table.columns if column.name in declared and column.name not in table.key
    )
    columns += dropped
    table = table.model_copy(update={"columns": (*table.columns, *dropped)})
    if not columns:
        raise Undeclared(f"TABLE: no column of {name} is declared personal; write `-- personal: column`")
    return manifest, table, Erasure(key=key, columns=columns, entries=())


def retyped(manifests: Sequence[Manifest], name: str, columns: Sequence[Column]) -> tuple[Column, ...]:
    """Those of a table's columns that some batch has with another type, so that values may not fit."""
    types = {
        (column.name, arrow_type(column.type))
        for manifest in manifests
        if name in manifest.tables
        for column in manifest.tables[name].columns
    }
    present = {(column.name, arrow_type(column.type)) for column in columns}
    others = {column_name for column_name, _ in types - present}
    return tuple(column for column in columns if column.name in others)


def _declared(
    models: Mapping[str, Model], frozen: Mapping[str, Model], manifests: Sequence[Manifest], name: str
) -> Mapping[str, bool]:
    """The personal columns that a table has, and whether they are hashed."""
    tables = {
        key: [column.name for column in each.columns]
        for key, each in newest(manifests).items()
        if each.seed is None
    }
    if name in source_tables(models) and (own := personal.personal_columns(models, tables).get(name)):
        return own
    return _declared_by(frozen, tables, name)


def _dropped(
    models: Mapping[str, Model], frozen: Mapping[str, Model], manifests: Sequence[Manifest], table: TableBatch
) -> Iterator[Column]:
    """The columns that a table had and models declare; frozen models do not say that they are dropped."""
    former = {
        (name, column.name): column
        for manifest in manifests
        for name, each in manifest.tables.items()
        for column in each.columns
    }
    names = set[str]()
    for model in {**frozen, **models}.values():
        for declared in model.personal:
            homes = [
                each
                for each in {declared.table or each for each in model.reads}
                if (each, declared.column) in former
            ]
            if declared.dropped and not homes:
                raise ModelError(
                    f"{model.at_header('personal', declared.column)}: no batch in the raw bucket has a column"
                    f" {declared.spelled}; correct or remove the name"
                )
            if table.table in homes and (declared.dropped or model.name in frozen):
                names.add(declared.column)
    present = {column.name for column in table.columns}
    yield from (former[table.table, name] for name in sorted(names - present))


def _declared_by(
    frozen: Mapping[str, Model], tables: Mapping[str, Sequence[str]], name: str
) -> dict[str, bool]:
    """The personal columns of a table by frozen models, which may name columns that are gone."""
    declared = dict[str, bool]()
    for each, model in frozen.items():
        with suppress(ModelError):
            declared |= personal.personal_columns({each: model}, tables).get(name, {})
    return declared
