"""Thin Prefect wrappers: names, caching, retries, artifacts. The work is in ``pipeline``."""

from tasks import engine_log

engine_log.forward()
