"""The text that stands for a table of the source everywhere: in manifests, folders, ``etl`` and messages.

It is ``table`` for the main schema (TOTESYS_SOURCE_SCHEMA), else ``schema.table``. A part that contains a dot
or a double quote is in double quotes, as in SQL, so that no two tables have the same text.
"""

import re
from collections.abc import Iterable

from psycopg import sql

_PART = r'"(?:[^"]|"")+"|[^."]+'
_WORD = re.compile(r"[A-Za-z_]\w*")
_NAME = re.compile(rf"(?:({_PART})\.)?({_PART})")
_COLUMN = re.compile(rf"((?:(?:{_PART})\.)?(?:{_PART}))\.(?:{_PART})")


def spelled(table: str, schema: str | None = None) -> str:
    """The text of a table; without ``schema`` it is one of the main schema."""
    return _quoted(table) if schema is None else f"{_quoted(schema)}.{_quoted(table)}"


def parts(text: str) -> tuple[str | None, str]:
    """Schema and name of a table; the schema is None for the main one."""
    match = _NAME.fullmatch(text)
    if match is None:  # no text of a table
        return None, text
    return (unquoted(match[1]) if match[1] else None), unquoted(match[2])


def of_user(text: str, known: Iterable[str] = ()) -> str:
    """The text of a table that a person names, perhaps with more quotes than it needs.

    Or with fewer, where that is one of the ``known`` tables and nothing else.
    """
    schema, table = parts(text)
    named, meant = spelled(table, schema), [each for each in known if _plain(each) == text]
    return meant[0] if len(meant) == 1 and named not in known else named


def identifier(main_schema: str, text: str) -> sql.Identifier:
    """The table in SQL for the source."""
    schema, table = parts(text)
    return sql.Identifier(main_schema if schema is None else schema, table)


def of_column(table: str, column: str) -> str:
    """The text of a table's column."""
    return f"{table}.{_quoted(column)}"


def table_of(column: str) -> str:
    """The table in the text of a column."""
    match = _COLUMN.fullmatch(column)
    return match[1] if match else column


def in_model(text: str) -> str:
    """How SQL writes a table, or a header its column: names that are more than a word in double quotes."""
    names = (unquoted(part) for part in re.findall(_PART, text))
    return ".".join(name if _WORD.fullmatch(name) else _in_quotes(name) for name in names)


def of_another_schema(text: str, known: Iterable[str]) -> str | None:
    """The known table that has the same name in another schema, if there is one."""
    return next((each for each in sorted(known) if parts(each)[1] == parts(text)[1]), None)


def unquoted(part: str) -> str:
    """A name that may be in double quotes."""
    return part[1:-1].replace('""', '"') if part.startswith('"') else part


def _plain(text: str) -> str:
    """The text of a table without quotes."""
    return ".".join(part for part in parts(text) if part is not None)


def _quoted(part: str) -> str:
    return _in_quotes(part) if "." in part or '"' in part else part


def _in_quotes(part: str) -> str:
    return '"' + part.replace('"', '""') + '"'
