"""Casts from a model's types to those of its warehouse table, row by row.

Each warehouse column gets a DuckDB expression for its value, and one for the reason why a row is rejected. A
cast must not lose anything: 3.456 does not fit numeric(10,2), and a timestamp does not fit a date unless the
model casts it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipeline.columns import decimal_of, duckdb_type, length_of, numeric_of, second_digits_of
from pipeline.duck import literal, quote
from pipeline.errors import ModelError
from pipeline.models.library import Model
from pipeline.models.mistakes import postgres_type
from pipeline.models.target import OF_VERSIONS, Target, TargetColumn

_NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(?i:infinity|inf)|(?i:nan)"
_DAY = r"\d{4,}-\d{1,2}-\d{1,2}"
_ZONE = r"(Z|[+-]\d{2}(:?\d{2}){0,2})"
_CLOCK = r"\d{1,2}:\d{2}(:\d{2}(\.\d{1,6}0*)?)?"
# The spellings that can be cast to these types. DuckDB's own casts accept more: they round '3.7' to 4 and cut
# the time off '2023-01-01 10:00:00'.
_FORMS = {
    "SMALLINT": r"[+-]?\d+(\.0*)?",
    "INTEGER": r"[+-]?\d+(\.0*)?",
    "BIGINT": r"[+-]?\d+(\.0*)?",
    "DATE": rf"-?infinity|{_DAY}( \(BC\))?",
    "TIME": _CLOCK,
    "TIMESTAMP": rf"-?infinity|{_DAY}( \(BC\))?([ T]{_CLOCK})?",
    "TIMESTAMP WITH TIME ZONE": rf"-?infinity|{_DAY}( \(BC\))?[ T]{_CLOCK} ?{_ZONE}",
}
_NUMBERS = re.compile(r"(U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|DECIMAL\(.*\)|FLOAT|DOUBLE)")
# What models compute from numeric without precision: more decimals than anybody has written.
_LONG_DECIMAL = re.compile(r"DECIMAL\(38,[123]\d\)")
_LIST = re.compile(r"[^\[\]{}]+\[\]")
# A list as Postgres reads it; all elements are quoted.
_PRINTED_LIST = (
    "'{{' || array_to_string(list_transform({source}, lambda item: COALESCE('\"' || replace(replace("
    "CAST(item AS VARCHAR), '\\', '\\\\'), '\"', '\\\"') || '\"', 'NULL')), ',') || '}}'"
)


@dataclass(frozen=True)
class ContractColumn:
    """DuckDB expressions for a warehouse column that a model yields.

    ``value``: its value.
    ``reason``: why a row is rejected, NULL if it fits; None if every row fits.
    ``misfit``: the condition that the value does not fit the column's type; None if every value fits.
    """

    name: str
    value: str
    reason: str | None
    misfit: str | None


def contract_of(
    model: Model,
    target: Target,
    yields: Mapping[str, str],
    declared: Mapping[str, str] | None = None,
    *,
    reads_bytes: bool = False,
) -> list[ContractColumn]:
    """The contract of each warehouse column that a model yields; ``yields`` are its columns and DuckDB types.

    ``declared`` are the types of the source's columns, by name in lower case, for a message. ``reads_bytes``:
    a text may be one that is not UTF-8 in the source.

    Raises ModelError if the model yields a column that its table lacks, leaves out one that the table
    requires, or yields a type that must be cast explicitly.
    """
    refuse_mismatch(model, target, yields, declared)
    return [
        _contract_column(
            model,
            column,
            yields[column.name],
            column.required or column.name in target.key,
            reads_bytes=reads_bytes and yields[column.name] in {"VARCHAR", "VARCHAR[]"},
        )
        for column in target.columns
        if column.name in yields
    ]


def refuse_mismatch(
    model: Model, target: Target, yields: Mapping[str, str], declared: Mapping[str, str] | None = None
) -> None:
    """Raise ModelError if the model's columns are not those that its table needs."""
    if target.fact and (taken := sorted(OF_VERSIONS & {name.lower() for name in yields})):
        raise ModelError(
            f"{model.at(taken[0])}: column {taken[0]} has the name of a column that every fact gets; write"
            f" `{taken[0]} AS source_{taken[0]}`, and rename it in the table"
        )
    ignored = left_out(model, target, yields)
    for name in yields:
        if name not in ignored and _is_lacking(target, name):
            type_ = (declared or {}).get(name.lower()) or postgres_type(yields[name])
            raise ModelError(
                f"{model.at(name)}: column {name} is not in the warehouse table {target.name}; add it to"
                f" schema.sql, or run ALTER TABLE {target.name} ADD COLUMN {name} {type_}"
            )
    for column in target.columns:
        if column.name not in yields and column.required and not column.filled:
            raise ModelError(
                f"{model.path}: yields no column {column.name}, which the warehouse table"
                f" {target.name} requires"
            )
    for name in target.key:
        if name not in yields:
            raise ModelError(
                f"{model.at_header('key', name)}: yields no column {name}, though it is part of the key"
            )
    for name in model.untracked:
        if name not in yields or name in target.key:
            problem = "is part of the key" if name in target.key else "is not yielded"
            raise ModelError(
                f"{model.at_header('untracked', name)}: column {name} cannot be untracked, because it"
                f" {problem}"
            )


