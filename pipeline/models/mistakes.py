"""Explain DuckDB's errors about a model's SQL: the line, the column, what is wrong and what to do.

DuckDB's own words, with all candidates and positions, go to the log as debug messages.
"""

from __future__ import annotations  # evaluated annotations keep DuckDB alive: see duck._database

import difflib
import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import duckdb

from pipeline.duck import literal, quote, relation_name
from pipeline.errors import ModelError
from pipeline.messages import of_duckdb
from pipeline.models.duckdb_errors import better_words, error_in
from pipeline.models.library import Model
from pipeline.models.postgres_functions import instead_of
from pipeline.models.syntax import Node, read_json, walk
from pipeline.words import line_of

_logger = logging.getLogger(__name__)
# How many missing columns of one model are listed, and how many names of a table.
_MOST, _MOST_NAMES = 10, 8
_TEXT = frozenset({"VARCHAR", "STRING_LITERAL"})
_OF_TIME = re.compile(r"date|time|year|month|week|day|hour|minute|second|extract|age")
_POSTGRES = {
    "VARCHAR": "text", "STRING_LITERAL": "text", "INTEGER_LITERAL": "integer", "FLOAT": "real",
    "DOUBLE": "double precision", "TIMESTAMP WITH TIME ZONE": "timestamptz", "HUGEINT": "numeric",
}  # fmt: skip
_TABLE_COLUMN = re.compile(r'Table "(.+)" does not have a column named "(.+)"')
_NO_TABLE = re.compile(r'Referenced table "(.+)" not found!\nCandidate tables: (.*)')
_TWICE = re.compile(r'Ambiguous reference to table "(.+)" \(duplicate alias')
_AMBIGUOUS = re.compile(r"Ambiguous reference to column name \"(.+)\" \(use: (.+)\)")
_COMPARED = re.compile(
    r"Cannot (?:compare|mix) values of type (.+) and (?:type )?(.+?)(?: in .*)? - an explicit"
)
_NOT_GROUPED = re.compile(r'column "?(.+?)"? must appear in the GROUP BY clause')
_COMMA = re.compile(r", (?![^(]*\))")
# A candidate's parameters, each with its name.
_PARAMETERS = re.compile(r"^\t[^(]+\((.*?)(?:, /)?\)(?: -> .*)?$", re.MULTILINE)
_GENERIC = re.compile(r"\b(ANY|T|K|V|LAMBDA)\b")
_NUMBER = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?(_LITERAL)?|DOUBLE|FLOAT|DECIMAL.*")
_CALL = re.compile(r"(.+?)\((.*)\)", re.DOTALL)
_OPERATORS = frozenset("+ - * / // % ^ **".split())  # noqa: SIM905
_NUMBERS = frozenset("sum avg abs round floor ceil ceiling sqrt power mod trunc".split())  # noqa: SIM905


def postgres_type(type_: str) -> str:
    """The name that Postgres has for a type of DuckDB."""
    if re.fullmatch(r"DECIMAL\(3[78],\d\d\)", type_):
        return "numeric"  # computed from one without precision
    element, bracket, _ = type_.partition("[")  # a column of the analysis may have a length
    return _POSTGRES.get(element, element.lower().replace("decimal", "numeric")) + ("[]" if bracket else "")


def nearest(name: str, known: Sequence[str]) -> str | None:
    """The known name that is most similar, if any is."""
    by_lower = {each.lower(): each for each in known}
    found = difflib.get_close_matches(name.lower(), by_lower, 1)
    return by_lower[found[0]] if found else None


def explained(
    model: Model, error: duckdb.Error, attempts: Sequence[tuple[duckdb.DuckDBPyConnection, str]]
) -> ModelError:
    """What is wrong with a model that DuckDB refuses, a line for each mistake.

    ``attempts`` are sessions in which its relations are bound, with its SQL; the first that DuckDB refuses
    is explained.
    """
    for connection, sql in attempts:
        if found := mistakes_in(connection, sql, sorted(model.reads)):
            return ModelError(
                "\n".join(dict.fromkeys(f"{model.path}{line}: {words}" for line, words in found))
            )
    return error_in(model.path, str(error))


