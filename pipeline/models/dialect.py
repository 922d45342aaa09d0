"""Find SQL that means something else in DuckDB than in Postgres, and say what to write instead.

Most of DuckDB's grammar is that of Postgres, so such SQL runs, with other results. The plan is searched, as
it has the types; the model's relations are bound as tables, so the plan holds nothing of other models.
"""

from __future__ import annotations  # evaluated annotations keep DuckDB alive: see duck._database

import re
from collections.abc import Iterator

import duckdb

from pipeline.duck import literal
from pipeline.models.exact import is_written_cast
from pipeline.models.quotients import FLOATS, INTEGERS, Quotients, folded, is_integer
from pipeline.models.syntax import Node, known_type, type_of, uncast, walk, with_parents
from pipeline.models.syntax import type_name as _type
from pipeline.models.text_origins import is_json
from pipeline.models.value_flow import name_of
from pipeline.models.written import explained, place_of, written
from pipeline.words import line_of

# Integers up to this one are exact in 4 bytes of floating point.
_EXACT_IN_REAL = 2**24
_ARITHMETIC = frozenset("+ - * / %".split())  # noqa: SIM905
_LISTS = frozenset({"LIST", "ARRAY"})
_MAKING_LISTS = frozenset({"array_value", "list_pack", "list_value"})
# Functions with places in a text or list.
_PLACES = frozenset("array_extract array_slice list_extract list_slice substr substring".split())  # noqa: SIM905
_LIKE = frozenset("~~ !~~ ~~* !~~*".split())  # noqa: SIM905
_EXTRACT = re.compile(r"extract\s*\(|date_part\s*\(", re.IGNORECASE)
# Types of which a literal can be tried.
_TYPES = INTEGERS | FLOATS | {
    "BOOLEAN", "DATE", "INTERVAL", "TIME", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "UUID",
}  # fmt: skip
# Functions that do something else: the number of arguments, or None for any, and the remedy.
_FUNCTIONS: dict[str, tuple[int | None, str]] = {
    "degrees": (1, "differs from Postgres in its last digits; write x / (pi() / 180)"),
    "array_length": (2, "is 0 for an empty array, in Postgres NULL; write NULLIF(cardinality(x), 0)"),
    "format": (None, "leaves %s as it is, in Postgres it is replaced; write ||"),
    "string_to_array": (
        None,
        "makes one empty element of an empty text, Postgres none; write string_split(NULLIF(x, ''), ',')",
    ),
    "to_hex": (None, "prints capitals and 16 digits of negative numbers, Postgres does not; leave it out"),
}


_OF_INTEGERS = (
    "{shown} of integers is a fraction in DuckDB, and a whole number in Postgres; write // for /,"
    " or cast one side to DOUBLE PRECISION"
)

_ROUNDED = (
    "{{shown}} is rounded to {kept} decimals, as its type is that of numbers with more digits, too; write"
    " CAST(… AS DECIMAL(38, {decimals})) around each of them"
)


def differing(plan: Node, sql: str) -> Iterator[tuple[int | None, str]]:
    """What a plan of this SQL computes differently from Postgres: the line, if known, and the message."""
    text = sql.encode()
    for node, parent in with_parents(plan, {}):
        if words := _problem(node, parent, text):
            yield explained(node, parent, words, text)


def inexact(plan: Node, sql: str) -> Iterator[tuple[int | None, str]]:
    """The numbers whose last digits differ from Postgres: the line, if known, and the message."""
    text = sql.encode()
    for node, parent, words in Quotients(plan, text).problems(plan):
        if _problem(node, parent, text) != _OF_INTEGERS:
            yield explained(node, parent, words, text)
    for node, parent in with_parents(plan, {}):
        if node.get("type") == "OPERATOR_CAST" and not is_written_cast(node, text) and _loses_digits(node):
            words = _ROUNDED.format(kept=_decimals(node), decimals=_decimals(uncast(node)))
            yield explained(node, parent, words, text)


def unread(connection: duckdb.DuckDBPyConnection, plan: Node, sql: str) -> Iterator[tuple[int | None, str]]:
    """The literals that DuckDB cannot read as the type that they are cast to: the line, and the message."""
    text = sql.encode()
    for node, _ in with_parents(plan, {}):
        if node["type"] != "OPERATOR_CAST" or node["function_data"].get("try_cast"):
            continue
        of, to = node["children"][0], _type(node)
        value = _value(of)
        if not isinstance(value, str) or _type(of) != "VARCHAR":
            continue
        if words := _unread(connection, value, to):
            place = place_of(of, text)
            yield None if place is None else line_of(text, place), words


