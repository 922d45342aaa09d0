"""Numbers, lists and moments that are stored as text: their types in models, and how DuckDB reads the text.

A value that has no exact type raises an error that names the column, by a cast that cannot succeed: DuckDB's
``error()`` is volatile, and no window can order by it.
"""

from __future__ import annotations  # evaluated annotations keep DuckDB alive: see duck._database

import duckdb

from pipeline.columns import (
    Column,
    comparable,
    duckdb_type,
    is_date_as_text,
    is_wide_number,
    spelled_for_duckdb,
)
from pipeline.duck import literal, quote
from pipeline.messages import NO_LIST, NO_NUMBER
from pipeline.models.comparisons import is_special, model_type
from pipeline.models.exact import MARK
from pipeline.models.rounding import create_macros
from pipeline.models.syntax import Node

# The number of elements that marks the type of an array.
_MANY = 99_991
# The types that mark a timestamp, by the type that it is read as.
_MOMENTS = {"TIMESTAMP": "TIMESTAMP_S", "TIMESTAMP WITH TIME ZONE": "TIMESTAMP_MS"}
AS_MOMENT = "CAST("
_NUMBER, _LIST = "number (pipeline)", "list (pipeline)"
_FORM = r"[+-]?\d{0,28}(\.\d{0,10}0*)?"
_ITEM = r'(?s)"(?:[^"\\]|\\.)*"|[^,]+'
_MACROS = (
    f"""
    CREATE OR REPLACE TEMP MACRO {quote(_NUMBER)}(value, place) AS CASE
        WHEN value IS NULL THEN NULL
        WHEN regexp_full_match(CAST(value AS VARCHAR), {literal(_FORM)})
            THEN CAST(CAST(value AS VARCHAR) AS DECIMAL(38, 10))
        ELSE CAST(
            {literal(NO_NUMBER)} || place || ' [value: ' || CAST(value AS VARCHAR) || ']' AS DECIMAL(38, 10)
        )
    END
    """,
    f"""
    CREATE OR REPLACE TEMP MACRO {quote(_LIST)}(value, place) AS CASE
        WHEN value IS NULL THEN NULL
        WHEN starts_with(value, chr(0))  -- one that is not UTF-8, see pipeline.source.parse
            THEN list_transform(
                regexp_extract_all(value[3:-2], {literal(_ITEM)}), lambda item: chr(0) || item
            )
        WHEN starts_with(value, '{{') AND NOT starts_with(value, '{{{{')
            THEN list_transform(
                regexp_extract_all(value[2:-2], {literal(_ITEM)}),
                lambda item: CASE
                    WHEN starts_with(item, '"') THEN regexp_replace(item[2:-2], '(?s)\\\\(.)', '\\1', 'g')
                    WHEN item <> 'NULL' THEN item
                END
            )
        ELSE [CAST(CAST({literal(NO_LIST)} || place || ' [value: ' || value || ']' AS INTEGER) AS VARCHAR)]
    END
    """,
)


def is_stored_as_text(column: Column) -> bool:
    """Whether the column's text compares differently from its values."""
    return is_number(column) or _element(column) is not None or is_special(column) or is_moment(column)


def is_number(column: Column) -> bool:
    """Whether the column holds numbers that no DECIMAL can be declared for."""
    return is_wide_number(column.type)


def is_moment(column: Column) -> bool:
    """Whether the column holds timestamps that are carried as text, because one is after the year 294246."""
    return is_date_as_text(column) and duckdb_type(column.declared or "") in _MOMENTS


def _element(column: Column) -> str | None:
    """The type that marks an array's elements; None if it is no array, or they have no type in DuckDB."""
    if not column.type.endswith("[]") or column.equality != "exact":
        return None
    element = column.model_copy(update={"type": column.type.removesuffix("[]")})
    if is_number(element):
        return f"DECIMAL{MARK}"
    return duckdb_type(element.type) if comparable(element) == "as Postgres" else None


def marked_type(column: Column) -> str:
    """The DuckDB type of a column while references to it are looked for; nothing else has this type."""
    if is_number(column):
        return f"DECIMAL{MARK}"
    if is_moment(column):
        return _MOMENTS[duckdb_type(column.declared or "")]
    element = _element(column)
    return f"{element}[{_MANY}]" if element else model_type(column, marked=True)


def is_text(type_: Node) -> bool:
    """Whether a column has a type whose text compares differently from its values, and is not cast."""
    return str((type_.get("type_info") or {}).get("collation", "")).lower() in {"nfc", "noaccent"}


def reading(type_: Node) -> tuple[str, str] | None:
    """What is written before and after a reference to a column of a marked type; None for other types.

    The place of the column follows, for errors.
    """
    info = type_.get("type_info") or {}
    if type_.get("id") == "DECIMAL" and (info["width"], info["scale"]) == MARK:
        return f"{quote(_NUMBER)}(", ", {place})"
    if moment := next((each for each, mark in _MOMENTS.items() if mark == type_.get("id")), None):
        return AS_MOMENT, f" AS {moment})"
    if type_.get("id") != "ARRAY" or info.get("size") != _MANY:
        return None
    child = info["child_type"]
    of_child = child.get("type_info") or {}
    if child["id"] == "DECIMAL" and (of_child["width"], of_child["scale"]) == MARK:
        each = f"lambda item: {quote(_NUMBER)}(item, {{place}})"
        return f"list_transform({quote(_LIST)}(", f", {{place}}), {each})"
    element = f"DECIMAL({of_child['width']},{of_child['scale']})" if child["id"] == "DECIMAL" else child["id"]
    if child["id"].startswith(("DATE", "TIMESTAMP")):
        item = spelled_for_duckdb("item")
        return f"CAST(list_transform({quote(_LIST)}(", f", {{place}}), lambda item: {item}) AS {element}[])"
    return f"CAST({quote(_LIST)}(", f", {{place}}) AS {element}[])"


def create_functions(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the functions that read the text."""
    for macro in _MACROS:
        connection.execute(macro)
    create_macros(connection)
