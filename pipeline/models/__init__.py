"""Models: their files, the analysis of their plans by DuckDB, and their run on a batch."""