def mistakes_in(
    connection: duckdb.DuckDBPyConnection, sql: str, reads: Sequence[str]
) -> list[tuple[str, str]]:
    """The lines and explanations of what is wrong with a query, in which the relations ``reads`` are bound.

    A line is empty if it is not known.

    All columns that are missing are listed; of other mistakes only the first one is known.
    """
    found: list[tuple[str, str]] = []
    text = sql.encode()
    while len(found) < _MOST:
        error = _json(
            connection, f"json_serialize_plan({literal(text.decode())}::VARCHAR, optimize := false)"
        )
        if not error["error"] or error["error_type"] == "internal":  # DuckDB does not show its plan
            break
        _logger.debug("DuckDB: %s", error["error_message"])
        mistake = _Mistake(connection, error, text, reads)
        line = "" if mistake.place is None else f":{line_of(text, mistake.place)}"
        found.append((line, mistake.explanation))
        start, length = json.loads(str(error.get("location") or "[0, 0]"))
        if not (mistake.is_missing_column and length):
            break
        text = text[:start] + b"NULL" + text[start + length :]
    return found


def _json(connection: duckdb.DuckDBPyConnection, expression: str) -> Any:  # noqa: ANN401
    row = connection.execute(f"SELECT {expression}").fetchone()
    return read_json(str(row[0])) if row and row[0] else {"error": False}


