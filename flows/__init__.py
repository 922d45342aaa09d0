"""Prefect flows: the order of the steps. The work is in ``tasks`` and ``pipeline``."""
