"""The objects of a table's history: which of them exist, and how statements name them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

from psycopg import sql

from pipeline.models.target import (
    Target,
    begun_index,
    ended_index,
    key_json,
    version_index,
    versions_name,
)
from pipeline.postgres import Connection, each, identifiers, together

# The comment of an index of versions that was made because their dimension has one on the same columns.
COPIED = "As that of the dimension, which it follows"


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


_FUNCTIONS = (
    "SELECT f.proname::text, f.prosrc FROM pg_proc AS f INNER JOIN pg_namespace AS n"
    " ON f.pronamespace = n.oid WHERE n.nspname = %s AND f.proparallel = 's'"
)
_INDEXES = (
    "SELECT t.relname::text, x.relname::text,"
    " (SELECT array_agg(COALESCE(a.attname::text, '') ORDER BY k.place)"
    " FROM unnest(i.indkey) WITH ORDINALITY AS k (number, place)"
    " LEFT JOIN pg_attribute AS a ON a.attrelid = t.oid AND a.attnum = k.number"
    " WHERE k.place <= i.indnkeyatts),"
    " i.indisunique,"
    " EXISTS (SELECT FROM pg_constraint AS r WHERE r.conindid = x.oid AND r.conrelid = t.oid),"
    " i.indisvalid, i.indpred IS NULL,"
    " m.amname = 'btree' AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL"
    " AND NOT EXISTS (SELECT FROM pg_opclass AS o WHERE o.oid = ANY(i.indclass) AND NOT o.opcdefault),"
    " obj_description(x.oid, 'pg_class') IS NOT DISTINCT FROM %s"
    " FROM pg_index AS i INNER JOIN pg_class AS t ON i.indrelid = t.oid"
    " INNER JOIN pg_class AS x ON i.indexrelid = x.oid INNER JOIN pg_am AS m ON x.relam = m.oid"
    " INNER JOIN pg_namespace AS n ON t.relnamespace = n.oid WHERE n.nspname = %s ORDER BY x.relname"
)
_CHECKED_VIEWS = (
    "SELECT DISTINCT n.nspname::text, c.relname::text"
    " FROM pg_depend AS d INNER JOIN pg_rewrite AS r ON d.objid = r.oid"
    " INNER JOIN pg_class AS c ON r.ev_class = c.oid"
    " INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid"
    " WHERE d.classid = 'pg_rewrite'::regclass"
    " AND d.refobjid = to_regprocedure('etl.known(timestamptz, text, text)') AND n.nspname = ANY(%s)"
    # A renamed table's view names the former table.
    " AND position(quote_literal(c.relname) IN pg_get_viewdef(c.oid)) > 0"
)
_READ = (
    "SELECT DISTINCT n.nspname::text, c.relname::text, t.relname::text"
    " FROM pg_depend AS d INNER JOIN pg_rewrite AS r ON d.objid = r.oid"
    " INNER JOIN pg_class AS c ON r.ev_class = c.oid INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid"
    " INNER JOIN pg_class AS t ON d.refobjid = t.oid INNER JOIN pg_namespace AS s ON t.relnamespace = s.oid"
    " WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass"
    " AND n.nspname = ANY(%s) AND s.nspname = %s"
)
_RULES = (
    "SELECT c.relname::text, w.rulename::text FROM pg_rewrite AS w INNER JOIN pg_class AS c"
    " ON w.ev_class = c.oid INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid"
    " WHERE n.nspname = %s AND c.relkind IN ('r', 'p') AND w.ev_enabled <> 'D' ORDER BY 1, 2"
)
_COLUMNS = (
    "SELECT n.nspname::text, c.relkind::text, c.relname::text, array_agg(a.attname::text ORDER BY a.attnum)"
    " FROM pg_class AS c INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid"
    " INNER JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
    " WHERE n.nspname = ANY(%s) AND c.relkind = ANY('{r,p,v,i,I}') GROUP BY 1, 2, 3"
)


def read_existing(connection: Connection, schema: str, view_schemas: Sequence[str]) -> Existing:
    """The objects in a schema, and the views in its schemas of views as of a moment."""
    homes = [schema, *view_schemas]
    functions, indexes, checked, read, rules, columns, open_to_all, superseded = together(
        connection,
        (_FUNCTIONS, [schema]),
        (_INDEXES, [COPIED, schema]),
        (_CHECKED_VIEWS, [list(view_schemas)]),
        (_READ, [homes, schema]),
        (_RULES, [schema]),
        (_COLUMNS, [homes]),
        ("SELECT has_schema_privilege('public', 'etl', 'usage')", []),
        ("SELECT to_regclass('etl.superseded') IS NOT NULL", []),
    )
    return Existing(
        columns=_columns_of(columns, schema, "rpv"),
        indexed=_columns_of(columns, schema, "iI"),
        indexes={index.name: index for index in map(Index._make, indexes)},
        functions={str(name): str(body) for name, body in functions},
        views={each: _columns_of(columns, each, "v") for each in view_schemas},
        checked_views=[(str(home), str(name)) for home, name in checked],
        read={(str(home), str(view), str(table)) for home, view, table in read},
        rules=[(str(table), str(rule)) for table, rule in rules],
        is_open_to_readers=open_to_all == [(True,)],
        has_superseded=superseded == [(True,)],
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