def left_out(model: Model, target: Target, yields: Iterable[str]) -> list[str]:
    """Columns that come by a ``*`` and that the table does not have; they are loaded once it has them."""
    if model.names is None:
        return []
    return [name for name in yields if name.lower() not in model.names and _is_lacking(target, name)]


def _is_lacking(target: Target, name: str) -> bool:
    column = target.column(name)
    return column is None or column.generated


def _contract_column(
    model: Model, column: TargetColumn, yielded: str, required: bool, *, reads_bytes: bool
) -> ContractColumn:
    source = quote(column.name)
    needed = duckdb_type(column.type)
    value = source if yielded == needed else _cast(model, column, yielded, needed)
    cases = ""
    if required:
        cases += f" WHEN {source} IS NULL THEN {literal(f'{column.name} is missing (NULL)')}"
    if reads_bytes:
        not_utf8 = f"{column.name} holds bytes of the source that are not UTF-8"
        text = source if yielded == "VARCHAR" else f"array_to_string({source}, '')"
        cases += f" WHEN contains({text}, chr(0)) THEN {literal(not_utf8)}"
    misfit = _misfit(column, yielded, needed, value)
    if misfit:
        # Without the value: reasons are logged, and values must not be.
        words = literal(f"{column.name} does not fit {column.type}")
        if yielded == "VARCHAR" and needed.startswith("TIMESTAMP"):
            late = literal(f"{column.name} is after the year 294246, which is the last that is carried")
            words = f"CASE WHEN regexp_full_match({source}, '[0-9]{{6}}-.*') THEN {late} ELSE {words} END"
        cases += f" WHEN {misfit} THEN {words}"
    return ContractColumn(column.name, value, f"CASE{cases} END" if cases else None, misfit)


def _cast(model: Model, column: TargetColumn, yielded: str, needed: str) -> str:
    source = quote(column.name)
    if yielded == "BLOB" and column.type == "bytea":
        return f"'\\x' || lower(hex({source}))"
    if column.type.endswith("[]") and _LIST.fullmatch(yielded):
        return _PRINTED_LIST.format(source=source)
    castable = (
        yielded == "VARCHAR"
        or (needed == "VARCHAR" and _prints_as(yielded, column.type))
        or (_NUMBERS.fullmatch(yielded) and _NUMBERS.fullmatch(needed))
        or (yielded == "DATE" and needed == "TIMESTAMP")
        or yielded == '"NULL"'
    )
    if not castable:
        raise ModelError(
            f"{model.at(column.name)}: column {column.name} is {yielded}, the warehouse column is"
            f" {column.type}; cast it in the model"
        )
    if needed == "VARCHAR" and column.type.startswith("numeric") and _LONG_DECIMAL.fullmatch(yielded):
        return f"rtrim(rtrim(CAST({source} AS VARCHAR), '0'), '.')"  # the zeros mean nothing
    return f"TRY_CAST({source} AS {needed})"


