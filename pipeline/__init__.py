"""The engine: reads a Postgres source, transforms with DuckDB, loads a warehouse. It does not import Prefect.

Its packages are the stations of the data. Imports run one way, as the contract in pyproject.toml lists them.
"""

import pyarrow as pa

# The release; pyproject.toml has the same.
RELEASE = "0.2.0.dev0"

# Arrow's default allocators do not return memory to the system: a fifth of a large run's memory.
pa.set_memory_pool(pa.system_memory_pool())
