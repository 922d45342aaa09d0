"""The batches that a schema of the warehouse has loaded, as far as the lake still holds them."""

from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.errors import ConcurrentRunError, ObjectMissing
from pipeline.lake.buckets import Bucket
from pipeline.lake.manifest import Manifest
from pipeline.lake.manifests import read_manifest
from pipeline.postgres import Connection, transaction
from pipeline.warehouse import ledger


@dataclass(frozen=True)
class Batches:
    """The batches of a schema in order; those before a lost manifest are left out."""

    manifests: tuple[Manifest, ...]
    is_complete: bool

    def lock_for_load(self, connection: Connection, schema: str) -> str:
        """Keep other loads away until the transaction ends, and return the schema's last batch.

        Raises ConcurrentRunError if that is not the last of these.
        """
        last = ledger.lock_for_load(connection, schema)
        if last is None or (self.manifests and last != self.manifests[-1].batch_id):
            raise ConcurrentRunError("warehouse: another run has moved the watermark in the meantime")
        return last


def loaded_batches(url: str, schema: str, raw: Bucket, known: Iterable[Manifest] = ()) -> Batches:
    """The batches of a schema, as far back as their manifests exist without a gap.

    Those that are ``known`` are not read again.
    """
    read = {manifest.path: manifest for manifest in known}
    with transaction(url, "warehouse") as connection:
        rows = connection.execute(
            "SELECT b.batch_id, b.previous_batch_id, b.manifest, b.batch_id = w.batch_id"
            " FROM etl.batch AS b INNER JOIN etl.watermark AS w ON b.schema_name = w.schema_name"
            " WHERE b.schema_name = %s",
            (schema,),
        ).fetchall()
    manifests_of = {batch_id: (previous, str(path)) for batch_id, previous, path, _ in rows}
    batch_id = next((batch_id for batch_id, _, _, is_last in rows if is_last), None)
    manifests: list[Manifest] = []
    while batch_id in manifests_of:
        batch_id, path = manifests_of[batch_id]
        try:
            manifests.insert(0, read.get(path) or read_manifest(raw, path))
        except ObjectMissing:
            return Batches(tuple(manifests), is_complete=False)
    return Batches(tuple(manifests), is_complete=batch_id is None)