class _Mistake:
    """An error of DuckDB's binder; ``place`` is its byte in the SQL, None if that is not known."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        error: Mapping[str, str],
        text: bytes,
        reads: Sequence[str],
    ) -> None:
        self._connection, self._error, self._text, self._reads = connection, error, text, reads
        self._words = str(error.get("error_message", ""))
        self._kind = str(error.get("error_subtype", ""))
        self._tree: Node = _json(connection, f"json_serialize_sql({literal(text.decode())}::VARCHAR)")
        self._call = None if error.get("position") else self._only_call()
        self.place = int(error["position"]) if error.get("position") else self._place_of(self._call)

    @property
    def is_missing_column(self) -> bool:
        """Whether a column is named that is not there."""
        return self._kind == "COLUMN_NOT_FOUND" or bool(_TABLE_COLUMN.match(self._words))

    @property
    def explanation(self) -> str:
        """What is wrong, and what to do."""
        if self.is_missing_column:
            return self._missing_column()
        if match := _NO_TABLE.match(self._words):
            near = _in_query(match[1], re.findall(r'"(.+?)"', match[2]))
            return f"{match[1]} is neither a table nor an alias in this query; {_write(near)}"
        if match := _TWICE.match(self._words):
            return f"{match[1]} is the name of two tables in this query; give each an alias"
        if match := _AMBIGUOUS.match(self._words):
            return f"column {match[1]} is ambiguous; write {match[2].replace(chr(39), '')}"
        if match := _COMPARED.match(self._words):
            return self._compared(match[1], match[2])
        if self._words.startswith("Cannot concatenate types"):
            return "|| does not take an array and an element in DuckDB; write list_append(x, y)"
        if match := _NOT_GROUPED.match(self._words):
            remedy = f"add it to GROUP BY, or write max({match[1]})"
            return f"column {match[1]} is neither grouped nor in an aggregate; {remedy}"
        if self._kind == "NO_MATCHING_FUNCTION":
            return self._wrong_operand()
        if self._kind == "MISSING_ENTRY":
            kind = str(self._error.get("type", "")).lower().removeprefix("scalar ")
            near = instead_of(self._error["name"]) or nearest(
                self._error["name"], str(self._error.get("candidates", "")).split(",")
            )
            return f"there is no {kind} {self._error['name']}; {_write(near)}"
        return better_words(self._words) or re.split(r"\n", of_duckdb(self._words))[0]

    def _missing_column(self) -> str:
        match = _TABLE_COLUMN.match(self._words)
        name = match[2] if match else self._error["name"]
        if "FROM clause is missing" in self._words:
            return f"column {name} is used without a table; add it as FROM"
        known = [column for relation in self._reads for column in self._columns(relation)]
        near = nearest(name, [*known, *re.findall(r'"(.+?)"', self._words.partition("Candidate")[2])])
        shown = ", ".join(known[:_MOST_NAMES]) + (", …" if len(known) > _MOST_NAMES else "")
        where = f"column {name} is not in {' or '.join(sorted(self._reads)) or 'this query'}"
        return f"{where}; write {near}" if near else f"{where}; choose from {shown}"

    def _columns(self, relation: str) -> list[str]:
        rows = self._connection.execute(f"DESCRIBE {quote(relation_name(relation))}").fetchall()
        return [str(row[0]) for row in rows]

    def _wrong_operand(self) -> str:
        """An operator or function that does not take the types that it is applied to."""
        call, name = _CALL.match(self._error.get("call", "")), self._error["name"]
        types = _COMMA.split(call[2]) if call else []
        names = self._operands()
        is_of_time = bool(_OF_TIME.search(name)) or "INTERVAL" in types
        if is_of_time or name in _OPERATORS or name in _NUMBERS:
            for operand, type_ in zip(names, types, strict=False):
                if type_ == "VARCHAR":
                    to = "timestamp" if is_of_time else "DECIMAL(18, 2)"
                    return f"{operand} is text, which {name} does not take; write CAST({operand} AS {to})"
        listed = ", ".join(map(postgres_type, types))
        wanted = _wanted(types, self._words)
        if not (names and wanted):
            return f"{name} does not take ({listed}); cast what it is applied to"
        at, type_ = wanted
        if "[" in types[at] and type_ == "VARCHAR":
            return f"{name} does not take ({listed}); write array_to_string({names[at]}, ',')"
        example = f"CAST({names[at]} AS {postgres_type(type_)})"
        return f"{name} does not take ({listed}); cast what it is applied to, such as {example}"

    def _compared(self, left: str, right: str) -> str:
        """A comparison of text with another type."""
        types, names = [left, right], [*self._operands(), "one side", "the other"]
        text = next((place for place, type_ in enumerate(types) if type_ in _TEXT), 0)
        other = postgres_type(types[1 - text])
        return (
            f"{names[text]} is {postgres_type(types[text])} and cannot be compared with {other}; write"
            f" CAST({names[text]} AS {other})"
        )

    def _only_call(self) -> Node | None:
        """The wrong call, of which DuckDB does not tell the place, if it can only be this one."""

        def calls(node: object) -> list[Node]:
            return [each for each in walk(node) if each.get("function_name") == self._error.get("name", "")]

        innermost = [each for each in calls(self._tree) if len(calls(each)) == 1]
        return innermost[0] if len(innermost) == 1 else None

    def _place_of(self, call: Node | None) -> int | None:
        """Where the first operand of a call begins, as an operator within another one has no place itself."""
        places = [int(each["query_location"]) for each in walk(call) if "query_location" in each]
        known = [place for place in places if place < len(self._text)]
        return min(known) if known else None if b"\n" in self._text else 0

    def _operands(self) -> list[str]:
        """How the operands of the expression are written."""
        if self._call:
            return list(map(self._written, _operands_of(self._call)))
        for node in walk(self._tree):
            if node.get("query_location") == self.place and node.get("class") in _WITH_OPERANDS:
                return list(map(self._written, _operands_of(node)))
        return []

    def _written(self, node: Node) -> str:
        if node.get("class") == "COLUMN_REF":
            return ".".join(node["column_names"])
        start = int(node["query_location"])
        return self._text[start : start + int(node["query_location_length"])].decode() or "it"


_WITH_OPERANDS = frozenset({"FUNCTION", "COMPARISON", "BETWEEN", "OPERATOR"})


def _operands_of(node: Node) -> Iterator[Node]:
    yield from (each["expression"] for each in node.get("arguments", []))
    yield from node.get("children", [])
    yield from (node[part] for part in ("input", "left", "right", "lower", "upper") if node.get(part))


def _wanted(types: Sequence[str], words: str) -> tuple[int, str] | None:
    """The place and the type of the first operand to cast for the function that takes the most like these.

    ``words`` list the functions of the name.
    """
    taken = [
        [parameter.partition(" ")[2] for parameter in _COMMA.split(found)]
        for found in _PARAMETERS.findall(words)
    ]
    fitting = [each for each in taken if len(each) == len(types) and not _GENERIC.search(" ".join(each))]
    best = min(fitting, key=lambda each: sum(map(_distance, types, each)), default=())
    return next(((at, type_) for at, type_ in enumerate(best) if _distance(types[at], type_)), None)


def _distance(type_: str, wanted: str) -> int:
    """How unlike two types are; a number is rather cast to another one."""
    are_numbers = bool(_NUMBER.fullmatch(type_) and _NUMBER.fullmatch(wanted))
    if type_ == wanted or (type_, wanted) == ("STRING_LITERAL", "VARCHAR"):
        return 0
    return 0 if are_numbers and type_ == "INTEGER_LITERAL" else 1 if are_numbers else 2


def _in_query(name: str, known: Sequence[str]) -> str | None:
    """The table or alias that is meant by a name, which may have a schema too many."""
    return next((each for each in known if name.endswith(f".{each}")), None) or nearest(name, known)


def _write(near: str | None) -> str:
    return f"write {near}" if near else "correct its name"
