"""Search for texts in all objects of the lake, with Parquet decoded, and in all tables of a warehouse."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql

from pipeline.lake.buckets import Bucket
from pipeline.postgres import template, transaction

# Texts that may be a printed number, date or time.
_NUMERIC = re.compile(r"[-+0-9.:TZ einfa]+")
# A shorter text is contained in too many others.
SHORTEST = 4
# A row's text doubles quotes and backslashes, a jsonb's escapes them once more.
_ROWS_WITH_TEXT = """
    count(*) FILTER (
        WHERE strpos(
            replace(replace(t::text, '""', '"'), '\\\\', '\\'),
            (SELECT n.text FROM pg_temp.needle AS n WHERE n.place = {})
        ) > 0
    )
"""
_TABLES = (
    "SELECT n.nspname::text, c.relname::text FROM pg_class AS c INNER JOIN pg_namespace AS n"
    " ON c.relnamespace = n.oid WHERE n.nspname IN (%s, 'etl') AND c.relkind IN ('r', 'p') ORDER BY 1, 2"
)


@dataclass(frozen=True)
class Hit:
    """A text, and where it was found."""

    where: str
    text: str


@dataclass
class Needles:
    """Texts to search for, and counts of what was searched.

    ``shared`` is the number of texts that are not searched, because other rows have them or they are short.
    """

    texts: frozenset[str]
    shared: int
    searched: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, texts: Mapping[str, Collection[str]], others: Iterable[str]) -> Needles:
        """The texts that are not among ``others`` and long enough."""
        all_texts = {text for each in texts.values() for text in each}
        own = frozenset(text for text in all_texts - set(others) if len(text) >= SHORTEST)
        return cls(own, len(all_texts) - len(own))

    def count(self, what: str, number: int = 1) -> None:
        """Add to the count of things searched."""
        self.searched[what] = self.searched.get(what, 0) + number

    def certificate(self, hits: Collection[Hit], others: Collection[Hit]) -> dict[str, object]:
        """What was searched, for how many texts, and where they were found; without the texts.

        ``others`` are hits in rows of other tables of the source; their texts are not the row's alone.
        """
        common = {hit.text for hit in others}
        return {
            "texts": len(self.texts - common),
            "texts of others too, or short": self.shared + len(common),
            "searched": self.searched,
            "hits": sorted({hit.where for hit in hits if hit.text not in common}),
            "in other tables": sorted({hit.where for hit in others}),
        }


def merged(earlier: Mapping[str, Any] | None, later: Mapping[str, Any]) -> Mapping[str, object]:
    """The certificate of an erasure that continues an interrupted one, which found these hits before."""
    if earlier is None:
        return later
    more = max(later, earlier, key=lambda certificate: int(certificate["texts"]))
    places = {name: sorted({*earlier[name], *later[name]}) for name in ("hits", "in other tables")}
    return {**more, **places}


def search_lake(name: str, bucket: Bucket, needles: Needles, without: Collection[str]) -> Iterator[Hit]:
    """Search a bucket; hits have the object's path, and the column in Parquet."""
    skipped = set(without)
    for path in bucket.all_paths():
        if path in skipped:
            continue
        needles.count(f"objects of {name}")
        if path.endswith(".parquet"):
            yield from (
                Hit(f"{name} {path}: {column}", text) for column, text in _in_rows(bucket, path, needles)
            )
        elif needles.texts:
            held = bucket.read_bytes(path)
            yield from (Hit(f"{name} {path}", text) for text in needles.texts if text.encode() in held)


def _in_rows(bucket: Bucket, path: str, needles: Needles) -> set[tuple[str, str]]:
    """The columns of a Parquet object that contain a text, with the text."""
    found = set[tuple[str, str]]()
    for batch in bucket.scan(path).to_batches():
        needles.count("rows", batch.num_rows)
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            new = [text for text in needles.texts if (name, text) not in found]
            found |= {(name, text) for text in new if _is_in(column, text)}
    return found


def _is_in(column: pa.Array[Any], text: str) -> bool:
    if not pa.types.is_string(column.type):
        if not _NUMERIC.fullmatch(text):
            return False
        column = column.cast(pa.string())
    return bool(pc.any(pc.match_substring(column, text)).as_py())


def search_warehouse(url: str, schema: str, needles: Needles) -> Iterator[Hit]:
    """Search the tables of a schema and of etl. The texts are sent by COPY, which no server logs."""
    texts = sorted(needles.texts)
    counts = [template("count(*)"), *(template(_ROWS_WITH_TEXT).format(place) for place in range(len(texts)))]
    query = template("SELECT {} FROM {} AS t")
    with transaction(url, "warehouse") as connection:
        connection.execute("CREATE TEMP TABLE needle (place integer, text text) ON COMMIT DROP")
        with connection.cursor() as cursor, cursor.copy("COPY pg_temp.needle FROM STDIN") as copy:
            for row in enumerate(texts):
                copy.write_row(row)
        for where, name in connection.execute(_TABLES, (schema,)).fetchall():
            relation = sql.Identifier(str(where), str(name))
            ((rows, *hits),) = connection.execute(
                query.format(sql.SQL(", ").join(counts), relation)
            ).fetchall()
            needles.count("tables")
            needles.count("rows", int(str(rows)))
            for text, number in zip(texts, hits, strict=True):
                if number:
                    yield Hit(f"warehouse {where}.{name}", text)
