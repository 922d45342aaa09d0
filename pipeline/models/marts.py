"""Marts: views and functions for readers, in ``marts/*.sql`` beside the models.

They are written in Postgres's SQL over the models' tables and other marts; see pipeline.warehouse.marts.
"""

import re
from collections.abc import Collection, Mapping
from pathlib import Path

from pipeline.columns import Frozen
from pipeline.errors import ModelError, all_mistakes
from pipeline.models.target import LONGEST_NAME
from pipeline.words import head_of, text_of

FOLDER = "marts"
_FUNCTION = ".function"
_COLUMNS = re.compile(r"columns:", re.IGNORECASE)
_QUESTION = re.compile(r"question: (.+)", re.IGNORECASE)
_COLUMN = re.compile(r'([^\W\d]\w*|"(?:[^"]|"")+"): (.+)')
_CREATES = re.compile(r'\s*CREATE\s+OR\s+REPLACE\s+FUNCTION\s+("?)(\w+)\1\s*\(', re.IGNORECASE)


class Mart(Frozen):
    """A mart: its SQL, what its rows mean, what its columns do, and questions that it answers.

    ``sql`` is a SELECT, or the CREATE FUNCTION of a function that returns rows.
    """

    name: str
    path: Path
    sql: str
    meaning: str
    columns: Mapping[str, str]
    is_function: bool = False
    questions: tuple[str, ...] = ()


def load(models: Path, taken: Collection[str] = ()) -> list[Mart]:
    """Read the marts beside the models of a folder; raises ModelError with file and line.

    ``taken`` are names that no mart may have.
    """
    marts: dict[str, Mart] = {}
    with all_mistakes() as mistake:
        for path in sorted((models / FOLDER).glob("*.sql")):
            with mistake():
                mart = read(path, text_of(path))
                if mart.name in taken or mart.name in marts:
                    other = (
                        marts[mart.name].path.name if mart.name in marts else "a model or a view of its own"
                    )
                    raise ModelError(f"{path}: {mart.name} is the name of {other}; rename the file")
                marts[mart.name] = mart
    return list(marts.values())


def read(path: Path, text: str) -> Mart:
    """A mart of this text; ``path`` gives its name, and is named in errors."""
    stem = path.stem
    name = stem.removesuffix(_FUNCTION)
    if len(name.encode()) > LONGEST_NAME or "." in name:
        raise ModelError(f"{path}: {name} cannot be a mart's name; use up to 63 bytes without a dot")
    meaning, questions, columns = _described(path, text)
    if not meaning:
        raise ModelError(f"{path}:1: begin it with comment lines that say what one row is")
    body = re.sub(r"--[^\n]*", "", text)
    if not body.strip().strip(";"):
        raise ModelError(f"{path}: holds no SELECT")
    is_function = stem.endswith(_FUNCTION)
    creates = _CREATES.match(body)
    if is_function and (creates is None or creates[2] != name):
        raise ModelError(f"{path}: write `CREATE OR REPLACE FUNCTION {name}(…)`, and nothing else")
    return Mart(
        name=name,
        path=path,
        sql=text.rstrip().rstrip(";"),
        meaning=meaning,
        columns=columns,
        is_function=is_function,
        questions=questions,
    )


def _described(path: Path, text: str) -> tuple[str, tuple[str, ...], dict[str, str]]:
    """What the head says of the rows, which questions they answer, and what it says of each column."""
    meaning, questions, columns, last = list[str](), list[str](), dict[str, list[str]](), ""
    is_columns = False
    for number, comment in head_of(text):
        if not (line := comment.lstrip("-").strip()):
            continue
        if _COLUMNS.fullmatch(line):
            is_columns = True
        elif is_columns and (match := _COLUMN.fullmatch(line)):
            last = match[1].strip('"').replace('""', '"')
            if last in columns:
                raise ModelError(f"{path}:{number}: column {last} is described twice; remove one")
            columns[last] = [match[2]]
        elif last:
            columns[last].append(line)
        elif is_columns:
            raise ModelError(f"{path}:{number}: write `-- column: meaning`")
        elif match := _QUESTION.fullmatch(line):
            questions.append(match[1])
        else:
            meaning.append(line)
    return " ".join(meaning), tuple(questions), {name: " ".join(lines) for name, lines in columns.items()}