def _unread(connection: duckdb.DuckDBPyConnection, value: str, to: str) -> str | None:
    """What is wrong with a literal that is cast to a type."""
    if to in _LISTS and value.startswith("{"):
        return f"DuckDB does not read {literal(value)} as an array; write ARRAY[1, 2], or [] for an empty one"
    if to.startswith("TIME") and re.search(r"\.\d{7}", value):
        return f"{literal(value)} is cut to microseconds in DuckDB, and rounded in Postgres; write six digits"
    if to not in _TYPES or connection.execute(f"SELECT TRY_CAST(? AS {to})", [value]).fetchone() != (None,):
        return None
    such = "INTERVAL '1 month' - INTERVAL '1 day'" if to == "INTERVAL" else "'2024-01-31' for a date"
    return f"DuckDB does not read {literal(value)} as {to.lower()}; spell it in full, such as {such}"


def _problem(node: Node, parent: Node, text: bytes) -> str | None:
    """What is wrong with an expression, with a place for its text."""
    kind, name = node.get("type"), name_of(node)
    if kind == "OPERATOR_CAST":
        return _printed(node, parent, text)
    if kind == "BOUND_AGGREGATE" or str(kind).startswith("WINDOW_"):
        return _of_aggregate(node, name)
    if str(kind).startswith("COMPARE_") or kind == "BOUND_BETWEEN":
        return _in_four_bytes(node, text)
    if any(map(_are_integers, folded(node, text))):
        return _OF_INTEGERS
    if kind != "BOUND_FUNCTION":
        return None
    if (
        name == "/"
        and "/" in written(node, text)
        and all(is_integer(each, text) for each in node["children"])
    ):
        return _OF_INTEGERS
    if name in _ARITHMETIC:
        return _in_four_bytes(node, text)
    if name == "||" and (problem := _of_lists(node, text)):
        return problem
    return (
        _of_place(node, name, text)
        or _of_text(node, name, text)
        or _of_moment(node, name, text)
        or _of_name(node, name)
    )


def _are_integers(operands: tuple[bytes, bytes]) -> bool:
    return all(map(bytes.isdigit, operands))


def _of_lists(node: Node, text: bytes) -> str | None:
    """What is wrong with || of lists."""
    operands = [each["children"][0] if _is_made(each, text) else each for each in node["children"]]
    of_columns = any(
        each["expression_class"] != "BOUND_CONSTANT" and name_of(each) not in _MAKING_LISTS
        for each in operands
    )
    if _type(node) in _LISTS and of_columns:
        return "{shown} is NULL where one side is, in Postgres the other side; write list_concat(x, y)"
    return None


def _of_place(node: Node, name: str, text: bytes) -> str | None:
    """What is wrong with a place in a text or list that is negative."""
    if name not in _PLACES or not re.match(rf"\[|{name}", written(node, text), re.IGNORECASE):
        return None  # a macro of DuckDB calls it
    values = [_value(uncast(each)) for each in node["children"][1:]]
    if any(isinstance(value, int) and value < 0 for value in values):
        return (
            "{shown} counts from the end in DuckDB; write places from 1 on, and cardinality(x) or right(x, n)"
        )
    return None


def _of_text(node: Node, name: str, text: bytes) -> str | None:
    if name in _LIKE and "\\" in str(_value(node["children"][1])):
        return "{shown}: a backslash escapes nothing in DuckDB; add ESCAPE '\\' to it"
    if name == "regexp_full_match" and "similar" in written(node, text).lower():
        return "{shown}: SIMILAR TO takes a regular expression in DuckDB; write LIKE, or ~ '^(…)$'"
    return None


def _of_moment(node: Node, name: str, text: bytes) -> str | None:
    if name == "timezone" and re.search(r"[+-]\d", str(_value(node["children"][0]))):
        return "{shown} has the other sign in Postgres; write the name of a zone, such as 'Europe/London'"
    if name in {"second", "millisecond"} and _EXTRACT.match(written(node, text)):
        return (
            "{shown} is without its fraction in DuckDB; write extract(microsecond FROM x) / 1000000.0 for"
            " seconds"
        )
    if name == "date_trunc" and re.match("centur|millenn", str(_value(node["children"][0])), re.IGNORECASE):
        return "{shown} begins a year earlier in DuckDB than in Postgres; write make_date()"
    return None


def _of_name(node: Node, name: str) -> str | None:
    if name not in _FUNCTIONS:
        return None
    number, remedy = _FUNCTIONS[name]
    if number not in {None, len(node["children"])}:
        return None
    if name == "format" and re.fullmatch("[^%{]*", str(_value(node["children"][0]) or "%")):
        return None
    return f"{name}() {remedy}"


