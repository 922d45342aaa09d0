"""The columns of tables as they are, and as a schema.sql declares them."""

from collections.abc import Callable, Iterable, Mapping

from pipeline.columns import Frozen
from pipeline.postgres import Connection, select


class Declared(Frozen):
    """A column as a table declares it.

    ``checks`` name it alone; ``constraints`` are unique or exclude, refer to a table, or check other columns,
    too. ``refers_to`` is the table that it alone refers to, ``key_place`` its place in the primary key.
    """

    table_name: str
    name: str
    type: str
    required: bool
    computed: bool
    default_value: str | None
    checks: tuple[str, ...]
    constraints: tuple[str, ...]
    refers_to: str | None
    comment: str
    key_place: int | None

    @property
    def is_numbered_or_computed(self) -> bool:
        """Whether the table gives each row a value of its own: by a sequence or a generated column."""
        return self.computed or "nextval" in (self.default_value or "")

    @property
    def line(self) -> str:
        """The declaration as one line."""
        parts = [self.name, self.type]
        if self.default_value is not None:
            parts.append(f"DEFAULT {self.default_value}")
        if self.required:
            parts.append("NOT NULL")
        parts += [*self.checks]
        if self.refers_to:
            parts.append(f"REFERENCES {self.refers_to}")
        if self.comment:
            parts.append(f"COMMENT {self.comment!r}")
        return " ".join(parts)


Columns = Mapping[str, Declared]
Tables = Mapping[str, Columns]


def read(
    connection: Connection, schema: str, tables: Iterable[str], as_schema: str = ""
) -> dict[str, dict[str, Declared]]:
    """The columns of those of the tables that exist, by table and name.

    A temporary type counts as one of the schema ``as_schema``.
    """
    found: dict[str, dict[str, Declared]] = {}
    names = {"schema": schema, "tables": list(tables), "as_schema": as_schema or schema}
    for column in select(connection, Declared, "warehouse/declared_columns.sql", **names):
        found.setdefault(column.table_name, {})[column.name] = column
    return found


def declared_by(
    connection: Connection, schema: str, tables: Iterable[str], declare: Callable[[str], None]
) -> dict[str, dict[str, Declared]]:
    """The columns as ``declare`` makes them in another schema, for this one; nothing of it stays."""
    with connection.transaction(force_rollback=True):
        temporary = temporary_schema(connection)
        declare(temporary)
        return read(connection, temporary, tables, schema)


def temporary_schema(connection: Connection) -> str:
    """The name of the session's schema of temporary tables, which is made if necessary."""
    connection.execute("CREATE TEMP TABLE IF NOT EXISTS declared () ON COMMIT DROP")
    row = connection.execute("SELECT nspname::text FROM pg_namespace WHERE oid = pg_my_temp_schema()")
    ((temporary,),) = row.fetchall()
    return str(temporary)


def primary_key(columns: Columns) -> tuple[str, ...]:
    """The columns of the primary key."""
    placed = [(column.key_place, column.name) for column in columns.values() if column.key_place]
    return tuple(name for _, name in sorted(placed))


def lines(columns: Columns | None) -> list[str]:
    """A table's declaration as lines."""
    if not columns:
        return []
    key = primary_key(columns)
    tail = [f"PRIMARY KEY ({', '.join(key)})"] if key else []
    return [*(column.line for column in columns.values()), *tail]
