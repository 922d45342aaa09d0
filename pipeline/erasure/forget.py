"""Erase what is personal of a source row: from the warehouse, the processed and the raw bucket.

Raw objects are removed last, because all else is found by what they hold; so whatever interrupts it, the same
call goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa

from pipeline.columns import schema_of
from pipeline.duck import quote, session
from pipeline.erasure.effects import Effect, ever
from pipeline.erasure.effects import effects as effects_of
from pipeline.erasure.in_warehouse import erase_in_warehouse
from pipeline.erasure.rewriting import erase_in_raw, rewritten, showing
from pipeline.erasure.search import Needles, search_lake, search_warehouse
from pipeline.errors import SettingsError
from pipeline.lake import erasures
from pipeline.lake.buckets import Bucket
from pipeline.lake.erasures import Entry, Erasure
from pipeline.lake.manifest import Manifest, TableBatch
from pipeline.lake.manifests import manifest_paths, read_manifest
from pipeline.lake.paths import batch_folder
from pipeline.models import personal
from pipeline.models.library import Model, closure
from pipeline.recovery.refill import Lake, fill_again
from pipeline.warehouse.mismatches import Mismatch

_THREADS = 8


@dataclass(frozen=True)
class Findings:
    """What there is to erase of a row.

    ``rows`` are its versions that show personal values, ``raw`` the objects that hold them. ``effects`` are
    what became of them in the warehouse, ``processed`` the objects that show it.
    """

    entry: Entry
    erased: Erasure
    table: TableBatch
    rows: pa.Table
    raw: tuple[str, ...]
    effects: tuple[Effect, ...]
    processed: Mapping[str, Effect]

    @property
    def story(self) -> str:
        """One line on what is to be erased, without a value."""
        tables = ", ".join(f"{each.target.name} ({', '.join(each.columns)})" for each in self.effects)
        return (
            f"columns {', '.join(column.name for column in self.erased.columns)} of {self.entry.table}"
            f" in raw objects: {len(self.raw)}, in processed objects: {len(self.processed)},"
            f" in tables: {tables or 'none'}"
        )


def sealed(raw: Bucket) -> list[Manifest]:
    """All batches that the lake has, in order."""
    with ThreadPoolExecutor(_THREADS) as threads:
        found = list(threads.map(lambda path: read_manifest(raw, path), manifest_paths(raw)))
    return sorted(found, key=lambda manifest: manifest.batch_id)


def the_table(
    models: Mapping[str, Model], manifests: Sequence[Manifest], name: str
) -> tuple[Manifest, TableBatch, Erasure]:
    """The newest batch that has a table whose rows can be forgotten, and what of them is hidden.

    Raises SettingsError where there is none of that name, or it has no key or no personal column.
    """
    manifest = next((each_ for each_ in reversed(manifests) if name in each_.tables), None)
    if manifest is None or manifest.tables[name].seed is not None:
        raise SettingsError(f"TABLE: no batch has a table {name} of the source")
    table = manifest.tables[name]
    if not table.key:
        raise SettingsError(f"TABLE: {name} has no key that tells its rows apart")
    tables = {
        key: [column.name for column in each_.columns]
        for key, each_ in manifest.tables.items()
        if each_.seed is None
    }
    declared = personal.personal_columns(models, tables).get(name, {})
    key = tuple(column for column in table.columns if column.name in table.key)
    for column in key:
        if column.name in declared and not column.hashed_by:
            raise SettingsError(
                f"TABLE: {name}.{column.name} is personal and the key, which tells rows apart;"
                f" write `-- personal: hash {column.name}`"
            )
    columns = tuple(
        column for column in table.columns if column.name in declared and column.name not in table.key
    )
    if not columns:
        raise SettingsError(f"TABLE: no column of {name} is declared personal; write `-- personal: column`")
    return manifest, table, Erasure(key=key, columns=columns, entries=())


def find(lake: Lake, manifests: Sequence[Manifest], entry: Entry) -> Findings:
    """What there is to erase of a row; nothing is changed.

    Raises ModelError where a table does not take what is left of a value, else as :func:`the_table` does.
    """
    manifest, table, erased = the_table(lake.models, manifests, entry.table)
    erased = erased.model_copy(update={"entries": (entry,)})
    rows, raw = _shown_in(lake.raw, table, erased)
    # Where the lake shows nothing any more, what it has of the row tells what a restored warehouse may show.
    versions = rows if rows.num_rows else _shown_in(lake.raw, table, erased, hidden=True)[0]
    effects: list[Effect] = []
    if versions.num_rows:
        history = ever(manifest, manifests)
        for name in lake.models:
            below = closure(lake.models, name)
            if any(entry.table in model.reads for model in below.values()) and name in lake.targets:
                effects += effects_of(lake, below, history, erased, versions, is_hidden=not rows.num_rows)
    processed = {path: effect for effect in effects for path in showing(lake.processed, effect)}
    return Findings(entry, erased, table, rows, tuple(raw), tuple(effects), processed)


def _shown_in(
    raw: Bucket, table: TableBatch, erased: Erasure, *, hidden: bool = False
) -> tuple[pa.Table, list[str]]:
    """A row's versions that show what is personal, or are ``hidden`` already, and the objects with them."""
    schema, found, paths = schema_of(table.columns), [], []
    for path in raw.sizes(batch_folder(table.table, "").rpartition("/")[0]):
        if not path.endswith(".parquet"):
            continue
        dataset = raw.scan(path)
        names = [name for name in dataset.schema.names if name in schema.names]
        if {column.name for column in erased.key} <= set(names):
            with session() as connection:
                connection.register("stored rows", dataset)
                query = erased.forgotten_rows(names, quote("stored rows"), erased=hidden)
                rows = connection.sql(query).to_arrow_table()
            if rows.num_rows:
                found.append(_fitted(rows, schema))
                paths.append(path)
    return pa.concat_tables([schema.empty_table(), *found]), paths


