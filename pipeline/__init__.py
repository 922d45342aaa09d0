"""The engine: reads a Postgres source, transforms with DuckDB, loads a warehouse. It does not import Prefect.

Its packages are the stages that the data passes. Imports run one way, by the contract in pyproject.toml.
Nothing is imported here, so that commands can first import ``pipeline.interrupts`` and handle Ctrl-C early.
"""

# The release; pyproject.toml has the same.
RELEASE = "0.2.0.dev0"