def _prints_as(yielded: str, needed: str) -> bool:
    """Whether DuckDB prints a type as Postgres reads it, for a type that is stored as text."""
    if needed.startswith("numeric"):
        return bool(_NUMBERS.fullmatch(yielded))
    if needed == "uuid":
        return yielded == "UUID"
    if needed in {"json", "jsonb"}:
        return yielded == "JSON"
    if needed == "bytea" or needed.endswith("[]"):
        return False
    return not re.search(r"BLOB|\[|\(.* .*\)", yielded)


def _misfit(column: TargetColumn, yielded: str, needed: str, value: str) -> str | None:
    """The condition that the column's type cannot hold the value exactly."""
    lost = _any(_lost(column, yielded, needed, value))
    if lost and yielded == "VARCHAR" != needed:
        # A text that equals its printed value loses nothing, and this is cheaper to check.
        lost = f"CASE WHEN CAST({value} AS VARCHAR) = {quote(column.name)} THEN false ELSE {lost} END"
    return _any([*filter(None, [lost]), *_beyond_precision(column, value)])


def _any(conditions: Iterable[str]) -> str | None:
    return " OR ".join(f"({condition})" for condition in conditions) or None


def _lost(column: TargetColumn, yielded: str, needed: str, value: str) -> Iterator[str]:
    """Conditions under which a cast fails or changes what the model yields."""
    source = quote(column.name)
    if yielded == "VARCHAR" and (form := _form(column, needed)):
        yield f"NOT regexp_full_match(trim({source}), {literal(form)})"
    if column.labels:
        yield f"{value} NOT IN ({', '.join(map(literal, column.labels))})"
    if column.type == "uuid" and yielded == "VARCHAR":
        yield f"{source} IS NOT NULL AND TRY_CAST({source} AS UUID) IS NULL"
    if column.type in {"json", "jsonb"}:
        yield f"NOT json_valid({value})"
    if column.type == "bytea" and yielded == "VARCHAR":
        yield rf"NOT regexp_full_match({value}, '\\x([0-9a-fA-F]{{2}})*')"
    if needed not in {yielded, "VARCHAR"}:
        yield f"{source} IS NOT NULL AND {value} IS NULL"
        if _NUMBERS.fullmatch(yielded):
            yield f"CAST({value} AS {yielded}) IS DISTINCT FROM {source}"


def _form(column: TargetColumn, needed: str) -> str | None:
    """The spelling that this column accepts; None if it accepts any."""
    if decimal := decimal_of(column.type):
        # More decimals than the column has are lost, unless they are zeros.
        return rf"[+-]?\d*(\.\d{{0,{decimal[1]}}}0*)?"
    return _NUMBER if column.type == "numeric" else _FORMS.get(needed)


def _beyond_precision(column: TargetColumn, value: str) -> Iterator[str]:
    """Conditions under which Postgres would round or reject a value that DuckDB's type can hold."""
    if length := length_of(column.type):
        yield f"length({value}) > {length}"
    if (digits := second_digits_of(column.type)) is not None:
        yield f"microsecond({value}) % {10 ** (6 - digits)} <> 0"
    if (wide := numeric_of(column.type)) and not decimal_of(column.type):
        yield f"NOT regexp_full_match({value}, {literal(f'{_digits(*wide)}|(?i:NaN)')})"


def _digits(precision: int, scale: int) -> str:
    """The spelling of numbers that a numeric of this precision and scale holds without rounding."""
    if scale < 0:
        return rf"[+-]?0*(\d{{1,{precision}}}0{{{-scale}}})?(\.0*)?"
    if scale > precision:
        return rf"[+-]?0*(\.0{{{scale - precision}}}\d{{0,{precision}}}0*)?"
    return rf"[+-]?0*\d{{0,{precision - scale}}}(\.\d{{0,{scale}}}0*)?"


def reasons(contract: Sequence[ContractColumn]) -> str:
    """An expression for all reasons why a row is rejected, or '' if it fits."""
    parts = [column.reason for column in contract if column.reason]
    return f"concat_ws('; ', {', '.join(parts)})" if parts else "''"
