"""What readers of a warehouse get: views of its tables, marts, and comments that say what all this means."""

from collections.abc import Collection, Mapping, Sequence

from pipeline.models.library import Model
from pipeline.models.marts import Mart
from pipeline.models.target import Target
from pipeline.postgres import Connection
from pipeline.warehouse import comments, marts, schemas
from pipeline.warehouse.alterations import Alterations
from pipeline.warehouse.marts import NAMES
from pipeline.warehouse.schemas import as_of_schema, reporting_schema


def ensure_schemas(
    connection: Connection, schema: str, targets: Collection[str], files: Sequence[Mart], *, for_readers: bool
) -> list[str]:
    """Create the schemas of views as of a moment, and return those that the role may use.

    Raises WarehouseError if the one for readers has objects of others under the names of tables or marts.
    """
    reporting = reporting_schema(schema)
    wanted = [as_of_schema(schema), *([reporting] if for_readers else [])]
    homes = schemas.ensure_schemas(connection, schema, wanted)
    if reporting in homes:
        names = {*targets, *NAMES, *(mart.name for mart in files)}
        marts.refuse_others(connection, schema, names)
    return homes


def ensure(
    connection: Connection,
    schema: str,
    models: Mapping[str, Model],
    targets: Mapping[str, Target],
    files: Sequence[Mart],
    homes: Collection[str],
    found: Alterations | None,
) -> list[str]:
    """Make marts and comments follow their files; returns the GRANTs of what is made again.

    ``homes`` are the schemas of views; without the one for readers there is neither.
    """
    if reporting_schema(schema) not in homes:
        return []
    made = [*marts.of_etl(schema, targets), *files]
    grants = marts.ensure(connection, schema, targets, made)
    comments.ensure(connection, schema, models, targets, made, found)
    return grants
