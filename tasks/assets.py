"""The lineage of a batch as Prefect assets: source → raw → processed → warehouse.

The events have the documented form that Prefect's ``@materialize`` tasks emit. Those tasks make a run a
tenth longer and add half to the server's work (22 tasks on two cores), and a load that is one task could only
declare that every table depends on every other. Emitting the events here takes 20 ms. Asset keys hold no
secret.
"""

import re
from collections.abc import Iterable, Mapping

from prefect.assets import Asset
from prefect.events import emit_event

from pipeline import connection
from pipeline.lake.manifest import Manifest
from pipeline.models import reference_tables
from pipeline.models.library import Model
from pipeline.source.table_names import parts
from pipeline.warehouse.counts import Counts
from tasks import blocks

# Characters that Prefect refuses in an asset's key, or that would change its path.
_NOT_IN_KEYS = re.compile(r"[^\w.:@/+-]")


def sealed(manifest: Manifest, environment: str, schema: str) -> None:
    """Emit that the tables of a sealed batch were materialized in the raw bucket from the source."""
    url = blocks.database_url(blocks.SOURCE, environment)
    raw = _bucket(blocks.RAW, environment)
    for table in manifest.tables.values():
        if table.files and table.seed is None:
            in_schema, name = parts(table.table)
            origin = _key(_database(url, in_schema or schema), name)
            emit_event("prefect.asset.referenced", {"prefect.resource.id": origin}, related=[])
            _materialized(_key(raw, table.table), [origin], {"rows": table.rows})


def loaded(counts: Iterable[Counts], models: Mapping[str, Model], environment: str, schema: str) -> None:
    """Emit that a loaded batch was materialized in the processed bucket, and from there in the warehouse."""
    raw, processed = (_bucket(name, environment) for name in (blocks.RAW, blocks.PROCESSED))
    warehouse = _database(blocks.database_url(blocks.WAREHOUSE, environment), schema)
    for count in counts:
        processed_key = _key(processed, count.table)
        if count.read:
            reads = sorted(models[count.table].reads - reference_tables.NAMES)
            origins = [_key(processed if name in models else raw, name) for name in reads]
            _materialized(processed_key, origins, {"rows": count.read})
        if count.added or count.changed or count.deleted:
            _materialized(_key(warehouse, count.table), [processed_key], count.model_dump())


def _materialized(key: str, origins: Iterable[str], payload: dict[str, object]) -> None:
    related = [{"prefect.resource.id": origin, "prefect.resource.role": "asset"} for origin in origins]
    emit_event(
        "prefect.asset.materialization.succeeded",
        {"prefect.resource.id": key},
        related=related,
        payload=payload,
    )


def _key(parent: str, name: str) -> str:
    return Asset(key=_NOT_IN_KEYS.sub("_", f"{parent}/{name}")).key


def _database(conninfo: str, schema: str) -> str:
    return f"postgres://{connection.place(conninfo)}/{schema}"


def _bucket(name: str, environment: str) -> str:
    uri = blocks.bucket(name, environment).uri
    return uri if "://" in uri else f"file://{uri}"