def _fitted(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Rows with the columns of a schema; those that were of another type then are left NULL."""
    columns = []
    for field in schema:
        values = rows[field.name] if field.name in rows.schema.names else pa.nulls(rows.num_rows)
        try:
            columns.append(values.cast(field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            columns.append(pa.nulls(rows.num_rows, field.type))
    return pa.Table.from_arrays(columns, schema=schema)


def pending(url: str, schema: str, raw: Bucket) -> list[Entry]:
    """The entries that the lake or the warehouse lacks, or that were not carried out to the end."""
    in_lake, in_warehouse = erasures.in_lake(raw), erasures.in_warehouse(url, schema)
    done = in_lake.keys() & erasures.certified(url, schema)
    return [entry for key, entry in (in_lake | in_warehouse).items() if key not in done]


def carry_out(
    url: str, schema: str, lake: Lake, found: Findings, progress: Callable[[str], None]
) -> dict[str, object]:
    """Erase what was found, and search for it; returns the certificate.

    Raises nothing where a search finds a value elsewhere: the certificate says where.
    """
    erasures.write_to_lake(lake.raw, found.entry)
    moved = {
        path: rewritten(lake.processed, path, effect)
        for path, effect in found.processed.items()
        if not effect.replays
    }
    progress(f"rewrote processed objects: {len(moved)}")
    erase_in_warehouse(url, schema, found.entry, found.effects, moved)
    progress(f"erased in tables of the warehouse: {len(found.effects)}")
    erase_in_raw(lake.raw, found.erased, found.raw)
    _replay(url, schema, lake, found)
    progress(f"rewrote raw objects: {len(found.raw)}")
    needles = _needles(lake.raw, found)
    raw = list(search_lake("raw", lake.raw, needles, without=found.raw))
    hits = [
        *raw,
        *search_lake("processed", lake.processed, needles, without=found.processed),
        *search_warehouse(url, schema, needles),
    ]
    for bucket, paths in ((lake.processed, found.processed), (lake.raw, found.raw)):
        with ThreadPoolExecutor(_THREADS) as threads:
            list(threads.map(bucket.remove, paths))
    own = (f"raw {batch_folder(found.entry.table, '')}", "raw _")
    certificate = needles.certificate(hits, [hit for hit in raw if not hit.where.startswith(own)])
    erasures.certify(url, schema, found.entry, certificate)
    return certificate


def _replay(url: str, schema: str, lake: Lake, found: Findings) -> None:
    """Fill tables again that cannot be erased row by row, from batches that do not show the row any more."""
    mismatches = [
        Mismatch(
            table=effect.target.name,
            reason="its rows show what was erased",
            is_empty=False,
            lacks_history=True,
        )
        for effect in found.effects
        if effect.replays
    ]
    if mismatches:
        fill_again(url, schema, lake, mismatches)


def _needles(raw: Bucket, found: Findings) -> Needles:
    """The texts to search for: personal values of the row that no other row of its table has."""
    texts: dict[str, set[str]] = {}
    for column in found.erased.columns:
        values = found.rows[column.name].cast(pa.string()).to_pylist()
        texts[column.name] = {value for value in values if value}
    return Needles.of(texts, _others(raw, found))


def _others(raw: Bucket, found: Findings) -> Iterator[str]:
    """Those of the values that other rows of the table have, too, be it as a part of theirs."""
    wanted = {
        value
        for column in found.erased.columns
        for value in found.rows[column.name].cast(pa.string()).to_pylist()
    }
    values = pa.table({"value": pa.array(sorted(filter(None, wanted)), pa.string())})
    for path in raw.sizes(batch_folder(found.entry.table, "").rpartition("/")[0]):
        if not path.endswith(".parquet"):
            continue
        dataset = raw.scan(path)
        present = set(dataset.schema.names)
        if not {column.name for column in found.erased.key} <= present:
            continue
        for column in found.erased.columns:
            if column.name in present:
                with session() as connection:
                    connection.register("stored rows", dataset)
                    connection.register("wanted", values)
                    marked = found.erased.with_mark(quote("stored rows"))
                    rows = connection.execute(
                        f"SELECT DISTINCT value FROM ({marked}) AS marked"  # noqa: S608
                        f" JOIN wanted ON contains(CAST({quote(column.name)} AS VARCHAR), value)"
                        f" WHERE {quote(erasures.MARK)} IS NULL"
                    ).fetchall()
                yield from (str(value) for (value,) in rows)
