"""The tables of the source that models name: which there are, and what to do about one that is missing."""

from collections.abc import Mapping, Sequence

from pipeline.columns import has_identity
from pipeline.errors import ModelError, SourceError, all_mistakes
from pipeline.lake.manifest import Manifest
from pipeline.models import reference_tables
from pipeline.models import seeds as seed_files
from pipeline.models.library import Model, read_seeds, source_tables
from pipeline.models.mistakes import nearest
from pipeline.models.names import Relation
from pipeline.postgres import Connection
from pipeline.source.catalogue import Table, describe, relations
from pipeline.source.snapshots import Snapshot
from pipeline.source.table_names import in_model, parts, spelled
from pipeline.words import line_of

# How many tables of one name are listed.
_MOST_NAMES = 3


def described(connection: Connection, schema: str, models: Mapping[str, Model]) -> dict[str, Table]:
    """The tables that models read, from the source's catalogue; ``schema`` is the main one.

    Raises ModelError for each name that is wrong, and SourceError for a source without tables.
    """
    refuse_main_schema(schema, models)
    names = source_tables(models)
    seeds = read_seeds(models)
    if seeds and (taken := sorted(seeds.keys() & relations(connection, schema))):
        raise ModelError(f"{seeds[taken[0]].path}: a table of the source has the same name; rename the seed")
    tables = {
        name: _without_unusable_key(table)
        for name, table in describe(connection, schema, sorted(names)).items()
    }
    missing = names - tables.keys() - reference_tables.NAMES
    there = relations(connection, schema) if missing else []
    in_main = sorted(name for name in missing if parts(name)[0] is None)
    if in_main and all(parts(name)[0] for name in there):
        raise SourceError(
            f"source: schema {schema} has no tables, and the models read {', '.join(in_main)}; correct"
            " TOTESYS_SOURCE_SCHEMA"
        )
    with all_mistakes() as mistake:
        for model in models.values():
            for relation in model.relations:
                with mistake():
                    if relation.name in missing:
                        known = [*there, *models, *reference_tables.NAMES]
                        raise _no_table(model, relation, schema, known)
                    if relation.name in tables and not tables[relation.name].columns:
                        raise ModelError(
                            f"{_place(model, relation)}: reads table {relation.name}, of which the source's"
                            " role may read no column; grant SELECT on one, or leave the table out"
                        )
    return tables


def refuse_another_schema(
    connection: Connection,
    schema: str,
    tables: Mapping[str, Table],
    snapshot: Snapshot,
    previous: Manifest | None,
) -> None:
    """Raise SourceError if the main schema is another one than the last batch's, which was not renamed.

    Names without a schema would mean other tables: the list of erased rows has such names. A former schema
    that has none of the tables any more was renamed, or restored under another name.
    """
    former = previous.source_schema if previous else None
    if previous is None or former is None or former == schema:
        return
    if not previous.identity.is_same_database(snapshot.identity):
        return  # its names are those of the former one
    last = {name: table.definition for name, table in previous.tables.items()}
    mine = {name: table for name, table in tables.items() if parts(name)[0] is None and last.get(name)}
    is_same = all(
        (before := last[name]) and before.relation == each.definition.relation for name, each in mine.items()
    )
    if mine and (is_same or not mine.keys() & relations(connection, former)):
        return
    raise SourceError(
        f"source: TOTESYS_SOURCE_SCHEMA is {schema}, and the last batch was read with"
        f" {former}: set it back, and name tables of {schema} as"
        f" {in_model(spelled('table', schema))}; or load an empty warehouse from empty buckets"
    )


def former_names(table: Table, snapshot: Snapshot, previous: Manifest | None) -> tuple[str, ...]:
    """The names by which earlier batches read a table, which was renamed or moved to another schema since.

    Its erased rows are listed by them.
    """
    if previous is None:
        return ()
    last = previous.tables.get(table.name)
    names = set(last.former_names) if last else set[str]()
    if previous.identity.database_oid == snapshot.database_oid and previous.identity.is_same_database(
        snapshot.identity
    ):
        for each in previous.tables.values():
            if each.definition and each.definition.relation == table.definition.relation:
                names |= {each.table, *each.former_names}
    return tuple(sorted(names - {table.name}))


def refuse_main_schema(schema: str | None, models: Mapping[str, Model]) -> None:
    """Raise ModelError for each name with the main schema, if that is known: a table has one name."""
    with all_mistakes() as mistake:
        for model in models.values():
            for relation in model.relations:
                with mistake():
                    named, table = parts(relation.name)
                    if named and named == schema and relation.name not in reference_tables.QUALIFIED:
                        raise ModelError(
                            f"{_place(model, relation)}: names {relation.name}; write"
                            f" {in_model(spelled(table))}, as {schema} is the main schema"
                            " (TOTESYS_SOURCE_SCHEMA)"
                        )


def _no_table(model: Model, relation: Relation, schema: str, there: Sequence[str]) -> ModelError:
    in_schema, table = parts(relation.name)
    others = {*there, *seed_files.load(model.path.parent)} - {model.name}
    create = f"create it or the seed {seed_files.FOLDER}/{table}.csv, or correct its name"
    near = _nearest(table, in_schema, sorted(others))
    remedy = f"write {near}" if near else create if in_schema is None else "correct its name"
    return ModelError(
        f"{_place(model, relation)}: reads table {table}, which schema {in_schema or schema} of the source"
        f" does not have; {remedy}"
    )


def _nearest(table: str, schema: str | None, known: Sequence[str]) -> str | None:
    """What to write instead: that table of another schema, else the most similar name, if there is one."""
    elsewhere = [name for name in known if parts(name)[1] == table]
    if elsewhere:
        shown = " or ".join(map(in_model, elsewhere[:_MOST_NAMES]))
        return f"{shown} or …" if len(elsewhere) > _MOST_NAMES else shown
    in_schema = [name for name in known if parts(name)[0] == schema]
    by_table = {parts(name)[1]: name for name in [*known, *in_schema]}
    near = nearest(table, list(by_table))
    return in_model(by_table[near]) if near else None


def _place(model: Model, relation: Relation) -> str:
    return f"{model.path}:{line_of(model.sql.encode(), relation.start)}"


def _without_unusable_key(table: Table) -> Table:
    """The table without its key where DuckDB cannot compare its values as Postgres does."""
    by_name = {column.name: column for column in table.columns}
    usable = all(has_identity(by_name[name]) for name in table.key)
    return table if usable else table.model_copy(update={"key": ()})
