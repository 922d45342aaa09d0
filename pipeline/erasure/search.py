"""Search for texts in all objects of the lake, with Parquet decoded, and in all tables of a warehouse."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql

from pipeline.lake.buckets import Bucket
from pipeline.postgres import statement, template, transaction

# Texts that may be a printed number, date or time.
_NUMERIC = re.compile(r"[-+0-9.:TZ einfa]+")
# A shorter text is contained in too many others.
SHORTEST = 4
# In the certificate: by table, in how many rows values are erased that the lake does not have any more.
NOT_IN_LAKE = "not in the lake"
# A row's text doubles quotes and backslashes. OFFSET makes it once for all texts.
_FOUND = r"""
    SELECT
        (SELECT count(*) FROM {0}),
        ARRAY(
            SELECT DISTINCT n.place
            FROM (
                SELECT replace(replace(t::text, '""', '"'), '\\', '\') AS text FROM {0} AS t OFFSET 0
            ) AS t
            CROSS JOIN LATERAL (
                SELECT n.place FROM pg_temp.needle AS n WHERE strpos(t.text, n.text) > 0 OFFSET 0
            ) AS n
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
    left = {**earlier.get(NOT_IN_LAKE, {}), **later.get(NOT_IN_LAKE, {})}
    return {**more, **places, NOT_IN_LAKE: left}


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
            yield from (Hit(f"{name} {path}", text) for text in needles.texts if _is_within(held, text))


def _spellings(text: str) -> set[str]:
    """How a text may be spelled: as it is, or as JSON or an array escapes it.

    One that is not UTF-8 in the source has a NUL before it in the lake, and none in the warehouse.
    """
    plain = text.removeprefix("\0")
    in_json = json.dumps(plain, ensure_ascii=False)[1:-1]
    return {plain, in_json, plain.replace("\\", "\\\\").replace('"', '\\"')}


def _is_within(held: bytes, text: str) -> bool:
    return any(spelling.encode() in held for spelling in _spellings(text))


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
    return any(pc.any(pc.match_substring(column, spelling)).as_py() for spelling in _spellings(text))


def search_warehouse(url: str, schema: str, needles: Needles) -> Iterator[Hit]:
    """Search the tables of a schema and of etl. The texts are sent by COPY, which no server logs."""
    spelled = [(spelling, text) for text in sorted(needles.texts) for spelling in _spellings(text)]
    with transaction(url, "warehouse") as connection:
        connection.execute(statement("warehouse/bisection.sql"))
        connection.execute("CREATE TEMP TABLE spelled (place integer, text bytea) ON COMMIT DROP")
        with connection.cursor() as cursor, cursor.copy("COPY pg_temp.spelled FROM STDIN") as copy:
            for place, (spelling, _) in enumerate(spelled):
                copy.write_row([place, spelling.encode()])
        connection.execute(
            "CREATE TEMP TABLE needle ON COMMIT DROP AS"
            " SELECT place, pg_temp.readable(text) AS text FROM pg_temp.spelled"
        )
        for where, name in connection.execute(_TABLES, (schema,)).fetchall():
            relation = sql.Identifier(str(where), str(name))
            ((rows, found),) = connection.execute(template(_FOUND).format(relation)).fetchall()
            needles.count("tables")
            needles.count("rows", int(str(rows)))
            texts = {spelled[place][1] for place in cast(list[int], found)}
            yield from (Hit(f"warehouse {where}.{name}", text) for text in sorted(texts))
