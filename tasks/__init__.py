"""Thin Prefect wrappers: names, caching, retries, artifacts. The work is in ``pipeline``."""

from pipeline import postgres
from tasks import engine_log

postgres.application_name = "totesys-etl"
engine_log.forward()
