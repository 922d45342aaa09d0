"""Let models compute with numbers and arrays that are stored as text, see pipeline.models.stored.

Such a column stays text where a model only passes it on, so that the warehouse gets each value as the source
prints it. Where the model computes with it or compares it, the reference in the SQL is replaced by a checked
cast to DECIMAL(38,10), or to a list. Which references mean such a column is asked of DuckDB's planner: each
one is marked, and the column gets a type that nothing else has.
"""

from __future__ import annotations  # evaluated annotations keep DuckDB alive: see duck._database

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import duckdb

from pipeline.columns import Column
from pipeline.duck import literal, quote, relation_name
from pipeline.errors import ModelError
from pipeline.models.column_references import Reference, references
from pipeline.models.comparisons import misread
from pipeline.models.edits import Edit, applied
from pipeline.models.exact import PREFIX, NotExact, mark_of, refuse_inexact
from pipeline.models.library import Model
from pipeline.models.rounding import create_macros
from pipeline.models.stored import (
    AS_MOMENT,
    create_functions,
    is_moment,
    is_stored_as_text,
    is_text,
    marked_type,
    reading,
)
from pipeline.models.syntax import Node, parsed, planned, type_of, walk, with_parents
from pipeline.words import line_of


def _computable(
    connection: duckdb.DuckDBPyConnection, sql: str, tables: Mapping[str, Sequence[Column]], *, moments: bool
) -> str:
    """The SQL with numbers, lists and maybe moments cast where it uses them; ``tables`` are what it reads.

    The connection has a table of each, whose columns have marked types. Raises NotExact
    if the SQL computes with numbers in floating point, or prints results.
    """
    tree = parsed(connection, sql)
    known = references(tree)
    names = _names(tree, known, tables)
    candidates = [each for each in known if each.name in names]
    if not candidates:
        return sql
    for marks in _marks(candidates), _marks_by_name(candidates, tables):
        probe = _replaced(sql, {each: _marked(mark, each, sql) for each, mark in marks.items()})
        plan = planned(connection, probe)
        if not plan["error"]:
            break
    else:
        return sql
    found, printed, texts = _found(plan)
    used = _used([each for each in candidates if marks.get(each) in found])
    cast = [each for each in used if marks[each] not in printed]
    cast = [each for each in cast if moments or found[marks[each]][0] != AS_MOMENT]
    if cast:
        refuse_inexact(plan, probe)
    places = _places(cast, sql, tables)
    read = {each: _read(each, sql, found[marks[each]], places[each.name]) for each in cast}
    as_text = [
        each for each in candidates if each.use == "printed" and marks.get(each) in texts | found.keys()
    ]
    read |= {each: f'({_written(each, sql)} COLLATE "C")' for each in as_text}
    return _replaced(sql, read)


def _marks(candidates: Iterable[Reference]) -> dict[Reference, int]:
    """A number for each reference, the same for those to one column of a SELECT with groups."""
    qualified: dict[tuple[int | None, str], set[tuple[str, ...]]] = {}
    for each in candidates:
        if len(each.path) > 1:
            qualified.setdefault((each.grouped, each.name), set()).add(each.path)
    numbers: dict[object, int] = {}
    marks = {}
    for each in candidates:
        paths = qualified.get((each.grouped, each.name), set()) | {each.path}
        is_one = len({path for path in paths if len(path) > 1}) < 2  # noqa: PLR2004  else they may differ
        column = each if each.grouped is None else (each.grouped, each.name if is_one else each.path)
        marks[each] = numbers.setdefault(column, len(numbers))
    return marks


def _marks_by_name(
    candidates: Iterable[Reference], tables: Mapping[str, Sequence[Column]]
) -> dict[Reference, int]:
    """One number for all references to a name of one column, for `GROUP BY 2 = ANY(tags)`."""
    names = [each.name.lower() for columns in tables.values() for each in columns]
    numbers: dict[str, int] = {}
    known = [each for each in candidates if names.count(each.name) == 1]
    return {each: numbers.setdefault(each.name, len(numbers)) for each in known}


def _places(cast: Iterable[Reference], sql: str, tables: Mapping[str, Sequence[Column]]) -> dict[str, str]:
    """For errors in rows: the columns that a name may stand for, and the line of its first reference."""
    places: dict[str, str] = {}
    for each in sorted(cast, key=lambda each: each.start):
        origins = [
            f"{table}.{column.name}"
            for table, columns in sorted(tables.items())
            for column in columns
            if is_stored_as_text(column) and column.name.lower() == each.name
        ]
        places.setdefault(
            each.name, f"{line_of(sql.encode(), each.start)}: {' or '.join(origins) or each.path[-1]}"
        )
    return places


