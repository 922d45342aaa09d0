"""Metrics for Prometheus, in the registry that Prefect serves with PREFECT_CLIENT_METRICS_ENABLED."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from prometheus_client import Counter, Gauge

from pipeline.redaction import safe
from pipeline.warehouse.counts import Counts

OUTCOMES = ("added", "changed", "deleted", "rejected")

_ENVIRONMENT = "environment"
_UP_TO_DATE = Gauge(
    "totesys_up_to_date_timestamp_seconds", "Time of the source that is loaded", [_ENVIRONMENT]
)
_BATCHES = Counter("totesys_batches", "Batches loaded", [_ENVIRONMENT])
_ROWS = Counter(
    "totesys_rows",
    "Rows by outcome; rows with a pending reference are rejected again by each batch",
    [_ENVIRONMENT, "table", "outcome"],
)
_SECONDS = Counter("totesys_step_seconds", "Duration of the steps of batches", [_ENVIRONMENT, "step"])


def up_to_date(environment: str, at: datetime) -> None:
    """Record that the warehouse is up to date with the source at a time."""
    _UP_TO_DATE.labels(environment).set(at.timestamp())


def batch_loaded(environment: str, counts: Iterable[Counts], seconds: Mapping[str, float]) -> None:
    """Count a loaded batch, its rows by outcome and the seconds of its steps."""
    _BATCHES.labels(environment).inc()
    for count in counts:
        for outcome in OUTCOMES:
            _ROWS.labels(environment, safe(count.table), outcome).inc(getattr(count, outcome))
    for step, spent in seconds.items():
        _SECONDS.labels(environment, step).inc(spent)
