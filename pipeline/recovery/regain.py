"""Tables that hold batches which the schema etl knows nothing of, as after a restore without it.

The times of their versions are those of batches, so they tell which chain of the lake they come from. etl is
written down again from its manifests; the tables are then filled again from them, as any that are not as they
were loaded.
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


class Regained(Frozen):
    """What was found of a warehouse without etl; ``lacking`` are tables that the lake cannot fill."""

    line: str
    lacking: tuple[str, ...] = ()


def regain(
    url: str, schema: str, raw: Bucket, targets: Mapping[str, Target], home: Destination
) -> Regained | None:
    """Write down again which batches a schema's tables hold, where etl knows of none; None where it does.

    None, too, where the tables hold no batch.
    """
    with transaction(url, "warehouse") as connection:
        if lock_for_load(connection, schema) is not None:
            return None
        times = last_changes(connection, schema, {name: target.fact for name, target in targets.items()})
        if not times:
            return None
        last = max(times.values())
        found = [chain for chain in chains.find(raw) if chain.has_moment(last) and not chain.has_gaps]
        chain = max(found, key=lambda each: (each.end.may_be_for(home), each.end.batch_id), default=None)
        begins = f"warehouse: what schema {schema} holds, up to {last}, is unknown to the schema etl"
        if chain is None:
            return Regained(
                line=f"{begins} and to the raw bucket; it stays, and the source is read whole",
                lacking=tuple(sorted(times)),
            )
        if chain.end.warehouse and home.is_same_warehouse(chain.end.warehouse):
            adopt_id(connection, chain.end.warehouse)
        _write_down(connection, schema, raw, chain, targets)
    return Regained(
        line=f"{begins}, which is written again from the raw bucket, up to batch {chain.end.batch_id}"
    )


def _write_down(
    connection: Connection, schema: str, raw: Bucket, chain: Chain, targets: Mapping[str, Target]
) -> None:
    """Write down the batches as loaded and the tables as unknown, so that they are filled again."""
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
