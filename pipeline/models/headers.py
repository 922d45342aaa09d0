"""Headers of a model: the comment lines at the head of its file that set an option."""

import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from pipeline.errors import ModelError
from pipeline.models.personal import Declared
from pipeline.source.cursors import Cursor
from pipeline.source.table_names import spelled, unquoted
from pipeline.words import line_of

Kind = Literal["fact", "dimension", "bridge"]


class Written(NamedTuple):
    """The value of a header, and its line in the file."""

    text: str
    line: int


Headers = Mapping[str, list[Written]]

_HEADER = re.compile(r"--\s*([A-Za-z_]+)\s*:\s*(.*?)\s*")
_COMMENT = re.compile(r"\s*(--[^\r\n]*|/\*.*?\*/)", re.DOTALL)
# Comments of the whole text; strings and quoted names are no places of comments.
_ANY_COMMENT = re.compile(r"""'[^']*'|"[^"]*"|(--[^\r\n]*|/\*.*?\*/)""", re.DOTALL)
# Where such a line is taken for prose, clear text is loaded.
_PERSONAL_LINE = re.compile(r"^[^\w'\"`\r\n]*personal\s*[:=](?!:)", re.IGNORECASE | re.MULTILINE)
_PREFIXES: dict[str, Kind] = {"fact_": "fact", "dim_": "dimension", "bridge_": "bridge"}
_VALUES: Mapping[str, Collection[str]] = {
    "kind": {"fact", "dimension", "bridge"},
    "deletes": {"ignore"},
    "reads": {"changes"},
    "unstable": {"allowed"},
}
_NAME = r'"(?:[^"]|"")+"|[^\s."]+'
# A table of the source, with its schema if that is not the main one.
_TABLE = rf"(?:(?P<schema>{_NAME})\.)?(?P<table>{_NAME})"
_PERSONAL = re.compile(rf"(?:{_TABLE}\.)?(?P<column>{_NAME})")
_RENAMED = re.compile(rf"(?P<old>{_NAME})\s*->\s*(?P<new>{_NAME})")
_CURSOR = re.compile(rf"{_TABLE}\.(?P<column>{_NAME})(?:\s+(?P<overlap>.+))?")
# Looks like a header, and is none.
_LOOSE = re.compile(r"--[^\w'\"`]*([A-Za-z_]+)(?:\s*[:=]\s*|\s+)(\S.*?)\s*")
# What a SELECT takes without naming it.
_STAR = re.compile(r"(?:\bselect|\bdistinct|[,.])\s*\*", re.IGNORECASE)
_FORMS = {
    "key": "-- key: column[, …]",
    "kind": "-- kind: fact, dimension or bridge",
    "cursor": "-- cursor: table.column [overlap]",
    "untracked": "-- untracked: column[, …]",
    "deletes": "-- deletes: ignore",
    "reads": "-- reads: changes",
    "unstable": "-- unstable: allowed",
    "personal": "-- personal: column[, table.column, …], or -- personal: hash (or dropped) column[, …]",
    "renamed": "-- renamed: old -> new",
    "max_deleted_share": "-- max_deleted_share: 0.5, or any share from 0 to 1",
}


def headers_in(path: Path, text: str) -> dict[str, list[Written]]:
    """The values of each header of a file; other words with a colon are prose.

    Raises ModelError for a misspelt header, and for `personal` elsewhere than at the head.
    """
    _refuse_misplaced(path, text)
    headers: dict[str, list[Written]] = {}
    sql = _ANY_COMMENT.sub(lambda match: "" if match[1] else match[0], text)
    for line, comment in _head(text):
        if match := _HEADER.fullmatch(comment):
            name = match[1].lower()
            if name in _FORMS:
                headers.setdefault(name, []).append(Written(match[2], line))
            elif near := difflib.get_close_matches(name, _FORMS, 1, _similarity(name)):
                raise ModelError(f"{path}:{line}: there is no header {match[1]}; write `{_FORMS[near[0]]}`")
            elif "_" in name:  # prose has no such words before a colon
                raise ModelError(
                    f"{path}:{line}: there is no header {match[1]}; there are {', '.join(_FORMS)}"
                )
        elif (loose := _LOOSE.fullmatch(comment)) and _is_value(loose[1].lower(), loose[2], sql):
            form = _FORMS[loose[1].lower()]
            raise ModelError(f"{path}:{line}: is no header as it stands; write `{form}`, or other words")
    return headers


def _similarity(name: str) -> float:
    """How alike a misspelt header is: `kye` has swapped letters; `name` is prose, `max_deleted` none."""
    return 0.66 if "_" in name else (len(name) - 1) / len(name)


def _is_value(name: str, text: str, sql: str) -> bool:
    """Whether a text looks like the value of a header, whose columns and tables are words of the SQL."""
    words = _words(sql)
    if name in _VALUES:
        return text.lower() in _VALUES[name]
    if name == "cursor":
        match = _CURSOR.fullmatch(text)
        has_overlap = match is not None and re.match(r"\d|$", match["overlap"] or "") is not None
        return match is not None and has_overlap and unquoted(match["table"]).lower() in words
    if name == "renamed":
        return all(_RENAMED.fullmatch(part.strip()) for part in text.split(","))
    if name in {"key", "untracked", "personal"}:
        return _lists_columns(text, words, is_personal=name == "personal", any_name=bool(_STAR.search(sql)))
    return name == "max_deleted_share" and text[0] in ".0123456789"