def _names(tree: Node, known: Iterable[Reference], tables: Mapping[str, Sequence[Column]]) -> set[str]:
    """The names of such columns of the tables, and those that aliases may give them, in lower case."""
    names = {
        column.name.lower() for columns in tables.values() for column in columns if is_stored_as_text(column)
    }
    for node in walk(tree):
        names |= {name.lower() for part in ("aliases", "column_name_alias") for name in node.get(part) or ()}
    renamed = [(each.name, each.alias.lower()) for each in known if each.alias]
    while more := {alias for name, alias in renamed if name in names} - names:
        names |= more
    return names


def _replaced(sql: str, replacements: Mapping[Reference, str]) -> str:
    edits = [Edit(each.start, each.end, new.encode()) for each, new in replacements.items()]
    return applied(sql.encode(), edits).decode()


def _written(reference: Reference, sql: str) -> str:
    return sql.encode()[reference.start : reference.end].decode()


def _marked(number: int, reference: Reference, sql: str) -> str:
    """The reference with a mark that the planner keeps."""
    marked = (
        f"(CASE WHEN {literal(f'{PREFIX}{number}')} IS NULL THEN NULL ELSE {_written(reference, sql)} END)"
    )
    return _named(f"CAST({marked} AS VARCHAR)" if reference.use == "collated" else marked, reference)


def _read(reference: Reference, sql: str, reading: tuple[str, str], place: str) -> str:
    """The reference as a number or list, written in the same way wherever it stands, as groups need it."""
    before, after = reading
    return _named(f"{before}{_written(reference, sql)}{after.format(place=literal(place))}", reference)


def _named(expression: str, reference: Reference) -> str:
    """The expression with the name of the reference, if it is an item of a SELECT list without an alias."""
    needs_name = reference.alias and not reference.is_named
    return f"{expression} AS {quote(reference.alias)}" if needs_name else expression


def _used(known: Sequence[Reference]) -> list[Reference]:
    """The references in expressions, and those united with something else."""
    united = Counter((each.union, each.place) for each in known if each.union)
    return [
        each
        for each in known
        if each.use == "used"
        or (each.use == "passed" and each.union and united[each.union, each.place] < each.union[1])
    ]


def _found(plan: Node) -> tuple[dict[int, tuple[str, str]], set[int], set[int]]:
    """The marked references to numbers and lists, those that are only printed, as by ``||``, and texts."""
    found, printed, used, texts = dict[int, tuple[str, str]](), set[int](), set[int](), set[int]()
    for node, parent in with_parents(plan, {}):
        mark, read = mark_of(node), reading(type_of(node))
        if mark is not None and read:
            found[mark] = read
            is_printed = parent.get("type") == "OPERATOR_CAST" and type_of(parent).get("id") == "VARCHAR"
            (printed if is_printed else used).add(mark)
        elif mark is not None and is_text(type_of(node)):
            texts.add(mark)
    return found, printed - used, texts


class Probe:
    """Empty tables of another session, whose columns have marked types, for the SQL of several models."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        tables: Mapping[str, Sequence[Column]],
        bound: duckdb.DuckDBPyConnection,
    ) -> None:
        """``bound`` is the session in which the models are bound."""
        self.connection, self._bound = connection, bound
        self._tables: dict[str, Sequence[Column]] = {}
        create_macros(connection)
        for name, columns in tables.items():
            self.add(name, columns)

    def add(self, name: str, columns: Sequence[Column]) -> None:
        """Create a table with the name of a source table or model."""
        listed = ", ".join(f"{quote(each.name)} {marked_type(each)}" for each in columns)
        self.connection.execute(
            f"CREATE TEMP TABLE {quote(relation_name(name))} ({listed or 'no_column INTEGER'})"
        )
        self._tables[name] = columns

    def computable(self, model: Model, text: str) -> str:
        """The SQL of a model over these tables. Moments are cast if it does not only pass on their text.

        ``text`` is its SQL with the names that relations have.

        Raises ModelError with file and line if it computes with numbers differently from Postgres.
        """
        tables = {name: columns for name, columns in self._tables.items() if name in model.reads}
        if not any(is_stored_as_text(column) for columns in tables.values() for column in columns):
            return text
        has_moments = any(is_moment(column) for columns in tables.values() for column in columns)
        try:
            computable = _computable(self.connection, text, tables, moments=False)
            if has_moments and not self._reads_moments_as_text(computable):
                computable = _computable(self.connection, text, tables, moments=True)
        except NotExact as found:
            line, words = found.args
            raise ModelError(f"{model.path}:{line}: {words}") from None
        return computable

    def _reads_moments_as_text(self, text: str) -> bool:
        create_functions(self._bound)
        plan = planned(self._bound, text)
        return not plan["error"] and not any(misread(plan["plans"][0]))
