"""The engine: reads a Postgres source, transforms with DuckDB, loads a warehouse.

Knows neither Prefect nor the tables of any shop. Imports run downwards:
``errors`` and ``types`` <- ``buckets`` <- ``source``, ``batches`` <- ``models``,
``transform``, ``warehouse`` <- ``load``.
"""
