"""Find objects of the lake with erased values, rewrite them under new names, and manifests that name them."""

from __future__ import annotations  # evaluated annotations keep DuckDB alive: see duck._database

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime

import duckdb
import pyarrow as pa

from pipeline.columns import schema_of
from pipeline.duck import json_object, literal, quote, session, streamed
from pipeline.erasure.effects import Effect
from pipeline.lake import manifests
from pipeline.lake.buckets import Bucket, File
from pipeline.lake.erasures import Erasure
from pipeline.lake.manifest import TIME, Files, Manifest, State, TableBatch
from pipeline.lake.paths import deleted_folder, rejected_folder, table_folder
from pipeline.models.rejects import REJECTED
from pipeline.source.table_names import spelled

# The new values of a stored row, if it has erased ones.
_NEW = "COALESCE(NULLIF(p.new, p.old), a.new)"


def showing(processed: Bucket, effect: Effect, known_since: datetime) -> Iterator[str]:
    """The processed objects of a table that contain erased values, or all if it is refilled.

    Values from before ``known_since`` are unknown.
    """
    folder = table_folder(spelled(effect.target.name))
    paths = objects(processed, folder, rejected_folder(folder), deleted_folder(folder))
    if effect.replays:
        yield from paths
        return
    for path in paths:
        with session() as connection:
            connection.register("stored rows 0", processed.scan(path))
            query = _processed(connection, 0, path, effect, known_since)
            found = query and connection.sql(f"SELECT 1 FROM ({query}) WHERE is_found LIMIT 1").fetchall()  # noqa: S608
            if found:
                yield path


def objects(bucket: Bucket, *folders: str) -> list[str]:
    """The objects of rows below these folders."""
    return [path for folder in folders for path in bucket.sizes(folder) if path.endswith(".parquet")]


def shown_in(
    raw: Bucket, table: TableBatch, erased: Erasure, *, hidden: bool = False
) -> tuple[pa.Table, list[str], dict[str, set[str]]]:
    """The versions of a row with personal values, or with ``hidden`` those without, and their objects.

    And the texts of the columns to erase: a value of another type than the table's is NULL in the versions.
    """
    schema, found, paths = schema_of(table.columns), [], []
    texts: dict[str, set[str]] = {column.name: set() for column in erased.columns}
    for path in objects(raw, table_folder(table.table)):
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
                for name in texts.keys() & set(names):
                    texts[name].update(filter(None, rows[name].cast(pa.string()).to_pylist()))
    return pa.concat_tables([schema.empty_table(), *found]), paths, texts


