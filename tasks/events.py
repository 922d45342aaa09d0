"""What a run tells Prefect's event system, for automations and for whoever else listens.

All of it is about one resource, the warehouse: ``totesys.warehouse``, or
``prod.totesys.warehouse`` in the environment ``prod``.
"""

from collections.abc import Mapping
from datetime import datetime

from prefect.events import emit_event

UPDATED = "totesys.warehouse.updated"
REJECTED = "totesys.rows.rejected"
MISSED = "totesys.rows.missed"
# Sent when alerts are set up: from then on the warehouse is expected to be brought up to date.
WATCHED = "totesys.warehouse.watched"

_WAREHOUSE = "totesys.warehouse"


def warehouse(environment: str) -> dict[str, str]:
    """The resource that the events are about."""
    return {"prefect.resource.id": f"{environment}.{_WAREHOUSE}" if environment else _WAREHOUSE}


def updated(environment: str, at: datetime, **batch: str | int) -> None:
    """The warehouse is known to hold all that the source held at a moment, maybe by a new batch."""
    emit_event(UPDATED, warehouse(environment), payload={"up_to_date_at": at.isoformat(), **batch})


def rejected(environment: str, batch_id: str, tables: Mapping[str, int]) -> None:
    """A batch set rows aside that were not before; their values stay in the warehouse."""
    payload = {"batch_id": batch_id, "rows": sum(tables.values()), "tables": dict(tables)}
    emit_event(REJECTED, warehouse(environment), payload=payload)


def missed(environment: str, batch_id: str, tables: Mapping[str, int]) -> None:
    """Reconciling found what other runs had missed."""
    payload = {"batch_id": batch_id, "rows": sum(tables.values()), "tables": dict(tables)}
    emit_event(MISSED, warehouse(environment), payload=payload)


def watched(environment: str) -> None:
    """Alerts were set up."""
    emit_event(WATCHED, warehouse(environment))
