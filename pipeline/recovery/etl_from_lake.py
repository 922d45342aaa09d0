"""Writes the schema etl again from the lake if only the tables were restored.

The times of the tables' versions are those of batches, which identifies their chain in the lake. etl is
written again from the chain's manifests. The tables are then refilled like others that are not as they were
loaded.
"""

from collections.abc import Mapping

from pipeline.columns import Frozen
from pipeline.lake import chains
from pipeline.lake.buckets import Bucket
from pipeline.lake.chains import Chain
from pipeline.lake.manifest import Destination, Manifest
from pipeline.lake.manifests import read_manifest
from pipeline.models.target import Target
from pipeline.postgres import Connection, transaction
from pipeline.warehouse.bindings import UNKNOWN, last_changes
from pipeline.warehouse.ledger import adopt_id, lock_for_load, record_batch


class Rewritten(Frozen):
    """A line about a warehouse without etl; ``lacking`` are the tables that the lake cannot refill."""

    line: str
    lacking: tuple[str, ...] = ()


def rewrite(
    url: str, schema: str, raw: Bucket, targets: Mapping[str, Target], destination: Destination
) -> Rewritten | None:
    """Record again which batches a schema's tables hold, if etl has none of that schema.

    None if etl has batches of the schema, or the tables hold no batch.
    """
    with transaction(url, "warehouse") as connection:
        if lock_for_load(connection, schema) is not None:
            return None
        times = last_changes(connection, schema, {name: target.fact for name, target in targets.items()})
        if not times:
            return None
        last = max(times.values())
        candidates = [chain for chain in chains.find(raw) if chain.has_moment(last) and not chain.has_gaps]
        chain = max(
            candidates, key=lambda each: (each.end.may_be_for(destination), each.end.batch_id), default=None
        )
        begins = f"warehouse: the schema etl lacks the batches that schema {schema} holds, up to {last}"
        if chain is None:
            return Rewritten(
                line=f"{begins}, and so does the raw bucket; the rows stay, and the source is read in full",
                lacking=tuple(sorted(times)),
            )
        if chain.end.warehouse and destination.is_same_warehouse(chain.end.warehouse):
            adopt_id(connection, chain.end.warehouse)
        _write_down(connection, schema, raw, chain, targets)
    return Rewritten(
        line=f"{begins}; etl is written again from the raw bucket, up to batch {chain.end.batch_id}"
    )


def _write_down(
    connection: Connection, schema: str, raw: Bucket, chain: Chain, targets: Mapping[str, Target]
) -> None:
    """Record the batches as loaded and the tables' row counts as unknown, so that they are refilled."""
    last: Manifest | None = None
    for each in chain.batches:
        last = read_manifest(raw, each.path)
        record_batch(connection, schema, last, [])
    if last:
        connection.cursor().executemany(
            "INSERT INTO etl.model (schema_name, table_name, fingerprint, batch_id, row_count, version_count)"
            " VALUES (%s, %s, '', %s, %s, %s)",
            [(schema, name, last.batch_id, UNKNOWN, UNKNOWN) for name in targets],
        )
