"""Erase the personal values of a source row: in the warehouse, the processed and the raw bucket.

Raw objects are removed last, because everything else is found by their values. So after an interruption the
same call continues.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pyarrow as pa

from pipeline.duck import quote, session
from pipeline.erasure.declared import newest, retyped, the_table
from pipeline.erasure.effects import Effect, ever
from pipeline.erasure.effects import effects as effects_of
from pipeline.erasure.frozen import NONE_FROZEN, FrozenTables, fed
from pipeline.erasure.in_warehouse import erase_in_warehouse, require_acceptance
from pipeline.erasure.left_rows import Search
from pipeline.erasure.rewriting import erase_in_raw, objects, rewritten, showing, shown_in
from pipeline.erasure.search import NOT_IN_LAKE, Needles, merged, search_lake, search_warehouse
from pipeline.errors import ModelError
from pipeline.lake import erasures
from pipeline.lake.buckets import Bucket
from pipeline.lake.erasures import Entry, Erasure
from pipeline.lake.manifest import Manifest, TableBatch
from pipeline.lake.paths import table_folder
from pipeline.models import reference_tables
from pipeline.models.library import Model, closure, is_stable, source_tables
from pipeline.postgres import transaction
from pipeline.recovery import checkpoints, rejections
from pipeline.recovery.batches import loaded_batches
from pipeline.recovery.refill import refill
from pipeline.recovery.replays import Replayer
from pipeline.recovery.restate import restate
from pipeline.source.table_names import spelled
from pipeline.warehouse.ledger import loaded_models
from pipeline.warehouse.limits import UNLIMITED
from pipeline.warehouse.mismatches import Mismatch

_THREADS = 8


@dataclass(frozen=True)
class Findings:
    """What to erase of a row.

    ``texts`` are the personal values by column, and by table of the warehouse those that only it has. ``raw``
    are the objects that hold them, ``effects`` the changes to tables of the warehouse, ``processed`` the
    objects with their values. ``known_since`` is the moment of the first loaded batch that the lake has:
    values from before are unknown. ``frozen`` are the tables without a model; those ``kept`` may show the
    values and cannot be erased, with the reason.
    """

    entry: Entry
    erased: Erasure
    table: TableBatch
    texts: Mapping[str, Collection[str]]
    raw: tuple[str, ...]
    effects: tuple[Effect, ...]
    processed: Mapping[str, Sequence[Effect]]
    known_since: datetime
    frozen: FrozenTables
    kept: Mapping[str, str]

    @property
    def left(self) -> dict[str, int]:
        """By table, how many keys of rows to erase the lake does not have any more."""
        return {each.target.name: len(each.pairs["key"].unique()) for each in self.effects if each.has_left}

    @property
    def summary(self) -> str:
        """One line on what to erase, without values."""
        tables = ", ".join(f"{each.target.name} ({', '.join(each.columns)})" for each in self.effects)
        return (
            f"columns {', '.join(column.name for column in self.erased.columns)} of {self.entry.table}"
            f" in raw objects: {len(self.raw)}, in processed objects: {len(self.processed)},"
            f" in tables: {tables or 'none'}"
        )


def find(
    url: str,
    schema: str,
    replayer: Replayer,
    manifests: Sequence[Manifest],
    entry: Entry,
    frozen: FrozenTables = NONE_FROZEN,
) -> Findings:
    """Find what to erase of a row, also in ``frozen`` tables; nothing is changed.

    ``manifests`` are all of the lake. Raises ModelError if a table does not allow NULL for an erased value,
    else as :func:`the_table` does.
    """
    if not any(entry.table in each.tables for each in manifests):  # as earlier releases name it
        entry = entry.model_copy(update={"table": spelled(entry.table)})
    manifest, table, erased = the_table(replayer.models, manifests, entry.table, frozen.models)
    erased = erased.model_copy(update={"entries": (entry,)})
    rows, raw, texts = shown_in(replayer.raw, table, erased)
    # If the lake no longer has the values, the row's other values show what a restored warehouse may contain.
    versions = rows if rows.num_rows else shown_in(replayer.raw, table, erased, hidden=True)[0]
    effects, kept = list[Effect](), dict(frozen.unknown)
    if versions.num_rows:
        # Models do not read columns that the source has dropped.
        present = [column.name for column in manifest.tables[entry.table].columns]
        versions = versions.select(present)
        former = erased.model_copy(update={"columns": retyped(manifests, entry.table, erased.columns)})
        manifest = manifest.model_copy(update={"tables": newest(manifests) | manifest.tables})
        effects, kept = _effects(
            replayer, frozen, ever(manifest, manifests), erased, former, versions, is_hidden=not rows.num_rows
        )
    loaded = loaded_batches(url, schema, replayer.raw, manifests).manifests
    known_since = loaded[0].snapshot_at if loaded else datetime.now(UTC)
    own = {text for each in texts.values() for text in each}
    tables = fed(frozen, replayer.models, replayer.targets, newest(manifests), erased, kept)
    with transaction(url, "warehouse") as connection:
        left = Search(
            connection, schema, {**replayer.models, **frozen.models}, erased, known_since, own, frozen.models
        )
        effects += left.effects(tables, effects, _keys(versions, erased))
    kept |= {
        each.target.name: "its rows cannot be erased one by one"
        for each in effects
        if each.replays and each.target.name in frozen.models
    }
    processed: dict[str, list[Effect]] = {}
    for effect in effects:
        for path in showing(replayer.processed, effect, known_since):
            processed.setdefault(path, []).append(effect)
    found = entry, erased, table, {**texts, **left.unshared}, tuple(raw), tuple(effects)
    return Findings(*found, processed, known_since, frozen, kept)


def _keys(rows: pa.Table, erased: Erasure) -> set[tuple[str, ...]]:
    """The keys of rows, as texts."""
    columns = [rows[column.name].cast(pa.string()).to_pylist() for column in erased.key]
    return set(zip(*columns, strict=True))


def _effects(
    replayer: Replayer,
    frozen: FrozenTables,
    history: Manifest,
    erased: Erasure,
    former: Erasure,
    versions: pa.Table,
    *,
    is_hidden: bool,
) -> tuple[list[Effect], dict[str, str]]:
    """The effects on tables; and the frozen ones that cannot be erased, with the reason.

    ``former`` has the retyped columns, of which the ``versions`` lack the former values.
    """
    models, found, kept = {**replayer.models, **frozen.models}, list[Effect](), dict(frozen.unknown)
    wide = replace(replayer, models=models, targets={**replayer.targets, **frozen.targets})
    table = erased.entries[0].table
    is_former = bool(former.columns) or not {each.name for each in erased.columns} <= {*versions.schema.names}
    for name in models:
        below = closure(models, name)
        if name in wide.targets and any(table in model.reads for model in below.values()):
            try:
                _require_tables(below, history)
                arguments = wide, below, history
                is_unknown = is_hidden or (
                    former.columns != () and any(effects_of(*arguments, former, versions, is_hidden=True))
                )
                found += effects_of(*arguments, erased, versions, is_hidden=is_unknown, is_former=is_former)
            except ModelError as error:
                if name not in frozen.models:
                    raise
                kept[name] = str(error)
    return found, kept


def _require_tables(below: Mapping[str, Model], history: Manifest) -> None:
    """Raise ModelError if no batch has a table that these models read; nothing shows their rows then."""
    for model in below.values():
        needed = source_tables({model.name: model}) - below.keys() - reference_tables.NAMES
        if lacking := sorted(needed - history.tables.keys()):
            raise ModelError(f"{model.path}: the raw bucket has no table {lacking[0]} any more")


def carry_out(
    url: str, schema: str, replayer: Replayer, findings: Findings, progress: Callable[[str], None]
) -> Mapping[str, object]:
    """Erase the findings, and search for what is left; returns the certificate.

    In this order: the entry in the lake, copies of processed objects without the values, the warehouse in one
    transaction, copies of raw objects and the manifests that name them, tables that are computed again, the
    search, the old objects. A value that the search finds elsewhere is no error: the certificate lists where.
    It is stored before the old objects are removed, because without them nobody knows what to search for.
    Raises ModelError, and changes nothing, if a table does not accept an erased value.
    """
    require_acceptance(url, schema, findings.effects, findings.known_since)
    earlier = erasures.begin(url, schema, findings.entry)
    erasures.write_to_lake(replayer.raw, findings.entry)
    for path in replayer.processed.sizes(checkpoints.FOLDER):
        replayer.processed.remove(path)
    moved = {
        path: rewritten(replayer.processed, path, effects, findings.known_since)
        for path, effects in findings.processed.items()
        if not any(effect.replays for effect in effects)
    }
    progress(f"rewrote processed objects: {len(moved)}")
    rejecting = erase_in_warehouse(
        url, schema, findings.entry, findings.effects, moved, findings.frozen.models, findings.known_since
    )
    progress(f"erased in tables of the warehouse: {len(findings.effects)}")
    erase_in_raw(replayer.raw, findings.erased, findings.raw)
    progress(f"rewrote raw objects: {len(findings.raw)}")
    _compute_again(url, schema, replayer, findings, rejecting)
    certificate = merged(earlier, _search(url, schema, replayer, findings))
    erasures.certify(url, schema, findings.entry, certificate, complete=False)
    for bucket, paths in ((replayer.processed, findings.processed), (replayer.raw, findings.raw)):
        with ThreadPoolExecutor(_THREADS) as threads:
            list(threads.map(bucket.remove, paths))
    erasures.certify(url, schema, findings.entry, certificate, complete=True)
    return certificate


def _search(url: str, schema: str, replayer: Replayer, findings: Findings) -> Mapping[str, object]:
    """Search for the values everywhere but in the old objects; returns the certificate."""
    needles = Needles.of(findings.texts, _others(replayer.raw, findings))
    raw = list(search_lake("raw", replayer.raw, needles, without=findings.raw))
    hits = [
        *raw,
        *search_lake("processed", replayer.processed, needles, without=findings.processed),
        *search_warehouse(url, schema, needles),
    ]
    own = (f"raw {table_folder(findings.entry.table)}/", "raw _")
    certificate = needles.certificate(hits, [hit for hit in raw if not hit.where.startswith(own)])
    return {**certificate, "frozen": dict(findings.kept), NOT_IN_LAKE: findings.left}


def _compute_again(
    url: str, schema: str, replayer: Replayer, findings: Findings, rejecting: Sequence[str]
) -> None:
    """Refill tables that cannot be erased row by row, from batches that no longer hold the values.

    Those with rejected rows, and the ``rejecting`` ones, are restated: rows that were rejected for such a
    value are accepted now, and so are those that referred to them.
    """
    mismatches = [
        Mismatch(
            table=effect.target.name,
            reason="its rows contain erased values",
            is_empty=False,
            lacks_history=True,
            is_erased=True,
        )
        for effect in findings.effects
        if effect.replays and effect.target.name in replayer.models
    ]
    if mismatches:
        refill(url, schema, replayer, mismatches)
    with transaction(url, "warehouse") as connection:
        again = rejections.tables(connection, schema)
        again |= {name for name, each in loaded_models(connection, schema).items() if each.to_restate}
    names = {*rejecting, *(again & {each.table for each in mismatches})}
    if stable := [name for name in replayer.models if name in names and is_stable(replayer.models, name)]:
        restate(url, schema, replayer, stable, UNLIMITED)


def _others(raw: Bucket, findings: Findings) -> Iterator[str]:
    """The values that other rows of the table contain too."""
    wanted = {text for texts in findings.texts.values() for text in texts}
    values = pa.table({"value": pa.array(sorted(wanted), pa.string())})
    for path in objects(raw, table_folder(findings.entry.table)):
        dataset = raw.scan(path)
        present = set(dataset.schema.names)
        if not {column.name for column in findings.erased.key} <= present:
            continue
        for column in findings.erased.columns:
            if column.name in present:
                with session() as connection:
                    connection.register("stored rows", dataset)
                    connection.register("wanted", values)
                    marked = findings.erased.with_mark(quote("stored rows"))
                    rows = connection.execute(
                        f"SELECT DISTINCT value FROM ({marked}) AS marked"  # noqa: S608
                        f" JOIN wanted ON contains(CAST({quote(column.name)} AS VARCHAR), value)"
                        f" WHERE {quote(erasures.MARK)} IS NULL"
                    ).fetchall()
                yield from (str(value) for (value,) in rows)
