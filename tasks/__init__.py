"""Thin Prefect wrappers: names, caching, retries, artifacts. The work is in ``pipeline``."""
