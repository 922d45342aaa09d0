"""The engine: reads a Postgres source, transforms with DuckDB, loads a warehouse.

Knows neither Prefect nor the tables of any shop. Imports run downwards: ``errors``,
``types``, ``duck``, ``redaction`` <- ``connection`` <- ``settings`` <- ``messages`` <-
``postgres``, ``buckets``, ``source`` <- ``batches``, ``models`` <- ``plan``, ``warehouse`` <-
``contract`` <- ``transform`` <- ``table`` <-
``refusals``, ``rejected`` <- ``staging``, ``upsert``, ``fill`` <- ``retry`` <- ``merge`` <- ``load``.
"""

import pyarrow as pa

# Arrow's own allocators keep what they once had: a fifth of a large run's memory.
pa.set_memory_pool(pa.system_memory_pool())
