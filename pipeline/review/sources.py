"""The source's tables as the last batch holds them, and what their columns feed."""

from collections.abc import Mapping

from pipeline.capture.source_tables import refuse_main_schema
from pipeline.errors import ModelError, SettingsError
from pipeline.lake.buckets import Bucket
from pipeline.lake.manifest import Manifest
from pipeline.lake.manifests import read_manifest
from pipeline.models import library, lineage
from pipeline.models.library import Model
from pipeline.models.lineage import Lineage
from pipeline.models.reference_tables import NAMES
from pipeline.postgres import Connection, exists, texts, transaction
from pipeline.review import fitting
from pipeline.warehouse import catalogue, upgrades


def last_manifest(warehouse: Connection, schema: str, raw: Bucket) -> Manifest:
    """The manifest of the warehouse's last batch; raises SettingsError before the first one."""
    upgrades.check(warehouse)
    query = "SELECT manifest FROM etl.watermark WHERE schema_name = %s"
    paths = texts(warehouse, query, (schema,)) if exists(warehouse, "etl.watermark") else []
    if not paths:
        raise SettingsError("warehouse: no batch has been loaded yet; run `make run` first")
    return read_manifest(raw, paths[0])


def lineage_of(
    url: str, schema: str, models: Mapping[str, Model], raw: Bucket, table: str | None
) -> dict[str, Lineage]:
    """The lineage of each model over the tables of the last batch; raises ModelError.

    If a ``table`` is named, some model has to read it.
    """
    if table is not None and table not in library.tables_read(models):
        listed = ", ".join(sorted(library.tables_read(models) - NAMES))
        raise ModelError(f"{table}: no model reads such a table; they read {listed}")
    with transaction(url, "warehouse", reading=True) as warehouse:
        manifest = last_manifest(warehouse, schema, raw)
        targets = catalogue.existing_targets(warehouse, schema, models)
    refuse_main_schema(manifest.source_schema, models)
    for name, model in models.items():
        if lacking := library.tables_read({name: model}) - manifest.tables.keys() - models.keys() - NAMES:
            raise ModelError(
                f"{model.path}: reads {', '.join(sorted(lacking))}, which the last batch does not hold; the"
                " next run reads it"
            )
    complete = fitting.with_missing(models, targets, manifest.columns, manifest.primary_keys)
    return lineage.of_models(models, complete, manifest.columns, manifest.primary_keys)
