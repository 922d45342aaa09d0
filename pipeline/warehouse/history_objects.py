"""The objects of a table's history: which of them exist, and how statements name them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

from psycopg import sql

from pipeline.models.target import Target, begun_index, ended_index, key_json, version_index, versions_name
from pipeline.postgres import Connection, each, identifiers, statement, together

# The comment of an index of versions that was made because their dimension has one on the same columns.
COPIED = "As that of the dimension, which it follows"
_FILES = (
    "existing_functions.sql",
    "existing_indexes.sql",
    "existing_moment_views.sql",
    "existing_reads.sql",
    "existing_rules.sql",
    "existing_columns.sql",
)
_STATE = sql.SQL(
    "SELECT has_schema_privilege('public', 'etl', 'usage'), to_regclass('etl.superseded') IS NOT NULL"
)


class Index(NamedTuple):
    """An index and its table; an expression among its ``columns`` is an empty text.

    ``is_constraint``: its name is also that of its constraint. ``is_valid``: it was not left unfinished.
    ``is_full``: it has all rows. ``is_lookup``: it finds rows by columns alone. ``is_copied``: it was made
    after one of the dimension.
    """

    table: str
    name: str
    columns: list[str]
    is_unique: bool
    is_constraint: bool
    is_valid: bool
    is_full: bool
    is_lookup: bool
    is_copied: bool


@dataclass(frozen=True)
class Existing:
    """The objects that a schema has.

    ``columns`` are those of tables and views, ``indexed`` those of indexes, and ``indexes`` these, by name.
    ``functions`` are the bodies of parallel safe functions, as ours are.
    ``views`` are the columns of views by schema and name, in the schemas of views as of a moment, and
    ``checked_views`` those that check their moment by ``etl.known``. ``read`` are the schema and name of each
    view with the tables of the warehouse's schema that it reads: one that was renamed or moved is still read
    by its views. ``rules`` are pairs of a table and a rule that others have made on it.
    ``is_open_to_readers``: every role may call the functions of the schema etl.
    ``has_superseded``: it has the versions of an earlier release.
    """

    columns: dict[str, list[str]]
    indexed: dict[str, list[str]]
    indexes: Mapping[str, Index]
    functions: Mapping[str, str]
    views: Mapping[str, dict[str, list[str]]]
    checked_views: Collection[tuple[str, str]]
    read: Collection[tuple[str, str, str]]
    rules: Sequence[tuple[str, str]]
    is_open_to_readers: bool
    has_superseded: bool

    def lookups(self, table: str) -> list[Index]:
        """The indexes of a table that find rows by columns alone."""
        return [index for index in self.indexes.values() if index.table == table and index.is_lookup]


def read_existing(connection: Connection, schema: str, view_schemas: Sequence[str]) -> Existing:
    """The objects in a schema, and the views in its schemas of views as of a moment."""
    names = {"schema": schema, "homes": [schema, *view_schemas], "copied": COPIED}
    *found, ((is_open, has_superseded),) = together(
        connection, *((statement(f"warehouse/{file}"), names) for file in _FILES), (_STATE, ())
    )
    functions, indexes, checked, read, rules, columns = found
    return Existing(
        columns=_columns_of(columns, schema, "rpv"),
        indexed=_columns_of(columns, schema, "iI"),
        indexes={index.name: index for index in map(Index._make, indexes)},
        functions={str(name): str(body) for name, body in functions},
        views={each: _columns_of(columns, each, "v") for each in view_schemas},
        checked_views=[(str(home), str(name)) for home, name in checked],
        read={(str(home), str(view), str(table)) for home, view, table in read},
        rules=[(str(table), str(rule)) for table, rule in rules],
        is_open_to_readers=bool(is_open),
        has_superseded=bool(has_superseded),
    )


def _columns_of(rows: Sequence[tuple[object, ...]], schema: str, kinds: str) -> dict[str, list[str]]:
    """The columns, in their order, of the schema's relations of these kinds (``relkind``)."""
    return {
        str(relation): cast(list[str], names)
        for home, kind, relation, names in rows
        if home == schema and str(kind) in kinds
    }


def names_of(schema: str, target: Target) -> dict[str, sql.Composable]:
    """The names by which the templates of a history refer to a table; its rows have the alias t."""
    columns = [column.name for column in target.columns]
    return {
        "table": sql.Identifier(schema, target.name),
        "versions": sql.Identifier(schema, versions_name(target.name)),
        "current": sql.Identifier(schema, f"{target.name}_current"),
        "history": sql.Identifier(schema, f"{target.name}_history"),
        "as_of": sql.Identifier(schema, f"{target.name}_as_of"),
        "index": sql.Identifier(version_index(target)),
        "begun": sql.Identifier(begun_index(target)),
        "ended": sql.Identifier(ended_index(target)),
        "name": sql.Literal(target.name),
        "key": identifiers(target.key),
        "key_json": key_json(target.key, sql.SQL("t")),
        "same_key": target.same_key("t", "s"),
        "columns": identifiers(columns),
        "columns_of_version": each("(version).{0}", columns),
        "columns_of_present": each("present.{0}", columns),
    }
