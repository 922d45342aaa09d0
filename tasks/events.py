"""Events that runs emit to Prefect, for automations and other listeners.

Their resource is the warehouse: ``totesys.warehouse``, or ``prod.totesys.warehouse`` in the environment
``prod``.
"""

from collections.abc import Mapping
from datetime import datetime

from prefect.events import emit_event

UPDATED = "totesys.warehouse.updated"
REJECTED = "totesys.rows.rejected"
MISSED = "totesys.rows.missed"
WARNED = "totesys.checks.warned"
# Sent when alerts are set up, so that the alert on a stale warehouse starts to count.
WATCHED = "totesys.warehouse.watched"

_WAREHOUSE = "totesys.warehouse"


def warehouse(environment: str) -> dict[str, str]:
    """The resource of the events."""
    return {"prefect.resource.id": f"{environment}.{_WAREHOUSE}" if environment else _WAREHOUSE}


def updated(environment: str, at: datetime, **batch: str | int) -> None:
    """Emit that the warehouse was up to date with the source at a time; ``batch`` describes a new batch."""
    emit_event(UPDATED, warehouse(environment), payload={"up_to_date_at": at.isoformat(), **batch})


def rejected(environment: str, batch_id: str, tables: Mapping[str, int]) -> None:
    """Emit how many rows a batch rejected for the first time, by table; no values of rows."""
    payload = {"batch_id": batch_id, "rows": sum(tables.values()), "tables": dict(tables)}
    emit_event(REJECTED, warehouse(environment), payload=payload)


def missed(environment: str, batch_id: str, tables: Mapping[str, int]) -> None:
    """Emit how many rows a reconciling batch found that earlier runs had missed, by table."""
    payload = {"batch_id": batch_id, "rows": sum(tables.values()), "tables": dict(tables)}
    emit_event(MISSED, warehouse(environment), payload=payload)


def warned(environment: str, batch_id: str, checks: Mapping[str, int]) -> None:
    """Emit how many rows each check found that warns, by its name."""
    payload = {"batch_id": batch_id, "rows": sum(checks.values()), "checks": dict(checks)}
    emit_event(WARNED, warehouse(environment), payload=payload)


def watched(environment: str) -> None:
    """Emit that alerts were set up."""
    emit_event(WATCHED, warehouse(environment))