def _lists_columns(text: str, words: set[str], *, is_personal: bool, any_name: bool) -> bool:
    """Whether a text lists columns: names among the words, or any that a ``*`` may yield."""
    if is_personal and re.fullmatch(r"(hash|dropped)\s+[^\s,]+(\s*,.*)?", text):
        return True
    parts = [_PERSONAL.fullmatch(part.strip()) for part in text.split(",")]
    return all(part and ((is_personal and any_name) or _words(part["column"]) <= words) for part in parts)


def _words(text: str) -> set[str]:
    return {word.lower() for word in re.findall(r"\w+", text)}


def _refuse_misplaced(path: Path, text: str) -> None:
    """Raise ModelError for a line of a comment that looks like a header `personal` and is none."""
    matches = ((line, _HEADER.fullmatch(comment)) for line, comment in _head(text))
    headers = {line for line, match in matches if match and match[1].lower() == "personal"}
    for comment in _ANY_COMMENT.finditer(text):
        for found in _PERSONAL_LINE.finditer(comment[1] or ""):
            if (line := line_of(text, comment.start(1) + found.end())) not in headers:
                raise ModelError(
                    f"{path}:{line}: `personal` declares columns only in a line comment before the SQL;"
                    " write it there, as `-- personal: column`"
                )


def _head(text: str) -> Iterator[tuple[int, str]]:
    """The line comments before the SQL, with their lines; block comments between them are skipped."""
    place = 0
    while match := _COMMENT.match(text, place):
        place = match.end()
        if match[1].startswith("--"):
            yield line_of(text, match.start(1)), match[1].strip()


def meaning(text: str) -> str:
    """The first comment lines at the head of a file, up to its first header or an empty line."""
    lines: list[str] = []
    next_line = None
    for line, comment in _head(text):
        match = _HEADER.fullmatch(comment)
        if next_line not in {None, line} or (match and match[1].lower() in _FORMS):
            break
        lines.append(comment.lstrip("-").strip())
        next_line = line + 1
    return " ".join(filter(None, lines))


def flag(path: Path, headers: Headers, name: str, value: str) -> bool:
    """Whether a header is set that has only this value."""
    for written, line in headers.get(name, []):
        if written.lower() != value:
            raise _wrong(path, line, f"{name} is {written!r}", name)
    return name in headers


def share(path: Path, headers: Headers) -> float | None:
    """The value of max_deleted_share, from 0 to 1, if it is set."""
    for written, line in headers.get("max_deleted_share", []):
        try:
            number = float(written)
        except ValueError:
            number = -1
        if not 0 <= number <= 1:
            raise _wrong(path, line, f"max_deleted_share is {written!r}", "max_deleted_share")
        return number
    return None


def columns(path: Path, headers: Headers, name: str) -> tuple[str, ...]:
    """The columns that a header lists; raises ModelError for an empty name, and for one that it has twice."""
    found: list[str] = []
    for value, line in headers.get(name, []):
        for column in (part.strip().strip('"') for part in value.split(",")):
            if not column:
                raise _wrong(path, line, f"{name} is {value!r}", name)
            if column in found:
                raise _wrong(path, line, f"{name} has {column} twice", name)
            found.append(column)
    return tuple(found)


def kind(path: Path, headers: Headers) -> Kind:
    """The kind of the model's table, by its header or else by the prefix of its name."""
    values = headers.get("kind", [])
    written = values[0].text.lower() if values else None
    for prefix, name in _PREFIXES.items():
        if written == name or (written is None and path.stem.startswith(prefix)):
            return name
    if values:
        raise _wrong(path, values[0].line, f"kind is {written!r}", "kind")
    raise ModelError(f"{path}: no kind; write `{_FORMS['kind']}` at its head")


def cursors(path: Path, headers: Headers) -> dict[str, Cursor]:
    """The cursor of each source table that has one."""
    by_table = {}
    for value, line in headers.get("cursor", []):
        match = _CURSOR.fullmatch(value)
        if not match:
            example = "e.g. `-- cursor: orders_view.changed_at 1 hour`"
            raise ModelError(f"{path}:{line}: write `{_FORMS['cursor']}`, {example}")
        by_table[_table(match)] = Cursor(column=unquoted(match["column"]), overlap=match["overlap"])
    return by_table


def personal(path: Path, headers: Headers) -> Iterator[Declared]:
    """The columns that are declared as personal data."""
    for value, line in headers.get("personal", []):
        how = re.match(r"(hash|dropped)\s+(?=[^\s,])", value)
        for part in value[how.end() if how else 0 :].split(","):
            match = _PERSONAL.fullmatch(part.strip())
            if not match:
                raise ModelError(f"{path}:{line}: write `{_FORMS['personal']}`")
            table = _table(match) if match["table"] else None
            word = how[1] if how else ""
            yield Declared(unquoted(match["column"]), table, word == "hash", dropped=word == "dropped")


def renamed(path: Path, headers: Headers) -> Iterator[tuple[str, str]]:
    """The old and new names of columns, or of the table itself."""
    for value, line in headers.get("renamed", []):
        for part in value.split(","):
            match = _RENAMED.fullmatch(part.strip())
            if not match:
                raise _wrong(path, line, f"renamed is {part.strip()!r}", "renamed")
            yield unquoted(match["old"]), unquoted(match["new"])


def place(path: Path, headers: Headers, name: str, value: str) -> str:
    """The file and, if a header of this name contains the value, its line."""
    lines = [line for written, line in headers.get(name, []) if value in written]
    return f"{path}:{lines[0]}" if lines else str(path)


def _wrong(path: Path, line: int, what: str, name: str) -> ModelError:
    return ModelError(f"{path}:{line}: {what}; write `{_FORMS[name]}`")


def _table(match: re.Match[str]) -> str:
    """The text of the table that a header names."""
    return spelled(unquoted(match["table"]), unquoted(match["schema"]) if match["schema"] else None)