def _fitted(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Rows with the columns of a schema; columns that had another type are NULL."""
    columns = []
    for field in schema:
        values = rows[field.name] if field.name in rows.schema.names else pa.nulls(rows.num_rows)
        try:
            columns.append(values.cast(field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            columns.append(pa.nulls(rows.num_rows, field.type))
    return pa.Table.from_arrays(columns, schema=schema)


def _processed(
    connection: duckdb.DuckDBPyConnection, number: int, path: str, effect: Effect, known_since: datetime
) -> str | None:
    """A query for the rows of the relation of this number without erased values, with a column ``is_found``.

    The old values of a batch before ``known_since`` are unknown. None if the rows have none of the columns.
    """
    rows, pairs = quote(f"stored rows {number}"), quote(f"pairs {number}")
    types = {str(row[0]): str(row[1]) for row in connection.execute(f"DESCRIBE {rows}").fetchall()}
    connection.register(f"pairs {number}", effect.pairs)
    if list(types) == REJECTED.names:
        return (
            'SELECT s.key, s.reason, CASE WHEN p.key IS NULL THEN s."row" ELSE CAST('  # noqa: S608
            'json_merge_patch(s."row", p.new) AS VARCHAR) END AS "row", p.key IS NOT NULL AS is_found'
            f" FROM {rows} AS s LEFT JOIN (SELECT key, min(new) AS new FROM {pairs}"
            " WHERE old IS DISTINCT FROM new GROUP BY key) AS p ON s.key = p.key"
        )
    names = [name for name in effect.columns if name in types]
    if not names or not types.keys() >= {*effect.target.key}:
        return None
    if len(names) < len(effect.columns):
        pairs = f"({_of_columns(pairs, names)})"
    key, old = (_json(effect.target.key), _json(names))
    columns = [
        f"CASE WHEN {_NEW} IS NULL THEN s.{quote(name)} ELSE CAST(json_extract_string({_NEW},"
        f" {literal(_pointer(name))}) AS {types[name]}) END AS {quote(name)}"
        if name in names
        else f"s.{quote(name)}"
        for name in types
    ]
    is_older = path.partition("/batch=")[2] < f"{known_since.astimezone(UTC):{TIME}}"
    return (
        f"SELECT {', '.join(columns)}, {_NEW} IS NOT NULL AS is_found FROM {rows} AS s"  # noqa: S608
        f" LEFT JOIN {pairs} AS p ON {key} = p.key AND {old} = p.old"
        " LEFT JOIN (SELECT key, min(new) AS new, list(new) AS all_new, bool_or(old IS NULL) AS is_unknown"
        f" FROM {pairs} GROUP BY key) AS a ON {key} = a.key AND p.key IS NULL"
        f" AND (a.is_unknown OR {is_older}) AND NOT list_contains(a.all_new, {old})"
    )


def _of_columns(pairs: str, names: Sequence[str]) -> str:
    """A query for pairs of only these columns."""
    old, new = (
        json_object({name: f"json_extract_string({side}, {literal(_pointer(name))})" for name in names})
        for side in ("old", "new")
    )
    return f"SELECT DISTINCT key, CASE WHEN old IS NOT NULL THEN {old} END AS old, {new} AS new FROM {pairs}"  # noqa: S608


def _json(names: Sequence[str]) -> str:
    return json_object({name: f"CAST(s.{quote(name)} AS VARCHAR)" for name in names})


def _pointer(name: str) -> str:
    return "/" + name.replace("~", "~0").replace("/", "~1")


def rewritten(processed: Bucket, path: str, effects: Sequence[Effect], known_since: datetime) -> Files:
    """Rewrite a processed object without erased values; returns the new file."""
    dataset = processed.scan(path)
    schema = dataset.schema
    with session() as connection:
        connection.register("stored rows 0", dataset)
        for number, effect in enumerate(effects):
            query = _processed(connection, number, path, effect, known_since)
            view = quote(f"stored rows {number + 1}")
            connection.execute(f"CREATE TEMP VIEW {view} AS SELECT * EXCLUDE (is_found) FROM ({query})")  # noqa: S608
        last = quote(f"stored rows {len(effects)}")
        rows = streamed(connection, f"FROM {last}", schema)
        return processed.write_rows(path.rpartition("/")[0], schema, rows)


def erase_in_raw(raw: Bucket, erased: Erasure, paths: Collection[str]) -> None:
    """Rewrite raw objects under new names, and update the manifests that name them.

    An object that no manifest names is not rewritten; the caller removes it with the old ones.
    """
    (entry,), left = erased.entries, set(paths)
    present = manifests.all_manifests(raw)
    named = {
        file.path: file for manifest in present for file in _files(manifest, entry.table) if file.path in left
    }
    moved = {path: without(raw, file, erased) for path, file in named.items()}
    for manifest in present:
        if any(file.path in moved for file in _files(manifest, entry.table)):
            manifests.seal(raw, _moved_manifest(manifest, entry.table, moved))


def without(raw: Bucket, file: File, erased: Erasure) -> Files:
    """Rewrite a raw object without erased values; returns the new file."""
    dataset = raw.dataset([file])
    present = set(dataset.schema.names)
    erased = erased.model_copy(
        update={"columns": tuple(column for column in erased.columns if column.name in present)}
    )
    with session() as connection:
        connection.register("stored rows", dataset)
        query = erased.erase(dataset.schema.names, quote("stored rows"))
        rows = streamed(connection, query, dataset.schema)
        return raw.write_rows(file.path.rpartition("/")[0], dataset.schema, rows)


def _files(manifest: Manifest, name: str) -> Iterator[File]:
    """A manifest's files with rows of a table."""
    for read in manifest.chunks:
        if read.chunk.table == name:
            yield from read.files
    if table := manifest.tables.get(name):
        yield from table.files
        for run in table.state or ():
            yield from run.files


def _moved_manifest(manifest: Manifest, name: str, moved: Mapping[str, Files]) -> Manifest:
    table = manifest.tables[name]
    state = None if table.state is None else moved_state(table.state, moved)
    table = table.model_copy(update={"files": _moved(table.files, moved), "state": state})
    chunks = tuple(read.model_copy(update={"files": _moved(read.files, moved)}) for read in manifest.chunks)
    return manifest.model_copy(update={"chunks": chunks, "tables": {**manifest.tables, name: table}})


def moved_state(state: State, moved: Mapping[str, Files]) -> State:
    """A state with its files replaced; ``moved`` maps old paths to new files."""
    return tuple(run.model_copy(update={"files": _moved(run.files, moved)}) for run in state)


def _moved(files: Files, moved: Mapping[str, Files]) -> Files:
    return tuple(new for file in files for new in moved.get(file.path, (file,)))
