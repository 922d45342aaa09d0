"""Figures for Prometheus, in the registry that Prefect serves with PREFECT_CLIENT_METRICS_ENABLED."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from prometheus_client import Counter, Gauge

from pipeline.redaction import safe
from pipeline.warehouse.counts import Counts

OUTCOMES = ("added", "changed", "deleted", "rejected")

_ENVIRONMENT = "environment"
_UP_TO_DATE = Gauge(
    "totesys_up_to_date_timestamp_seconds", "The moment of the source that is shown", [_ENVIRONMENT]
)
_BATCHES = Counter("totesys_batches", "Batches loaded", [_ENVIRONMENT])
_ROWS = Counter(
    "totesys_rows",
    "Rows by what came of them; those that wait for another are rejected anew by each batch",
    [_ENVIRONMENT, "table", "outcome"],
)
_SECONDS = Counter("totesys_step_seconds", "Time that the steps of batches took", [_ENVIRONMENT, "step"])


def up_to_date(environment: str, at: datetime) -> None:
    """The warehouse is known to hold all that the source held at a moment."""
    _UP_TO_DATE.labels(environment).set(at.timestamp())


def batch_loaded(environment: str, counts: Iterable[Counts], seconds: Mapping[str, float]) -> None:
    """A batch came into the warehouse."""
    _BATCHES.labels(environment).inc()
    for count in counts:
        for outcome in OUTCOMES:
            _ROWS.labels(environment, safe(count.table), outcome).inc(getattr(count, outcome))
    for step, spent in seconds.items():
        _SECONDS.labels(environment, step).inc(spent)