def _of_aggregate(node: Node, name: str) -> str | None:
    if node["type"] in {"WINDOW_LAG", "WINDOW_LEAD"} and _loses_digits(node["children"][-1]):
        return "{shown} rounds its default to the digits of what it returns; cast that to more digits"
    yielded = type_of(node)
    if yielded.get("id") == "LIST":
        yielded = (yielded.get("type_info") or {}).get("child_type") or {}
    if name == "quantile_cont" and yielded.get("id") in {"DECIMAL", "FLOAT"}:
        return (
            "percentile_cont() over numeric or real is rounded to its digits in DuckDB; write CAST("
            "percentile_cont(…) WITHIN GROUP (ORDER BY CAST(x AS double precision)) AS numeric(18, 6))"
        )
    if name in {"avg", "mean"} and yielded.get("id") == "INTERVAL":
        return (
            "avg() of intervals differs from Postgres in the last digits; write"
            " avg(CAST(extract(epoch FROM x) AS DECIMAL(18, 6))) for seconds"
        )
    return None


def _loses_digits(default: Node) -> bool:
    """Whether the planner casts a default value to fewer decimals than it has."""
    known, wanted = _decimals(uncast(default)), _decimals(default)
    return known is not None and wanted is not None and known > wanted


def _decimals(node: Node) -> int | None:
    """The decimals of an exact number; None of other values."""
    type_ = known_type(node)
    if type_.get("id") in INTEGERS:
        return 0
    return int(type_["type_info"]["scale"]) if type_.get("id") == "DECIMAL" else None


def _printed(node: Node, parent: Node, text: bytes) -> str | None:
    """What is wrong with a cast, most of them to text."""
    if _type(node) == "TIME" and _type(node["children"][0]) == "TIMESTAMP WITH TIME ZONE":
        return "{shown}: DuckDB has no such cast; write CAST(CAST(x AS timestamp) AS time)"
    operand = node["children"][0]
    if _type(node) == "INTERVAL" and _type(operand) == "TIME":
        return "{shown}: DuckDB has no such cast; write extract(epoch FROM x) * INTERVAL '1 second'"
    if type_of(node).get("id") != "VARCHAR" or is_json(type_of(node)):
        return None
    of = _type(operand)
    if of == "DECIMAL" and any(map(_are_seconds_of_date, walk(operand))):
        return "{shown} prints decimals, and Postgres none of a date's seconds; cast it to bigint first"
    if of == "LIST":
        return "{shown} prints a list as [1, 2], Postgres as {{1,2}}; write array_to_string(x, ',')"
    if name_of(operand) == "date_trunc" and _type(operand["children"][-1]) == "DATE":
        return "{shown} prints a date, in Postgres a timestamptz with +00; cast it to date or timestamp first"
    if of in FLOATS:
        return "{shown} prints floating point as 100.0, Postgres as 100; cast it to DECIMAL(18, 2) first"
    if of == "INTERVAL":
        return "{shown} prints an interval as 1 month, Postgres as 1 mon; print extract(epoch FROM x) instead"
    if of == "BOOLEAN" and name_of(parent) in {"concat", "concat_ws"} and not is_written_cast(node, text):
        return "{shown} in concat() is printed as true, in Postgres as t; write CAST(… AS text) around it"
    return None


def _are_seconds_of_date(node: Node) -> bool:
    return name_of(node) == "epoch_us" and _type(node["children"][0]) == "DATE"


def _in_four_bytes(node: Node, text: bytes) -> str | None:
    """What is wrong with an operation on a real and something else, which Postgres carries out in 8 bytes."""
    operands = [each for each in (node.get("children") or []) if _type(each) == "FLOAT"]
    if not any(_is_made_real(each, text) for each in operands):
        return None
    if name_of(node) not in _ARITHMETIC and all(map(_is_small, operands)):
        return None
    return "{shown} takes 4 bytes of floating point, in Postgres 8; cast the real to DOUBLE PRECISION"


def _is_made(node: Node, text: bytes) -> bool:
    """Whether the planner converts an operand."""
    return node.get("type") == "OPERATOR_CAST" and not is_written_cast(node, text)


def _is_made_real(node: Node, text: bytes) -> bool:
    return _is_made(node, text) and _type(node["children"][0]) != "FLOAT"


def _is_small(node: Node) -> bool:
    """Whether an operand is a real, or a whole number that a real holds exactly."""
    if node.get("type") != "OPERATOR_CAST":
        return True
    value = _value(node["children"][0])
    return isinstance(value, int) and _type(node["children"][0]) in INTEGERS and abs(value) < _EXACT_IN_REAL


def _value(node: Node) -> object:
    value = node.get("value")
    return value.get("value") if isinstance(value, dict) else None
